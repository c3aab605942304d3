//! An overlay network: each host has a subnet of its own for its endpoints, and reaches the others'
//! subnets by a tunnel or by a route.

use std::{collections::BTreeMap, net::IpAddr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::{Flat, Store};
use crate::model::{Invalid, LinkName, Mac};

/// The data of an overlay network. The network's subnets are those of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Overlay {
    /// How packets reach the other hosts.
    pub backend: Backend,
    /// The subnets of the whole network, at most one of each family, IPv4 first. Empty in a flat network,
    /// where each host has all of them.
    pub cluster: Vec<IpNetwork>,
    /// The host's link that leads to the other hosts.
    pub parent: LinkName,
    /// This host's address for the others.
    pub host: IpAddr,
    /// Its second address, of the other family.
    pub second: Option<IpAddr>,
    /// The other hosts, by address. Empty in a flat network, which knows single endpoints of them.
    pub peers: BTreeMap<IpAddr, Peer>,
    /// The settings of a flat network; `None`: each host has a subnet of its own.
    pub flat: Option<Flat>,
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
    /// IPv4 packets in UDP packets, by a process of netcord-agent: flannel's UDP backend.
    Udp(Udp),
}

/// A backend, as a user chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendKind {
    /// In VXLAN packets.
    Vxlan,
    /// Without encapsulation.
    HostGw,
    /// In UDP packets, by a process.
    Udp,
}

impl BackendKind {
    /// All backends.
    pub const ALL: [Self; 3] = [Self::Vxlan, Self::HostGw, Self::Udp];

    /// Returns flannel's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::HostGw => "host-gw",
            Self::Udp => "udp",
        }
    }

    /// Returns the default UDP port of the tunnel; `None` without a tunnel.
    pub fn default_port(self) -> Option<u16> {
        match self {
            Self::Vxlan => Some(Vxlan::PORT),
            Self::HostGw => None,
            Self::Udp => Some(Udp::PORT),
        }
    }

    /// Returns the tunnel's overhead in bytes, for hosts with such an address: outer IP and UDP
    /// headers, and with VXLAN its header and the inner Ethernet header.
    pub fn overhead(self, host: IpAddr) -> u32 {
        match self {
            Self::Vxlan if host.is_ipv4() => 20 + 8 + 8 + 14,
            Self::Vxlan => 40 + 8 + 8 + 14,
            Self::HostGw => 0,
            Self::Udp => 20 + 8,
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

/// The tunnel of a network whose packets a process carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Udp {
    /// The TUN link that the process reads and writes.
    pub device: LinkName,
    /// The UDP port, the same on all hosts.
    pub port: u16,
}

/// The work that netcord-agent does for a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentTask {
    /// It follows the network's store.
    Follow,
    /// It starts the process that carries the network's packets, and starts it again if it ends.
    Relay,
}

impl AgentTask {
    /// Describes the state in which the agent does not run.
    pub fn undone(self) -> &'static str {
        match self {
            Self::Follow => "netcord-agent, which follows the network's store, does not run",
            Self::Relay => "netcord-agent, which starts the network's relay, does not run",
        }
    }
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
            Self::Udp(_) => BackendKind::Udp,
        }
    }

    /// Returns the VXLAN tunnel, if it is one.
    pub fn vxlan(&self) -> Option<&Vxlan> {
        match self {
            Self::Vxlan(vxlan) => Some(vxlan),
            Self::HostGw | Self::Udp(_) => None,
        }
    }

    /// Leaves out the second VXLAN link: the first carries both families.
    pub fn join_tunnels(&mut self) {
        match self {
            Self::Vxlan(vxlan) => vxlan.second_device = None,
            Self::HostGw | Self::Udp(_) => {}
        }
    }

    /// Returns the tunnel that a process carries, if it is one.
    pub fn udp(&self) -> Option<&Udp> {
        match self {
            Self::Udp(udp) => Some(udp),
            Self::Vxlan(_) | Self::HostGw => None,
        }
    }

    /// Returns the links that it needs.
    pub fn devices(&self) -> impl Iterator<Item = &LinkName> {
        let (first, second) = match self {
            Self::Vxlan(vxlan) => (Some(&vxlan.device), vxlan.second_device.as_ref()),
            Self::HostGw => (None, None),
            Self::Udp(udp) => (Some(&udp.device), None),
        };
        first.into_iter().chain(second)
    }

    /// Returns the UDP port of the tunnel, if there is one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Vxlan(vxlan) => Some(vxlan.port),
            Self::HostGw => None,
            Self::Udp(udp) => Some(udp.port),
        }
    }
}

