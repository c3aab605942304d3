//! The plan of a bridge that another program made: nothing is changed but the ports of endpoints.

use crate::{
    model::{Endpoint, Network},
    plan::{Plan, Record, Resource, Step, cable::cable},
};

/// It is on record as long as an endpoint is attached to it.
pub(super) fn network(network: &Network) -> Plan {
    vec![Step::create(
        "record that netcord has an endpoint on this bridge",
        Resource::Record(Record::Network(network.clone())),
    )]
}

/// An endpoint's port.
pub(super) fn port(network: &Network, endpoint: &Endpoint) -> Plan {
    cable(network, endpoint, None)
}
