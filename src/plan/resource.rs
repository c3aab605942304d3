//! What a change can be about, and by what a link is found again.

use std::{borrow::Cow, net::IpAddr};

use ipnetwork::IpNetwork;

use super::{CarrierVeth, Chain, Flows, LinkAttrs, Moved, Nft, Rule, SpoofFilter, SysctlKey};
use crate::model::{
    Endpoint, EndpointId, LinkName, Mac, MacvlanMode, NamedNetns, NetnsName, Network,
    PublishedPort, Route, Vlan,
};

/// One thing that the kernel, or netcord's records, can have or lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// What was asked for, so that a later run can always finish the job.
    Record(Record),
    /// A name in `/run/netns`.
    Name(NamedNetns),
    /// A bridge, down.
    Bridge {
        /// Its name.
        name: LinkName,
        /// Fixed at creation.
        mac: Mac,
        /// At its birth, bytes.
        mtu: u32,
    },
    /// The MTU of a bridge, for good: one that was never set is that of the smallest port.
    Mtu {
        /// The bridge.
        link: LinkName,
        /// Bytes.
        mtu: u32,
    },
    /// What a link of ours that is there was born with.
    LinkAttrs(LinkAttrs),
    /// A veth pair, born in place.
    Veth(Veth),
    /// A macvlan, born in place.
    Macvlan(Macvlan),
    /// A VLAN of a link of the host's, down.
    Vlan {
        /// Its name.
        name: LinkName,
        /// Of which link, and which.
        vlan: Vlan,
    },
    /// A cable that gives a bridge carrier; its ends are down.
    CarrierVeth(CarrierVeth),
    /// A link that carries, with addresses that answer: it is waited for.
    WaitReady {
        /// The link, on the host.
        link: LinkName,
    },
    /// A thing of the host's own.
    Moved(Moved),
    /// A link's alias: whose it is.
    Alias {
        /// Where.
        netns: Place,
        /// The link.
        link: LinkName,
        /// At most 255 bytes.
        alias: String,
    },
    /// A switch of a bridge port, turned on.
    Port {
        /// The port.
        link: LinkName,
        /// Which switch.
        flag: PortFlag,
    },
    /// A place for a [`SpoofFilter`] at a port: the `clsact` qdisc.
    Clsact {
        /// The port.
        link: LinkName,
    },
    /// What may not come in by a port.
    TcFilter {
        /// The port.
        link: LinkName,
        /// What.
        guard: SpoofFilter,
    },
    /// An address of a link.
    Address {
        /// Where.
        netns: Place,
        /// The link.
        link: LinkName,
        /// The address with its subnet's length.
        address: IpNetwork,
    },
    /// A link that is up.
    Up {
        /// Where.
        netns: Place,
        /// The link.
        link: LinkName,
    },
    /// What a link tells its neighbours of its addresses: nothing that stays.
    Announcement {
        /// Where.
        netns: Place,
        /// The link, which has been told to speak of itself (`arp_notify`, `ndisc_notify`).
        link: LinkName,
        /// Of the link: setting it, even to what it is, makes the link speak.
        mac: Mac,
        /// The port of a bridge by which the neighbours hear it.
        port: LinkName,
    },
    /// A route.
    Route {
        /// Where.
        netns: Place,
        /// The route, in the main table.
        route: Route,
    },
    /// Who has an address, known for good: nobody is asked, and nobody's word is believed.
    Neighbour {
        /// Where.
        netns: Place,
        /// By which link.
        link: LinkName,
        /// Whose.
        address: IpAddr,
        /// The link it is at.
        mac: Mac,
    },
    /// A value below `/proc/sys`.
    Sysctl {
        /// Where.
        netns: Place,
        /// Which.
        key: SysctlKey,
        /// What it is to be.
        value: Cow<'static, str>,
        /// What it is when deleted; it never reaches a reverse plan if there is none.
        reset: Option<&'static str>,
    },
    /// A sysctl's former value, which only a rollback knows.
    FormerSysctl {
        /// Where.
        netns: Place,
        /// Which.
        key: SysctlKey,
        /// What it was.
        value: String,
    },
    /// A chain of our own.
    Chain(Chain),
    /// A rule of our own.
    Rule(Rule),
    /// Something in our own table.
    Nft(Nft),
    /// A link in firewalld's zone of whom it trusts, until it reads its files anew.
    Zone {
        /// The link, on the host.
        link: LinkName,
    },
    /// Flows that conntrack remembers; they are only ever deleted.
    Flows(Flows),
}

