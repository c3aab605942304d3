//! Reads the content of our table.

use std::{io, net::IpAddr};

use netlink_packet_core::{DefaultNla, NLM_F_DUMP, Nla};
use netlink_packet_netfilter::{
    NetfilterMessage, NetfilterMessageInner,
    nftables::{
        DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementList,
        SetElementMessage, TableAttribute, TableMessage, VerdictAttribute,
    },
};
use nix::errno::Errno;

use super::{
    data, dump,
    request::{inet, key, list, of_set},
};
use crate::{
    kernel::{firewall::Published, nfnetlink::Socket},
    model::{
        PortRange, PublishedPort,
        ruleset::{Data, Element as Found, Family, Ruleset, Table},
    },
    plan::{
        ALIAS_PREFIX,
        nft::{DataType, Element, ElementData, PortElements, Set, TABLE, Value, port_maps},
    },
};

/// Returns the elements of a published port that are missing or have other data, a line for each.
pub(super) fn damage_of_ports(
    socket: &mut Socket,
    ports: &PortElements,
) -> io::Result<Vec<String>> {
    let PortElements { set, elements, .. } = ports;
    let mut lines = Vec::new();
    for element in elements {
        if !has(socket, set, element)? {
            lines.push(format!("not there: element inet {TABLE} {} {{ {element} }}", set.name));
        }
    }
    Ok(lines)
}

/// Returns whether our table exists.
pub(super) fn has_table(socket: &mut Socket) -> io::Result<bool> {
    let attributes = vec![TableAttribute::Name(TABLE.to_owned())];
    let get = inet(NfTablesMessage::GetTable(TableMessage { attributes }));
    or_none(socket.request(get, 0, |_: NetfilterMessage| {}).map(Some)).map(|found| found.is_some())
}

/// Returns whether an element exists with the same data.
fn has(socket: &mut Socket, set: &Set, element: &Element) -> io::Result<bool> {
    let get = inet(NfTablesMessage::GetSetElement(list(set, key(set, element))));
    let mut same = false;
    let found = socket.request(get, 0, |message| {
        same |= elements(message).iter().any(|attributes| is_mapped_to(attributes, &element.data));
    });
    Ok(or_none(found.map(Some))?.is_some() && same)
}

fn is_mapped_to(attributes: &[SetElementAttribute], data: &ElementData) -> bool {
    let found = attributes.iter().find_map(|attribute| match attribute {
        SetElementAttribute::Data(data) => Some(data),
        _ => None,
    });
    match (data, found) {
        (ElementData::None, None) => true,
        (ElementData::Values(values), Some(DataAttribute::Value(bytes))) => {
            *bytes == data::values(values)
        }
        (ElementData::Jump(chain), Some(DataAttribute::Verdict(verdict))) => {
            verdict.contains(&VerdictAttribute::Chain(chain.clone()))
        }
        _ => false,
    }
}

/// Returns all published ports in our table.
pub(super) fn published(socket: &mut Socket) -> io::Result<Vec<Published>> {
    let mut all = Vec::new();
    for map in port_maps() {
        let get = inet(NfTablesMessage::GetSetElement(of_set(map)));
        let found = or_none(socket.dump(&get, NLM_F_DUMP, |m| Some(elements(m))).map(Some))?;
        // Without the table, there are no maps.
        let Some(found) = found else { return Ok(all) };
        let elements = found.into_iter().flatten().map(dump::element);
        all.extend(elements.filter_map(|element| port(map, &element)));
    }
    Ok(all)
}

/// Returns all published ports in our table, of a ruleset that was read.
pub(super) fn published_in(ruleset: &Ruleset) -> Vec<Published> {
    let table = Table { family: Family::Inet, name: TABLE.to_owned() };
    let mut all = Vec::new();
    for map in port_maps() {
        let set = ruleset.set(&table, map.name);
        let elements = set.into_iter().flat_map(|set| &set.elements);
        all.extend(elements.filter_map(|element| port(map, element)));
    }
    all
}

fn port(map: &Set, element: &Found) -> Option<Published> {
    let Found { key: Some(low), key_end: high, data: Data::Value(to), comment, .. } = element
    else {
        return None;
    };
    let DataType::Fields(fields) = &map.data else { return None };
    let key = data::read(map.key, low, high.as_ref().unwrap_or(low))?;
    let to = data::read(fields, to, to)?;
    let owner = comment.as_ref()?.strip_prefix(ALIAS_PREFIX)?;
    let (owner, range) = owner.split_once(' ').unwrap_or((owner, ""));
    let (host_ip, key) = match key.as_slice() {
        [Value::Address(address), rest @ ..] => (Some(*address), rest),
        rest => (None, rest),
    };
    let [Value::Protocol(protocol), Value::Ports(host)] = *key else { return None };
    let (address, inside) = match *to.as_slice() {
        [Value::Address(address), Value::Ports(inside)] => (address, inside),
        [Value::Address(address)] => (address, host),
        _ => return None,
    };
    let unspecified = match address {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    };
    let mut port = PublishedPort {
        host_ip: host_ip.unwrap_or(unspecified),
        host,
        address,
        container: inside,
        protocol,
        chosen: false,
    };
    if let Ok(range) = range.parse::<PortRange>() {
        // Each port of the range is an element; the first one stands for all.
        if range.first != host.first {
            return None;
        }
        let last = inside.first.checked_add(range.last - range.first)?;
        (port.host, port.container) = (range, PortRange { first: inside.first, last });
    }
    Some(Published { owner: owner.to_owned(), port, changed: None })
}

/// The elements in a message of the kernel.
pub(super) fn elements(message: NetfilterMessage) -> Vec<Vec<SetElementAttribute>> {
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewSetElement(SetElementMessage {
        attributes,
    })) = message.inner
    else {
        return Vec::new();
    };
    let lists = attributes.into_iter().filter_map(|attribute| match attribute {
        SetElementList::Elements(elements) => Some(elements),
        _ => None,
    });
    let of_list = |element| match element {
        ListAttribute::Element(attributes) => Some(attributes),
        _ => None,
    };
    lists.flatten().filter_map(of_list).collect()
}

/// Returns the bytes of an attribute.
pub(super) fn bytes(attribute: &DefaultNla) -> Vec<u8> {
    let mut bytes = vec![0; attribute.value_len()];
    attribute.emit_value(&mut bytes);
    bytes
}

/// Turns "does not exist" into `None`.
pub(super) fn or_none<T>(found: io::Result<Option<T>>) -> io::Result<Option<T>> {
    match found {
        Err(e) if e.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(None),
        found => found,
    }
}
