//! The objects that a change creates or deletes, and the identity of a link.

use std::{borrow::Cow, net::IpAddr};

use ipnetwork::IpNetwork;

use super::{CarrierVeth, Chain, Flows, LinkAttrs, Moved, Nft, Rule, SpoofFilter, SysctlKey};
use crate::model::{
    Endpoint, EndpointId, LinkName, Mac, MacvlanMode, NamedNetns, NetnsName, Network,
    PublishedPort, Route, Vlan,
};

/// One object in the kernel or in netcord's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// An entry of the records, so that a later run can complete or undo this one.
    Record(Record),
    /// A name in `/run/netns`.
    Name(NamedNetns),
    /// A bridge, down.
    Bridge {
        /// Its name.
        name: LinkName,
        /// The MAC, fixed at creation.
        mac: Mac,
        /// The MTU at creation, in bytes.
        mtu: u32,
    },
    /// The MTU of a bridge or a TUN link, permanently. Without it, a bridge takes the smallest MTU of its
    /// ports.
    Mtu {
        /// The bridge.
        link: LinkName,
        /// The MTU in bytes.
        mtu: u32,
    },
    /// The attributes that an existing link of ours was created with.
    LinkAttrs(LinkAttrs),
    /// A veth pair, each end created in its namespace.
    Veth(Veth),
    /// A macvlan, created in its namespace.
    Macvlan(Macvlan),
    /// A VLAN of a link of the host, down.
    Vlan {
        /// Its name.
        name: LinkName,
        /// The parent and the VLAN ID.
        vlan: Vlan,
    },
    /// A VXLAN link, down.
    Vxlan(Tunnel),
    /// A TUN link, down, which exists also while no process reads and writes it.
    Tun {
        /// Its name.
        name: LinkName,
    },
    /// A veth pair that gives a bridge carrier. Its ends are down.
    CarrierVeth(CarrierVeth),
    /// A wait until a link has carrier and its addresses are usable.
    WaitReady {
        /// The link, on the host.
        link: LinkName,
    },
    /// A setting of the host that moves between links.
    Moved(Moved),
    /// A link's alias, which names its owner.
    Alias {
        /// The link's namespace.
        netns: Place,
        /// The link.
        link: LinkName,
        /// At most 255 bytes.
        alias: String,
    },
    /// A flag of a bridge port, turned on.
    Port {
        /// The port.
        link: LinkName,
        /// The flag.
        flag: PortFlag,
    },
    /// The `clsact` qdisc of a port, where a [`SpoofFilter`] is attached.
    Clsact {
        /// The port.
        link: LinkName,
    },
    /// A filter on the frames that come in by a port.
    TcFilter {
        /// The port.
        link: LinkName,
        /// The filter.
        guard: SpoofFilter,
    },
    /// An address of a link.
    Address {
        /// The link's namespace.
        netns: Place,
        /// The link.
        link: LinkName,
        /// The address with its prefix length.
        address: IpNetwork,
    },
    /// The state "up" of a link.
    Up {
        /// The link's namespace.
        netns: Place,
        /// The link.
        link: LinkName,
    },
    /// An announcement of a link's addresses to its neighbours. It leaves no object.
    Announcement {
        /// The link's namespace.
        netns: Place,
        /// The link, with `arp_notify` and `ndisc_notify` set.
        link: LinkName,
        /// The link's MAC. Setting it, even to the same value, makes the kernel announce.
        mac: Mac,
        /// The bridge port by which the neighbours hear it.
        port: LinkName,
    },
    /// A route.
    Route {
        /// The namespace.
        netns: Place,
        /// The route, in the main table.
        route: Route,
    },
    /// A permanent neighbour entry: the kernel sends no requests, and no answer changes it.
    Neighbour {
        /// The namespace.
        netns: Place,
        /// The link.
        link: LinkName,
        /// The neighbour's IP address.
        address: IpAddr,
        /// The neighbour's MAC.
        mac: Mac,
    },
    /// To which host a VXLAN link sends what is for a MAC.
    FdbEntry {
        /// The VXLAN link, on the host.
        link: LinkName,
        /// Of the other host's end of the tunnel, or of an endpoint there.
        mac: Mac,
        /// The other host.
        host: IpAddr,
        /// Whether the link's bridge gets an entry, too, by which it sends frames for the MAC to this
        /// port.
        on_bridge: bool,
    },
    /// A host to which a VXLAN link sends a copy of each broadcast and multicast.
    Replica {
        /// The VXLAN link, on the host.
        link: LinkName,
        /// The other host.
        host: IpAddr,
    },
    /// A value below `/proc/sys`.
    Sysctl {
        /// The namespace.
        netns: Place,
        /// The sysctl.
        key: SysctlKey,
        /// The value.
        value: Cow<'static, str>,
        /// The value that a deletion writes. If `None`, a reverse plan leaves this resource out.
        reset: Option<&'static str>,
    },
    /// The former value of a sysctl. Only a rollback contains it.
    FormerSysctl {
        /// The namespace.
        netns: Place,
        /// The sysctl.
        key: SysctlKey,
        /// The former value.
        value: String,
    },
    /// A chain of our own.
    Chain(Chain),
    /// A rule of our own.
    Rule(Rule),
    /// An object in our own nftables table.
    Nft(Nft),
    /// A link in firewalld's `trusted` zone, until firewalld reloads.
    Zone {
        /// The link, on the host.
        link: LinkName,
    },
    /// Tracked connections. They are only ever deleted.
    Flows(Flows),
}

/// The namespace of a resource: `None` is the host's own, otherwise its name in `/run/netns`.
pub type Place = Option<NetnsName>;

