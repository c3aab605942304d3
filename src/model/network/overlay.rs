//! An overlay network: each host has a subnet of its own for its endpoints, and reaches the others'
//! subnets by a tunnel or by a route.

use std::{collections::BTreeMap, net::IpAddr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::Store;
use crate::model::{Invalid, LinkName, Mac};

/// The data of an overlay network. The network's subnets are those of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Overlay {
    /// How packets reach the other hosts.
    pub backend: Backend,
    /// The subnets of the whole network, at most one of each family, IPv4 first.
    pub cluster: Vec<IpNetwork>,
    /// The host's link that leads to the other hosts.
    pub parent: LinkName,
    /// This host's address for the others.
    pub host: IpAddr,
    /// Its second address, of the other family.
    pub second: Option<IpAddr>,
    /// The other hosts, by address.
    pub peers: BTreeMap<IpAddr, Peer>,
    /// The store that says which other hosts there are; `None`: those that were named.
    pub store: Option<Store>,
}

/// How packets reach the other hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In VXLAN packets (RFC 7348).
    Vxlan(Vxlan),
    /// Without encapsulation, with the other host as the next hop.
    HostGw,
}

/// A backend, as a user chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendKind {
    /// In VXLAN packets.
    Vxlan,
    /// Without encapsulation.
    HostGw,
}

impl BackendKind {
    /// All backends.
    pub const ALL: [Self; 2] = [Self::Vxlan, Self::HostGw];

    /// Returns flannel's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::HostGw => "host-gw",
        }
    }

    /// Returns the tunnel's overhead in bytes, for hosts with such an address: outer IP and UDP
    /// headers, VXLAN header, and inner Ethernet header.
    pub fn overhead(self, host: IpAddr) -> u32 {
        match self {
            Self::Vxlan if host.is_ipv4() => 20 + 8 + 8 + 14,
            Self::Vxlan => 40 + 8 + 8 + 14,
            Self::HostGw => 0,
        }
    }
}

/// The tunnel of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// The VXLAN link (VTEP) between the first addresses of hosts.
    pub device: LinkName,
    /// The VXLAN link between their second addresses, which carries that family's packets; `None`:
    /// the first one carries both families.
    pub second_device: Option<LinkName>,
    /// The VXLAN network identifier, the same on all hosts.
    pub vni: u32,
    /// The UDP port, the same on all hosts.
    pub port: u16,
    /// Whether packets to a host that can be the next hop itself are sent without the tunnel.
    pub direct_routing: bool,
}

/// Another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The subnets of its endpoints, at most one of each family, IPv4 first.
    pub subnets: Vec<IpNetwork>,
    /// Its second address, of the other family: the next hop for that family.
    pub second: Option<IpAddr>,
    /// Its addresses that can be the next hop without a tunnel.
    pub next_hops: Vec<IpAddr>,
    /// The MACs of its VTEPs, of the first and of the second address, where they are not those that
    /// are derived from the addresses.
    pub macs: Vec<Mac>,
}

/// One host's end of a tunnel (VTEP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vtep<'n> {
    /// This host's VXLAN link of that tunnel.
    pub link: &'n LinkName,
    /// The address of the end's host, which outer packets have.
    pub host: IpAddr,
    /// The MAC of the end.
    pub mac: Mac,
}

impl Peer {
    /// Returns the next hop for one of its subnets without a tunnel.
    pub fn next_hop(&self, subnet: &IpNetwork) -> Option<IpAddr> {
        self.next_hops.iter().copied().find(|hop| hop.is_ipv4() == subnet.is_ipv4())
    }

    /// Returns its subnets that are reached through the tunnel.
    pub fn tunnelled(&self) -> impl Iterator<Item = &IpNetwork> {
        self.subnets.iter().filter(|subnet| self.next_hop(subnet).is_none())
    }
}

impl Backend {
    /// Returns the backend's kind.
    pub fn kind(&self) -> BackendKind {
        match self {
            Self::Vxlan(_) => BackendKind::Vxlan,
            Self::HostGw => BackendKind::HostGw,
        }
    }

    /// Returns the tunnel, if there is one.
    pub fn vxlan(&self) -> Option<&Vxlan> {
        match self {
            Self::Vxlan(vxlan) => Some(vxlan),
            Self::HostGw => None,
        }
    }
}

impl Vxlan {
    /// The default identifier, which is flannel's.
    pub const VNI: u32 = 1;
    /// The maximum identifier: it has 24 bits.
    pub const VNI_MAX: u32 = (1 << 24) - 1;
    /// The default port, which is Linux's, not that of RFC 7348 (4789).
    pub const PORT: u16 = 8472;
}

impl Overlay {
    /// Returns the subnet of the whole network of a family.
    pub fn cluster_of(&self, is_ipv4: bool) -> Option<IpNetwork> {
        self.cluster.iter().copied().find(|block| block.is_ipv4() == is_ipv4)
    }

