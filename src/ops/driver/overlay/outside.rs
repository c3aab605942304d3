//! Finds the link and the address by which this host reaches the others, and the hosts that can be
//! the next hop themselves.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::Result;
use ipnetwork::IpNetwork;

use crate::{
    error::Error,
    kernel::{
        Kernel, Link,
        route::{Query, Way},
    },
    model::{self, BackendKind, LinkName, Peer, PeerSpec},
    ops::driver::parent,
};

/// The link that leads to the other hosts, and this host's address there.
pub(super) struct Outside {
    pub(super) link: Link,
    pub(super) parent: LinkName,
    pub(super) host: IpAddr,
}

/// What the user said of the link and the address.
pub(super) struct Wanted<'a> {
    pub(super) parent: Option<&'a LinkName>,
    pub(super) public_ip: Option<IpAddr>,
    /// An address that the link must lead to.
    pub(super) reach: Option<IpAddr>,
}

impl Outside {
    /// Finds the link and the address: as requested, or from the kernel's route to another machine.
    ///
    /// # Errors
    /// If there is none.
    pub(super) async fn find(
        kernel: &Kernel,
        wanted: &Wanted<'_>,
        other: Option<IpAddr>,
    ) -> Result<Self> {
        if let Some(host) = wanted.public_ip {
            return Self::with_address(kernel, host).await;
        }
        let is_ipv4 = other.or(wanted.reach).is_none_or(|host| host.is_ipv4());
        match (wanted.parent, wanted.reach.or(other)) {
            (Some(name), _) => {
                let Some(link) = kernel.link(name.as_str()).await? else {
                    return Err(parent::missing(kernel, name).await);
                };
                Self::on(kernel, link, is_ipv4).await
            }
            (None, Some(host)) => Self::towards(kernel, host).await,
            (None, None) => Self::by_default_route(kernel).await,
        }
    }

    /// Returns the link's first address of the other family that other hosts can reach.
    pub(super) async fn second(&self, kernel: &Kernel) -> Result<Option<IpAddr>> {
        let own = kernel.addresses_of(&self.link).await?;
        Ok(own.iter().map(IpNetwork::ip).find(|ip| ip.is_ipv4() != self.host.is_ipv4()))
    }

    async fn with_address(kernel: &Kernel, host: IpAddr) -> Result<Self> {
        let addresses = kernel.addresses().await?;
        let links = kernel.links().await?;
        let own = addresses.iter().find(|address| address.address.ip() == host);
        let link = own.and_then(|own| links.into_values().find(|link| link.has(own)));
        let Some(link) = link.filter(|link| link.name != "lo") else {
            return Err(Error::not_found(format!(
                "--public-ip {host}: no link of this host has this address"
            ))
            .hint("see the host's addresses with `ip -br addr`")
            .into());
        };
        Ok(Self { parent: link.name.parse()?, link, host })
    }

    async fn on(kernel: &Kernel, link: Link, is_ipv4: bool) -> Result<Self> {
        let own = kernel.addresses_of(&link).await?;
        let family = if is_ipv4 { "IPv4" } else { "IPv6" };
        let Some(host) = own.iter().map(IpNetwork::ip).find(|ip| ip.is_ipv4() == is_ipv4) else {
            return Err(Error::not_found(format!(
                "link `{}` has no {family} address by which other hosts reach this one",
                link.name
            ))
            .hint("choose another link with `--parent`, or the address with `--public-ip`")
            .into());
        };
        Ok(Self { parent: link.name.parse()?, link, host })
    }

    async fn towards(kernel: &Kernel, to: IpAddr) -> Result<Self> {
        match kernel.way(Query::to(to)).await? {
            Way::By { index, source, .. } => {
                let link = kernel.links().await?.remove(&index);
                let link = link.ok_or_else(|| unreachable(to))?;
                match source {
                    Some(host) => Ok(Self { parent: link.name.parse()?, link, host }),
                    None => Self::on(kernel, link, to.is_ipv4()).await,
                }
            }
            Way::Here { .. } => Err(own_address(to)),
            Way::None(_) => Err(unreachable(to)),
        }
    }

    async fn by_default_route(kernel: &Kernel) -> Result<Self> {
        let mut defaults = kernel.routes().await?;
        defaults.retain(|route| route.destination.prefix() == 0);
        let best = defaults.iter().min_by_key(|r| (r.destination.is_ipv6(), r.metric));
        let found = match best {
            Some(route) => (kernel.link_of(route).await?, route.destination.is_ipv4()),
            None => (None, true),
        };
        match found {
            (Some(link), is_ipv4) => Self::on(kernel, link, is_ipv4).await,
            (None, _) => Err(Error::not_found(
                "no link leads to other hosts: this host has no default route",
            )
            .hint("name the link with `--parent LINK`")
            .into()),
        }
    }

    /// Returns the other hosts, with how each is reached.
    ///
    /// # Errors
    /// If one is this host, or cannot be reached in the way that the backend needs.
    pub(super) async fn peers(
        &self,
        kernel: &Kernel,
        kind: BackendKind,
        direct_routing: bool,
        asked: &[&PeerSpec],
    ) -> Result<BTreeMap<IpAddr, Peer>> {
        let mut peers = BTreeMap::new();
        for spec in asked {
            peers.extend(self.peer(kernel, kind, direct_routing, spec).await?);
        }
        Ok(peers)
    }

