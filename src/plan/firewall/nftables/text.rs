//! The content of the table as commands of nft(8).

use std::{
    fmt::{self, Display, Formatter, Write},
    net::IpAddr,
};

use super::{
    Chain, Element, ElementData, Field, Hook, Match, NetworkRules, Nft, Point, PortElements, Rule,
    Set, TABLE, Value, Verdict, chains, sets, table::DataType,
};
use crate::{
    model::{Family, PortRange},
    plan::quote,
};

impl Nft {
    /// Returns the command that creates or deletes it.
    pub(in crate::plan) fn command(&self, create: bool) -> String {
        let table = format!("inet {TABLE}");
        match (self, create) {
            (Self::Table, true) => script(&whole_table()),
            (Self::Table, false) => format!("nft delete table {table}"),
            (Self::Network(rules), true) => script(&rules.made(&table)),
            (Self::Network(rules), false) => script(&rules.gone(&table)),
            (Self::Ports(ports), create) => ports.command(&table, create),
        }
    }
}

fn script(lines: &str) -> String {
    format!("nft -f - <<'EOF'\n{lines}EOF")
}

/// Existing elements stay. The rules of shared chains are replaced by those of the plan.
fn whole_table() -> String {
    let mut text = format!("table inet {TABLE} {{\n");
    for set in sets() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{set}");
    }
    for Chain { name, hook, .. } in chains() {
        let _ = match hook {
            Some(hook) => writeln!(text, "\tchain {name} {{\n\t\t{hook}\n\t}}"),
            None => writeln!(text, "\tchain {name} {{\n\t}}"),
        };
    }
    text.push_str("}\n");
    for Chain { name, rules, .. } in chains() {
        let _ = writeln!(text, "flush chain inet {TABLE} {name}");
        for rule in rules {
            let _ = writeln!(text, "add rule inet {TABLE} {name} {rule}");
        }
    }
    text
}

impl NetworkRules {
    fn made(&self, table: &str) -> String {
        let mut text = String::new();
        for (_, Chain { name, rules, .. }) in self.chains() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "add chain {table} {name}");
            let _ = writeln!(text, "flush chain {table} {name}");
            for rule in rules {
                let _ = writeln!(text, "add rule {table} {name} {rule}");
            }
        }
        for (set, element) in self.elements() {
            let _ = writeln!(text, "add element {table} {} {{ {element} }}", set.name);
        }
        text
    }

    fn gone(&self, table: &str) -> String {
        let mut text = String::new();
        for (set, element) in self.elements().iter().rev() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "delete element {table} {} {{ {} }}", set.name, element.key());
        }
        for (_, Chain { name, .. }) in self.chains() {
            let _ = writeln!(text, "flush chain {table} {name}");
            let _ = writeln!(text, "delete chain {table} {name}");
        }
        text
    }
}

impl PortElements {
    fn command(&self, table: &str, create: bool) -> String {
        let one = |element: &Element| {
            if create { element.with_comment(&self.comment) } else { element.key() }
        };
        let elements: Vec<_> = self.elements.iter().map(one).collect();
        let verb = if create { "add" } else { "delete" };
        let elements = quote(&format!("{{ {} }}", elements.join(", ")));
        format!("nft {verb} element {table} {} {elements}", self.set.name)
    }
}

impl Element {
    fn key(&self) -> String {
        dotted(&self.key)
    }

    fn with_comment(&self, comment: &str) -> String {
        format!("{} comment \"{comment}\"{}", self.key(), self.data)
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.key(), self.data)
    }
}

impl Display for ElementData {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Jump(chain) => write!(f, " : jump {chain}"),
            Self::Values(values) => write!(f, " : {}", dotted(values)),
        }
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(link) => write!(f, "\"{link}\""),
            Self::Protocol(protocol) => write!(f, "{protocol}"),
            Self::Ports(PortRange { first, last }) if first == last => write!(f, "{first}"),
            Self::Ports(range) => write!(f, "{range}"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

impl Display for Set {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = self.name;
        let key = dotted_by(self.key, |field| field.type_name());
        match &self.data {
            DataType::None => writeln!(f, "\tset {name} {{\n\t\ttype {key}")?,
            DataType::Verdict => writeln!(f, "\tmap {name} {{\n\t\ttype {key} : verdict")?,
            DataType::Fields(data) => {
                let data = dotted_by(data, |field| field.type_name());
                writeln!(f, "\tmap {name} {{\n\t\ttype {key} : {data}")?;
            }
        }
        if self.interval {
            writeln!(f, "\t\tflags interval")?;
        }
        writeln!(f, "\t}}")
    }
}

