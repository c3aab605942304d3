//! Reads a network's settings from the alias of a link.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::{
    model::{Network, Subnet},
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
    for address in mark.values("outbound").filter_map(|address| address.parse::<IpAddr>().ok()) {
        let is_of = |subnet: &&mut Subnet| subnet.cidr.is_ipv4() == address.is_ipv4();
        if let Some(subnet) = network.subnets.iter_mut().find(is_of) {
            subnet.outbound = Some(address);
        }
    }
}
