//! Keys and data in the kernel's form: concatenated fields, each padded to four bytes.

use std::net::IpAddr;

use netlink_packet_netfilter::nftables::{DataAttribute, SetElementAttribute};

use crate::{
    model::{Family, LinkName, PortRange, Protocol},
    plan::nft::{Element, Field, Set, Value},
};

/// IFNAMSIZ
const LINK_NAME: usize = 16;

/// Returns a link's name, padded with zeros.
pub(super) fn link(name: &LinkName) -> Vec<u8> {
    let mut bytes = name.as_str().as_bytes().to_vec();
    bytes.resize(LINK_NAME, 0);
    bytes
}

/// Returns the number of a transport protocol (IANA).
pub(in crate::kernel::firewall) fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

fn protocol(number: u8) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|p| self::number(*p) == number)
}

/// Returns the length of each field in bytes.
pub(super) fn field_lengths(fields: &[Field]) -> impl Iterator<Item = u32> {
    fields.iter().map(|field| match field {
        Field::Link | Field::Address(Family::V6) => 16,
        Field::Protocol => 1,
        Field::Port => 2,
        Field::Address(Family::V4) => 4,
    })
}

/// Returns the type number that `nft` uses (`enum datatypes`); for several fields, six bits each.
pub(super) fn type_number(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |number, field| {
        let one = match field {
            Field::Address(Family::V4) => 7,
            Field::Address(Family::V6) => 8,
            Field::Protocol => 12,
            Field::Port => 13,
            Field::Link => 41,
        };
        number << 6 | one
    })
}

/// Returns the length of all fields in bytes.
pub(super) fn length(fields: &[Field]) -> u32 {
    field_lengths(fields).map(|length| length.next_multiple_of(4)).sum()
}

/// Returns the lower end of a key, and its upper end.
pub(super) fn key(element: &Element) -> (Vec<u8>, Vec<u8>) {
    (bytes(&element.key, |range| range.first), bytes(&element.key, |range| range.last))
}

/// Returns the data of an element.
pub(super) fn values(values: &[Value]) -> Vec<u8> {
    bytes(values, |range| range.first)
}

fn bytes(values: &[Value], port: impl Fn(&PortRange) -> u16) -> Vec<u8> {
    let mut all = Vec::new();
    for value in values {
        match value {
            Value::Link(name) => all.extend(link(name)),
            Value::Protocol(protocol) => all.push(number(*protocol)),
            Value::Ports(range) => all.extend(port(range).to_be_bytes()),
            Value::Address(IpAddr::V4(v4)) => all.extend(v4.octets()),
            Value::Address(IpAddr::V6(v6)) => all.extend(v6.octets()),
        }
        all.resize(all.len().next_multiple_of(4), 0);
    }
    all
}

/// Parses a key, if the attribute is one.
pub(super) fn read_key(set: &Set, attribute: &SetElementAttribute) -> Option<Vec<Value>> {
    let SetElementAttribute::Key(DataAttribute::Value(bytes)) = attribute else { return None };
    read(set.key, bytes, bytes)
}

/// Parses fields; for an interval, its lower and its upper end.
pub(super) fn read(fields: &[Field], low: &[u8], high: &[u8]) -> Option<Vec<Value>> {
    let mut at = 0;
    let mut values = Vec::new();
    for (field, length) in fields.iter().zip(field_lengths(fields)) {
        let length = length as usize;
        let (low, high) = (low.get(at..at + length)?, high.get(at..at + length)?);
        at = (at + length).next_multiple_of(4);
        values.push(match field {
            Field::Link => {
                let name = low.split(|byte| *byte == 0).next()?;
                Value::Link(std::str::from_utf8(name).ok()?.parse().ok()?)
            }
            Field::Protocol => Value::Protocol(protocol(low[0])?),
            Field::Port => {
                let port = |bytes: &[u8]| Some(u16::from_be_bytes(bytes.try_into().ok()?));
                Value::Ports(PortRange { first: port(low)?, last: port(high)? })
            }
            Field::Address(Family::V4) => {
                Value::Address(IpAddr::from(<[u8; 4]>::try_from(low).ok()?))
            }
            Field::Address(Family::V6) => {
                Value::Address(IpAddr::from(<[u8; 16]>::try_from(low).ok()?))
            }
        });
    }
    Some(values)
}
