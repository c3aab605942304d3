//! Connection tracking: deletes connections that began before a port was published, or unpublished.
//!
//! DNAT is decided at a connection's first packet, and remembered: without this, a client that
//! keeps sending (UDP) would stay with the old decision. So the rule changes first, and the
//! deletion follows. A delete request without a tuple would empty the whole table; `Entry` makes
//! that impossible.

use std::{collections::HashMap, io, net::IpAddr};

use anyhow::Context;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, Nla};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    conntrack::{self, ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Tuple},
};
use nix::{errno::Errno, ifaddrs::getifaddrs};

use super::nfnetlink::{Socket, is_absent};
use crate::{
    model::{Family, Protocol},
    plan::Flows,
};

// <linux/netfilter/nfnetlink_conntrack.h>; the crate lacks these names.
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;

/// Deletes the entries of these connections, and returns their number.
///
/// If `host_ip` is unspecified, only connections to an address of this host count. Deleting the
/// entry of a connection that is merely routed (a target's connection to port 443 elsewhere) would
/// make the host answer its next packet with a reset.
///
/// A kernel without connection tracking, or without its netlink interface, has no entries. A dump
/// walks the kernel's whole table (10 ms for 262144 buckets, even if empty), so there is one a
/// family, for any number of connections.
///
/// Equivalent to `conntrack -D -p PROTOCOL --orig-dst ADDRESS --orig-port-dst PORT` for each.
pub fn flush(flows: &[&Flows]) -> anyhow::Result<usize> {
    let mut deleted = 0;
    for family in Family::BOTH {
        let of_family: Vec<_> =
            flows.iter().copied().filter(|f| Family::of(f.host_ip) == family).collect();
        if !of_family.is_empty() {
            let number = match family {
                Family::V4 => NetfilterProtoFamily::IPv4,
                Family::V6 => NetfilterProtoFamily::IPv6,
            };
            deleted += flush_family(number, &of_family).with_context(|| cannot(&of_family))?;
        }
    }
    Ok(deleted)
}

fn cannot(flows: &[&Flows]) -> String {
    match flows {
        [one] => format!("cannot forget the flows towards port {}/{}", one.ports, one.protocol),
        many => format!("cannot forget the flows towards {} published ports", many.len()),
    }
}

fn flush_family(family: NetfilterProtoFamily, flows: &[&Flows]) -> anyhow::Result<usize> {
    let is_any = flows.iter().any(|f| f.host_ip.is_unspecified());
    let locals = if is_any { local_addresses()? } else { Vec::new() };
    let by_port = ByPort::new(flows);
    let is_wanted = |entry: &Entry| {
        let Some((protocol, address, port)) = entry.destination() else { return false };
        by_port.of(protocol, port).any(|flows| {
            let is_local = || address.is_loopback() || locals.contains(&address);
            flows.contain(protocol, address, port)
                && (!flows.host_ip.is_unspecified() || is_local())
        })
    };
    let mut table = match Table::open(family) {
        Err(e) if is_absent(&e) => return Ok(0),
        table => table?,
    };
    let entries = match table.entries(is_wanted) {
        Err(e) if is_absent(&e) => return Ok(0),
        entries => entries?,
    };
    let mut deleted = 0;
    for entry in entries {
        deleted += usize::from(table.delete(entry)?);
    }
    Ok(deleted)
}

/// Connections by port, since there may be as many as entries to compare them with.
struct ByPort<'a>(HashMap<(Protocol, u16), Vec<&'a Flows>>);

impl<'a> ByPort<'a> {
    fn new(flows: &[&'a Flows]) -> Self {
        let mut by_port: HashMap<_, Vec<_>> = HashMap::new();
        for flows in flows {
            for port in flows.ports.ports() {
                by_port.entry((flows.protocol, port)).or_default().push(*flows);
            }
        }
        Self(by_port)
    }

    fn of(&self, protocol: Protocol, port: u16) -> impl Iterator<Item = &'a Flows> {
        self.0.get(&(protocol, port)).into_iter().flatten().copied()
    }
}

fn local_addresses() -> anyhow::Result<Vec<IpAddr>> {
    let links =
        getifaddrs().map_err(io::Error::from).context("cannot list the host's addresses")?;
    let addresses = links.filter_map(|link| {
        let address = link.address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    });
    Ok(addresses.collect())
}

/// The identity of one entry. It always has a tuple, so that a request to delete it can never mean
/// all entries.
struct Entry {
    /// The original tuple, with the zone of this direction if it has its own.
    original: Vec<Tuple>,
    /// `CTA_ID` and `CTA_ZONE`, which distinguish the entry from a newer one, and from one with the
    /// same tuple in another zone.
    identity: Vec<ConntrackAttribute>,
}

