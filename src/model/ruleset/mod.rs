//! The rules of `nf_tables` in one namespace, of all its users: what the kernel would do with a
//! packet, worked out from its own rules. `iptables` is there too, where it is `iptables-nft`.
//!
//! - `walk`: which chains a packet meets, in which order, and what becomes of it
//! - `machine`: one rule, expression by expression
//! - `xtables`: what is left of iptables' own form in it
//! - `text`: a rule, as people read it

mod machine;
mod text;
mod walk;
mod xtables;

use std::{collections::HashMap, fmt, net::IpAddr};

use serde::Serialize;

pub use walk::{Ending, Met};

/// All tables of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// As the kernel lists them.
    pub chains: Vec<Chain>,
    /// By their table and name.
    pub sets: HashMap<(Table, String), Set>,
}

/// A table: its family and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Table {
    /// For which packets.
    pub family: Family,
    /// Its name.
    pub name: String,
}

/// For which packets a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// IPv4
    Ip,
    /// IPv6
    Ip6,
}

/// A point of a packet's way through a namespace (`enum nf_inet_hooks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// As it comes in.
    Prerouting,
    /// As it is given to a socket.
    Input,
    /// As it is passed on.
    Forward,
    /// As a socket sends it.
    Output,
    /// As it goes out.
    Postrouting,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its table.
    pub table: Table,
    /// Its name.
    pub name: String,
    /// The kernel's numbers of its table and of itself: the later it was made, the higher.
    pub age: (u64, u64),
    /// Where it gets packets from; `None`: from other chains.
    pub base: Option<Base>,
    /// In their order.
    pub rules: Vec<Rule>,
}

/// Where a base chain gets its packets from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// At which point of their way.
    pub hook: Hook,
    /// Lower ones come first.
    pub priority: i32,
    /// It translates, and sees the first packet of a flow only.
    pub translates: bool,
    /// What it says nothing about is dropped.
    pub drops: bool,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The kernel's number for it, in its table.
    pub handle: u64,
    /// What is done, one after the other.
    pub expressions: Vec<Expression>,
    /// What somebody wrote on it.
    pub comment: Option<String>,
}

/// A part of a rule. Registers are told by their first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Loads something of the packet.
    Load(Field, usize),
    /// Loads a value.
    Immediate(Vec<u8>, usize),
    /// `(register & mask) ^ xor`
    Bitwise {
        /// From.
        source: usize,
        /// To.
        destination: usize,
        /// Which bits are kept.
        mask: Vec<u8>,
        /// Which are turned round.
        xor: Vec<u8>,
    },
    /// Goes on if the comparison holds.
    Compare(usize, Comparison, Vec<u8>),
    /// Goes on if it is, or is not, within bounds.
    Range {
        /// What.
        register: usize,
        /// Outside instead.
        not: bool,
        /// The lowest.
        from: Vec<u8>,
        /// The highest.
        to: Vec<u8>,
    },
    /// Goes on if it is, or is not, in a set; loads what it is mapped to.
    Lookup {
        /// Which set.
        set: String,
        /// What is looked up.
        register: usize,
        /// Where what it is mapped to is put; `None`: it is a set, or maps to verdicts.
        destination: Option<usize>,
        /// Goes on if it is not there.
        not: bool,
        /// It maps to verdicts.
        decides: bool,
    },
    /// Ends the rule.
    Decide(Verdict),
    /// Another address or port.
    Translate(Translation),
    /// Without connection tracking.
    NoTrack,
    /// A match of iptables: its name, and its parameters as they are in the kernel.
    XtMatch(String, u32, Vec<u8>),
    /// A target of iptables.
    XtTarget(String, u32, Vec<u8>),
    /// Changes nothing of what becomes of this packet.
    Aside(String),
    /// Sets the packet's mark.
    SetMark(usize),
    /// Whatever this walk does not know, by name.
    Unknown(String),
}

/// What of a packet is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// The name of the link by which it came.
    InName,
    /// The name of the link by which it goes.
    OutName,
    /// The number of the link by which it came.
    InIndex,
    /// The number of the link by which it goes.
    OutIndex,
    /// IPv4 or IPv6 (`NFPROTO_*`).
    Version,
    /// TCP, UDP, ICMP.
    Protocol,
    /// The packet's mark.
    Mark,
    /// Of a header: which, from where, how many bytes.
    Header(Header, usize, usize),
    /// What connection tracking calls it.
    State,
    /// Whether it is translated.
    Status,
    /// The connection's direction.
    Direction,
    /// The connection's mark.
    ConnectionMark,
    /// What kind of address it comes from.
    SourceType,
    /// What kind of address it goes to.
    DestinationType,
    /// Whatever this walk does not know, by name.
    Unknown(String),
}

