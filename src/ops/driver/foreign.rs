//! A bridge that another program made.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::{
    kernel::{Kernel, Link},
    model::{Driver, Firewall, Flags, LinkName, Mac, Network, Subnet},
};

/// The bridge as it is: its addresses are the gateways of its subnets.
pub(in crate::ops) async fn network(
    kernel: &Kernel,
    name: &LinkName,
    link: &Link,
    firewall: Firewall,
) -> Result<Network> {
    let addresses = kernel.addresses_of(link).await?;
    let first_of = |is_ipv4: bool| addresses.iter().find(|a| a.is_ipv4() == is_ipv4);
    let subnets = [first_of(true), first_of(false)];
    Ok(Network {
        name: name.clone(),
        driver: Driver::Foreign,
        mac: link.mac.unwrap_or_else(|| Mac::of([0, 0, 0, 0].into())),
        mtu: link.mtu,
        subnets: subnets.into_iter().flatten().map(|a| Subnet::of_bridge_address(*a)).collect(),
        flags: Flags::default(),
        firewall,
        forward_accepts: Vec::new(),
        labels: BTreeMap::new(),
    })
}
