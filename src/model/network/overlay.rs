//! An overlay network: each host has a subnet of its own for its endpoints, and reaches those of
//! the others by a tunnel or by a route.

use std::{collections::BTreeMap, net::IpAddr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::model::{Invalid, LinkName, Mac};

/// What an overlay network has besides the bridge of this host's subnets, which are the network's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Overlay {
    /// How packets reach the other hosts.
    pub backend: Backend,
    /// The blocks that all hosts' subnets are in, at most one of each family, IPv4 first.
    pub cluster: Vec<IpNetwork>,
    /// The host's link that leads to the other hosts.
    pub parent: LinkName,
    /// This host's address, by which the others reach it.
    pub host: IpAddr,
    /// The other hosts, by the address of each.
    pub peers: BTreeMap<IpAddr, Peer>,
}

/// How packets reach the other hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In VXLAN packets (RFC 7348).
    Vxlan(Vxlan),
    /// As they are, with the other host as the next hop.
    HostGw,
}

/// Which of them: what a user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendKind {
    /// In VXLAN packets.
    Vxlan,
    /// As they are.
    HostGw,
}

impl BackendKind {
    /// Each of them.
    pub const ALL: [Self; 2] = [Self::Vxlan, Self::HostGw];

    /// The word for it, flannel's.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::HostGw => "host-gw",
        }
    }

    /// How many bytes of each packet on the wire are the tunnel's, between hosts with such an
    /// address: outer IP and UDP header, that of VXLAN, and inner Ethernet header.
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
    /// The link that puts frames into VXLAN packets, and takes them out.
    pub device: LinkName,
    /// The VXLAN network identifier, the same on all hosts.
    pub vni: u32,
    /// The UDP port of all hosts.
    pub port: u16,
    /// Where the next hop can be the other host itself, packets go without a tunnel.
    pub direct_routing: bool,
}

/// Another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The subnets of its endpoints, at most one of each family, IPv4 first.
    pub subnets: Vec<IpNetwork>,
    /// Its second address, of the other family: the next hop of that family's packets.
    pub second: Option<IpAddr>,
    /// Its addresses that can be the next hop of packets without a tunnel.
    pub next_hops: Vec<IpAddr>,
}

impl Peer {
    /// The next hop of packets that reach one of its subnets without a tunnel.
    pub fn next_hop(&self, subnet: &IpNetwork) -> Option<IpAddr> {
        self.next_hops.iter().copied().find(|hop| hop.is_ipv4() == subnet.is_ipv4())
    }

    /// Its subnets that are reached through the tunnel.
    pub fn tunnelled(&self) -> impl Iterator<Item = &IpNetwork> {
        self.subnets.iter().filter(|subnet| self.next_hop(subnet).is_none())
    }
}

impl Backend {
    /// Which of them it is.
    pub fn kind(&self) -> BackendKind {
        match self {
            Self::Vxlan(_) => BackendKind::Vxlan,
            Self::HostGw => BackendKind::HostGw,
        }
    }

    /// The tunnel, if there is one.
    pub fn vxlan(&self) -> Option<&Vxlan> {
        match self {
            Self::Vxlan(vxlan) => Some(vxlan),
            Self::HostGw => None,
        }
    }
}

impl Vxlan {
    /// The identifier of a network that asks for no other, flannel's.
    pub const VNI: u32 = 1;
    /// The greatest identifier: it has 24 bits.
    pub const VNI_MAX: u32 = (1 << 24) - 1;
    /// The port of a network that asks for no other: Linux's, not that of RFC 7348 (4789).
    pub const PORT: u16 = 8472;
}

impl Overlay {
    /// The block of a family that all hosts' subnets are in.
    pub fn cluster_of(&self, is_ipv4: bool) -> Option<IpNetwork> {
        self.cluster.iter().copied().find(|block| block.is_ipv4() == is_ipv4)
    }

    /// The MAC of this host's end of the tunnel.
    pub fn mac(&self) -> Mac {
        Mac::of_tunnel_end(self.host)
    }

    /// Finds two hosts whose ends of the tunnel would have the same MAC.
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
