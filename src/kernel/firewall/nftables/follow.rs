//! Follows packets through all rules of a namespace: the kernel reports each rule that a packet with
//! `meta nftrace set 1` meets (`nft monitor trace`). A table of our own sets it on the packets to
//! follow. The table belongs to a socket, and is gone with it however we end (`NFT_TABLE_F_OWNER`).

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, Nla};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::{
    NetfilterMessage, NetfilterMessageInner,
    nftables::{
        ChainAttribute, ChainMessage, Expressions, Hook as HookAttribute, HookNumber,
        InetHookNumber, Meta, MetaKey, NfTablesMessage, Operator, RuleAttribute, RuleMessage,
        TableAttribute, TableFlags, TableMessage,
    },
};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
    },
};

use super::{
    NLA_TYPE_MASK, commit, dump,
    expression::{
        FIRST, NETWORK_HEADER, TRANSPORT_HEADER, compare, immediate_value, meta, payload,
    },
    read,
    request::inet,
};
use crate::{
    kernel::nfnetlink::Socket,
    model::ruleset::{Hook, Packet, Table},
};

/// Its table.
const TABLE: &str = "netcord-trace";
/// Before every other chain, also before defragmentation (`NF_IP_PRI_CONNTRACK_DEFRAG`).
const FIRST_OF_ALL: i32 = -450;
/// `1 << (NFNLGRP_NFTRACE - 1)`
const TRACES: u32 = 1 << 8;
/// A trace message contains only the headers of its packet.
const BUFFER: usize = 1 << 14;

// NFTA_TRACE_*
const TRACE_TABLE: u16 = 1;
const TRACE_CHAIN: u16 = 2;
const TRACE_HANDLE: u16 = 3;
const TRACE_TYPE: u16 = 4;
const TRACE_VERDICT: u16 = 5;
const TRACE_POLICY: u16 = 16;
// NFT_TRACETYPE_*
const BY_POLICY: u32 = 1;
const BY_RULE: u32 = 3;

/// What the kernel reports about a traced packet (nftrace).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The packet enters a hook.
    Comes(Hook),
    /// The packet has passed a hook.
    Passed(Hook),
    /// A rule, or a policy, matches.
    Meets {
        /// The table.
        table: Table,
        /// The chain.
        chain: String,
        /// The rule's handle; `None`: the policy.
        handle: Option<u64>,
        /// Whether it drops the packet.
        drops: bool,
    },
}

/// Traces one connection in one namespace, as long as it exists.
#[derive(Debug)]
pub struct Follower {
    events: OwnedFd,
    _owner: Socket,
}

