//! The `nf_tables` rules of one namespace, of all programs, as values: they predict the kernel's
//! decision on a packet. This includes iptables if it is `iptables-nft`.
//!
//! - `packet`: the known parts of a packet and its frame
//! - `connection`: its state in connection tracking
//! - `walk`: the chains that a packet meets, in order, and their verdict
//! - `machine`: one rule, expression by expression
//! - `xtables`: matches and targets that iptables keeps in its own form
//! - `decide`: the verdict of one chain on packets that are known in part
//! - `listing`: rules as `iptables -S` lists them
//! - `text`: a rule as text

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
    /// The chains, in the kernel's order.
    pub chains: Vec<Chain>,
    /// The sets of each table, by name.
    pub sets: HashMap<Table, HashMap<String, Set>>,
}

/// A table: its family and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Table {
    /// The family.
    pub family: Family,
    /// Its name.
    pub name: String,
}

/// The family of a table: which packets it sees.
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
    /// ARP packets.
    Arp,
    /// The frames of a link.
    Netdev,
}

/// The kind of packets at a hook: a link's frames, a bridge's, ARP, or IP.
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

/// A hook of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    /// The layer.
    pub layer: Layer,
    /// The hook.
    pub hook: Hook,
}

/// A hook (`enum nf_inet_hooks`), or one at a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// When a link receives it.
    Ingress,
    /// When it comes in.
    Prerouting,
    /// When it is delivered to a socket.
    Input,
    /// When it is forwarded.
    Forward,
    /// When a socket sends it.
    Output,
    /// When it goes out.
    Postrouting,
    /// When a link sends it.
    Egress,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its table.
    pub table: Table,
    /// Its name.
    pub name: String,
    /// The kernel's handles of its table and of itself: newer ones have higher handles.
    pub age: (u64, u64),
    /// The hook that calls it; `None`: other chains jump to it.
    pub base: Option<Base>,
    /// The rules, in order.
    pub rules: Vec<Rule>,
}

/// The hook of a base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The hook.
    pub hook: Hook,
    /// The links of a hook at links; a name that ends in `*` is a prefix.
    pub devices: Vec<String>,
    /// The priority: lower ones come first.
    pub priority: i32,
    /// Whether it is a NAT chain, which sees only the first packet of a connection.
    pub translates: bool,
    /// Whether its policy is to drop.
    pub drops: bool,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The kernel's handle, unique in the table.
    pub handle: u64,
    /// The expressions, in order.
    pub expressions: Vec<Expression>,
    /// The comment.
    pub comment: Option<String>,
}

/// An expression. A register is identified by its first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Loads a field of the packet into a register.
    Load(Field, usize),
    /// Loads a value into a register.
    Immediate(Vec<u8>, usize),
    /// `(register & mask) ^ xor`
    Bitwise {
        /// The source register.
        source: usize,
        /// The destination register.
        destination: usize,
        /// The bits to keep.
        mask: Vec<u8>,
        /// The bits to invert.
        xor: Vec<u8>,
    },
    /// Continues if the comparison holds.
    Compare(usize, Comparison, Vec<u8>),
    /// Continues if the value is, or is not, within bounds.
    Range {
        /// The register.
        register: usize,
        /// Whether to continue outside of the bounds.
        not: bool,
        /// The lower bound.
        from: Vec<u8>,
        /// The upper bound.
        to: Vec<u8>,
    },
    /// Continues if the value is, or is not, in a set; loads the element's data.
    Lookup {
        /// The set.
        set: String,
        /// The register of the key.
        register: usize,
        /// The register for the data; `None`: it is a set, or a verdict map.
        destination: Option<usize>,
        /// Whether to continue if the key is absent.
        not: bool,
        /// Whether it is a verdict map.
        decides: bool,
    },
    /// Continues if an address is, or is not, in a subnet.
    Within {
        /// Whether to compare the source address, instead of the destination.
        source: bool,
        /// The subnet.
        network: IpNetwork,
        /// Whether to continue outside of the subnet.
        not: bool,
    },
    /// Ends the rule.
    Decide(Verdict),
    /// Translates an address or port.
    Translate(Translation),
    /// Disables connection tracking for the packet.
    NoTrack,
    /// Sets the conntrack zone, for one direction or both.
    SetZone(usize, Option<Direction>),
    /// Sets the connection's mark.
    SetConnectionMark(usize),
    /// Diverts the packet to another link or program, where this walk ends.
    Diverts(String),
    /// A match of iptables: name, revision and parameters in the kernel's form.
    XtMatch(String, u32, Vec<u8>),
    /// A target of iptables: name, revision and parameters in the kernel's form.
    XtTarget(String, u32, Vec<u8>),
    /// Has no effect on the packet's verdict.
    Aside(String),
    /// Sets the packet's mark.
    SetMark(usize),
    /// An expression that this interpreter does not know, by name.
    Unknown(String),
}

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The direction of the first packet.
    Original,
    /// The direction of replies.
    Reply,
}

