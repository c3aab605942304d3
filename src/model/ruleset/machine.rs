//! One rule: its expressions are run on registers, as the kernel runs them. A byte that nobody can
//! know before the packet is there is unknown, and so is what depends on it.

use std::net::IpAddr;

use super::{
    Comparison, Data, Expression, Field, Header, Packet, Rule, Set, Surroundings, Translation,
    Verdict, xtables,
};

/// A byte, if it is known.
type Byte = Option<u8>;

/// More than all registers take, in bytes.
const REGISTERS: usize = 96;

// RTN_*
const UNICAST: u32 = 1;
const LOCAL: u32 = 2;
const BROADCAST: u32 = 3;
const MULTICAST: u32 = 5;
// NF_CT_STATE_*
const INVALID: u32 = 1;
const NEW: u32 = 1 << 3;
const UNTRACKED: u32 = 1 << 6;
// IPS_*
const SOURCE_TRANSLATED: u32 = 1 << 4;
const DESTINATION_TRANSLATED: u32 = 1 << 5;

const TCP: u8 = 6;
const SYN: u8 = 2;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Whether a rule is for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Is {
    No,
    Maybe,
    Yes,
}

/// What a rule does with a packet that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Decide(Verdict),
    To(Option<IpAddr>, Option<u16>),
    From(Option<IpAddr>),
    NoTrack,
    /// What this walk does not know.
    Unknown(String),
}

/// Whether this is for a packet, and what it does then.
pub(super) struct Answer {
    pub(super) is: Is,
    pub(super) effect: Effect,
    pub(super) mark: Option<u32>,
}

/// The namespace around a rule, and its packet.
pub(super) struct Machine<'a> {
    pub(super) packet: &'a Packet,
    pub(super) around: &'a Surroundings<'a>,
    /// Connection tracking has seen it.
    pub(super) tracked: bool,
    pub(super) set: &'a dyn Fn(&str) -> Option<&'a Set>,
}

