//! Reads a network's settings from the alias of a link.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::{
    model::{Network, set_outbound},
    plan::Mark,
};

/// Adds the address ranges in the alias to a network.
pub(super) fn add_ranges(network: &mut Network, mark: Mark<'_>) {
    for range in mark.values("range").filter_map(|range| range.parse::<IpNetwork>().ok()) {
        let subnet = network.subnets.iter_mut().find(|s| s.contains(range.ip()));
        if let Some(subnet) = subnet {
            subnet.ip_range = Some(range);
        }
    }
}

/// Adds the source addresses in the alias of packets that leave a network.
pub(super) fn add_outbound(network: &mut Network, mark: Mark<'_>) {
    let addresses = mark.values("outbound").filter_map(|address| address.parse::<IpAddr>().ok());
    set_outbound(&mut network.subnets, &addresses.collect::<Vec<_>>());
}
