//! Evaluates one rule: runs its expressions on registers, as the kernel does. A byte that cannot be
//! known before the packet exists is unknown, and so is everything that depends on it.

use std::net::IpAddr;

use super::{
    Comparison, Data, Direction, Expression, Family, Field, Header, Packet, Rule, Set, Side,
    Surroundings, Tracking, Translation, Verdict, Zones, packet::Byte, xtables,
};

/// More than the size of all registers, in bytes.
const REGISTERS: usize = 96;

/// The contents of registers.
struct Registers {
    bytes: [Byte; REGISTERS],
    /// The register that holds a port of which only bounds are known.
    port: Option<usize>,
    /// The register that holds the name of a link.
    link: Option<usize>,
}

// RTN_*
const UNICAST: u32 = 1;
const LOCAL: u32 = 2;
const BROADCAST: u32 = 3;
const MULTICAST: u32 = 5;
// NF_CT_STATE_*
const INVALID: u32 = 1;
const ESTABLISHED: u32 = 1 << 1;
const NEW: u32 = 1 << 3;
const UNTRACKED: u32 = 1 << 6;
// IPS_*
const SOURCE_TRANSLATED: u32 = 1 << 4;
const DESTINATION_TRANSLATED: u32 = 1 << 5;

// IPS_*
const SEEN_REPLY: u32 = 1 << 1;
const CONFIRMED: u32 = 1 << 3;
// ARPHRD_*
const ETHERNET: u16 = 1;
const LOOPBACK: u16 = 772;

/// Whether a rule matches a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Is {
    No,
    Maybe,
    Yes,
}

/// The effect of a rule that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Decide(Verdict),
    To(Option<IpAddr>, Option<u16>),
    From(Option<IpAddr>),
    NoTrack,
    /// Sets the zones of connection tracking.
    Zone(Zones),
    /// Something that this interpreter does not know.
    Unknown(String),
}

/// Whether a rule matches, and its effect.
pub(super) struct Answer {
    pub(super) is: Is,
    pub(super) effect: Effect,
    pub(super) mark: Option<u32>,
    pub(super) connection_mark: Option<u32>,
    /// Whether it names the packet's link, or a subnet that contains its addresses.
    pub(super) names: bool,
}

impl Answer {
    /// Returns whether the rule changes something and the chain continues.
    pub(super) fn sets(&self) -> bool {
        self.mark.is_some() || self.connection_mark.is_some()
    }
}

/// The namespace of a rule, and its packet.
pub(super) struct Machine<'a> {
    pub(super) packet: &'a Packet,
    pub(super) around: &'a Surroundings<'a>,
    /// The family of the rule's table.
    pub(super) family: Family,
    pub(super) set: &'a dyn Fn(&str) -> Option<&'a Set>,
}

