//! What a network's driver decides, a file each: the plan of the network, and the parts of an
//! endpoint's plan that depend on how it is connected.
#![deny(clippy::wildcard_enum_match_arm)]

pub(super) mod bridge;
mod foreign;
mod macvlan;
mod underlay;

pub use bridge::Uplinks;
pub use macvlan::macvlan_of;
pub use underlay::{ACCEPT_DAD, CarrierVeth, Switch, Takeover, takeover, without_carrier};

use super::{Plan, Resource, Step};
use crate::model::{Driver, Endpoint, LinkName, Network};

/// Makes a network. What an underlay takes over from its parent is not part of it, see [`takeover`].
pub fn create(network: &Network, uplinks: &Uplinks) -> Plan {
    match &network.driver {
        Driver::Bridge => bridge::network(network, uplinks),
        Driver::Foreign => foreign::network(network),
        Driver::Underlay(underlay) => underlay::network(network, underlay),
        Driver::Macvlan(macvlan) => macvlan::network(network, macvlan),
    }
}

/// Makes the link of an endpoint, down inside its target, with what protects others from it.
pub(super) fn link(network: &Network, endpoint: &Endpoint) -> Plan {
    match &network.driver {
        Driver::Bridge => bridge::port(network, endpoint),
        Driver::Foreign => foreign::port(network, endpoint),
        Driver::Underlay(_) => underlay::port(network, endpoint),
        Driver::Macvlan(macvlan) => macvlan::link(network, macvlan, endpoint),
    }
}

/// Lets others find an endpoint that is up and has its addresses.
pub(super) fn introduction(network: &Network, endpoint: &Endpoint) -> Plan {
    match &network.driver {
        // An address comes with the same MAC each time.
        Driver::Bridge => Plan::new(),
        Driver::Foreign | Driver::Underlay(_) => {
            endpoint.host_ifname().map(|port| announcement(endpoint, port)).into_iter().collect()
        }
        Driver::Macvlan(macvlan) => macvlan::host_access(network, macvlan, endpoint),
    }
}

/// The kernel announces addresses as the link goes up, when the bridge does not forward yet, and as
/// it is given a MAC.
fn announcement(endpoint: &Endpoint, port: &LinkName) -> Step {
    Step::create(
        "announce the address (gratuitous ARP, unsolicited NA): neighbours update their caches",
        Resource::Announcement {
            netns: Some(endpoint.netns.clone()),
            link: endpoint.ifname.clone(),
            mac: endpoint.mac,
            port: port.clone(),
        },
    )
}