/// An entry of netcord's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A network, without endpoints.
    Network(Network),
    /// An endpoint of a network, without its ports.
    Endpoint {
        /// The network's name.
        network: LinkName,
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// A published port of an endpoint.
    Port {
        /// The network's name.
        network: LinkName,
        /// The endpoint.
        endpoint: EndpointId,
        /// The published port.
        port: PublishedPort,
    },
    /// A name in `/run/netns`.
    Name(NamedNetns),
}

/// A veth pair. The host end is a port of a bridge. The peer is created in its namespace, under its
/// name, or on the host, from where another program moves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Veth {
    /// The host end.
    pub host: LinkName,
    /// The MAC of the host end.
    pub host_mac: Mac,
    /// The bridge that the host end is a port of.
    pub bridge: LinkName,
    /// The namespace of the peer.
    pub netns: Place,
    /// The peer.
    pub peer: LinkName,
    /// The MAC of the peer.
    pub mac: Mac,
    /// The MTU of both, in bytes.
    pub mtu: u32,
    /// Create the host end up. A process inside can set the peer up at once, so a port with
    /// protections goes up only after they are in place.
    pub up: bool,
}

/// A macvlan, down: a link with a MAC of its own on top of another link of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Macvlan {
    /// The namespace that it is in.
    pub netns: Place,
    /// Its network.
    pub network: LinkName,
    /// Its name there.
    pub name: LinkName,
    /// The link of the host that it is on.
    pub parent: LinkName,
    /// Its MAC.
    pub mac: Mac,
    /// Its MTU in bytes, at most the parent's.
    pub mtu: u32,
    /// The macvlan mode.
    pub mode: MacvlanMode,
}

/// A VXLAN link: this host's end of the tunnel to the other hosts of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Its name.
    pub name: LinkName,
    /// The link of the host that leads to the other hosts.
    pub parent: LinkName,
    /// The source address of its packets.
    pub host: IpAddr,
    /// The VXLAN network identifier.
    pub vni: u32,
    /// The UDP port of all hosts.
    pub port: u16,
    /// Its MAC, which the other hosts know.
    pub mac: Mac,
    /// In bytes; at most that of the parent, less the overhead of the tunnel.
    pub mtu: u32,
    /// The bridge that it is a port of, if the network is flat: then it answers ARP and NDP requests
    /// from its neighbour entries, and lets none pass.
    pub bridge: Option<LinkName>,
}

/// The identity by which a link of ours is found for deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkId {
    /// A bridge of the host, by its name.
    Bridge(LinkName),
    /// A VLAN of a link of the host, by its name.
    Vlan(LinkName),
    /// A VXLAN link of the host, by its name.
    Vxlan(LinkName),
    /// A TUN link of the host, by its name.
    Tun(LinkName),
    /// A veth, by the name of its host end.
    Veth(LinkName),
    /// A macvlan. Processes in its namespace may have renamed it.
    Macvlan(MacvlanId),
    /// A link of the host with our mark and without a record, of whatever kind, by its name.
    Unrecorded(LinkName),
}

/// The identity of a macvlan, even under another name and with another MAC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacvlanId {
    /// The namespace that it is in.
    pub netns: Place,
    /// Its network.
    pub network: LinkName,
    /// The name that it was created with.
    pub name: LinkName,
    /// The link of the host that it is on.
    pub parent: LinkName,
    /// The MAC that it was created with.
    pub mac: Mac,
}

/// A flag of a bridge port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortFlag {
    /// The port exchanges frames only with ports that are not isolated, so only with the bridge
    /// itself.
    Isolated,
    /// A frame may leave by the port that it came in by.
    Hairpin,
    /// The bridge learns no MACs from frames that come in by the port.
    NoLearning,
    /// Frames for unknown MACs do not leave by the port.
    NoFlood,
    /// All multicasts leave by the port, also those of groups that nobody there has joined.
    MulticastRouter,
}

/// The device group of every link that netcord makes ("nc"). It is set at creation, when an alias
/// cannot be, so a link is never without a mark.
pub const LINK_GROUP: u32 = 0x6e63;

/// The priority and the handle of a spoof filter among the filters of its port.
pub const SPOOF_FILTER: u16 = 1;

/// The prefix of the alias of every link of ours.
pub const ALIAS_PREFIX: &str = "netcord:";

impl Record {
    /// Returns the network whose file contains it; `None` for the file of names.
    pub fn file(&self) -> Option<&str> {
        self.network().map(LinkName::as_str)
    }

    /// Returns the network that it belongs to.
    pub fn network(&self) -> Option<&LinkName> {
        match self {
            Self::Network(network) => Some(&network.name),
            Self::Endpoint { network, .. } | Self::Port { network, .. } => Some(network),
            Self::Name(_) => None,
        }
    }
}

impl LinkId {
    /// Returns the name of the link, if the link is on the host.
    pub fn on_host(&self) -> Option<&LinkName> {
        match self {
            Self::Bridge(name)
            | Self::Vlan(name)
            | Self::Vxlan(name)
            | Self::Tun(name)
            | Self::Veth(name)
            | Self::Unrecorded(name) => Some(name),
            Self::Macvlan(macvlan) => macvlan.netns.is_none().then_some(&macvlan.name),
        }
    }

    /// Returns whether adjacent deletions of such links travel in one message.
    pub fn is_batched(&self) -> bool {
        match self {
            Self::Veth(_) | Self::Unrecorded(_) => true,
            Self::Bridge(_) | Self::Vlan(_) | Self::Vxlan(_) | Self::Tun(_) | Self::Macvlan(_) => {
                false
            }
        }
    }
}

impl Macvlan {
    /// Returns its identity.
    pub fn id(&self) -> MacvlanId {
        let Self { netns, network, name, parent, mac, .. } = self.clone();
        MacvlanId { netns, network, name, parent, mac }
    }
}
