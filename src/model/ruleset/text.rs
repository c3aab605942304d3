//! Rules as text: close to the output of `nft`, and as short as possible.

use std::{collections::HashMap, fmt::Write as _, net::IpAddr};

use super::{
    Comparison, Data, Direction, Expression, Field, Header, Rule, Set, Translation, walk::word,
};

/// The content of a register in words, and the format of its bytes.
#[derive(Clone)]
struct Held {
    name: String,
    form: Form,
    mask: Option<Vec<u8>>,
    wide: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Name,
    Number,
    Port,
    Address,
    Protocol,
    Version,
    EtherType,
    Mac,
    State,
    Status,
    Kind,
    Bytes,
}

/// Returns the text of a rule.
pub(super) fn rule<'s>(rule: &Rule, set: &dyn Fn(&str) -> Option<&'s Set>) -> String {
    let mut held: HashMap<usize, Held> = HashMap::new();
    let mut words: Vec<String> = Vec::new();
    for expression in &rule.expressions {
        words.extend(one(expression, &mut held, set));
    }
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

fn one<'s>(
    one: &Expression,
    held: &mut HashMap<usize, Held>,
    set: &dyn Fn(&str) -> Option<&'s Set>,
) -> Option<String> {
    let named = |held: &HashMap<usize, Held>, at: usize| {
        let unknown = || Held { name: "?".to_owned(), form: Form::Bytes, mask: None, wide: 4 };
        held.get(&at).cloned().unwrap_or_else(unknown)
    };
    match one {
        Expression::Load(field, at) => {
            held.insert(*at, load(field));
            None
        }
        Expression::Immediate(bytes, at) => {
            let form = match bytes.len() {
                2 => Form::Port,
                4 | 16 => Form::Address,
                _ => Form::Bytes,
            };
            let name = value(bytes, form);
            held.insert(*at, Held { name, form, mask: None, wide: bytes.len() });
            None
        }
        Expression::Bitwise { source, destination, mask, .. } => {
            let from = named(held, *source);
            held.insert(*destination, Held { mask: Some(mask.clone()), ..from });
            None
        }
        Expression::Compare(at, how, bytes) => {
            let what = named(held, *at);
            if what.form == Form::Version {
                return None;
            }
            Some(compared(&what, *how, bytes))
        }
        Expression::Range { register, not, from, to } => {
            let what = named(held, *register);
            let not = if *not { "!= " } else { "" };
            let (from, to) = (value(from, what.form), value(to, what.form));
            Some(format!("{} {not}{from}-{to}", what.name))
        }
        Expression::Lookup { set: name, register, destination, not, decides } => {
            let key = concatenated(held, *register);
            let not = if *not { "!= " } else { "" };
            let found = set(name).filter(|set| set.anonymous);
            let content = found.map_or(format!("@{name}"), |set| {
                content(set, held.get(register).map_or(Form::Bytes, |held| held.form))
            });
            match (decides, destination) {
                (true, _) => Some(format!("{key} vmap {content}")),
                (false, Some(at)) => {
                    let name = format!("{key} map {content}");
                    // The result of the lookup overwrites the key.
                    held.clear();
                    held.insert(*at, Held { name, form: Form::Bytes, mask: None, wide: 4 });
                    None
                }
                (false, None) => Some(format!("{key} {not}{content}")),
            }
        }
        Expression::Within { source, network, not } => {
            let family = if network.is_ipv4() { "ip" } else { "ip6" };
            let side = if *source { "saddr" } else { "daddr" };
            let not = if *not { "!= " } else { "" };
            Some(format!("{family} {side} {not}{network}"))
        }
        Expression::Decide(verdict) => Some(word(verdict)),
        Expression::Translate(translation) => Some(translated(*translation, held)),
        Expression::NoTrack => Some("notrack".to_owned()),
        Expression::XtMatch(name, _, _) if name == "comment" => None,
        Expression::XtMatch(name, revision, info) => Some(xt_match(name, *revision, info)),
        Expression::XtTarget(name, _, _) => Some(format!("-j {name}")),
        Expression::Aside(name) => (name == "log").then(|| name.clone()),
        Expression::SetMark(at) => Some(format!("meta mark set {}", named(held, *at).name)),
        Expression::SetConnectionMark(at) => Some(format!("ct mark set {}", named(held, *at).name)),
        Expression::SetZone(_, direction) => {
            let direction = match direction {
                Some(Direction::Original) => "original ",
                Some(Direction::Reply) => "reply ",
                None => "",
            };
            Some(format!("ct {direction}zone set"))
        }
        Expression::Diverts(name) | Expression::Unknown(name) => Some(name.clone()),
    }
}

