//! What the alias of a link says of its network.

use ipnetwork::IpNetwork;

use crate::{model::Network, plan::Mark};

/// Which addresses are netcord's to give, as an alias says.
pub(super) fn add_ranges(network: &mut Network, mark: Mark<'_>) {
    for range in mark.values("range").filter_map(|range| range.parse::<IpNetwork>().ok()) {
        let subnet = network.subnets.iter_mut().find(|s| s.contains(range.ip()));
        if let Some(subnet) = subnet {
            subnet.ip_range = Some(range);
        }
    }
}
