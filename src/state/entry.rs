//! The entries of a file. The line of an endpoint names its network, so that one in another network's
//! file is noticed.

use std::collections::HashMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::file::Lines;
use crate::{
    model::{Endpoint, EndpointId, LinkName, NamedNetns},
    plan::Record,
};

/// An entry of a file.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Entry<'a> {
    Endpoint {
        #[serde(flatten)]
        endpoint: &'a Endpoint,
        /// The last field, see [`is_filed`].
        network: &'a LinkName,
    },
    Name(&'a NamedNetns),
}

impl<'a> Entry<'a> {
    pub(super) fn endpoint(network: &'a LinkName, endpoint: &'a Endpoint) -> Self {
        Self::Endpoint { endpoint, network }
    }

    /// Returns the entry that a part is, if it is a complete one.
    pub(super) fn of(record: &'a Record) -> Option<Self> {
        match record {
            Record::Endpoint { network, endpoint } => Some(Self::endpoint(network, endpoint)),
            Record::Name(name) => Some(Self::Name(name)),
            Record::Network(_) | Record::Port { .. } => None,
        }
    }
}

/// Parses the valid entries; returns them with the error of the first invalid one.
pub(super) fn parse_all<T: DeserializeOwned>(lines: &Lines) -> (Vec<T>, Option<serde_json::Error>) {
    let (mut entries, mut first) = (Vec::new(), None);
    for line in lines.entries() {
        match serde_json::from_str(line) {
            Ok(entry) => entries.push(entry),
            Err(error) => first = first.or(Some(error)),
        }
    }
    (entries, first)
}

/// The endpoints of a file.
#[derive(Default)]
pub(super) struct Parsed {
    pub(super) endpoints: Vec<Endpoint>,
    /// Endpoints of other networks.
    pub(super) misfiled: Vec<Endpoint>,
    /// The error of the first invalid line.
    pub(super) error: Option<serde_json::Error>,
}

/// Parses the endpoints in the file of a network. Of two lines for one endpoint, the later one
/// counts.
pub(super) fn parse_endpoints(lines: &Lines, network: &LinkName) -> Parsed {
    let mut parsed = Parsed::default();
    for line in lines.entries() {
        match serde_json::from_str(line) {
            Ok(endpoint) if is_filed(line, network) => parsed.endpoints.push(endpoint),
            Ok(endpoint) => parsed.misfiled.push(endpoint),
            Err(error) => parsed.error = parsed.error.or(Some(error)),
        }
    }
    let all = &mut parsed.endpoints;
    let mut last: HashMap<EndpointId, usize> = HashMap::with_capacity(all.len());
    last.extend(all.iter().enumerate().map(|(at, e)| (e.id(), at)));
    let mut at = 0..;
    all.retain(|e| last.get(&e.id()) == at.next().as_ref());
    parsed
}

/// Returns whether an endpoint's line names this network. Usually its end shows that, which need not
/// be parsed.
pub(super) fn is_filed(line: &str, network: &LinkName) -> bool {
    #[derive(Deserialize)]
    struct Filed {
        network: LinkName,
    }
    let end = serde_json::to_string(network).map(|name| format!(",\"network\":{name}}}"));
    end.is_ok_and(|end| line.ends_with(&end))
        || serde_json::from_str::<Filed>(line).is_ok_and(|filed| filed.network == *network)
}