impl Machine<'_> {
    /// Runs a rule.
    pub(super) fn run(&self, rule: &Rule) -> Answer {
        let mut registers = [None; REGISTERS];
        let mut answer =
            Answer { is: Is::Yes, effect: Effect::Decide(Verdict::Continue), mark: None };
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

    fn one(&self, one: &Expression, registers: &mut [Byte; REGISTERS], to: &mut Answer) -> Is {
        match one {
            Expression::Load(field, at) => put(registers, *at, self.load(field)),
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
                return compare(&get(registers, *at, value.len()), *how, value);
            }
            Expression::Range { register, not, from, to } => {
                let bytes = get(registers, *register, from.len());
                let low = compare(&bytes, Comparison::GreaterOrEqual, from);
                let high = compare(&bytes, Comparison::LessOrEqual, to);
                return low.min(high).turned(*not);
            }
            Expression::Lookup { set, register, destination, not, decides } => {
                let Some(set) = (self.set)(set) else { return Is::Maybe };
                let (is, data) = find(set, |length| get(registers, *register, length));
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
                to.effect = xtables::target(self, name, *revision, info);
            }
            Expression::Aside(_) => {}
            Expression::SetMark(at) => {
                let bytes: Option<Vec<u8>> = get(registers, *at, 4).into_iter().collect();
                to.mark = bytes.and_then(|b| Some(u32::from_ne_bytes(b.try_into().ok()?)));
            }
            Expression::Unknown(_) => return Is::Maybe,
        }
        Is::Yes
    }

    fn translate(&self, translation: Translation, registers: &[Byte; REGISTERS]) -> Effect {
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

    fn load(&self, field: &Field) -> Vec<Byte> {
        let known = |bytes: &[u8]| bytes.iter().copied().map(Some).collect::<Vec<_>>();
        let number = |number: u32| known(&number.to_ne_bytes());
        let name = |side: &Option<super::Side>| {
            let mut bytes = side.as_ref().map_or(Vec::new(), |s| s.name.as_bytes().to_vec());
            bytes.resize(16, 0);
            known(&bytes)
        };
        let index = |side: &Option<super::Side>| number(side.as_ref().map_or(0, |s| s.index));
        match field {
            Field::InName => name(&self.around.incoming),
            Field::OutName => name(&self.around.outgoing),
            Field::InIndex => index(&self.around.incoming),
            Field::OutIndex => index(&self.around.outgoing),
            Field::Version => known(&[if self.packet.source.is_ipv4() { 2 } else { 10 }]),
            Field::Protocol => known(&[self.packet.protocol]),
            Field::Mark => number(self.packet.mark),
            Field::Header(header, offset, length) => {
                let bytes = self.header(*header);
                (*offset..offset + length).map(|i| bytes.get(i).copied().flatten()).collect()
            }
            Field::State => number(self.state()),
            Field::Status => number(self.status()),
            Field::Direction => known(&[0]),
            Field::ConnectionMark => number(0),
            Field::SourceType => number(self.kind_of(self.packet.source)),
            Field::DestinationType => number(self.kind_of(self.packet.destination)),
            Field::Unknown(_) => vec![None; 16],
        }
    }

    pub(super) fn state(&self) -> u32 {
        match (self.packet.untracked, self.tracked) {
            (true, _) => UNTRACKED,
            (false, true) => NEW,
            (false, false) => INVALID,
        }
    }

    pub(super) fn status(&self) -> u32 {
        let bit = |is: bool, bit| if is { bit } else { 0 };
        bit(self.packet.destination_translated, DESTINATION_TRANSLATED)
            | bit(self.packet.source_translated, SOURCE_TRANSLATED)
    }

    pub(super) fn kind_of(&self, address: IpAddr) -> u32 {
        match address {
            _ if self.around.local.contains(&address) || address.is_loopback() => LOCAL,
            _ if address.is_multicast() => MULTICAST,
            IpAddr::V4(v4) if v4.is_broadcast() => BROADCAST,
            _ => UNICAST,
        }
    }

    fn header(&self, header: Header) -> Vec<Byte> {
        let packet = self.packet;
        match header {
            Header::Link => Vec::new(),
            Header::Network => match (packet.source, packet.destination) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    let mut bytes = vec![None; 20];
                    (bytes[0], bytes[9]) = (Some(0x45), Some(packet.protocol));
                    bytes.splice(12..16, from.octets().map(Some));
                    bytes.splice(16..20, to.octets().map(Some));
                    bytes
                }
                (from, to) => {
                    let octets = |ip| match ip {
                        IpAddr::V6(v6) => v6.octets(),
                        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                    };
                    let mut bytes = vec![None; 40];
                    bytes[6] = Some(packet.protocol);
                    bytes.splice(8..24, octets(from).map(Some));
                    bytes.splice(24..40, octets(to).map(Some));
                    bytes
                }
            },
            Header::Transport => {
                let mut bytes = vec![None; 20];
                match packet.protocol {
                    ICMP => (bytes[0], bytes[1]) = (Some(8), Some(0)),
                    ICMPV6 => (bytes[0], bytes[1]) = (Some(128), Some(0)),
                    protocol => {
                        let from = packet.source_port.map(u16::to_be_bytes);
                        bytes.splice(0..2, [from.map(|b| b[0]), from.map(|b| b[1])]);
                        bytes.splice(2..4, packet.port.to_be_bytes().map(Some));
                        if protocol == TCP {
                            bytes[13] = Some(SYN);
                        }
                    }
                }
                bytes
            }
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

    fn min(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Maybe, _) | (_, Self::Maybe) => Self::Maybe,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }
}

fn get(registers: &[Byte; REGISTERS], at: usize, length: usize) -> Vec<Byte> {
    (at..at + length).map(|i| registers.get(i).copied().flatten()).collect()
}

/// A register is filled up to four bytes with zeros.
fn put(registers: &mut [Byte; REGISTERS], at: usize, mut bytes: Vec<Byte>) {
    bytes.resize(bytes.len().next_multiple_of(4), Some(0));
    for (register, byte) in registers.iter_mut().skip(at).zip(bytes) {
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

/// Whether what is in a register is in a set, and what it is mapped to.
fn find(set: &Set, register: impl Fn(usize) -> Vec<Byte>) -> (Is, &Data) {
    static NOTHING: Data = Data::None;
    let mut maybe = false;
    let is_bounded = set.interval && set.fields.is_empty();
    if is_bounded {
        // The nearest boundary below says whether an interval is open there.
        let mut nearest: Option<&super::Element> = None;
        for element in &set.elements {
            let Some(key) = &element.key else { continue };
            match compare(&register(key.len()), Comparison::GreaterOrEqual, key) {
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
            let is = within(&register(key.len()), key, end, &set.fields);
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

/// Whether each field is within its bounds.
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
