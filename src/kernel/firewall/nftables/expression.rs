//! Rules as the kernel's expressions (`<linux/netfilter/nf_tables.h>`): load a field of the packet
//! into a register, compare, decide. Expressions that the crate does not know are written by
//! number.

use std::net::IpAddr;

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, ListAttribute,
    Lookup, Meta, MetaKey, Operator, Payload, Register, Verdict as Code, VerdictAttribute,
};

use super::data::{field_lengths, link, number};
use crate::model::Family;
use crate::plan::nft::{DataType, Field, Match, Rule, Set, Verdict};

// NFPROTO_*
const IPV4: u8 = 2;
const IPV6: u8 = 10;
// NFT_PAYLOAD_*_HEADER
pub(super) const NETWORK_HEADER: u32 = 1;
pub(super) const TRANSPORT_HEADER: u32 = 2;
// NFT_CT_*
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
// <linux/netfilter/nf_conntrack_common.h>: NF_CT_STATE_BIT, IPS_DST_NAT
const ESTABLISHED_OR_RELATED: u32 = 0b110;
const DST_NAT: u32 = 1 << 5;
// NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_DADDR; RTN_LOCAL
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_DESTINATION: u32 = 2;
const LOCAL: u32 = 2;
// NFT_NAT_DNAT; NF_NAT_RANGE_PROTO_SPECIFIED
const NAT_SOURCE: u32 = 0;
const NAT_DESTINATION: u32 = 1;
const PORTS_ARE_SAID: u32 = 2;
const DROP: u32 = 0;

/// The first of the 4-byte registers.
pub(super) const FIRST: u32 = 8;

type Attribute = ListAttribute<ExpressionAttribute>;

/// Returns the expressions of a rule, in order.
pub(super) fn expressions(rule: &Rule) -> Vec<Attribute> {
    let mut all: Vec<Expressions> = rule.matches.iter().flat_map(one_match).collect();
    all.extend(verdict(&rule.verdict));
    all.into_iter().map(Attribute::from).collect()
}

fn one_match(one: &Match) -> Vec<Expressions> {
    let is_equal = |is: bool| if is { Operator::Equal } else { Operator::NotEqual };
    match one {
        Match::In(name, is) => {
            vec![meta(MetaKey::Iifname, FIRST), compare(is_equal(*is), link(name))]
        }
        Match::Out(name, is) => {
            vec![meta(MetaKey::Oifname, FIRST), compare(is_equal(*is), link(name))]
        }
        Match::InOneOf(set) => vec![meta(MetaKey::Iifname, FIRST), lookup(set, None)],
        Match::Family(family) => is_of(*family),
        Match::Source(network, is) => address(network, false, is_equal(*is)),
        Match::Destination(network, is) => address(network, true, is_equal(*is)),
        Match::ToThisHost => vec![
            other("fib", [(1, FIRST), (2, FIB_ADDRESS_TYPE), (3, FIB_DESTINATION)]),
            compare(Operator::Equal, LOCAL.to_ne_bytes().to_vec()),
        ],
        Match::Protocol(protocol) => {
            vec![meta(MetaKey::L4Proto, FIRST), compare(Operator::Equal, vec![number(*protocol)])]
        }
        Match::Unasked => {
            let mut both = tracked(CT_STATE, ESTABLISHED_OR_RELATED, false);
            both.extend(tracked(CT_STATUS, DST_NAT, false));
            both
        }
        Match::Translated(is) => tracked(CT_STATUS, DST_NAT, *is),
    }
}

fn verdict(verdict: &Verdict) -> Vec<Expressions> {
    match verdict {
        Verdict::Drop => vec![decide(vec![VerdictAttribute::Code(Code::Other(DROP))])],
        Verdict::Return => vec![decide(vec![VerdictAttribute::Code(Code::Return)])],
        Verdict::Jump(chain) => vec![decide(jump(chain))],
        Verdict::ByIncomingLink(map) => {
            vec![meta(MetaKey::Iifname, FIRST), lookup(map, Some(Register::Verdict))]
        }
        Verdict::ByOutgoingLink(map) => {
            vec![meta(MetaKey::Oifname, FIRST), lookup(map, Some(Register::Verdict))]
        }
        Verdict::Translate(map) => translate(map),
        Verdict::Masquerade { high_ports: false } => vec![other("masq", [])],
        Verdict::Masquerade { high_ports: true } => vec![
            immediate(FIRST, vec![DataAttribute::Value(1024_u16.to_be_bytes().to_vec())]),
            immediate(FIRST + 1, vec![DataAttribute::Value(u16::MAX.to_be_bytes().to_vec())]),
            other("masq", [(1, PORTS_ARE_SAID), (2, FIRST), (3, FIRST + 1)]),
        ],
        Verdict::Snat { to, high_ports } => snat(*to, *high_ports),
    }
}

/// Translates the source to an address, and its port to an unprivileged one.
fn snat(to: IpAddr, high_ports: bool) -> Vec<Expressions> {
    let (bytes, ports) = match to {
        IpAddr::V4(v4) => (v4.octets().to_vec(), FIRST + 1),
        IpAddr::V6(v6) => (v6.octets().to_vec(), FIRST + 4),
    };
    let mut all = vec![immediate_value(FIRST, bytes)];
    let family = u32::from(protocol_family(Family::of(to)));
    let mut attributes = vec![(1, NAT_SOURCE), (2, family), (3, FIRST)];
    if high_ports {
        all.push(immediate_value(ports, 1024_u16.to_be_bytes().to_vec()));
        all.push(immediate_value(ports + 1, u16::MAX.to_be_bytes().to_vec()));
        attributes.extend([(5, ports), (6, ports + 1)]);
    }
    all.push(other("nat", attributes));
    all
}

