//! A table of our own, `inet netcord`, for both IP versions: what all networks share, two chains a
//! network, an element a published port. Each packet takes as many lookups however many networks
//! and ports there are.
//!
//! ```text
//! prerouting   raw           nobody reaches the host's own 127.0.0.1 from a bridge
//! forward      filter        by the bridge it comes or leaves by -> filter-NETWORK
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
pub use table::{BRIDGES, DataType, FILTER, NAT, Set, TABLE, chains, port_maps, sets};

/// Something in our table: each is made, and goes, in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nft {
    /// The table, with what all networks share.
    Table,
    /// What passes, and is translated, by a bridge.
    Network(NetworkRules),
    /// Ports of the host that lead to an endpoint.
    Ports(PortElements),
}

/// The chains of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRules {
    /// The network, and its bridge.
    pub network: LinkName,
    /// What may pass. None: there is no such chain.
    pub filter: Vec<Rule>,
    /// What is translated.
    pub nat: Vec<Rule>,
}

/// Elements of one map, with a comment that says whose they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortElements {
    /// Of which map.
    pub set: &'static Set,
    /// One; or, of a range whose ports are others inside, one each.
    pub elements: Vec<Element>,
    /// `netcord:NETWORK/NAME`, and the range that they are.
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

/// What an element is mapped to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementData {
    /// Of a set: nothing.
    None,
    /// The chain that is gone on with.
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
    /// A port; of an interval, several.
    Ports(PortRange),
    /// An address.
    Address(IpAddr),
}

/// A field of a key, or of what it is mapped to.
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
    /// Where packets come in; `None`: from other chains.
    pub hook: Option<Hook>,
    /// In their order.
    pub rules: Vec<Rule>,
}

/// Where a chain gets its packets from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// At which point of their way.
    pub point: Point,
    /// Lower ones come first (`enum nf_ip_hook_priorities`).
    pub priority: i32,
}

/// A point of a packet's way through the host (`enum nf_inet_hooks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// As it comes in.
    Prerouting,
    /// As it is passed on.
    Forward,
    /// As the host sends it.
    Output,
    /// As it goes out.
    Postrouting,
}

/// A rule, with its reason as its comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is for.
    pub matches: Vec<Match>,
    /// What becomes of that.
    pub verdict: Verdict,
    /// Why, at most 127 bytes.
    pub why: &'static str,
}

/// What a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// It comes in by this link, or by any other.
    In(LinkName, bool),
    /// It goes out by this link, or by any other.
    Out(LinkName, bool),
    /// It comes in by one of these links.
    InOneOf(&'static Set),
    /// It is of this IP version.
    Family(Family),
    /// Where it comes from.
    Source(IpNetwork),
    /// Where it goes to.
    Destination(IpNetwork),
    /// It goes to an address of this host.
    ToThisHost,
    /// It is of this transport protocol.
    Protocol(Protocol),
    /// It belongs to no flow that is known, and to no flow of a published port.
    Unasked,
    /// It is, or is not, of a flow whose destination was translated.
    Translated(bool),
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is gone.
    Drop,
    /// Back to where the chain was entered from.
    Return,
    /// On with another chain.
    Jump(&'static str),
    /// On with the chain that its link has in this map, coming in.
    ByIncomingLink(&'static Set),
    /// On with the chain that its link has in this map, going out.
    ByOutgoingLink(&'static Set),
    /// To where this map says for its address, protocol and port, if it does.
    Translate(&'static Set),
    /// From the address of the link that it leaves by.
    Masquerade {
        /// Never from a privileged port.
        high_ports: bool,
    },
}

impl NetworkRules {
    /// Its chains, by the map that leads to them.
    pub fn chains(&self) -> impl Iterator<Item = (&'static Set, Chain)> + '_ {
        [(&FILTER, &self.filter), (&NAT, &self.nat)]
            .into_iter()
            .filter(|(_, rules)| !rules.is_empty())
            .map(|(map, rules)| {
                let name = Cow::Owned(format!("{}-{}", map.name, self.network));
                (map, Chain { name, hook: None, rules: rules.clone() })
            })
    }

    /// The elements that lead to its chains.
    pub fn elements(&self) -> Vec<(&'static Set, Element)> {
        let key = || vec![Value::Link(self.network.clone())];
        let bridge = (!self.filter.is_empty())
            .then(|| (&BRIDGES, Element { key: key(), data: ElementData::None }));
        let chains = self.chains().map(|(map, chain)| {
            (map, Element { key: key(), data: ElementData::Jump(chain.name.into_owned()) })
        });
        bridge.into_iter().chain(chains).collect()
    }
}