fn load(field: &Field) -> Held {
    let (name, form, wide) = match field {
        Field::InName => ("iifname", Form::Name, 16),
        Field::OutName => ("oifname", Form::Name, 16),
        Field::InIndex => ("iif", Form::Number, 4),
        Field::OutIndex => ("oif", Form::Number, 4),
        Field::InBridge => ("meta ibrname", Form::Name, 16),
        Field::OutBridge => ("meta obrname", Form::Name, 16),
        Field::InType => ("iiftype", Form::Bytes, 2),
        Field::OutType => ("oiftype", Form::Bytes, 2),
        Field::EtherType => ("meta protocol", Form::EtherType, 2),
        Field::Zone => ("ct zone", Form::Number, 2),
        Field::Reverse(true) => ("fib saddr . iif oif", Form::Number, 4),
        Field::Reverse(false) => ("fib saddr oif", Form::Number, 4),
        Field::Version => ("meta nfproto", Form::Version, 4),
        Field::Protocol => ("meta l4proto", Form::Protocol, 4),
        Field::Mark => ("meta mark", Form::Number, 4),
        Field::State => ("ct state", Form::State, 4),
        Field::Status => ("ct status", Form::Status, 4),
        Field::Direction => ("ct direction", Form::Bytes, 4),
        Field::ConnectionMark => ("ct mark", Form::Number, 4),
        Field::SourceType => ("fib saddr type", Form::Kind, 4),
        Field::DestinationType => ("fib daddr type", Form::Kind, 4),
        Field::Header(header, offset, length) => return header_field(*header, *offset, *length),
        Field::Unknown(name) => (name.as_str(), Form::Bytes, 4),
    };
    Held { name: name.to_owned(), form, mask: None, wide }
}

fn header_field(header: Header, offset: usize, length: usize) -> Held {
    let (name, form) = match (header, offset, length) {
        (Header::Link, 0, 6) => ("ether daddr", Form::Mac),
        (Header::Link, 6, 6) => ("ether saddr", Form::Mac),
        (Header::Link, 12, 2) => ("ether type", Form::EtherType),
        (Header::Network, 12, 1..=4) => ("ip saddr", Form::Address),
        (Header::Network, 16, 1..=4) => ("ip daddr", Form::Address),
        (Header::Network, 8, 5..=16) => ("ip6 saddr", Form::Address),
        (Header::Network, 24, 5..=16) => ("ip6 daddr", Form::Address),
        (Header::Network, 9, 1) => ("ip protocol", Form::Protocol),
        (Header::Transport, 0, 2) => ("th sport", Form::Port),
        (Header::Transport, 2, 2) => ("th dport", Form::Port),
        (Header::Transport, 0, 1) => ("icmp type", Form::Bytes),
        _ => {
            let base = match header {
                Header::Link => "ll",
                Header::Network => "nh",
                Header::Transport => "th",
            };
            let name = format!("@{base},{},{}", offset * 8, length * 8);
            return Held { name, form: Form::Bytes, mask: None, wide: length };
        }
    };
    Held { name: name.to_owned(), form, mask: None, wide: length }
}

fn compared(what: &Held, how: Comparison, bytes: &[u8]) -> String {
    let (name, is_bits) = (&what.name, bytes.iter().all(|byte| *byte == 0));
    if let (Form::State | Form::Status, Some(mask), true) = (what.form, &what.mask, is_bits) {
        let not = if how == Comparison::Equal { "! " } else { "" };
        return format!("{name} {not}{}", value(mask, what.form));
    }
    let operator = match how {
        Comparison::Equal => "",
        Comparison::NotEqual => "!= ",
        Comparison::Less => "< ",
        Comparison::LessOrEqual => "<= ",
        Comparison::Greater => "> ",
        Comparison::GreaterOrEqual => ">= ",
    };
    let mut bytes = bytes.to_vec();
    let mut suffix = String::new();
    if what.form == Form::Address {
        let whole = if name.starts_with("ip6") { 16 } else { 4 };
        // A prefix of whole bytes is compared without the rest.
        let length = match &what.mask {
            Some(mask) => mask.iter().map(|byte| byte.count_ones() as usize).sum(),
            None => bytes.len() * 8,
        };
        if length < whole * 8 {
            suffix = format!("/{length}");
        }
        bytes.resize(whole, 0);
    }
    format!("{name} {operator}{}{suffix}", value(&bytes, what.form))
}

/// Returns the contents of adjacent registers from here on, if they were loaded together.
fn concatenated(held: &HashMap<usize, Held>, mut at: usize) -> String {
    let mut names = Vec::new();
    while let Some(part) = held.get(&at) {
        names.push(part.name.clone());
        at += part.wide.next_multiple_of(4);
    }
    if names.is_empty() { "?".to_owned() } else { names.join(" . ") }
}

