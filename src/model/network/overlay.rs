//! An overlay network: each host has a subnet of its own for its endpoints, and reaches the others'
//! subnets by a tunnel or by a route.

use std::{collections::BTreeMap, net::IpAddr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

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
    /// The other hosts, by address.
    pub peers: BTreeMap<IpAddr, Peer>,
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
    /// The VXLAN link (VTEP).
    pub device: LinkName,
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

    /// Returns the MAC of this host's VTEP.
    pub fn mac(&self) -> Mac {
        Mac::of_tunnel_end(self.host)
    }

    /// Returns two hosts whose VTEPs would have the same MAC.
    pub fn same_macs(&self) -> Option<(IpAddr, IpAddr)> {
        let mut macs = BTreeMap::from([(self.mac(), self.host)]);
        self.peers.keys().find_map(|host| {
            macs.insert(Mac::of_tunnel_end(*host), *host).map(|other| (other, *host))
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
    vxlan: Option<VxlanForm>,
    peers: Vec<PeerForm>,
}

#[derive(Serialize, Deserialize)]
struct VxlanForm {
    device: LinkName,
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
}

impl From<Overlay> for Form {
    fn from(overlay: Overlay) -> Self {
        let Overlay { backend, cluster, parent, host, peers } = overlay;
        let kind = backend.kind();
        let vxlan = match backend {
            Backend::Vxlan(Vxlan { device, vni, port, direct_routing }) => {
                Some(VxlanForm { device, vni, port, direct_routing })
            }
            Backend::HostGw => None,
        };
        let peer = |(host, Peer { subnets, second, next_hops })| PeerForm {
            host,
            second,
            subnets,
            next_hops,
        };
        let peers = peers.into_iter().map(peer).collect();
        Self { backend: kind, cluster, parent, host, vxlan, peers }
    }
}

impl TryFrom<Form> for Overlay {
    type Error = Invalid;

    fn try_from(form: Form) -> Result<Self, Invalid> {
        let backend = match (form.backend, form.vxlan) {
            (BackendKind::Vxlan, Some(VxlanForm { device, vni, port, direct_routing })) => {
                Backend::Vxlan(Vxlan { device, vni, port, direct_routing })
            }
            (BackendKind::Vxlan, None) => {
                return Err(Invalid::new("the network's driver needs a tunnel"));
            }
            (BackendKind::HostGw, _) => Backend::HostGw,
        };
        let peer = |PeerForm { host, second, subnets, next_hops }| {
            (host, Peer { subnets, second, next_hops })
        };
        let peers = form.peers.into_iter().map(peer).collect();
        let Form { cluster, parent, host, .. } = form;
        Ok(Self { backend, cluster, parent, host, peers })
    }
}