    /// Returns the ends of tunnels on this host.
    pub fn own_vteps(&self) -> impl Iterator<Item = Vtep<'_>> {
        let devices = self.backend.vxlan().map(|v| (&v.device, v.second_device.as_ref()));
        let (first, second) = devices.map_or((None, None), |(one, two)| (Some(one), two));
        let first = first.map(|link| (link, self.host));
        let ends = first.into_iter().chain(second.zip(self.second));
        ends.map(|(link, host)| Vtep { link, host, mac: Mac::of_tunnel_end(host) })
    }

    /// Returns the end of this host's tunnel that carries packets of a family.
    pub fn own_vtep(&self, is_ipv4: bool) -> Option<Vtep<'_>> {
        let mut ends = self.own_vteps();
        let first = ends.next()?;
        Some(ends.find(|_| self.is_second(is_ipv4)).unwrap_or(first))
    }

    /// Returns the end of a tunnel on another host to which packets of a family are sent; `None` if
    /// there is none, or the host lacks the address for it.
    pub fn vtep<'n>(&'n self, host: IpAddr, peer: &Peer, is_ipv4: bool) -> Option<Vtep<'n>> {
        let link = self.own_vtep(is_ipv4)?.link;
        let (number, host) = match (self.is_second(is_ipv4), peer.second) {
            (true, Some(second)) => (1, second),
            // Of a host that was rebuilt from marks, only one address is known.
            (true, None) if host.is_ipv4() != is_ipv4 => return None,
            _ => (0, host),
        };
        let mac = peer.macs.get(number).copied().unwrap_or_else(|| Mac::of_tunnel_end(host));
        Some(Vtep { link, host, mac })
    }

    /// Returns whether the second tunnel carries packets of a family.
    fn is_second(&self, is_ipv4: bool) -> bool {
        let has_second = self.backend.vxlan().is_some_and(|v| v.second_device.is_some());
        has_second && self.second.is_some_and(|second| second.is_ipv4() == is_ipv4)
    }

    /// Returns two hosts whose VTEPs would have the same MAC on one tunnel.
    pub fn same_macs(&self) -> Option<(IpAddr, IpAddr)> {
        [true, false].into_iter().find_map(|is_ipv4| {
            let own = self.own_vtep(is_ipv4)?;
            let mut macs = BTreeMap::from([(own.mac, own.host)]);
            self.peers.iter().find_map(|(host, peer)| {
                let end = self.vtep(*host, peer, is_ipv4)?;
                macs.insert(end.mac, end.host).map(|other| (other, end.host))
            })
        })
    }
}

/// An overlay in JSON.
#[derive(Serialize, Deserialize)]
struct Form {
    backend: BackendKind,
    cluster: Vec<IpNetwork>,
    parent: LinkName,
    host: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    second: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vxlan: Option<VxlanForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    store: Option<Store>,
    peers: Vec<PeerForm>,
}

#[derive(Serialize, Deserialize)]
struct VxlanForm {
    device: LinkName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    second_device: Option<LinkName>,
    vni: u32,
    port: u16,
    direct_routing: bool,
}

#[derive(Serialize, Deserialize)]
struct PeerForm {
    host: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    second: Option<IpAddr>,
    subnets: Vec<IpNetwork>,
    next_hops: Vec<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    macs: Vec<Mac>,
}

impl From<Overlay> for Form {
    fn from(overlay: Overlay) -> Self {
        let Overlay { backend, cluster, parent, host, second, peers, store } = overlay;
        let kind = backend.kind();
        let vxlan = match backend {
            Backend::Vxlan(Vxlan { device, second_device, vni, port, direct_routing }) => {
                Some(VxlanForm { device, second_device, vni, port, direct_routing })
            }
            Backend::HostGw => None,
        };
        let peer = |(host, Peer { subnets, second, next_hops, macs })| PeerForm {
            host,
            second,
            subnets,
            next_hops,
            macs,
        };
        let peers = peers.into_iter().map(peer).collect();
        Self { backend: kind, cluster, parent, host, second, vxlan, store, peers }
    }
}

impl TryFrom<Form> for Overlay {
    type Error = Invalid;

    fn try_from(form: Form) -> Result<Self, Invalid> {
        let backend = match (form.backend, form.vxlan) {
            (BackendKind::Vxlan, Some(form)) => {
                let VxlanForm { device, second_device, vni, port, direct_routing } = form;
                Backend::Vxlan(Vxlan { device, second_device, vni, port, direct_routing })
            }
            (BackendKind::Vxlan, None) => {
                return Err(Invalid::new("the network's driver needs a tunnel"));
            }
            (BackendKind::HostGw, _) => Backend::HostGw,
        };
        let peer = |PeerForm { host, second, subnets, next_hops, macs }| {
            (host, Peer { subnets, second, next_hops, macs })
        };
        let peers = form.peers.into_iter().map(peer).collect();
        let Form { cluster, parent, host, second, store, .. } = form;
        Ok(Self { backend, cluster, parent, host, second, peers, store })
    }
}
