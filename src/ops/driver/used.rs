//! The addresses that this host uses, or reaches in another way: no network may take them.

use std::{fs, net::IpAddr};

use anyhow::Result;
use ipnetwork::IpNetwork;

use crate::{
    error::Error,
    kernel::{Kernel, TableRoute},
    model::{Family, LinkName, overlap, pools, unique_local_prefix},
    ops::{Session, lookup::resolver, upkeep::need::Extent},
    state::{Load, State},
};

/// Returns the lowest subnet of a family that nothing on this host uses, and that overlaps with none
/// of these.
///
/// # Errors
/// If there is none.
pub async fn free_subnet(
    host: &Session<'_>,
    family: Family,
    others: &[IpNetwork],
) -> Result<IpNetwork> {
    let state = host.look(Extent { load: Load::Of(&[]), ..Extent::of(None) }).await?;
    let used = Used::read(&host.kernel, &state).await?;
    used.free(family, |subnet| others.iter().all(|other| !overlap(*other, subnet)))
}

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

    /// Returns the lowest subnet that may be chosen: of docker's pools, or of this host's unique local
    /// prefix.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn free(
        &self,
        family: Family,
        may_be: impl Fn(IpNetwork) -> bool,
    ) -> Result<IpNetwork> {
        let is_free = |subnet: &IpNetwork| self.is_free(*subnet) && may_be(*subnet);
        let free = match family {
            Family::V4 => pools().find(is_free).ok_or_else(|| {
                Error::conflict("all of docker's 31 default pools are in use on this host")
                    .hint("choose one with `--subnet`")
            }),
            Family::V6 => {
                let id = host_id()?;
                let mut all = (0..=u16::MAX).filter_map(|index| unique_local_prefix(&id, index));
                all.find(is_free).ok_or_else(|| Error::conflict("no unique local prefix is free"))
            }
        };
        Ok(free?)
    }

    /// Returns whether a subnet may be chosen: it must overlap with nothing. Routes to half of all
    /// addresses (those of a VPN) do not count.
    fn is_free(&self, cidr: IpNetwork) -> bool {
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

/// Returns an identity of this machine, for its unique local prefix.
fn host_id() -> Result<Vec<u8>> {
    let id = fs::read("/etc/machine-id").ok().filter(|id| id.len() > 16);
    Ok(match id {
        Some(id) => id,
        None => fs::read("/proc/sys/kernel/random/boot_id")?,
    })
}
