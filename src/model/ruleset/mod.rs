//! The rules of `nf_tables` in one namespace, of all its users: what the kernel would do with a
//! packet, worked out from its own rules. `iptables` is there too, where it is `iptables-nft`.
//!
//! - `packet`: what is known of a packet and its frame
//! - `connection`: what connection tracking knows of it
//! - `walk`: which chains a packet meets, in which order, and what becomes of it
//! - `machine`: one rule, expression by expression
//! - `xtables`: what is left of iptables' own form in it
//! - `decide`: what one chain does with packets of which a part is known
//! - `listing`: rules as `iptables -S` lists them
//! - `text`: a rule, as people read it

mod connection;
mod decide;
mod listing;
mod machine;
mod packet;
mod text;
mod walk;
mod xtables;

use std::{collections::HashMap, fmt, net::IpAddr};

use ipnetwork::IpNetwork;
use serde::Serialize;

pub use connection::{Connection, Tracking, Tuple, Zones};
pub use decide::{Decision, Passing};
pub use listing::{Listing, words};
pub use packet::{Byte, Frame, Kind, Packet};
pub use walk::{Ending, Judged, Met};

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
    /// Frames that a bridge forwards.
    Bridge,
    /// Questions for a MAC, and their answers.
    Arp,
    /// Whatever comes or goes by a link.
    Netdev,
}

/// What is looked at: a link's frames, a bridge's, ARP, or packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// Each frame of a link.
    Link,
    /// Frames in a bridge.
    Bridge,
    /// ARP.
    Arp,
    /// IPv4 and IPv6.
    Ip,
}

/// Where rules are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    /// What is looked at.
    pub layer: Layer,
    /// When.
    pub hook: Hook,
}

/// A point of a packet's way through a namespace (`enum nf_inet_hooks`), or past a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// As a link receives it.
    Ingress,
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
    /// As a link sends it.
    Egress,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// At which point of their way.
    pub hook: Hook,
    /// By which links, where it is a link's; with `*` at its end a name is a beginning.
    pub devices: Vec<String>,
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

/// A part of a rule. The first byte identifies a register.
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
    /// Goes on if an address is, or is not, in a subnet.
    Within {
        /// Where it comes from, or where it goes to.
        source: bool,
        /// Which.
        network: IpNetwork,
        /// Outside instead.
        not: bool,
    },
    /// Ends the rule.
    Decide(Verdict),
    /// Another address or port.
    Translate(Translation),
    /// Without connection tracking.
    NoTrack,
    /// Another zone of connection tracking, for one direction or both.
    SetZone(usize, Option<Direction>),
    /// Sets the connection's mark.
    SetConnectionMark(usize),
    /// Takes the packet out of this walk: to another link, another program.
    Diverts(String),
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

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// That of its first packet.
    Original,
    /// That of the answers.
    Reply,
}

/// What of a packet is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// The bridge by whose port it came.
    InBridge,
    /// The bridge by whose port it goes.
    OutBridge,
    /// What kind of link it came by (`ARPHRD_*`).
    InType,
    /// What kind of link it goes by.
    OutType,
    /// What is in its frame (`ETH_P_*`).
    EtherType,
    /// The zone of connection tracking.
    Zone,
    /// The number of the link by which its sender is reached, 0 if by none; whether it must be the
    /// one by which it came.
    Reverse(bool),
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
    /// The packet is dropped, and its sender gets an ICMP error or a TCP reset.
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
    /// A link that is not named here is not known, instead of not there.
    pub is_partial: bool,
    /// The addresses of this namespace.
    pub local: &'a [IpAddr],
    /// The address that what leaves by the outgoing link gets, or what comes by the incoming one is
    /// redirected to.
    pub own: Option<IpAddr>,
    /// Where its flow goes to was settled before, in this namespace: as it was sent.
    pub settled: bool,
    /// The bridge whose ports these links are, where it is bridged.
    pub bridge: Option<&'a str>,
    /// The connections that are tracked in this namespace.
    pub connections: &'a [Connection],
    /// The link that leads back to the sender.
    pub reverse: Option<u32>,
}

impl Hook {
    /// The point of this number, in tables of a family.
    pub fn of(family: Family, number: u32) -> Option<Self> {
        let of_ip = [Self::Prerouting, Self::Input, Self::Forward, Self::Output, Self::Postrouting];
        let hooks: &[Self] = match family {
            Family::Inet | Family::Ip | Family::Ip6 | Family::Bridge => &of_ip,
            Family::Arp => &[Self::Input, Self::Output],
            Family::Netdev => &[Self::Ingress, Self::Egress],
        };
        // NF_INET_INGRESS
        let is_ingress = family == Family::Inet && number == 5;
        let found = usize::try_from(number).ok().and_then(|number| hooks.get(number).copied());
        found.or(is_ingress.then_some(Self::Ingress))
    }
}

impl Point {
    /// A point of a packet's way.
    pub fn ip(hook: Hook) -> Self {
        Self { layer: Layer::Ip, hook }
    }

    /// A point of a frame's way through a bridge.
    pub fn bridge(hook: Hook) -> Self {
        Self { layer: Layer::Bridge, hook }
    }

    /// A point of a frame's way past a link.
    pub fn link(hook: Hook) -> Self {
        Self { layer: Layer::Link, hook }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Bridge => "bridge",
            Self::Arp => "arp",
            Self::Netdev => "netdev",
        })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family, self.name)
    }
}

impl Ruleset {
    /// Whether there are rules at a point at all.
    pub fn has(&self, point: Point) -> bool {
        self.chains.iter().any(|chain| chain.point() == Some(point))
    }

    /// Whether any rule looks at this.
    pub fn looks_at(&self, field: &Field) -> bool {
        let looks = |e: &Expression| matches!(e, Expression::Load(found, _) if found == field);
        let mut rules = self.chains.iter().flat_map(|chain| &chain.rules);
        rules.any(|rule| rule.expressions.iter().any(looks))
    }

    /// A chain by its name.
    pub fn chain(&self, table: &Table, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.table == *table && chain.name == name)
    }
}

impl Chain {
    /// Where packets come to it, if they do by themselves.
    pub fn point(&self) -> Option<Point> {
        let hook = self.base.as_ref()?.hook;
        let layer = match (self.table.family, hook) {
            (Family::Netdev, _) | (Family::Inet, Hook::Ingress) => Layer::Link,
            (Family::Bridge, _) => Layer::Bridge,
            (Family::Arp, _) => Layer::Arp,
            (Family::Inet | Family::Ip | Family::Ip6, _) => Layer::Ip,
        };
        Some(Point { layer, hook })
    }

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
