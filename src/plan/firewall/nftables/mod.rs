//! A table of our own, `inet netcord`, for both IP versions: what all networks share, two chains a
//! network, an element a published port. Each packet takes as many lookups however many networks
//! and ports there are.
//!
//! ```text
//! prerouting   raw           nobody reaches the host's own 127.0.0.1 from a bridge
//! forward      filter        by the bridge it comes or leaves by -> filter-NETWORK
//!                            of an open network -> from-open: from others of these only
//! prerouting   dstnat + 1    for this host -> published: maps of ports to endpoints
//! output       dstnat + 1    for this host -> published
//! postrouting  srcnat + 1    by the bridge it comes or leaves by -> nat-NETWORK
//! ```
//!
//! There are drops here and no accepts: in nftables an accept ends its own table only. Translation
//! comes after everybody else's.
//!
//! - `table`: what all networks share
//! - `rules`: what each network and each published port has
//! - `text`: all of it as `nft` reads it

mod rules;
mod table;
mod text;

use std::{borrow::Cow, net::IpAddr};

use ipnetwork::IpNetwork;

use crate::model::{Family, LinkName, PortRange, Protocol};

pub(super) use rules::{any_rules, foreign, network, port, shared};
pub use table::{
    BRIDGES, DataType, FILTER, FROM_OPEN, NAT, OPEN, Set, TABLE, chains, port_maps, sets,
};

/// An object in our table. Each is created and deleted in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nft {
    /// The table, with what all networks share.
    Table,
    /// The chains of one network.
    Network(NetworkRules),
    /// The elements of a published port.
    Ports(PortElements),
}

/// The chains of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRules {
    /// The network, and its bridge.
    pub network: LinkName,
    /// The rules for forwarded packets. If empty, there is no such chain.
    pub filter: Vec<Rule>,
    /// The translation rules.
    pub nat: Vec<Rule>,
    /// Whether other open networks let its packets in.
    pub is_open: bool,
}

/// Elements of one map, with a comment that names their owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortElements {
    /// The map.
    pub set: &'static Set,
    /// One element, or one for each port of a range whose inner ports differ.
    pub elements: Vec<Element>,
    /// `netcord:NETWORK/NAME`, and the range that the elements are of.
    pub comment: String,
}

/// An element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// A value for each field of the key.
    pub key: Vec<Value>,
    /// What it is mapped to.
    pub data: ElementData,
}

/// The data of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementData {
    /// None: an element of a set.
    None,
    /// The chain to continue with.
    Jump(String),
    /// A value for each field of the data.
    Values(Vec<Value>),
}

/// A value of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A link's name.
    Link(LinkName),
    /// A transport protocol.
    Protocol(Protocol),
    /// A port, or an interval of ports.
    Ports(PortRange),
    /// An address.
    Address(IpAddr),
}

/// The type of a field of a key or of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// A link's name.
    Link,
    /// A transport protocol.
    Protocol,
    /// A port.
    Port,
    /// An address.
    Address(Family),
}

/// A chain and its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: Cow<'static, str>,
    /// The hook that calls it; `None`: other chains jump to it.
    pub hook: Option<Hook>,
    /// The rules, in order.
    pub rules: Vec<Rule>,
}

/// The hook of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// The hook point.
    pub point: Point,
    /// Lower ones come first (`enum nf_ip_hook_priorities`).
    pub priority: i32,
}

/// A hook point (`enum nf_inet_hooks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// When a packet comes in.
    Prerouting,
    /// When the host forwards it.
    Forward,
    /// When the host itself sends it.
    Output,
    /// When it goes out.
    Postrouting,
}

/// A rule, with its reason as its comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The packets that the rule applies to.
    pub matches: Vec<Match>,
    /// What the rule does with them.
    pub verdict: Verdict,
    /// The reason, at most 127 bytes.
    pub why: &'static str,
}

/// A condition on a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// The incoming link is this one, or is not.
    In(LinkName, bool),
    /// The outgoing link is this one, or is not.
    Out(LinkName, bool),
    /// The incoming link is in this set.
    InOneOf(&'static Set),
    /// The IP version.
    Family(Family),
    /// The source address is in this block, or is another of its IP family.
    Source(IpNetwork, bool),
    /// The destination address is in this block, or is another of its IP family.
    Destination(IpNetwork, bool),
    /// The destination is an address of this host.
    ToThisHost,
    /// The transport protocol.
    Protocol(Protocol),
    /// The packet belongs to no known connection, nor to one of a published port.
    Unasked,
    /// The destination of its connection was translated, or was not.
    Translated(bool),
}

/// What a rule does with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Drop it.
    Drop,
    /// Return to the calling chain.
    Return,
    /// Jump to another chain.
    Jump(&'static str),
    /// Jump to the chain of its incoming link in this map.
    ByIncomingLink(&'static Set),
    /// Jump to the chain of its outgoing link in this map.
    ByOutgoingLink(&'static Set),
    /// Translate the destination to that in this map for its address, protocol and port, if there
    /// is one.
    Translate(&'static Set),
    /// Translate the source to the address of the outgoing link.
    Masquerade {
        /// Use unprivileged source ports only.
        high_ports: bool,
    },
    /// Translate the source to this address.
    Snat {
        /// The address.
        to: IpAddr,
        /// Use unprivileged source ports only.
        high_ports: bool,
    },
}

impl NetworkRules {
    /// Returns the network's chains, each with the map that leads to it.
    pub fn chains(&self) -> impl Iterator<Item = (&'static Set, Chain)> + '_ {
        [(&FILTER, &self.filter), (&NAT, &self.nat)]
            .into_iter()
            .filter(|(_, rules)| !rules.is_empty())
            .map(|(map, rules)| {
                let name = Cow::Owned(format!("{}-{}", map.name, self.network));
                (map, Chain { name, hook: None, rules: rules.clone() })
            })
    }

    /// Returns the map elements that lead to the chains.
    pub fn elements(&self) -> Vec<(&'static Set, Element)> {
        let key = || vec![Value::Link(self.network.clone())];
        let member = |set| (set, Element { key: key(), data: ElementData::None });
        let bridge = (!self.filter.is_empty()).then(|| member(&BRIDGES));
        let open = self.is_open.then(|| member(&OPEN));
        let chains = self.chains().map(|(map, chain)| {
            (map, Element { key: key(), data: ElementData::Jump(chain.name.into_owned()) })
        });
        bridge.into_iter().chain(chains).chain(open).collect()
    }
}