impl Udp {
    /// The default port, which is flannel's.
    pub const PORT: u16 = 8285;
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
    /// Returns what netcord-agent does for the network; `None` if it needs no agent.
    pub fn agent_task(&self) -> Option<AgentTask> {
        let relay = self.backend.udp().map(|_| AgentTask::Relay);
        self.store.as_ref().map(|_| AgentTask::Follow).or(relay)
    }

    /// Returns the subnet of the whole network of a family.
    pub fn cluster_of(&self, is_ipv4: bool) -> Option<IpNetwork> {
        self.cluster.iter().copied().find(|block| block.is_ipv4() == is_ipv4)
    }

    /// Returns the links of its tunnels on this host.
    pub fn tunnels(&self) -> impl Iterator<Item = &LinkName> {
        self.backend.devices()
    }

    /// Returns the tunnel's link by which packets for a subnet of another host leave.
    pub fn tunnel_to<'n>(
        &'n self,
        host: IpAddr,
        peer: &Peer,
        subnet: &IpNetwork,
    ) -> Option<&'n LinkName> {
        match &self.backend {
            Backend::Vxlan(_) => Some(self.vtep(host, peer, subnet.is_ipv4())?.link),
            Backend::HostGw => None,
            Backend::Udp(udp) => Some(&udp.device),
        }
    }

    /// Returns the bytes that its tunnels add to a packet, at most.
    pub fn overhead(&self) -> u32 {
        let kind = self.backend.kind();
        let of_vteps = self.own_vteps().map(|end| kind.overhead(end.host)).max();
        of_vteps.unwrap_or_else(|| kind.overhead(self.host))
    }

    /// Returns the VTEPs on this host.
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
    udp: Option<UdpForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    store: Option<Store>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flat: Option<Flat>,
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
struct UdpForm {
    device: LinkName,
    port: u16,
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
        let Overlay { backend, cluster, parent, host, second, peers, flat, store } = overlay;
        let kind = backend.kind();
        let (vxlan, udp) = match backend {
            Backend::Vxlan(Vxlan { device, second_device, vni, port, direct_routing }) => {
                (Some(VxlanForm { device, second_device, vni, port, direct_routing }), None)
            }
            Backend::HostGw => (None, None),
            Backend::Udp(Udp { device, port }) => (None, Some(UdpForm { device, port })),
        };
        let peer = |(host, Peer { subnets, second, next_hops, macs })| PeerForm {
            host,
            second,
            subnets,
            next_hops,
            macs,
        };
        let peers = peers.into_iter().map(peer).collect();
        Self { backend: kind, cluster, parent, host, second, vxlan, udp, store, flat, peers }
    }
}

impl TryFrom<Form> for Overlay {
    type Error = Invalid;

    fn try_from(form: Form) -> Result<Self, Invalid> {
        let lacks_tunnel = || Invalid::new("the network's driver needs a tunnel");
        let backend = match form.backend {
            BackendKind::Vxlan => {
                let VxlanForm { device, second_device, vni, port, direct_routing } =
                    form.vxlan.ok_or_else(lacks_tunnel)?;
                Backend::Vxlan(Vxlan { device, second_device, vni, port, direct_routing })
            }
            BackendKind::HostGw => Backend::HostGw,
            BackendKind::Udp => {
                let UdpForm { device, port } = form.udp.ok_or_else(lacks_tunnel)?;
                Backend::Udp(Udp { device, port })
            }
        };
        let peer = |PeerForm { host, second, subnets, next_hops, macs }| {
            (host, Peer { subnets, second, next_hops, macs })
        };
        let peers = form.peers.into_iter().map(peer).collect();
        let Form { cluster, parent, host, second, store, flat, .. } = form;
        Ok(Self { backend, cluster, parent, host, second, peers, flat, store })
    }
}
