//! What is left of records that are damaged: a file's lines whose head is not understood, and a file
//! that is another network's. By itself it counts for nothing, as it may be of any age; where the
//! kernel's marks say the same, it says what they do not.

use std::collections::BTreeMap;

use crate::model::{Endpoint, EndpointId, LinkName, Network};

/// Parts of records, as far as they make sense.
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

    /// The network of this name.
    pub fn network(&self, name: &LinkName) -> Option<&Network> {
        self.networks.get(name)
    }

    /// The endpoint with this identity.
    pub fn endpoint(&self, id: &EndpointId) -> Option<&Endpoint> {
        self.endpoints.get(id)
    }
}