/// A field of a packet or of its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// The bridge of the incoming port.
    InBridge,
    /// The bridge of the outgoing port.
    OutBridge,
    /// The type of the incoming link (`ARPHRD_*`).
    InType,
    /// The type of the outgoing link.
    OutType,
    /// The ethertype (`ETH_P_*`).
    EtherType,
    /// The conntrack zone.
    Zone,
    /// The index of the link that leads back to the sender, 0 if none; whether it must be the
    /// incoming link.
    Reverse(bool),
    /// The name of the incoming link.
    InName,
    /// The name of the outgoing link.
    OutName,
    /// The index of the incoming link.
    InIndex,
    /// The index of the outgoing link.
    OutIndex,
    /// The IP version (`NFPROTO_*`).
    Version,
    /// The transport protocol.
    Protocol,
    /// The packet's mark.
    Mark,
    /// Bytes of a header: which header, offset, length.
    Header(Header, usize, usize),
    /// The conntrack state.
    State,
    /// The conntrack status: whether it is translated.
    Status,
    /// The connection's direction.
    Direction,
    /// The connection's mark.
    ConnectionMark,
    /// The type of the source address.
    SourceType,
    /// The type of the destination address.
    DestinationType,
    /// A field that this interpreter does not know, by name.
    Unknown(String),
}

/// A header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The link-layer header.
    Link,
    /// The IP header.
    Network,
    /// The header of TCP, UDP or ICMP.
    Transport,
}

/// A comparison operator.
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

/// A verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Accept: the chain's hook passes the packet.
    Accept,
    /// Drop.
    Drop,
    /// Drop, and send an ICMP error or a TCP reset to the sender.
    Reject,
    /// Continue with the next rule.
    Continue,
    /// Return to the calling chain.
    Return,
    /// Jump to another chain, and return from it.
    Jump(String),
    /// Go to another chain, without returning.
    Goto(String),
}

/// A translation of an address or port, from registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// The destination (DNAT).
    Destination {
        /// The address.
        address: Option<usize>,
        /// The port.
        port: Option<usize>,
    },
    /// The source (SNAT).
    Source {
        /// The address.
        address: Option<usize>,
        /// The port.
        port: Option<usize>,
    },
    /// The source, to the address of the outgoing link.
    Masquerade,
    /// The destination, to this host (redirect).
    Redirect {
        /// The port.
        port: Option<usize>,
    },
}

/// A set or map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// The lengths of the key's fields, if keys are intervals of more than one field.
    pub fields: Vec<usize>,
    /// Whether keys are boundaries of intervals.
    pub interval: bool,
    /// Whether it is anonymous, a part of its rule.
    pub anonymous: bool,
    /// The elements.
    pub elements: Vec<Element>,
}

/// An element of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The key, or its lower end; `None`: the catch-all element.
    pub key: Option<Vec<u8>>,
    /// The upper end of the key.
    pub key_end: Option<Vec<u8>>,
    /// Whether it is the end of the interval before it.
    pub ends: bool,
    /// The data.
    pub data: Data,
    /// The comment.
    pub comment: Option<String>,
}

/// The data of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing.
    None,
    /// A value.
    Value(Vec<u8>),
    /// A verdict.
    Verdict(Verdict),
}