impl Field {
    fn type_name(self) -> &'static str {
        match self {
            Self::Link => "ifname",
            Self::Protocol => "inet_proto",
            Self::Port => "inet_service",
            Self::Address(Family::V4) => "ipv4_addr",
            Self::Address(Family::V6) => "ipv6_addr",
        }
    }

    /// Returns the expression for this field of a packet that goes to a published port.
    fn of_packet(self) -> &'static str {
        match self {
            Self::Link => "iifname",
            Self::Protocol => "meta l4proto",
            Self::Port => "th dport",
            Self::Address(Family::V4) => "ip daddr",
            Self::Address(Family::V6) => "ip6 daddr",
        }
    }
}

impl Display for Hook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { kind, point, priority } = self;
        write!(f, "type {kind} hook {point} priority {priority}; policy accept;")
    }
}

impl Display for Point {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prerouting => "prerouting",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        })
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for one in &self.matches {
            write!(f, "{one} ")?;
        }
        write!(f, "{} comment \"{}\"", self.verdict, self.why)
    }
}

impl Display for Match {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let unless = |is: &bool| if *is { "" } else { "!= " };
        match self {
            Self::In(link, is) => write!(f, "iifname {}\"{link}\"", unless(is)),
            Self::Out(link, is) => write!(f, "oifname {}\"{link}\"", unless(is)),
            Self::InOneOf(set) => write!(f, "iifname @{}", set.name),
            Self::Family(Family::V4) => write!(f, "meta nfproto ipv4"),
            Self::Family(Family::V6) => write!(f, "meta nfproto ipv6"),
            Self::Source(net, is) => {
                write!(f, "{} saddr {}{net}", ip(Family::of(net.ip())), unless(is))
            }
            Self::Destination(net, is) => {
                write!(f, "{} daddr {}{net}", ip(Family::of(net.ip())), unless(is))
            }
            Self::ToThisHost => write!(f, "fib daddr type local"),
            Self::Protocol(protocol) => write!(f, "meta l4proto {protocol}"),
            Self::Unasked => write!(f, "ct state ! established,related ct status ! dnat"),
            Self::Translated(true) => write!(f, "ct status dnat"),
            Self::Translated(false) => write!(f, "ct status ! dnat"),
        }
    }
}

fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drop => write!(f, "drop"),
            Self::Return => write!(f, "return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::ByIncomingLink(map) => write!(f, "iifname vmap @{}", map.name),
            Self::ByOutgoingLink(map) => write!(f, "oifname vmap @{}", map.name),
            Self::Translate(map) => {
                let packet = dotted_by(map.key, |field| field.of_packet());
                let family = map.family().unwrap_or(Family::V6);
                write!(f, "dnat {} to {packet} map @{}", ip(family), map.name)
            }
            Self::Masquerade { high_ports: true } => write!(f, "masquerade to :1024-65535"),
            Self::Masquerade { high_ports: false } => write!(f, "masquerade"),
            Self::Snat { to, high_ports } => {
                let family = ip(Family::of(*to));
                match (to, high_ports) {
                    (_, false) => write!(f, "snat {family} to {to}"),
                    (IpAddr::V4(_), true) => write!(f, "snat {family} to {to}:1024-65535"),
                    (IpAddr::V6(_), true) => write!(f, "snat {family} to [{to}]:1024-65535"),
                }
            }
        }
    }
}

impl Set {
    /// Returns the IP version of the addresses in its data.
    pub fn family(&self) -> Option<Family> {
        let DataType::Fields(data) = &self.data else { return None };
        data.iter().find_map(|field| match field {
            Field::Address(family) => Some(*family),
            _ => None,
        })
    }
}

fn dotted(parts: &[impl Display]) -> String {
    dotted_by(parts, ToString::to_string)
}

fn dotted_by<T, S: Display>(parts: &[T], text: impl Fn(&T) -> S) -> String {
    let parts: Vec<_> = parts.iter().map(|part| text(part).to_string()).collect();
    parts.join(" . ")
}