fn content(set: &Set, form: Form) -> String {
    let mut parts: Vec<String> = Vec::new();
    for element in set.elements.iter().filter(|element| !element.ends) {
        let mut part = element.key.as_ref().map_or("*".to_owned(), |key| value(key, form));
        match &element.data {
            Data::None => {}
            Data::Value(bytes) => _ = write!(part, " : {}", value(bytes, Form::Bytes)),
            Data::Verdict(verdict) => _ = write!(part, " : {}", word(verdict)),
        }
        parts.push(part);
    }
    format!("{{ {} }}", parts.join(", "))
}

fn translated(translation: Translation, held: &HashMap<usize, Held>) -> String {
    let name = |at: Option<usize>| at.and_then(|at| held.get(&at)).map(|held| held.name.clone());
    let to = |word: &str, address: Option<usize>, port: Option<usize>| {
        let address = name(address).unwrap_or_default();
        let port = name(port).map(|port| format!(":{port}")).unwrap_or_default();
        // Both come from one map.
        format!("{word} to {address}{port}")
    };
    match translation {
        Translation::Destination { address, port } => to("dnat", address, port),
        Translation::Source { address, port } => to("snat", address, port),
        Translation::Masquerade => "masquerade".to_owned(),
        Translation::Redirect { port } => to("redirect", None, port),
    }
}

fn xt_match(name: &str, revision: u32, info: &[u8]) -> String {
    let half =
        |at: usize| info.get(at..at + 2).map_or(0, |b| u32::from(u16::from_ne_bytes([b[0], b[1]])));
    match (name, revision) {
        // `xt_conntrack_mtinfo3`
        ("conntrack", 2 | 3) if half(146) == 1 => {
            let not = if half(148) & 1 == 0 { "" } else { "! " };
            let mut words = vec![states(half(150) & 0b1111)];
            let more = [(6, "snat"), (7, "dnat"), (8, "untracked")];
            words.extend(
                more.iter()
                    .filter(|(bit, _)| half(150) & (1 << bit) != 0)
                    .map(|(_, n)| (*n).into()),
            );
            words.retain(|word: &String| !word.is_empty());
            format!("{not}--ctstate {}", words.join(","))
        }
        _ => format!("-m {name}"),
    }
}

fn value(bytes: &[u8], form: Form) -> String {
    let number = || {
        let mut whole = [0; 4];
        whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        u32::from_ne_bytes(whole)
    };
    let kinds = ["unspec", "unicast", "local", "broadcast", "anycast", "multicast"];
    match form {
        Form::Name => {
            let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            // A name without its final zero is a prefix.
            let any = if bytes.contains(&0) || bytes.len() == 16 { "" } else { "*" };
            format!("\"{}{any}\"", String::from_utf8_lossy(name).escape_debug())
        }
        Form::Number => number().to_string(),
        Form::Port => match bytes {
            [high, low, ..] => u16::from_be_bytes([*high, *low]).to_string(),
            _ => hexadecimal(bytes),
        },
        Form::Address => address(bytes).map_or_else(|| hexadecimal(bytes), |ip| ip.to_string()),
        Form::Protocol => match bytes.first() {
            Some(1) => "icmp".to_owned(),
            Some(6) => "tcp".to_owned(),
            Some(17) => "udp".to_owned(),
            Some(58) => "ipv6-icmp".to_owned(),
            Some(132) => "sctp".to_owned(),
            other => other.copied().unwrap_or_default().to_string(),
        },
        Form::State => states(number()),
        Form::Status => {
            let names = [(4, "snat"), (5, "dnat")];
            let set = names.iter().filter(|(bit, _)| number() & (1 << bit) != 0);
            let found: Vec<_> = set.map(|(_, name)| *name).collect();
            if found.is_empty() { number().to_string() } else { found.join(",") }
        }
        Form::Kind => {
            let found = usize::try_from(number()).ok().and_then(|at| kinds.get(at));
            found.map_or_else(|| number().to_string(), |name| (*name).to_owned())
        }
        Form::EtherType => match bytes {
            [8, 0] => "ip".to_owned(),
            [8, 6] => "arp".to_owned(),
            [0x86, 0xdd] => "ip6".to_owned(),
            bytes => hexadecimal(bytes),
        },
        Form::Mac => {
            let parts: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            parts.join(":")
        }
        Form::Version | Form::Bytes => match bytes {
            [one] => one.to_string(),
            bytes => hexadecimal(bytes),
        },
    }
}

fn states(bits: u32) -> String {
    let names = [(0, "invalid"), (1, "established"), (2, "related"), (3, "new"), (6, "untracked")];
    let set = names.iter().filter(|(bit, _)| bits & (1 << bit) != 0);
    set.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(<[u8; 4]>::try_from(bytes).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
        _ => None,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}
