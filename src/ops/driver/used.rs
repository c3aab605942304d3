//! The addresses that this host uses, or reaches in another way: no network may take them.

use std::net::IpAddr;

use anyhow::Result;
use ipnetwork::IpNetwork;

use crate::{
    error::Error,
    kernel::{Kernel, TableRoute},
    model::{LinkName, overlap},
    ops::{Session, lookup::resolver},
    state::State,
};

/// Prefixes that are in use on this host.
pub(super) struct Used {
    networks: Vec<(LinkName, IpNetwork)>,
    addresses: Vec<IpNetwork>,
    routes: Vec<TableRoute>,
    nameservers: Vec<IpAddr>,
}

impl Used {
    pub(super) async fn read(kernel: &Kernel, state: &State) -> Result<Self> {
        let networks = state.networks().values().flat_map(|r| {
            r.network.blocks().into_iter().map(|block| (r.network.name.clone(), block))
        });
        Ok(Self {
            networks: networks.collect(),
            addresses: kernel.addresses().await?.into_iter().map(|a| a.address).collect(),
            routes: kernel.routes().await?,
            nameservers: resolver::nameservers(resolver::HOSTS),
        })
    }

    /// Refuses a requested subnet that contains addresses which the host reaches in another way.
    pub(super) fn check(&self, host: &Session<'_>, what: &str, cidr: IpNetwork) -> Result<()> {
        let taken = |by: String| {
            Err(Error::conflict(format!("{what} {cidr} overlaps with {by}"))
                .hint("choose another with `--subnet`, or leave it out to use a free one")
                .into())
        };
        if let Some((name, other)) = self.networks.iter().find(|(_, n)| overlap(*n, cidr)) {
            return taken(format!("network `{name}` ({other})"));
        }
        if let Some(address) = self.addresses.iter().find(|a| overlap(**a, cidr)) {
            return taken(format!("the host's own address {address}"));
        }
        if let Some(server) = self.nameservers.iter().find(|n| cidr.contains(**n)) {
            return taken(format!("the host's nameserver {server}"));
        }
        for route in self
            .routes
            .iter()
            .filter(|r| r.destination.prefix() > 0 && overlap(r.destination, cidr))
        {
            match route.gateway {
                None => return taken(format!("the host's route to {}", route.destination)),
                Some(gateway) => host.events.warn(&format!(
                    "{what} {cidr} hides a part of what the host reaches by its route to {} via {gateway}",
                    route.destination
                )),
            }
        }
        Ok(())
    }

    /// Returns whether a subnet may be chosen: it must overlap with nothing. Routes to half of all
    /// addresses (those of a VPN) do not count.
    pub(super) fn is_free(&self, cidr: IpNetwork) -> bool {
        self.networks.iter().all(|(_, n)| !overlap(*n, cidr))
            && self.addresses.iter().all(|a| !overlap(*a, cidr))
            && self.nameservers.iter().all(|n| !cidr.contains(*n))
            && self
                .routes
                .iter()
                .all(|r| r.destination.prefix() <= 1 || !overlap(r.destination, cidr))
    }

    /// Refuses a subnet of many hosts that contains destinations of another program's routes.
    pub(super) fn check_routed(&self, cidr: IpNetwork) -> Result<()> {
        let inside = |r: &&TableRoute| {
            r.destination.prefix() >= cidr.prefix() && overlap(r.destination, cidr) && !r.is_ours()
        };
        match self.routes.iter().find(inside) {
            Some(route) => {
                let to = route.destination;
                Err(Error::conflict(format!(
                    "subnet {cidr} overlaps with the host's route to {to}"
                ))
                .hint("choose another with `--subnet`, the same on all hosts")
                .into())
            }
            None => Ok(()),
        }
    }
}
