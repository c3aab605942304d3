//! The parts of plans that depend on a network's driver, a file each: the plan of the network, and
//! how an endpoint is connected.
#![deny(clippy::wildcard_enum_match_arm)]

pub(super) mod bridge;
mod flat;
mod foreign;
mod macvlan;
mod overlay;
mod underlay;

pub use bridge::Uplinks;
pub use flat::elsewhere;
pub use macvlan::macvlan_of;
pub use overlay::{changed, entry_changes, lacking, own_part, stale, tunnels_of, way};
pub use underlay::{ACCEPT_DAD, CarrierVeth, Switch, Takeover, takeover, without_carrier};

use super::{Plan, Resource, Step};
use crate::model::{Driver, Endpoint, LinkName, Network};

/// Makes a network. For an underlay, [`takeover`] moves the parent's configuration in a plan of its
/// own.
pub fn create(network: &Network, uplinks: &Uplinks) -> Plan {
    match &network.driver {
        Driver::Bridge => bridge::network(network, uplinks),
        Driver::Foreign => foreign::network(network),
        Driver::Underlay(underlay) => underlay::network(network, underlay),
        Driver::Macvlan(macvlan) => macvlan::network(network, macvlan),
        Driver::Overlay(overlay) => overlay::network(network, overlay, uplinks),
    }
}

/// Makes the link of an endpoint, down inside its target, with its spoof filter.
pub(super) fn link(network: &Network, endpoint: &Endpoint) -> Plan {
    match &network.driver {
        Driver::Bridge | Driver::Overlay(_) => bridge::port(network, endpoint),
        Driver::Foreign => foreign::port(network, endpoint),
        Driver::Underlay(_) => underlay::port(network, endpoint),
        Driver::Macvlan(macvlan) => macvlan::link(network, macvlan, endpoint),
    }
}

/// Announces an endpoint that is up and has its addresses to its neighbours.
pub(super) fn introduction(network: &Network, endpoint: &Endpoint) -> Plan {
    match &network.driver {
        // An address always has the same MAC here.
        Driver::Bridge | Driver::Overlay(_) => Plan::new(),
        Driver::Foreign | Driver::Underlay(_) => {
            endpoint.host_ifname().map(|port| announcement(endpoint, port)).into_iter().collect()
        }
        Driver::Macvlan(macvlan) => macvlan::host_access(network, macvlan, endpoint),
    }
}

/// The kernel also announces addresses by itself when the link goes up and when its MAC is set, but
/// then the bridge port does not forward yet.
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