    /// The same for hosts that a store names. One that cannot be reached does not keep the others:
    /// it is left out, with a reason.
    pub(super) async fn reachable(
        &self,
        kernel: &Kernel,
        kind: BackendKind,
        direct_routing: bool,
        named: &[&PeerSpec],
    ) -> (BTreeMap<IpAddr, Peer>, Vec<String>) {
        let (mut peers, mut left_out) = (BTreeMap::new(), Vec::new());
        for spec in named {
            // A tunnel needs no route to its other end yet.
            let is_tunnelled = kind != BackendKind::HostGw && !direct_routing;
            let found = if is_tunnelled {
                Ok(peer(spec, Vec::new()))
            } else {
                self.peer(kernel, kind, direct_routing, spec).await
            };
            match found {
                Ok(found) => peers.extend(found),
                Err(error) => left_out.push(error.to_string()),
            }
        }
        (peers, left_out)
    }

    async fn peer(
        &self,
        kernel: &Kernel,
        kind: BackendKind,
        direct_routing: bool,
        spec: &PeerSpec,
    ) -> Result<Option<(IpAddr, Peer)>> {
        let mut on_link = Vec::new();
        for (number, host) in spec.hosts.iter().enumerate() {
            if self.is_on_link(kernel, *host, number == 0).await? {
                on_link.push(*host);
            }
        }
        let next_hops = match kind {
            BackendKind::Vxlan if direct_routing => on_link,
            BackendKind::Vxlan | BackendKind::Udp => Vec::new(),
            BackendKind::HostGw => {
                self.check_next_hops(spec, &on_link)?;
                on_link
            }
        };
        Ok(peer(spec, next_hops))
    }

    /// Returns whether another host is on the link, without a router in between.
    async fn is_on_link(&self, kernel: &Kernel, host: IpAddr, is_first: bool) -> Result<bool> {
        match kernel.way(Query::to(host)).await? {
            Way::Here { .. } => Err(own_address(host)),
            Way::By { index, gateway, .. } if index == self.link.index() => Ok(gateway.is_none()),
            Way::By { index, .. } if is_first => {
                let links = kernel.links().await?;
                let other = links.get(&index).map_or("another link", |link| link.name.as_str());
                Err(Error::conflict(format!(
                    "host {host} is reached by `{other}`, and not by `{}`, the network's parent",
                    self.parent
                ))
                .hint(format!("make it the parent with `--parent {other}`, or correct the route"))
                .into())
            }
            Way::None(_) if is_first => Err(unreachable(host)),
            Way::By { .. } | Way::None(_) => Ok(false),
        }
    }

    /// Checks that another host is on the link by an address of each family, so that it can be the
    /// next hop.
    fn check_next_hops(&self, spec: &PeerSpec, on_link: &[IpAddr]) -> Result<()> {
        for subnet in &spec.subnets {
            let same = |ip: &&IpAddr| ip.is_ipv4() == subnet.is_ipv4();
            let Some(host) = spec.hosts.iter().find(same) else {
                return Err(Error::usage(format!(
                    "--peer {spec}: host-gw needs an address of the host to be the next hop of {subnet}"
                ))
                .hint(
                    "name both addresses of a host: `--peer SUBNET,SUBNET6=HOST,HOST6`; if it has but \
                     one, use `--backend vxlan`, which carries both families",
                )
                .into());
            };
            if !on_link.contains(host) {
                return Err(Error::conflict(format!(
                    "host {host} is not on the link `{}`: as the next hop it must be reached \
                     without a router",
                    self.parent
                ))
                .hint("use `--backend vxlan`, which passes routers")
                .into());
            }
        }
        Ok(())
    }
}

/// Returns another host, with those of its addresses that can be the next hop.
fn peer(spec: &PeerSpec, next_hops: Vec<IpAddr>) -> Option<(IpAddr, Peer)> {
    let (first, rest) = spec.hosts.split_first()?;
    let subnets = spec.subnets.clone();
    let has_subnet = |hop: &IpAddr| subnets.iter().any(|s| s.is_ipv4() == hop.is_ipv4());
    let next_hops = next_hops.into_iter().filter(has_subnet).collect();
    let (second, macs) = (rest.first().copied(), spec.macs.clone());
    Some((*first, Peer { subnets, second, next_hops, macs }))
}

/// Returns the link and the address on record.
pub(super) async fn of_record(kernel: &Kernel, overlay: &model::Overlay) -> Result<Outside> {
    let Some(link) = kernel.link(overlay.parent.as_str()).await? else {
        return Err(Error::not_found(format!(
            "link `{}`, which leads to the other hosts, is gone",
            overlay.parent
        ))
        .hint("remove the network and make it anew, with another `--parent`")
        .into());
    };
    Ok(Outside { link, parent: overlay.parent.clone(), host: overlay.host })
}

fn own_address(host: IpAddr) -> anyhow::Error {
    Error::conflict(format!("host {host} is this host itself"))
        .hint("a peer is another host; this one's subnet is `--host-subnet`")
        .into()
}

fn unreachable(host: IpAddr) -> anyhow::Error {
    Error::conflict(format!("host {host} cannot be reached: no route leads there"))
        .hint(format!("see `ip route get {host}`"))
        .into()
}