impl Machine<'_> {
    /// Evaluates a rule.
    pub(super) fn run(&self, rule: &Rule) -> Answer {
        let mut registers = Registers { bytes: [None; REGISTERS], port: None, link: None };
        let mut answer = Answer {
            is: Is::Yes,
            effect: Effect::Decide(Verdict::Continue),
            mark: None,
            connection_mark: None,
            names: false,
        };
        for expression in &rule.expressions {
            let is = self.one(expression, &mut registers, &mut answer);
            if is == Is::No {
                answer.is = Is::No;
                break;
            }
            answer.is = answer.is.min(is);
            if answer.effect != Effect::Decide(Verdict::Continue) {
                break;
            }
        }
        answer
    }

    fn one(&self, one: &Expression, registers: &mut Registers, to: &mut Answer) -> Is {
        match one {
            Expression::Load(field, at) => match self.load(field) {
                Some(bytes) => {
                    put(registers, *at, bytes);
                    if self.is_unknown_port(field) {
                        registers.port = Some(*at);
                    }
                    if matches!(field, Field::InName | Field::OutName) {
                        registers.link = Some(*at);
                    }
                }
                // A packet without the field does not match (`NFT_BREAK`).
                None => return Is::No,
            },
            Expression::Immediate(value, at) => {
                put(registers, *at, value.iter().copied().map(Some).collect());
            }
            Expression::Bitwise { source, destination, mask, xor } => {
                let bytes = get(registers, *source, mask.len());
                let bit = |(i, byte): (usize, Byte)| {
                    let kept = if mask[i] == 0 { Some(0) } else { byte.map(|b| b & mask[i]) };
                    kept.map(|b| b ^ xor.get(i).copied().unwrap_or(0))
                };
                put(registers, *destination, bytes.into_iter().enumerate().map(bit).collect());
            }
            Expression::Compare(at, how, value) => {
                if let (Some(is), true) = (self.bounded(*how, value), registers.port == Some(*at)) {
                    return is;
                }
                let is = compare(&get(registers, *at, value.len()), *how, value);
                to.names |=
                    is == Is::Yes && *how == Comparison::Equal && registers.link == Some(*at);
                return is;
            }
            Expression::Within { source, network, not } => {
                let (is, overlaps) = self.packet.is_in(*source, *network);
                to.names |= overlaps;
                return is.turned(*not);
            }
            Expression::Range { register, not, from, to } => {
                if let (Some(low), Some(high), true) =
                    (port_of(from), port_of(to), registers.port == Some(*register))
                {
                    return self.packet.is_within(None, low, high).turned(*not);
                }
                let bytes = get(registers, *register, from.len());
                let low = compare(&bytes, Comparison::GreaterOrEqual, from);
                let high = compare(&bytes, Comparison::LessOrEqual, to);
                return low.min(high).turned(*not);
            }
            Expression::Lookup { set, register, destination, not, decides } => {
                let Some(set) = (self.set)(set) else { return Is::Maybe };
                if registers.port == Some(*register) && self.is_outside(set) {
                    return Is::No.turned(*not);
                }
                let (is, data) = find(set, &get(registers, *register, set.key_length()));
                match (data, destination) {
                    (Data::Verdict(verdict), _) if *decides => {
                        to.effect = Effect::Decide(verdict.clone());
                    }
                    (Data::Value(value), Some(at)) => {
                        put(registers, *at, value.iter().copied().map(Some).collect());
                    }
                    _ => {}
                }
                return is.turned(*not);
            }
            Expression::Decide(verdict) => to.effect = Effect::Decide(verdict.clone()),
            Expression::Translate(translation) => {
                to.effect = self.translate(*translation, registers);
            }
            Expression::NoTrack => to.effect = Effect::NoTrack,
            Expression::XtMatch(name, revision, info) => {
                return xtables::matches(self, name, *revision, info);
            }
            Expression::XtTarget(name, revision, info) => {
                xtables::target(self, name, *revision, info, to);
            }
            Expression::Aside(_) => {}
            Expression::SetMark(at) => match number(registers, *at) {
                Some(mark) => to.mark = Some(mark),
                None => to.effect = Effect::Unknown("meta mark set".to_owned()),
            },
            Expression::SetConnectionMark(at) => match number(registers, *at) {
                Some(mark) => to.connection_mark = Some(mark),
                None => to.effect = Effect::Unknown("ct mark set".to_owned()),
            },
            Expression::SetZone(at, direction) => {
                let bytes: Option<Vec<u8>> = get(registers, *at, 2).into_iter().collect();
                let zone = bytes.and_then(|b| Some(u16::from_ne_bytes(b.try_into().ok()?)));
                to.effect = zone.map_or_else(
                    || Effect::Unknown("ct zone set".to_owned()),
                    |zone| Effect::Zone(self.packet.zones.with(zone, *direction)),
                );
            }
            Expression::Diverts(name) => to.effect = Effect::Unknown(name.clone()),
            Expression::Unknown(_) => return Is::Maybe,
        }
        Is::Yes
    }

    fn translate(&self, translation: Translation, registers: &Registers) -> Effect {
        let length = if self.packet.source.is_ipv4() { 4 } else { 16 };
        let address = |at: Option<usize>| address(&get(registers, at?, length));
        let port = |at: Option<usize>| {
            let bytes: Option<Vec<u8>> = get(registers, at?, 2).into_iter().collect();
            Some(u16::from_be_bytes(bytes?.try_into().ok()?))
        };
        match translation {
            Translation::Destination { address: at, port: number } => {
                Effect::To(address(at), port(number))
            }
            Translation::Source { address: at, .. } => Effect::From(address(at)),
            Translation::Masquerade => Effect::From(self.around.own),
            Translation::Redirect { port: number } => self.redirect(port(number)),
        }
    }

    pub(super) fn redirect(&self, port: Option<u16>) -> Effect {
        let loopback: IpAddr = match self.packet.source {
            IpAddr::V4(_) => [127, 0, 0, 1].into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        let own = self.around.incoming.as_ref().and(self.around.own).unwrap_or(loopback);
        Effect::To(Some(own), port)
    }

    /// Returns whether a field is a port of which only bounds are known.
    fn is_unknown_port(&self, field: &Field) -> bool {
        match field {
            Field::Header(Header::Transport, 0, 2) => self.packet.source_port.is_none(),
            Field::Header(Header::Transport, 2, 2) => self.packet.port.is_none(),
            _ => false,
        }
    }

    /// Compares such a port; `None`: the field is no such port.
    fn bounded(&self, how: Comparison, value: &[u8]) -> Option<Is> {
        let port = port_of(value)?;
        let below = |port: u16| match port.checked_sub(1) {
            Some(last) => self.packet.is_within(None, 0, last),
            None => Is::No,
        };
        Some(match how {
            Comparison::Equal => self.packet.is_within(None, port, port),
            Comparison::NotEqual => self.packet.is_within(None, port, port).turned(true),
            Comparison::Less => below(port),
            Comparison::GreaterOrEqual => below(port).turned(true),
            Comparison::LessOrEqual => self.packet.is_within(None, 0, port),
            Comparison::Greater => self.packet.is_within(None, 0, port).turned(true),
        })
    }

    /// Returns whether such a port is in none of a set's elements. In a set of intervals that is so
    /// if the nearest boundary below both bounds is the same and closes an interval.
    fn is_outside(&self, set: &Set) -> bool {
        let (low, high) = self.packet.ephemeral;
        let keys = || set.elements.iter().filter_map(|e| Some((port_of(e.key.as_ref()?)?, e.ends)));
        if set.elements.iter().any(|element| element.key.is_none()) {
            return false;
        }
        if !set.interval {
            return keys().all(|(port, _)| port < low || high < port);
        }
        let is_between = keys().any(|(port, _)| low < port && port <= high);
        let nearest = keys().filter(|(port, _)| *port <= low).max();
        !is_between && nearest.is_none_or(|(_, ends)| ends)
    }

    /// Loads a field; `None`: the packet does not have it.
    fn load(&self, field: &Field) -> Option<Vec<Byte>> {
        let known = |bytes: &[u8]| bytes.iter().copied().map(Some).collect::<Vec<_>>();
        let number = |number: u32| known(&number.to_ne_bytes());
        let text = |text: Option<&str>| {
            let mut bytes = text.unwrap_or_default().as_bytes().to_vec();
            bytes.resize(16, 0);
            known(&bytes)
        };
        let name = |side: &Option<Side>| match side {
            None if self.around.is_partial => vec![None; 16],
            side => text(side.as_ref().map(|side| side.name.as_str())),
        };
        let index = |side: &Option<Side>| match side {
            _ if self.around.is_partial => vec![None; 4],
            side => number(side.as_ref().map_or(0, |s| s.index)),
        };
        let kind = |side: &Option<Side>| {
            let side = side.as_ref()?;
            Some(known(&if side.name == "lo" { LOOPBACK } else { ETHERNET }.to_ne_bytes()))
        };
        let protocol = |version| match self.family {
            // NFPROTO_*
            Family::Arp => 3,
            Family::Netdev => 5,
            Family::Bridge => 7,
            Family::Inet | Family::Ip | Family::Ip6 => version,
        };
        Some(match field {
            Field::InName => name(&self.around.incoming),
            Field::OutName => name(&self.around.outgoing),
            Field::InBridge => text(self.around.incoming.as_ref().and(self.around.bridge)),
            Field::OutBridge => text(self.around.outgoing.as_ref().and(self.around.bridge)),
            Field::InType => kind(&self.around.incoming)?,
            Field::OutType => kind(&self.around.outgoing)?,
            Field::EtherType => known(&self.packet.ether_type().to_be_bytes()),
            Field::Zone => known(&self.packet.zones.original.to_ne_bytes()),
            Field::Reverse(by_this) => {
                let came = self.around.incoming.as_ref().map(|side| side.index);
                let found = self.around.reverse.filter(|index| !by_this || Some(*index) == came);
                number(found.unwrap_or(0))
            }
            Field::InIndex => index(&self.around.incoming),
            Field::OutIndex => index(&self.around.outgoing),
            Field::Version => known(&[protocol(if self.packet.source.is_ipv4() { 2 } else { 10 })]),
            Field::Protocol if self.packet.is_arp() => return None,
            Field::Protocol => known(&[self.packet.protocol]),
            Field::Mark => number(self.packet.mark),
            Field::Header(header, offset, length) => {
                let bytes = self.packet.header(*header)?;
                (*offset..offset + length).map(|i| bytes.get(i).copied().flatten()).collect()
            }
            // Whether a bridge tracks connections depends on a module (`nf_conntrack_bridge`).
            Field::State if self.family == Family::Bridge => vec![None; 4],
            Field::State | Field::Status | Field::Direction | Field::ConnectionMark
                if self.packet.tracking == Tracking::Unknown =>
            {
                vec![None; 4]
            }
            Field::State => number(self.state()),
            // An untracked packet has nothing but a state.
            Field::Status | Field::Direction | Field::ConnectionMark if !self.is_tracked() => {
                return None;
            }
            Field::Status => number(self.status()),
            Field::Direction => known(&[u8::from(self.is_reply())]),
            Field::ConnectionMark => number(self.packet.connection_mark),
            Field::SourceType => number(self.kind_of(self.packet.source)),
            Field::DestinationType => number(self.kind_of(self.packet.destination)),
            Field::Unknown(_) => vec![None; 16],
        })
    }

    pub(super) fn state(&self) -> u32 {
        match self.packet.tracking {
            Tracking::Untracked => UNTRACKED,
            Tracking::Unseen | Tracking::Invalid | Tracking::Unknown => INVALID,
            Tracking::New(_) | Tracking::Of(_, Direction::Original) => NEW,
            Tracking::Of(_, Direction::Reply) => ESTABLISHED,
        }
    }

    fn is_tracked(&self) -> bool {
        matches!(self.packet.tracking, Tracking::New(_) | Tracking::Of(..))
    }

    pub(super) fn is_reply(&self) -> bool {
        matches!(self.packet.tracking, Tracking::Of(_, Direction::Reply))
    }

    pub(super) fn status(&self) -> u32 {
        let bit = |is: bool, bit| if is { bit } else { 0 };
        bit(self.packet.is_destination_translated(), DESTINATION_TRANSLATED)
            | bit(self.packet.is_source_translated(), SOURCE_TRANSLATED)
            | bit(self.is_reply(), SEEN_REPLY | CONFIRMED)
    }

    pub(super) fn kind_of(&self, address: IpAddr) -> u32 {
        match address {
            _ if self.around.local.contains(&address) || address.is_loopback() => LOCAL,
            _ if address.is_multicast() => MULTICAST,
            IpAddr::V4(v4) if v4.is_broadcast() => BROADCAST,
            _ => UNICAST,
        }
    }
}