/// The attributes of a jump.
pub(super) fn jump(chain: &str) -> Vec<VerdictAttribute> {
    vec![VerdictAttribute::Code(Code::Jump), VerdictAttribute::Chain(chain.to_owned())]
}

/// Loads the key, looks it up in the map, and translates the destination to the data.
fn translate(map: &Set) -> Vec<Expressions> {
    let mut all = Vec::new();
    let mut register = FIRST;
    for (field, length) in map.key.iter().zip(field_lengths(map.key)) {
        all.push(match field {
            Field::Link => meta(MetaKey::Iifname, register),
            Field::Protocol => meta(MetaKey::L4Proto, register),
            Field::Port => payload(TRANSPORT_HEADER, 2, 2, register),
            Field::Address(Family::V4) => payload(NETWORK_HEADER, 16, 4, register),
            Field::Address(Family::V6) => payload(NETWORK_HEADER, 24, 16, register),
        });
        register += length.div_ceil(4);
    }
    all.push(lookup(map, Some(Register::from(FIRST))));
    let mut attributes = vec![(1, NAT_DESTINATION)];
    if let (DataType::Fields(data), Some(family)) = (&map.data, map.family()) {
        attributes.extend([(2, u32::from(protocol_family(family))), (3, FIRST)]);
        if data.contains(&Field::Port) {
            let address = field_lengths(data).next().unwrap_or_default();
            attributes.push((5, FIRST + address.div_ceil(4)));
        }
    }
    all.push(other("nat", attributes));
    all
}

fn is_of(family: Family) -> Vec<Expressions> {
    vec![meta(MetaKey::Nfproto, FIRST), compare(Operator::Equal, vec![protocol_family(family)])]
}

fn protocol_family(family: Family) -> u8 {
    match family {
        Family::V4 => IPV4,
        Family::V6 => IPV6,
    }
}

/// The offset of addresses in an IP header (RFC 791, RFC 8200).
fn address(
    network: &ipnetwork::IpNetwork,
    destination: bool,
    operator: Operator,
) -> Vec<Expressions> {
    let (offset, value, mask) = match network {
        ipnetwork::IpNetwork::V4(v4) => {
            let offset = if destination { 16 } else { 12 };
            (offset, v4.network().octets().to_vec(), v4.mask().octets().to_vec())
        }
        ipnetwork::IpNetwork::V6(v6) => {
            let offset = if destination { 24 } else { 8 };
            (offset, v6.network().octets().to_vec(), v6.mask().octets().to_vec())
        }
    };
    let length = if network.is_ipv4() { 4 } else { 16 };
    let mut all = is_of(Family::of(network.ip()));
    all.push(payload(NETWORK_HEADER, offset, length, FIRST));
    if mask.iter().any(|byte| *byte != u8::MAX) {
        all.push(masked(mask));
    }
    all.push(compare(operator, value));
    all
}

/// Matches if one of these bits of a conntrack field is set, or is not.
fn tracked(key: u32, bits: u32, is_set: bool) -> Vec<Expressions> {
    let operator = if is_set { Operator::NotEqual } else { Operator::Equal };
    vec![
        other("ct", [(1, FIRST), (2, key)]),
        masked(bits.to_ne_bytes().to_vec()),
        compare(operator, vec![0; 4]),
    ]
}

pub(super) fn meta(key: MetaKey, register: u32) -> Expressions {
    Expressions::Meta(vec![Meta::Key(key), Meta::DestinationRegister(register.into())])
}

pub(super) fn payload(base: u32, offset: u32, length: u32, register: u32) -> Expressions {
    Expressions::Payload(vec![
        Payload::DestinationRegister(register.into()),
        Payload::Base(base),
        Payload::Offset(offset),
        Payload::Len(length),
    ])
}

fn masked(mask: Vec<u8>) -> Expressions {
    let zero = vec![0; mask.len()];
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(FIRST.into()),
        Bitwise::DestinationRegister(FIRST.into()),
        Bitwise::Length(u32::try_from(mask.len()).unwrap_or(u32::MAX)),
        Bitwise::Mask(DataAttribute::Value(mask)),
        Bitwise::Xor(DataAttribute::Value(zero)),
    ])
}

pub(super) fn compare(operator: Operator, value: Vec<u8>) -> Expressions {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(FIRST.into()),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(value)),
    ])
}

fn lookup(set: &Set, destination: Option<Register>) -> Expressions {
    let mut attributes =
        vec![Lookup::Set(set.name.to_owned()), Lookup::SourceRegister(FIRST.into())];
    attributes.extend(destination.map(Lookup::DestinationRegister));
    Expressions::Lookup(attributes)
}

fn decide(verdict: Vec<VerdictAttribute>) -> Expressions {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(verdict)),
    ])
}

fn immediate(register: u32, data: Vec<DataAttribute>) -> Expressions {
    let data = data.into_iter().map(Immediate::Data);
    Expressions::Immediate(
        [Immediate::DestinationRegister(register.into())].into_iter().chain(data).collect(),
    )
}

/// Loads a value.
pub(super) fn immediate_value(register: u32, value: Vec<u8>) -> Expressions {
    immediate(register, vec![DataAttribute::Value(value)])
}

/// An expression that the crate does not know: its attributes have numbers.
fn other(name: &str, attributes: impl IntoIterator<Item = (u16, u32)>) -> Expressions {
    let nla = |(kind, value): (u16, u32)| DefaultNla::new(kind, value.to_be_bytes().to_vec());
    Expressions::Other {
        expression_type: name.to_owned(),
        attributes: attributes.into_iter().map(nla).collect(),
    }
}
