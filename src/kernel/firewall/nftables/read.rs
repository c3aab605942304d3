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
    data,
    request::{inet, key, list, of_set, read_comment},
};
use crate::{
    kernel::{firewall::Published, nfnetlink::Socket},
    model::{PortRange, PublishedPort},
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
    or_none(socket.request(get, 0, |_| {}).map(Some)).map(|found| found.is_some())
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
        all.extend(found.iter().flatten().filter_map(|attributes| port(map, attributes)));
    }
    Ok(all)
}

fn port(map: &Set, attributes: &[SetElementAttribute]) -> Option<Published> {
    let (mut low, mut high, mut to, mut comment) = (None, None, None, None);
    for attribute in attributes {
        match attribute {
            SetElementAttribute::Key(DataAttribute::Value(bytes)) => low = Some(bytes.clone()),
            SetElementAttribute::KeyEnd(ends) => {
                high = ends.first().map(bytes);
            }
            SetElementAttribute::Data(DataAttribute::Value(bytes)) => to = Some(bytes.clone()),
            SetElementAttribute::UserData(bytes) => comment = read_comment(bytes),
            _ => {}
        }
    }
    let (low, to, comment) = (low?, to?, comment?);
    let DataType::Fields(fields) = &map.data else { return None };
    let key = data::read(map.key, &low, high.as_ref().unwrap_or(&low))?;
    let to = data::read(fields, &to, &to)?;
    let owner = comment.strip_prefix(ALIAS_PREFIX)?;
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