impl Entry {
    fn of(attributes: Vec<ConntrackAttribute>) -> Option<Self> {
        let (mut original, mut identity) = (None, Vec::new());
        for attribute in attributes {
            match attribute {
                ConntrackAttribute::CtaTupleOrig(tuple) => original = Some(tuple),
                ConntrackAttribute::Other(nla) if matches!(nla.kind(), CTA_ID | CTA_ZONE) => {
                    identity.push(ConntrackAttribute::Other(nla));
                }
                _ => {}
            }
        }
        Some(Self { original: original?, identity })
    }

    /// Returns the destination of its first packet; `None` if its protocol has no ports, or is not
    /// one of ours.
    fn destination(&self) -> Option<(Protocol, IpAddr, u16)> {
        let (mut protocol, mut address, mut port) = (None, None, None);
        for part in &self.original {
            match part {
                Tuple::Ip(parts) => {
                    address = parts.iter().find_map(|part| match part {
                        IPTuple::DestinationAddress(address) => Some(*address),
                        _ => None,
                    });
                }
                Tuple::Proto(parts) => {
                    for part in parts {
                        match part {
                            ProtoTuple::Protocol(number) => protocol = of_number(*number),
                            ProtoTuple::DestinationPort(number) => port = Some(*number),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Some((protocol?, address?, port?))
    }

    fn into_delete(self) -> ConntrackMessage {
        let mut attributes = vec![ConntrackAttribute::CtaTupleOrig(self.original)];
        attributes.extend(self.identity);
        ConntrackMessage::Delete(attributes)
    }
}

fn of_number(protocol: conntrack::Protocol) -> Option<Protocol> {
    match protocol {
        conntrack::Protocol::Tcp => Some(Protocol::Tcp),
        conntrack::Protocol::Udp => Some(Protocol::Udp),
        conntrack::Protocol::Sctp => Some(Protocol::Sctp),
        _ => None,
    }
}

/// One family's part of the table, in the thread's namespace.
struct Table {
    socket: Socket,
    family: NetfilterProtoFamily,
}

impl Table {
    fn open(family: NetfilterProtoFamily) -> io::Result<Self> {
        Ok(Self { socket: Socket::open()?, family })
    }

    /// Returns the matching entries.
    fn entries(&mut self, is_wanted: impl Fn(&Entry) -> bool) -> io::Result<Vec<Entry>> {
        let get = self.message(ConntrackMessage::Get(Vec::new()));
        self.socket.dump(&get, NLM_F_DUMP, |message: NetfilterMessage| match message.inner {
            NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) => {
                Entry::of(attributes).filter(&is_wanted)
            }
            _ => None,
        })
    }

    /// Deletes one entry; returns `false` if it was gone.
    fn delete(&mut self, entry: Entry) -> io::Result<bool> {
        let delete = self.message(entry.into_delete());
        match self.socket.request(delete, NLM_F_ACK, |_: NetfilterMessage| {}) {
            Ok(_) => Ok(true),
            Err(e) if e.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn message(&self, message: ConntrackMessage) -> NetfilterMessage {
        NetfilterMessage::new(NetfilterHeader::new(self.family, 0, 0), message)
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::DefaultNla;

    use super::*;

    fn tuple() -> Vec<Tuple> {
        vec![
            Tuple::Ip(vec![
                IPTuple::SourceAddress([192, 0, 2, 9].into()),
                IPTuple::DestinationAddress([192, 0, 2, 1].into()),
            ]),
            Tuple::Proto(vec![
                ProtoTuple::Protocol(conntrack::Protocol::Udp),
                ProtoTuple::SourcePort(40000),
                ProtoTuple::DestinationPort(5353),
            ]),
        ]
    }

    #[test]
    fn a_request_to_delete_names_one_entry() {
        let id = ConntrackAttribute::Other(DefaultNla::new(CTA_ID, vec![1, 2, 3, 4]));
        let zone = ConntrackAttribute::Other(DefaultNla::new(CTA_ZONE, vec![0, 7]));
        let original = ConntrackAttribute::CtaTupleOrig(tuple());
        let attributes = vec![
            zone.clone(),
            original.clone(),
            ConntrackAttribute::CtaTimeout(30),
            ConntrackAttribute::CtaTupleReply(Vec::new()),
            id.clone(),
        ];
        let entry = Entry::of(attributes).unwrap();
        assert_eq!(entry.destination(), Some((Protocol::Udp, [192, 0, 2, 1].into(), 5353)));
        assert_eq!(entry.into_delete(), ConntrackMessage::Delete(vec![original, zone, id]));
    }

    #[test]
    fn what_is_not_whole_is_no_ones_flow() {
        assert!(Entry::of(vec![ConntrackAttribute::CtaTupleReply(tuple())]).is_none());
        for missing in 0..2 {
            let mut original = tuple();
            original.remove(missing);
            assert_eq!(Entry { original, identity: Vec::new() }.destination(), None);
        }
    }
}
