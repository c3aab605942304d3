//! Chooses the addresses of an endpoint.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::Chooser;
use crate::{
    error::Error,
    kernel::{Kernel, dhcp::Leased},
    model::{Address, Endpoint, Subnet},
};

/// The number of free addresses to probe at once: more than one, so that in a range that other
/// hosts use, too, the search is not address by address.
const CANDIDATES: usize = 8;

/// The number of rounds. If all candidates are taken this many times, others assign addresses from
/// the range.
const ROUNDS: usize = 8;

impl Chooser<'_> {
    /// Returns one address of each family that the network has: the requested one, or the lowest
    /// free one. On a shared network, addresses are probed first.
    pub(super) fn addresses(
        &mut self,
        kernel: &Kernel,
        leased: Option<&Leased>,
    ) -> Result<Vec<IpNetwork>> {
        let mut addresses = Vec::new();
        if let Some(leased) = leased {
            addresses.push(self.leased(leased)?);
        }
        let asked =
            self.args.wiring.ip.iter().map(|a| self.asked_for(a)).collect::<Result<Vec<_>>>()?;
        let network = &self.record.network;
        // A user who gives an address, but no range of the network for netcord, means that one
        // only.
        let has_said = !asked.is_empty() || !addresses.is_empty();
        let says_all = has_said && !network.has_range();
        let is_open = |s: &&Subnet| {
            let is_given = |a: &IpNetwork| a.is_ipv4() == s.cidr.is_ipv4();
            network.may_choose_from(s) && !says_all && !asked.iter().chain(&addresses).any(is_given)
        };
        let mut open: Vec<_> = network.subnets.iter().filter(is_open).cloned().collect();
        if leased.is_none() && asked.is_empty() && open.is_empty() {
            return Err(Error::usage(format!(
                "bridge `{}` has no subnet to choose an address from",
                self.record.network.name
            ))
            .hint("give an address with its prefix length: --ip 10.0.0.2/24")
            .into());
        }
        addresses.extend(&asked);
        // Both families are probed at the same time.
        for _ in 0..ROUNDS {
            let mut question: BTreeSet<_> = asked.iter().map(IpNetwork::ip).collect();
            for subnet in &open {
                question.extend(self.candidates(subnet)?);
            }
            self.ask(kernel, question)?;
            for address in &asked {
                self.check_free(address.ip())?;
            }
            let mut left = Vec::new();
            for subnet in open {
                let free = self.lowest_free(&subnet, &self.taken.keys().copied().collect())?;
                if self.is_sure(free) {
                    addresses.push(IpNetwork::new(free, subnet.cidr.prefix())?);
                } else {
                    left.push(subnet);
                }
            }
            open = left;
            if open.is_empty() {
                addresses.sort_by_key(IpNetwork::is_ipv6);
                return Ok(addresses);
            }
        }
        Err(Error::conflict(format!(
            "the first {} addresses to give out in network `{}` all have an owner on the wire",
            CANDIDATES * ROUNDS,
            self.record.network.name
        ))
        .hint("choose one with `--ip`")
        .into())
    }

    /// Returns whether addresses are probed. On a network of this host, nobody else assigns any,
    /// and without carrier nobody can answer.
    fn asks(&self) -> bool {
        self.record.network.is_shared() && self.bridge.carrier
    }

    /// Returns whether an address needs no probe, or no further one.
    fn is_sure(&self, ip: IpAddr) -> bool {
        !self.asks() || self.silent.contains(&ip)
    }

    /// Returns the addresses to probe in order to find a free one; none if one is known.
    fn candidates(&self, subnet: &Subnet) -> Result<Vec<IpAddr>> {
        if !self.asks() {
            return Ok(Vec::new());
        }
        let mut taken: BTreeSet<_> = self.taken.keys().copied().collect();
        let lowest = self.lowest_free(subnet, &taken)?;
        if self.is_sure(lowest) {
            return Ok(Vec::new());
        }
        let mut candidates = vec![lowest];
        taken.insert(lowest);
        while candidates.len() < CANDIDATES
            && let Some(next) = subnet.lowest_free(&taken)
        {
            candidates.push(next);
            taken.insert(next);
        }
        Ok(candidates)
    }

    fn lowest_free(&self, subnet: &Subnet, taken: &BTreeSet<IpAddr>) -> Result<IpAddr> {
        let range = subnet.ip_range.unwrap_or(subnet.cidr);
        let network = &self.record.network.name;
        subnet.lowest_free(taken).ok_or_else(|| {
            Error::conflict(format!("network `{network}` has no free address left in {range}"))
                .hint("detach something, or make another network")
                .into()
        })
    }

    /// Probes addresses, and stores which were answered for, and which were not.
    fn ask(&mut self, kernel: &Kernel, mut question: BTreeSet<IpAddr>) -> Result<()> {
        question.retain(|ip| !self.is_sure(*ip));
        if question.is_empty() {
            return Ok(());
        }
        let answers = kernel.who_has(&self.bridge, &question)?;
        question.retain(|ip| !answers.contains_key(ip));
        self.silent.extend(question);
        self.taken.extend(answers.into_iter().map(|(ip, mac)| (ip, mac.to_string())));
        Ok(())
    }

    /// A DHCP server knows the owners of its leases, but not those of the addresses that netcord
    /// assigned.
    fn leased(&self, leased: &Leased) -> Result<IpNetwork> {
        let ip = leased.ip();
        let of_ours = |e: &&Endpoint| e.addresses.iter().any(|a| a.ip() == ip);
        if let Some(owner) = self.endpoints().find(of_ours) {
            let message =
                format!("server {} gave {ip}, which `{}` has", leased.server, owner.target);
            return Err(Error::conflict(message)
                .hint("do not assign addresses from the server's range by hand")
                .into());
        }
        Ok(leased.address.into())
    }

    fn asked_for(&self, asked: &Address) -> Result<IpNetwork> {
        let (network, Address { ip, length }) = (&self.record.network, *asked);
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
                    && network.is_shared() =>
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
        if network.subnets.iter().any(|s| s.gateway == Some(ip)) && !self.taken.contains_key(&ip) {
            return Err(taken(ip, "the network's gateway"));
        }
        self.check_free(ip)?;
        Ok(IpNetwork::new(ip, length)?)
    }

    fn check_free(&self, ip: IpAddr) -> Result<()> {
        self.taken.get(&ip).map_or(Ok(()), |owner| Err(taken(ip, owner)))
    }
}

fn taken(ip: IpAddr, owner: &str) -> anyhow::Error {
    Error::conflict(format!("address {ip} is taken by {owner}"))
        .hint("leave out `--ip` to use a free address")
        .into()
}