impl Follower {
    /// Begins a trace in the thread's namespace.
    pub(super) fn begin(packet: &Packet) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkNetFilter;
        let events = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(events.as_raw_fd(), &NetlinkAddr::new(0, TRACES))?;
        let mut owner = Socket::open()?;
        let failures = commit(&mut owner, requests(packet))?;
        match failures.into_values().next() {
            Some(errno) => Err(errno.into()),
            None => Ok(Self { events, _owner: owner }),
        }
    }

    /// Returns the events since the last call.
    pub fn events(&self) -> io::Result<Vec<Event>> {
        let mut buffer = vec![0; BUFFER];
        let mut events = Vec::new();
        loop {
            match recv(self.events.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => events.extend(parse(&buffer[..length])),
                Err(Errno::EAGAIN) => return Ok(events),
                // Events were lost for lack of space; the others are valid.
                Err(Errno::EINTR | Errno::ENOBUFS) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl AsFd for Follower {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

const HOOKS: [(Hook, InetHookNumber, &str); 5] = [
    (Hook::Prerouting, InetHookNumber::PreRouting, "prerouting"),
    (Hook::Input, InetHookNumber::LocalIn, "input"),
    (Hook::Forward, InetHookNumber::Forward, "forward"),
    (Hook::Output, InetHookNumber::LocalOut, "output"),
    (Hook::Postrouting, InetHookNumber::PostRouting, "postrouting"),
];

fn requests(packet: &Packet) -> Vec<(NetfilterMessage, u16)> {
    let table = TableMessage {
        attributes: vec![
            TableAttribute::Name(TABLE.to_owned()),
            TableAttribute::Flags(TableFlags::Owner),
        ],
    };
    let make = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
    let mut all = vec![(inet(NfTablesMessage::NewTable(table)), make)];
    for (hook, number, name) in HOOKS {
        all.push((chain(format!("passed-{name}"), number, i32::MAX), make));
        if matches!(hook, Hook::Prerouting | Hook::Output) {
            all.push((chain(format!("comes-{name}"), number, FIRST_OF_ALL), make));
            let rule = RuleMessage {
                attributes: vec![
                    RuleAttribute::Table(TABLE.to_owned()),
                    RuleAttribute::Chain(format!("comes-{name}")),
                    RuleAttribute::Expressions(flow(packet).into_iter().map(Into::into).collect()),
                ],
            };
            let flags = NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK;
            all.push((inet(NfTablesMessage::NewRule(rule)), flags));
        }
    }
    all
}

fn chain(name: String, hook: InetHookNumber, priority: i32) -> NetfilterMessage {
    inet(NfTablesMessage::NewChain(ChainMessage {
        attributes: vec![
            ChainAttribute::Table(TABLE.to_owned()),
            ChainAttribute::Name(name),
            ChainAttribute::Hook(vec![
                HookAttribute::Number(HookNumber::Inet(hook)),
                HookAttribute::Priority(priority.cast_unsigned()),
            ]),
            ChainAttribute::Type("filter".to_owned()),
        ],
    }))
}

/// `ip saddr .. ip daddr .. meta l4proto .. th dport .. meta nftrace set 1`
fn flow(packet: &Packet) -> Vec<Expressions> {
    let (version, from, length) = match packet.source {
        IpAddr::V4(_) => (2, 12, 4),
        IpAddr::V6(_) => (10, 8, 16),
    };
    let octets = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let is = |bytes| compare(Operator::Equal, bytes);
    let mut all = vec![
        meta(MetaKey::Nfproto, FIRST),
        is(vec![version]),
        payload(NETWORK_HEADER, from, length, FIRST),
        is(octets(packet.source)),
        payload(NETWORK_HEADER, from + length, length, FIRST),
        is(octets(packet.destination)),
        meta(MetaKey::L4Proto, FIRST),
        is(vec![packet.protocol]),
    ];
    match packet.protocol {
        // Echo requests, not the replies.
        1 => all.extend([payload(TRANSPORT_HEADER, 0, 1, FIRST), is(vec![8])]),
        58 => all.extend([payload(TRANSPORT_HEADER, 0, 1, FIRST), is(vec![128])]),
        _ => {
            let port = packet.port.unwrap_or_default().to_be_bytes().to_vec();
            all.extend([payload(TRANSPORT_HEADER, 2, 2, FIRST), is(port)]);
        }
    }
    all.push(immediate_value(FIRST, vec![1]));
    all.push(Expressions::Meta(vec![
        Meta::Key(MetaKey::NftraceBit),
        Meta::SourceRegister(FIRST.into()),
    ]));
    all
}

fn parse(datagram: &[u8]) -> Option<Event> {
    let message = NetlinkMessage::<NetfilterMessage>::deserialize(datagram).ok()?;
    let NetlinkPayload::InnerMessage(message) = message.payload else { return None };
    let family = dump::family(message.header.family)?;
    let NetfilterMessageInner::NfTables(NfTablesMessage::Trace(attributes)) = message.inner else {
        return None;
    };
    let bytes = |kind: u16| find(&attributes, kind);
    let text = |kind| Some(String::from_utf8(bytes(kind)?).ok()?.trim_end_matches('\0').to_owned());
    let number = |kind| Some(u32::from_be_bytes(bytes(kind)?.try_into().ok()?));
    let (table, chain) = (text(TRACE_TABLE)?, text(TRACE_CHAIN)?);
    let kind = number(TRACE_TYPE)?;
    let handle = bytes(TRACE_HANDLE).and_then(|b| Some(u64::from_be_bytes(b.try_into().ok()?)));
    // A rule without a handle only says that a chain begins.
    if kind == BY_RULE && handle.is_none() {
        return None;
    }
    if table == TABLE {
        let (what, name) = chain.split_once('-')?;
        let hook = HOOKS.iter().find(|(_, _, hook)| *hook == name)?.0;
        return match (what, kind) {
            ("passed", BY_POLICY) => Some(Event::Passed(hook)),
            ("comes", BY_RULE) => Some(Event::Comes(hook)),
            _ => None,
        };
    }
    let drops = match kind {
        BY_POLICY => number(TRACE_POLICY) == Some(0),
        // NFTA_VERDICT_CODE is the first nested attribute: its value follows a header of 4 bytes.
        BY_RULE => bytes(TRACE_VERDICT)?.get(4..8) == Some(&[0; 4]),
        _ => return None,
    };
    Some(Event::Meets { table: Table { family, name: table }, chain, handle, drops })
}

fn find(attributes: &[DefaultNla], kind: u16) -> Option<Vec<u8>> {
    attributes.iter().find(|nla| nla.kind() & NLA_TYPE_MASK == kind).map(read::bytes)
}
