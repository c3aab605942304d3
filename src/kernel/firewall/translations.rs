//! Rules of other programs in nftables that translate the destination of a port.

use std::ops::RangeInclusive;

use anyhow::{Context, Result};
use netlink_packet_core::{NLM_F_DUMP, Nla};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterProtoFamily,
    nftables::{
        Cmp, DataAttribute, ExpressionAttribute, Expressions, ListAttribute, Meta, MetaKey,
        NfTablesMessage, Operator, Payload, RuleAttribute, RuleMessage,
    },
};

use super::{
    chains,
    nftables::{RuleAnswer, protocol_number},
};
use crate::{
    kernel::nfnetlink::Socket,
    model::{Family, PortRange, Protocol},
    plan::nft::TABLE,
};

// NFT_PAYLOAD_NETWORK_HEADER, NFT_PAYLOAD_TRANSPORT_HEADER, NFTA_NAT_TYPE
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const NAT_TYPE: u16 = 1;
/// `NFT_NAT_DNAT`, as it is on the wire.
const DNAT: [u8; 4] = 1_u32.to_be_bytes();

/// A rule that translates the destination of some ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The family, as `nft` names it.
    pub family: &'static str,
    /// Its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// The rule's handle.
    pub handle: u64,
    protocol: Option<u8>,
    ports: RangeInclusive<u16>,
}

impl Translation {
    /// Returns whether packets to these ports match it.
    pub fn takes(&self, family: Family, protocol: Protocol, ports: PortRange) -> bool {
        let meets = match self.family {
            "ip" => family == Family::V4,
            "ip6" => family == Family::V6,
            _ => true,
        };
        let own = PortRange { first: *self.ports.start(), last: *self.ports.end() };
        meets
            && self.protocol.is_none_or(|own| own == protocol_number(protocol))
            && own.overlaps(ports)
    }
}

/// Returns all such rules but our own: those that name ports themselves, and not by a set.
pub(in crate::kernel) fn all() -> Result<Vec<Translation>> {
    let chains = chains::all()?;
    if chains.is_empty() {
        return Ok(Vec::new());
    }
    let get = NfTablesMessage::GetRule(RuleMessage { attributes: Vec::new() });
    let every_family = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
    let mut socket = Socket::open().context("cannot ask for nftables' rules")?;
    let mut found = socket
        .dump(&NetfilterMessage::new(every_family, get), NLM_F_DUMP, rule)
        .context("cannot list nftables' rules")?;
    // NAT at the hook output concerns only packets of the host itself.
    let is_of_output =
        |t: &Translation| chains.iter().any(|c| c.is_output && c.is(t.family, &t.table, &t.chain));
    found.retain(|t| !is_of_output(t) && (t.family, t.table.as_str()) != ("inet", TABLE));
    Ok(found)
}

fn rule(rule: RuleAnswer) -> Option<Translation> {
    let family = chains::family(rule.family)?;
    let (mut table, mut chain, mut handle, mut reading) = (None, None, None, Reading::default());
    for attribute in rule.attributes {
        match attribute {
            RuleAttribute::Table(name) => table = Some(name),
            RuleAttribute::Chain(name) => chain = Some(name),
            RuleAttribute::Handle(number) => handle = Some(number),
            RuleAttribute::Expressions(all) => {
                all.iter().filter_map(data).for_each(|expression| reading.read(expression));
            }
            _ => {}
        }
    }
    let ports = reading.translates.then_some(reading.ports)??;
    let (table, chain, handle) = (table?, chain?, handle?);
    Some(Translation { family, table, chain, handle, protocol: reading.protocol, ports })
}

fn data(element: &ListAttribute<ExpressionAttribute>) -> Option<&Expressions> {
    let ListAttribute::Element(attributes) = element else { return None };
    attributes.iter().find_map(|attribute| match attribute {
        ExpressionAttribute::Data(data) => Some(data),
        _ => None,
    })
}

/// The field in a register.
#[derive(Default)]
enum Loaded {
    Protocol,
    Port,
    #[default]
    Other,
}

/// The meaning of a rule, as far as it has been read.
#[derive(Default)]
struct Reading {
    loaded: Loaded,
    protocol: Option<u8>,
    ports: Option<RangeInclusive<u16>>,
    translates: bool,
}

impl Reading {
    fn read(&mut self, expression: &Expressions) {
        match expression {
            Expressions::Meta(meta) => {
                let is_protocol = meta.contains(&Meta::Key(MetaKey::L4Proto));
                self.loaded = if is_protocol { Loaded::Protocol } else { Loaded::Other };
            }
            Expressions::Payload(payload) => {
                let is = |base, offset, length| {
                    [Payload::Base(base), Payload::Offset(offset), Payload::Len(length)]
                        .iter()
                        .all(|part| payload.contains(part))
                };
                self.loaded = if is(TRANSPORT_HEADER, 2, 2) {
                    Loaded::Port
                } else if is(NETWORK_HEADER, 9, 1) || is(NETWORK_HEADER, 6, 1) {
                    Loaded::Protocol
                } else {
                    Loaded::Other
                };
            }
            Expressions::Cmp(parts) => self.compare(parts),
            Expressions::Other { expression_type, attributes } => match expression_type.as_str() {
                "redir" => self.translates = true,
                "nat" => {
                    self.translates |= attributes.iter().any(|attribute| {
                        let mut value = vec![0; attribute.value_len()];
                        attribute.emit_value(&mut value);
                        attribute.kind() == NAT_TYPE && value == DNAT
                    });
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn compare(&mut self, parts: &[Cmp]) {
        let (mut operator, mut value) = (None, None);
        for part in parts {
            match part {
                Cmp::Op(op) => operator = Some(op),
                Cmp::Data(DataAttribute::Value(bytes)) => value = Some(bytes.as_slice()),
                _ => {}
            }
        }
        match (&self.loaded, operator, value) {
            (Loaded::Protocol, Some(Operator::Equal), Some([number])) => {
                self.protocol = Some(*number);
            }
            (Loaded::Port, Some(operator), Some([high, low])) => {
                let port = u16::from_be_bytes([*high, *low]);
                let (first, last) = self.ports.clone().unwrap_or(0..=u16::MAX).into_inner();
                self.ports = match operator {
                    Operator::Equal => Some(port..=port),
                    Operator::GreatherThanEqual => Some(port..=last),
                    Operator::LessThanEqual => Some(first..=port),
                    _ => None,
                };
            }
            _ => {}
        }
    }
}
