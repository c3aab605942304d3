//! The plan of a bridge that another program made. It changes nothing but the ports of endpoints.

use crate::{
    model::{Endpoint, Network},
    plan::{Plan, Record, Resource, Step, cable::cable},
};

/// The bridge is on record as long as an endpoint is attached to it.
pub(super) fn network(network: &Network) -> Plan {
    vec![Step::create(
        "record that netcord has an endpoint on this bridge",
        Resource::Record(Record::Network(network.clone())),
    )]
}

/// Makes an endpoint a port of the bridge.
pub(super) fn port(network: &Network, endpoint: &Endpoint) -> Plan {
    cable(network, endpoint, None)
}