/// The namespace of a resource: the host's, or the one with this name in `/run/netns`.
pub type Place = Option<NetnsName>;

/// A part of a record.
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
        /// The port.
        port: PublishedPort,
    },
    /// A name in `/run/netns`.
    Name(NamedNetns),
}

/// A veth pair: the host end a port of a bridge, the peer in its namespace, under its name, or on the
/// host, from where another program moves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Veth {
    /// The host end.
    pub host: LinkName,
    /// Of the host end.
    pub host_mac: Mac,
    /// Whose port the host end is.
    pub bridge: LinkName,
    /// Where the peer is.
    pub netns: Place,
    /// The peer.
    pub peer: LinkName,
    /// Of the peer.
    pub mac: Mac,
    /// Of both, bytes.
    pub mtu: u32,
    /// Create the host end up. A process inside can set the peer up at once, so a port with
    /// protections goes up only after they are in place.
    pub up: bool,
}

/// A macvlan: a link with a MAC of its own on another link of the host's, down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Macvlan {
    /// Where it is.
    pub netns: Place,
    /// Of which network.
    pub network: LinkName,
    /// Its name there.
    pub name: LinkName,
    /// On which link of the host's.
    pub parent: LinkName,
    /// Its address.
    pub mac: Mac,
    /// Bytes, no more than the parent's.
    pub mtu: u32,
    /// Which of the parent's macvlans it reaches.
    pub mode: MacvlanMode,
}

/// What a link of ours is found by when it is to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkId {
    /// A bridge of the host, by its name.
    Bridge(LinkName),
    /// A VLAN of a link of the host, by its name.
    Vlan(LinkName),
    /// A veth, by the name of its host end.
    Veth(LinkName),
    /// A macvlan: in its namespace, somebody may have renamed it.
    Macvlan(MacvlanId),
    /// A link of the host with our mark and without a record, of whatever kind, by its name.
    Unrecorded(LinkName),
}

/// What a macvlan is found by, even under another name and with another MAC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacvlanId {
    /// Where it is.
    pub netns: Place,
    /// Of which network.
    pub network: LinkName,
    /// The name with which it was made.
    pub name: LinkName,
    /// On which link of the host's.
    pub parent: LinkName,
    /// The MAC with which it was made.
    pub mac: Mac,
}

/// A switch of a bridge port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortFlag {
    /// Speaks only to ports that are not isolated, so only to the bridge itself.
    Isolated,
    /// Frames may leave by the port by which they came.
    Hairpin,
}

/// The device group of every link that netcord makes ("nc"): it is set as the link is born, when
/// an alias cannot be, so a link is never without a mark.
pub const LINK_GROUP: u32 = 0x6e63;

/// The priority and the handle of a guard among the filters of its port.
pub const SPOOF_FILTER: u16 = 1;

/// What the alias of every link of ours begins with.
pub const ALIAS_PREFIX: &str = "netcord:";

impl Record {
    /// Which file it is in, by the network's name; names have one of their own.
    pub fn file(&self) -> Option<&str> {
        self.network().map(LinkName::as_str)
    }

    /// The network that it is a part of.
    pub fn network(&self) -> Option<&LinkName> {
        match self {
            Self::Network(network) => Some(&network.name),
            Self::Endpoint { network, .. } | Self::Port { network, .. } => Some(network),
            Self::Name(_) => None,
        }
    }
}

impl LinkId {
    /// The name of the link, if it is one of the host's.
    pub fn on_host(&self) -> Option<&LinkName> {
        match self {
            Self::Bridge(name) | Self::Vlan(name) | Self::Veth(name) | Self::Unrecorded(name) => {
                Some(name)
            }
            Self::Macvlan(macvlan) => macvlan.netns.is_none().then_some(&macvlan.name),
        }
    }

    /// Whether neighbouring deletions of such links travel together.
    pub fn is_batched(&self) -> bool {
        match self {
            Self::Veth(_) | Self::Unrecorded(_) => true,
            Self::Bridge(_) | Self::Vlan(_) | Self::Macvlan(_) => false,
        }
    }
}

impl Macvlan {
    /// What it is found by.
    pub fn id(&self) -> MacvlanId {
        let Self { netns, network, name, parent, mac, .. } = self.clone();
        MacvlanId { netns, network, name, parent, mac }
    }
}
