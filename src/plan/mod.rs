//! Plans: what to do about a request, as data. Pure: a plan is a function of the model and prints
//! without a kernel.
//!
//! A [`Plan`] is a list of [`Step`]s, a step is a reason and a [`Change`], a change creates or
//! deletes one [`Resource`]: one netlink message, one shell command. Resources name each other,
//! never by index or file descriptor. Removal has no plans of its own, see [`reverse`].

mod alias;
mod endpoint;
mod explain;
mod firewall;
mod flows;
mod gate;
mod guard;
mod macvlan;
mod moved;
mod netns;
mod network;
mod publish;
mod shape;
mod underlay;

use std::{borrow::Cow, fmt::Debug, net::IpAddr};

use ipnetwork::IpNetwork;

use crate::model::{
    Endpoint, Firewall, LinkName, Mac, MacvlanMode, NamedNetns, NetnsName, Network, PublishedPort,
    Route, Vlan,
};

pub use alias::Mark;
pub use endpoint::attach;
pub use explain::{command, quote};
pub use firewall::{
    Chain, Family, Nft, Rule, Table, comes_first, nftables as nft, owner, port, shared,
    stale_network,
};
pub use flows::Flows;
pub use gate::{close, jumps, open};
pub use guard::{Guard, Instruction};
pub use macvlan::macvlan_of;
pub use moved::Moved;
pub use netns::{lo_up, name};
pub use network::{Uplinks, create};
pub use publish::publish;
pub use shape::{Shape, ShapeOf};
pub use underlay::{ACCEPT_DAD, Carrier, Switch, Underlay, underlay, without_carrier};

/// Steps, in the order in which they are done.
pub type Plan = Vec<Step>;

/// One change and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Why, in words a newcomer understands: one sentence, lower case, no full stop.
    pub why: &'static str,
    /// What.
    pub change: Change,
    /// For how long.
    pub scope: Scope,
}

/// How long a step's effect is wanted: it decides what a reverse plan leaves in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// As long as what the plan is for.
    Own,
    /// While the plan is carried out.
    Run,
    /// As long as the endpoint has a published port.
    EndpointPorts,
    /// As long as the network has a published port.
    NetworkPorts,
    /// As long as anything of netcord's on this host needs the firewall.
    Firewall,
    /// A switch of the whole host that others come to rely on: it stays.
    Host,
}

/// To create or to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Make it be there, as described.
    Create(Resource),
    /// Make it be gone.
    Delete(Resource),
}

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
    Shape(Shape),
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
    Carrier(Carrier),
    /// A link that carries, with addresses that answer: it is waited for.
    Ready {
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
    /// A place for a [`Guard`] at a port: the `clsact` qdisc.
    Ingress {
        /// The port.
        link: LinkName,
    },
    /// What may not come in by a port.
    Guard {
        /// The port.
        link: LinkName,
        /// What.
        guard: Guard,
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
        /// Path below `/proc/sys`: dots may be part of a link's name.
        key: String,
        /// What it is to be.
        value: Cow<'static, str>,
        /// What it is when deleted; it never reaches a reverse plan if there is none.
        reset: Option<&'static str>,
    },
    /// A sysctl's former value, which only a rollback knows.
    FormerSysctl {
        /// Where.
        netns: Place,
        /// Path below `/proc/sys`.
        key: String,
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
        /// The endpoint's host end, which identifies it.
        host_ifname: LinkName,
        /// The port.
        port: PublishedPort,
    },
    /// A name in `/run/netns`.
    Name(NamedNetns),
}

/// A veth pair: the host end a port of a bridge, the peer in its namespace, under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Veth {
    /// The host end.
    pub host: LinkName,
    /// Of the host end.
    pub host_mac: Mac,
    /// Whose port the host end is.
    pub bridge: LinkName,
    /// Where the peer is.
    pub netns: NetnsName,
    /// The peer.
    pub peer: LinkName,
    /// Of the peer.
    pub mac: Mac,
    /// Of both, bytes.
    pub mtu: u32,
    /// The host end is born up. Who is inside can set the peer up at once, so a port with
    /// protections waits for them.
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
pub const GUARD: u16 = 1;

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

impl Step {
    /// Makes something be there, for as long as what the plan is for.
    pub fn create(why: &'static str, resource: Resource) -> Self {
        Self { why, change: Change::Create(resource), scope: Scope::Own }
    }

    /// Makes something be gone, for as long as what the plan is for.
    pub fn delete(why: &'static str, resource: Resource) -> Self {
        Self { why, change: Change::Delete(resource), scope: Scope::Own }
    }

    fn until(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }
}

impl Resource {
    /// The firewall that it is in, if it is in one.
    pub fn firewall(&self) -> Option<Firewall> {
        match self {
            Self::Chain(_) | Self::Rule(_) => Some(Firewall::Iptables),
            Self::Nft(_) => Some(Firewall::Nftables),
            _ => None,
        }
    }

    /// Whether it leads a published port to its endpoint: nothing else shares it.
    pub fn is_port(&self) -> bool {
        match self {
            Self::Nft(nft) => matches!(nft, Nft::Ports(_)),
            Self::Rule(rule) => rule.is_port(),
            _ => false,
        }
    }