impl Is {
    pub(super) fn turned(self, not: bool) -> Self {
        match self {
            Self::No if not => Self::Yes,
            Self::Yes if not => Self::No,
            is => is,
        }
    }

    pub(super) fn of(is: bool) -> Self {
        if is { Self::Yes } else { Self::No }
    }

    pub(super) fn min(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Maybe, _) | (_, Self::Maybe) => Self::Maybe,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }
}

fn get(registers: &Registers, at: usize, length: usize) -> Vec<Byte> {
    (at..at + length).map(|i| registers.bytes.get(i).copied().flatten()).collect()
}

fn port_of(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

fn number(registers: &Registers, at: usize) -> Option<u32> {
    let bytes: Option<Vec<u8>> = get(registers, at, 4).into_iter().collect();
    Some(u32::from_ne_bytes(bytes?.try_into().ok()?))
}

/// Fills a register up to four bytes with zeros.
fn put(registers: &mut Registers, at: usize, mut bytes: Vec<Byte>) {
    bytes.resize(bytes.len().next_multiple_of(4), Some(0));
    registers.port = registers.port.filter(|port| *port != at);
    registers.link = registers.link.filter(|link| *link != at);
    for (register, byte) in registers.bytes.iter_mut().skip(at).zip(bytes) {
        *register = byte;
    }
}

fn address(bytes: &[Byte]) -> Option<IpAddr> {
    let bytes: Vec<u8> = bytes.iter().copied().collect::<Option<_>>()?;
    match bytes.len() {
        4 => Some(<[u8; 4]>::try_from(bytes).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
        _ => None,
    }
}

fn compare(bytes: &[Byte], how: Comparison, value: &[u8]) -> Is {
    if let Comparison::Equal | Comparison::NotEqual = how {
        let differs = bytes.iter().zip(value).any(|(a, b)| a.is_some_and(|a| a != *b));
        let is = match bytes.iter().all(Option::is_some) {
            _ if differs => Is::No,
            true => Is::Yes,
            false => Is::Maybe,
        };
        return is.turned(how == Comparison::NotEqual);
    }
    let Some(bytes) = bytes.iter().copied().collect::<Option<Vec<u8>>>() else { return Is::Maybe };
    let bytes = bytes.as_slice();
    Is::of(match how {
        Comparison::Less => bytes < value,
        Comparison::LessOrEqual => bytes <= value,
        Comparison::Greater => bytes > value,
        Comparison::GreaterOrEqual => bytes >= value,
        Comparison::Equal | Comparison::NotEqual => bytes == value,
    })
}

/// Returns whether a value is in a set, and the data of its element.
fn find<'s>(set: &'s Set, bytes: &[Byte]) -> (Is, &'s Data) {
    static NOTHING: Data = Data::None;
    let mut maybe = false;
    let is_bounded = set.interval && set.fields.is_empty();
    if is_bounded {
        // The nearest boundary below decides whether the value is inside an interval.
        let mut nearest: Option<&super::Element> = None;
        for element in &set.elements {
            let Some(key) = &element.key else { continue };
            match compare(&bytes[..key.len()], Comparison::GreaterOrEqual, key) {
                Is::No => {}
                Is::Maybe => maybe = true,
                Is::Yes => {
                    let is_nearer = nearest.is_none_or(|best| {
                        let best_key = best.key.as_deref().unwrap_or_default();
                        best_key < key.as_slice() || (best_key == key.as_slice() && best.ends)
                    });
                    if is_nearer {
                        nearest = Some(element);
                    }
                }
            }
        }
        if let Some(element) = nearest.filter(|e| !e.ends) {
            return (Is::Yes, &element.data);
        }
    } else {
        for element in &set.elements {
            let Some(key) = &element.key else { continue };
            let end = element.key_end.as_ref().unwrap_or(key);
            let is = within(&bytes[..key.len()], key, end, &set.fields);
            match is {
                Is::Yes => return (Is::Yes, &element.data),
                Is::Maybe => maybe = true,
                Is::No => {}
            }
        }
    }
    if maybe {
        return (Is::Maybe, &NOTHING);
    }
    let any = set.elements.iter().find(|element| element.key.is_none());
    any.map_or((Is::No, &NOTHING), |element| (Is::Yes, &element.data))
}

/// Returns whether each field is within its bounds.
fn within(bytes: &[Byte], low: &[u8], high: &[u8], fields: &[usize]) -> Is {
    if low == high || fields.is_empty() {
        return compare(bytes, Comparison::Equal, low);
    }
    let (mut at, mut is) = (0, Is::Yes);
    for length in fields {
        let part = at..(at + length).min(low.len());
        at += length.next_multiple_of(4);
        let (Some(bytes), Some(low), Some(high)) =
            (bytes.get(part.clone()), low.get(part.clone()), high.get(part))
        else {
            return Is::Maybe;
        };
        is = is.min(compare(bytes, Comparison::GreaterOrEqual, low));
        is = is.min(compare(bytes, Comparison::LessOrEqual, high));
    }
    is
}