/// A header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Ethernet's.
    Link,
    /// IP's.
    Network,
    /// TCP's, UDP's, ICMP's.
    Transport,
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// ==
    Equal,
    /// !=
    NotEqual,
    /// <
    Less,
    /// <=
    LessOrEqual,
    /// >
    Greater,
    /// >=
    GreaterOrEqual,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This chain's hook lets it pass.
    Accept,
    /// It is gone.
    Drop,
    /// It is gone, and its sender is told.
    Reject,
    /// On with the next rule.
    Continue,
    /// Back to where the chain was entered from.
    Return,
    /// On with another chain, and then back.
    Jump(String),
    /// On with another chain.
    Goto(String),
}

/// Another address or port, from registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// Of where it goes to.
    Destination {
        /// The address.
        address: Option<usize>,
        /// The port.
        port: Option<usize>,
    },
    /// Of where it comes from.
    Source {
        /// The address.
        address: Option<usize>,
        /// The port.
        port: Option<usize>,
    },
    /// The address of the link that it leaves by.
    Masquerade,
    /// This host, at another port.
    Redirect {
        /// The port.
        port: Option<usize>,
    },
}

/// A set or map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// How long each field of a key is, if there is more than one and keys are intervals.
    pub fields: Vec<usize>,
    /// Keys are the ends of intervals.
    pub interval: bool,
    /// Unnamed, a part of its rule.
    pub anonymous: bool,
    /// What is in it.
    pub elements: Vec<Element>,
}

/// An element of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The key, or its lower end; `None`: what no other element has.
    pub key: Option<Vec<u8>>,
    /// Its upper end.
    pub key_end: Option<Vec<u8>>,
    /// It ends the interval before.
    pub ends: bool,
    /// What it is mapped to.
    pub data: Data,
}

/// What an element is mapped to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing.
    None,
    /// A value.
    Value(Vec<u8>),
    /// What becomes of the packet.
    Verdict(Verdict),
}

/// The first packet of a flow, as rules see it at one point of its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Packet {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes to.
    pub destination: IpAddr,
    /// IANA's number of its protocol.
    pub protocol: u8,
    /// The port it comes from, if that is known.
    pub source_port: Option<u16>,
    /// The port it goes to; 0: it has none.
    pub port: u16,
    /// Its mark.
    #[serde(skip)]
    pub mark: u32,
    /// Whether its destination was translated.
    #[serde(skip)]
    pub destination_translated: bool,
    /// Whether its source was translated.
    #[serde(skip)]
    pub source_translated: bool,
    /// Whether connections are not tracked for it.
    #[serde(skip)]
    pub untracked: bool,
}

/// A link as rules know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
}

/// Where a packet is, besides what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings<'a> {
    /// The link by which it came.
    pub incoming: Option<Side>,
    /// The link by which it goes.
    pub outgoing: Option<Side>,
    /// The addresses of this namespace.
    pub local: &'a [IpAddr],
    /// The address that what leaves by the outgoing link gets, or what comes by the incoming one is
    /// redirected to.
    pub own: Option<IpAddr>,
    /// Where its flow goes to was settled before, in this namespace: as it was sent.
    pub settled: bool,
}

impl Hook {
    /// The kernel's number of it.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The point of this number.
    pub fn of_number(number: u32) -> Option<Self> {
        [Self::Prerouting, Self::Input, Self::Forward, Self::Output, Self::Postrouting]
            .into_iter()
            .find(|hook| hook.number() == number)
    }

    /// Its name, as iptables writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "PREROUTING",
            Self::Input => "INPUT",
            Self::Forward => "FORWARD",
            Self::Output => "OUTPUT",
            Self::Postrouting => "POSTROUTING",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family, self.name)
    }
}

impl Ruleset {
    /// A chain by its name.
    pub fn chain(&self, table: &Table, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.table == *table && chain.name == name)
    }
}

impl Chain {
    /// A rule of it, as people read it.
    pub fn text(&self, rule: &Rule, ruleset: &Ruleset) -> String {
        text::rule(rule, &|name| ruleset.sets.get(&(self.table.clone(), name.to_owned())))
    }
}

impl Rule {
    /// As people read it, without what is in the sets that it looks into.
    pub fn words(&self) -> String {
        text::rule(self, &|_| None)
    }
}
