//! Which addresses an endpoint gets.

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::Chooser;
use crate::{
    cli,
    error::Error,
    kernel::{Kernel, dhcp::Leased},
    model::Endpoint,
};

impl Chooser<'_> {
    /// One address of each family that the network has: the one that was asked for, or the lowest
    /// free one.
    pub(super) async fn addresses(
        &self,
        kernel: &Kernel,
        leased: Option<&Leased>,
    ) -> Result<Vec<IpNetwork>> {
        let network = &self.record.network;
        let mut addresses = Vec::new();
        if let Some(leased) = leased {
            addresses.push(self.leased(leased)?);
        }
        for asked in &self.args.ip {
            addresses.push(self.asked_for(kernel, asked).await?);
        }
        for subnet in &network.subnets {
            if addresses.iter().any(|a: &IpNetwork| a.is_ipv4() == subnet.cidr.is_ipv4()) {
                continue;
            }
            let taken = self.taken.keys().copied().collect();
            let free = subnet.lowest_free(&taken).ok_or_else(|| {
                let range = subnet.ip_range.unwrap_or(subnet.cidr);
                Error::conflict(format!(
                    "network `{}` has no free address left in {range}",
                    network.name
                ))
                .hint("detach something, or make another network")
            })?;
            addresses.push(IpNetwork::new(free, subnet.cidr.prefix())?);
        }
        addresses.sort_by_key(IpNetwork::is_ipv6);
        if addresses.is_empty() {
            return Err(Error::usage(format!(
                "bridge `{}` has no subnet to choose an address from",
                network.name
            ))
            .hint("say which address, with its length: --ip 10.0.0.2/24")
            .into());
        }
        Ok(addresses)
    }

    /// A server knows who has its addresses, but nothing of those that we gave.
    fn leased(&self, leased: &Leased) -> Result<IpNetwork> {
        let ip = leased.ip();
        let of_ours = |e: &&Endpoint| e.addresses.iter().any(|a| a.ip() == ip);
        if let Some(owner) = self.record.endpoints.iter().find(of_ours) {
            let message =
                format!("server {} gave {ip}, which `{}` has", leased.server, owner.target);
            return Err(Error::conflict(message)
                .hint("keep addresses that are given by hand out of the server's range")
                .into());
        }
        Ok(leased.address.into())
    }

    async fn asked_for(&self, kernel: &Kernel, asked: &cli::Address) -> Result<IpNetwork> {
        let (network, cli::Address { ip, length }) = (&self.record.network, *asked);
        let length = match (network.subnet_of(ip), length) {
            (Some(subnet), length) => {
                subnet.check_host(ip, "address")?;
                if length.is_some_and(|l| l != subnet.cidr.prefix()) {
                    return Err(Error::usage(format!(
                        "address {ip} is in subnet {}, whose length is another",
                        subnet.cidr
                    ))
                    .hint(format!("write {ip}, or {ip}/{}", subnet.cidr.prefix()))
                    .into());
                }
                subnet.cidr.prefix()
            }
            (None, Some(length))
                if network.subnets.iter().all(|s| s.cidr.is_ipv4() != ip.is_ipv4())
                    && network.foreign =>
            {
                length
            }
            (None, _) => {
                let subnets: Vec<_> = network.subnets.iter().map(|s| s.cidr.to_string()).collect();
                let has = if subnets.is_empty() { "none".to_owned() } else { subnets.join(", ") };
                return Err(Error::usage(format!(
                    "address {ip} is in no subnet of network `{}`",
                    network.name
                ))
                .hint(format!("its subnets: {has}"))
                .into());
            }
        };
        let is_gateway = network.subnets.iter().any(|s| s.gateway == Some(ip));
        let owner = match self.taken.get(&ip) {
            Some(owner) => Some(owner.clone()),
            None if is_gateway => Some("the network's gateway".into()),
            // Who answers for it on a bridge that others use too?
            None if network.foreign && self.bridge.carrier => {
                kernel.who_has(&self.bridge, ip).await?
            }
            None => None,
        };
        if let Some(owner) = owner {
            return Err(Error::conflict(format!("address {ip} is taken by {owner}"))
                .hint("leave out `--ip` to have a free one chosen")
                .into());
        }
        Ok(IpNetwork::new(ip, length)?)
    }
}