    /// The link that it is a part of and falls with, and where that is.
    pub fn link(&self) -> Option<(&Place, &str)> {
        match self {
            Self::Mtu { link, .. }
            | Self::Port { link, .. }
            | Self::Ready { link }
            | Self::Ingress { link }
            | Self::Guard { link, .. } => Some((&None, link.as_str())),
            Self::Alias { netns, link, .. }
            | Self::Address { netns, link, .. }
            | Self::Up { netns, link }
            | Self::Announcement { netns, link, .. }
            | Self::Neighbour { netns, link, .. } => Some((netns, link.as_str())),
            Self::Route { netns, route } => Some((netns, route.link.as_str())),
            // net/FAMILY/conf/LINK/NAME
            Self::Sysctl { netns, key, .. } => Some((netns, key.split('/').nth(3)?)),
            _ => None,
        }
    }
}

impl Change {
    /// What it is about.
    pub fn resource(&self) -> &Resource {
        match self {
            Self::Create(resource) | Self::Delete(resource) => resource,
        }
    }

    /// The change that takes this one back.
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            // There is nothing to take back.
            Self::Create(ready @ Resource::Ready { .. }) => Self::Create(ready),
            Self::Create(resource) => Self::Delete(resource),
            // Forgotten flows stay forgotten, and are forgotten again.
            Self::Delete(flows @ Resource::Flows(_)) => Self::Delete(flows),
            Self::Delete(resource) => Self::Create(resource),
        }
    }
}

/// The plan that takes a plan's effect away: its changes reversed, last first, so that published
/// ports close first and protections fall last.
///
/// Left out is what falls with its link anyway, what has no value to go back to, and what `keep`
/// says others still need.
pub fn reverse(plan: &[Step], keep: impl Fn(&Step) -> bool) -> Plan {
    let mut reversed: Plan = Vec::with_capacity(plan.len());
    let falling: Vec<_> = plan.iter().filter_map(|s| made_link(&s.change)).collect();
    let mut flows = Vec::new();
    for step in plan.iter().rev() {
        let resource = step.change.resource();
        if matches!(step.scope, Scope::Host | Scope::Run) || keep(step) || has_no_way_back(resource)
        {
            continue;
        }
        let falls = falling.iter().any(|made| falls_with(resource, made));
        if falls && !stands_in_the_way(resource, plan) {
            continue;
        }
        let step = Step { change: step.change.clone().reversed(), ..step.clone() };
        // Flows can be forgotten for good once no rule makes them anew.
        if matches!(resource, Resource::Flows(_)) { flows.push(step) } else { reversed.push(step) }
    }
    let after_rules = reversed
        .iter()
        .rposition(|s| matches!(s.change, Change::Delete(Resource::Rule(_) | Resource::Nft(_))))
        .map_or(0, |i| i + 1);
    reversed.splice(after_rules..after_rules, flows);
    reversed
}

/// The same plan, each thing that several of its parts share made once.
///
/// Records and what is published are never shared.
pub fn once(mut plan: Plan) -> Plan {
    let is_of_one = |resource: &Resource| {
        matches!(resource, Resource::Record(_) | Resource::Flows(_)) || resource.is_port()
    };
    let mut shared: Vec<Change> = Vec::new();
    plan.retain(|step| {
        let is_new = is_of_one(step.change.resource()) || !shared.contains(&step.change);
        if is_new && !is_of_one(step.change.resource()) {
            shared.push(step.change.clone());
        }
        is_new
    });
    plan
}

/// A link that a change makes, on the host or, as the peer of a veth, in a namespace.
fn made_link(change: &Change) -> Option<[(Place, &LinkName); 2]> {
    match change {
        Change::Create(Resource::Bridge { name, .. } | Resource::Vlan { name, .. }) => {
            Some([(None, name), (None, name)])
        }
        Change::Create(Resource::Veth(v)) => {
            Some([(None, &v.host), (Some(v.netns.clone()), &v.peer)])
        }
        Change::Create(Resource::Macvlan(m)) => {
            Some([(m.netns.clone(), &m.name), (m.netns.clone(), &m.name)])
        }
        _ => None,
    }
}

fn falls_with(resource: &Resource, made: &[(Place, &LinkName); 2]) -> bool {
    resource
        .link()
        .is_some_and(|(place, link)| made.iter().any(|(p, l)| p == place && l.as_str() == link))
}

/// A route for which another gave way: it must be gone before that one can come back.
fn stands_in_the_way(resource: &Resource, plan: &[Step]) -> bool {
    let Resource::Route { netns, route } = resource else { return false };
    plan.iter().any(|step| match &step.change {
        Change::Delete(Resource::Route { netns: place, route: former }) => {
            place == netns && former.destination == route.destination
        }
        _ => false,
    })
}

fn has_no_way_back(resource: &Resource) -> bool {
    matches!(resource, Resource::Sysctl { reset: None, .. } | Resource::Alias { .. })
}
