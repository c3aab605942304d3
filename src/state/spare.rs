//! The valid parts of damaged records: lines whose head is invalid, and a file that belongs to
//! another network. They may be outdated, so they count only together with the kernel's marks:
//! where these agree, the lines add what marks cannot hold.

use std::collections::BTreeMap;

use crate::model::{Endpoint, EndpointId, LinkName, Network};

/// The valid parts of records.
#[derive(Debug, Default)]
pub struct Spare {
    networks: BTreeMap<LinkName, Network>,
    endpoints: BTreeMap<EndpointId, Endpoint>,
}

impl Spare {
    pub(super) fn add(&mut self, network: Option<Network>, endpoints: Vec<Endpoint>) {
        self.networks.extend(network.map(|network| (network.name.clone(), network)));
        self.endpoints.extend(endpoints.into_iter().map(|e| (e.id(), e)));
    }

    /// Returns the network of this name.
    pub fn network(&self, name: &LinkName) -> Option<&Network> {
        self.networks.get(name)
    }

    /// Returns the endpoint with this identity.
    pub fn endpoint(&self, id: &EndpointId) -> Option<&Endpoint> {
        self.endpoints.get(id)
    }
}
