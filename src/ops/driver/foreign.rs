//! A bridge that another program made.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::{
    kernel::{Kernel, Link},
    model::{Driver, Family, Firewall, Flags, LinkName, Mac, Network, Subnet},
};

/// The bridge as it is: its addresses are the gateways of its subnets.
pub(in crate::ops) async fn network(
    kernel: &Kernel,
    name: &LinkName,
    link: &Link,
    firewall: Firewall,
) -> Result<Network> {
    let addresses = kernel.addresses_of(link).await?;
    let first_of = |family| addresses.iter().find(|a| Family::of(a.ip()) == family);
    Ok(Network {
        name: name.clone(),
        driver: Driver::Foreign,
        mac: link.mac.unwrap_or(Mac::PLACEHOLDER),
        mtu: link.mtu,
        subnets: Family::BOTH
            .into_iter()
            .filter_map(first_of)
            .map(|a| Subnet::of_bridge_address(*a))
            .collect(),
        flags: Flags::default(),
        firewall,
        forward_accepts: Vec::new(),
        labels: BTreeMap::new(),
    })
}