/// A link, as rules match it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
}

/// The context of a packet at a hook, besides its own content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings<'a> {
    /// The incoming link.
    pub incoming: Option<Side>,
    /// The outgoing link.
    pub outgoing: Option<Side>,
    /// Whether a link that is `None` is unknown, instead of absent.
    pub is_partial: bool,
    /// The addresses of this namespace.
    pub local: &'a [IpAddr],
    /// The address for masquerading by the outgoing link, or for redirecting packets of the
    /// incoming one.
    pub own: Option<IpAddr>,
    /// Whether the connection's destination was translated earlier in this namespace, at output.
    pub settled: bool,
    /// The bridge whose ports these links are, for a bridged frame.
    pub bridge: Option<&'a str>,
    /// The tracked connections of this namespace.
    pub connections: &'a [Connection],
    /// The link that leads back to the sender.
    pub reverse: Option<u32>,
}

impl Set {
    /// Returns the length of its longest key.
    fn key_length(&self) -> usize {
        let keys = self.elements.iter().filter_map(|element| element.key.as_ref());
        keys.map(Vec::len).max().unwrap_or_default()
    }
}

impl Hook {
    /// Returns the hook with this number, in tables of a family.
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
    /// Returns a hook for IP packets.
    pub fn ip(hook: Hook) -> Self {
        Self { layer: Layer::Ip, hook }
    }

    /// Returns a hook for the frames of a bridge.
    pub fn bridge(hook: Hook) -> Self {
        Self { layer: Layer::Bridge, hook }
    }

    /// Returns a hook for the frames of a link.
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
    /// Returns whether there are rules at a hook.
    pub fn has(&self, point: Point) -> bool {
        self.chains.iter().any(|chain| chain.point() == Some(point))
    }

    /// Returns whether any rule uses this field.
    pub fn looks_at(&self, field: &Field) -> bool {
        let looks = |e: &Expression| matches!(e, Expression::Load(found, _) if found == field);
        let mut rules = self.chains.iter().flat_map(|chain| &chain.rules);
        rules.any(|rule| rule.expressions.iter().any(looks))
    }

    /// Returns whether a rule or a set element of such a table names a link, so that its owner has
    /// decided about the link's packets, in whatever way.
    pub fn names(&self, link: &str, is_table: impl Fn(&Table) -> bool) -> bool {
        // In the kernel's form, with the terminating zero.
        let name = [link.as_bytes(), &[0]].concat();
        let has_it = |bytes: &[u8]| bytes.windows(name.len()).any(|part| part == name);
        let names = |expression: &Expression| match expression {
            Expression::Compare(_, _, bytes)
            | Expression::Immediate(bytes, _)
            | Expression::XtMatch(_, _, bytes)
            | Expression::XtTarget(_, _, bytes) => has_it(bytes),
            _ => false,
        };
        let chains = self.chains.iter().filter(|chain| is_table(&chain.table));
        let mut rules = chains.flat_map(|chain| &chain.rules);
        let tables = self.sets.iter().filter(|(table, _)| is_table(table));
        let sets = tables.flat_map(|(_, sets)| sets.values());
        let mut keys = sets.flat_map(|set| &set.elements).filter_map(|e| e.key.as_ref());
        rules.any(|rule| rule.expressions.iter().any(names)) || keys.any(|key| has_it(key))
    }

    /// Returns a set by its name.
    pub fn set(&self, table: &Table, name: &str) -> Option<&Set> {
        self.sets.get(table)?.get(name)
    }

    /// Returns a chain by its name.
    pub fn chain(&self, table: &Table, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.table == *table && chain.name == name)
    }
}

impl Chain {
    /// Returns its hook, if it is a base chain.
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

    /// Returns one of its rules as text.
    pub fn text(&self, rule: &Rule, ruleset: &Ruleset) -> String {
        text::rule(rule, &|name| ruleset.set(&self.table, name))
    }
}

impl Rule {
    /// Returns it as text, without the contents of the sets that it refers to.
    pub fn words(&self) -> String {
        text::rule(self, &|_| None)
    }
}
