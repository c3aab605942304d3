//! As little as the kernel lets anyone do for an attach: the floor, which nothing can be below.
//!
//! One process, blocking sockets, no runtime, no reads, no record. A veth made here and moved
//! would take 15 ms more, so it is born in place: one message gives both ends all they can have
//! from the start. The peer cannot be born up (`ENOTCONN`), and addresses and routes are set in
//! its namespace: a second socket, opened there, takes them in one send.

use std::{
    fs::File,
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, RawFd},
};

use anyhow::{Context, Result, bail};
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, setns},
};
use rtnetlink::{
    packet_core::{
        NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    },
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        address::{AddressAttribute, AddressMessage},
        link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
        route::{
            RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
            RouteType,
        },
    },
    sys::{Socket, protocols::NETLINK_ROUTE},
};

const PEER: &str = "eth0";
const LOOPBACK_INDEX: u32 = 1;
const MTU: u32 = 1500;

/// Attaches a namespace of `/run/netns` to a bridge; this program is in that namespace then.
///
/// Equivalent to `ip link add v-TARGET up master BRIDGE mtu 1500 address MAC type veth peer name
/// eth0 netns TARGET mtu 1500 address MAC`, and, in TARGET, `ip link set lo up`, `ip link set eth0
/// up`, `ip addr add IP/LEN dev eth0`, `ip route add default via GATEWAY`.
#[expect(clippy::disallowed_methods, reason = "the floor has nothing of netcord's own in it")]
pub(crate) fn attach(
    bridge: &str,
    target: &str,
    (ip, length): (Ipv4Addr, u8),
    gateway: Ipv4Addr,
) -> Result<()> {
    let netns = File::open(format!("/run/netns/{target}"))?;
    let host = Socket::new(NETLINK_ROUTE)?;
    let veth = veth(if_nametoindex(bridge)?, &host_end(target), netns.as_raw_fd(), ip);
    send(&host, [(veth, NLM_F_CREATE | NLM_F_EXCL)]).context("the veth")?;

    setns(&netns, CloneFlags::CLONE_NEWNET)?;
    let inside = Socket::new(NETLINK_ROUTE)?;
    let peer = if_nametoindex(PEER)?;
    let batch = [
        (up(LOOPBACK_INDEX), 0),
        (up(peer), 0),
        (address_of(peer, ip, length), NLM_F_CREATE | NLM_F_EXCL),
        (default_route(gateway), NLM_F_CREATE | NLM_F_EXCL),
    ];
    send(&inside, batch).context("inside")
}

/// Detaches it: the peer goes with the host end.
///
/// Equivalent to `ip link del v-TARGET`.
pub(crate) fn detach(target: &str) -> Result<()> {
    let mut link = LinkMessage::default();
    link.attributes = vec![LinkAttribute::IfName(host_end(target))];
    send(&Socket::new(NETLINK_ROUTE)?, [(RouteNetlinkMessage::DelLink(link), 0)])
}

fn host_end(target: &str) -> String {
    format!("v-{target}")
}

fn veth(bridge: u32, name: &str, netns: RawFd, ip: Ipv4Addr) -> RouteNetlinkMessage {
    let [a, b, c, d] = ip.octets();
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName(PEER.to_owned()),
        LinkAttribute::Mtu(MTU),
        LinkAttribute::Address(vec![0x02, 0x42, a, b, c, d]),
        LinkAttribute::NetNsFd(netns),
    ];
    let mut link = LinkMessage::default();
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Controller(bridge),
        LinkAttribute::Mtu(MTU),
        LinkAttribute::Address(vec![0xfe, 0x42, a, b, c, d]),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    RouteNetlinkMessage::NewLink(link)
}

fn up(index: u32) -> RouteNetlinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    RouteNetlinkMessage::SetLink(link)
}

fn address_of(index: u32, ip: Ipv4Addr, length: u8) -> RouteNetlinkMessage {
    let mut address = AddressMessage::default();
    address.header.family = AddressFamily::Inet;
    address.header.prefix_len = length;
    address.header.index = index;
    address.attributes =
        vec![AddressAttribute::Local(ip.into()), AddressAttribute::Address(ip.into())];
    RouteNetlinkMessage::NewAddress(address)
}

fn default_route(gateway: Ipv4Addr) -> RouteNetlinkMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = AddressFamily::Inet;
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    route.header.protocol = RouteProtocol::Boot;
    route.header.scope = RouteScope::Universe;
    route.header.kind = RouteType::Unicast;
    route.attributes = vec![RouteAttribute::Gateway(RouteAddress::Inet(gateway))];
    RouteNetlinkMessage::NewRoute(route)
}

/// Sends all messages at once, then reads one answer to each: a batch is no transaction.
fn send<const N: usize>(socket: &Socket, batch: [(RouteNetlinkMessage, u16); N]) -> Result<()> {
    let mut bytes = Vec::new();
    for (message, flags) in batch {
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        message.finalize();
        let start = bytes.len();
        // A message begins at a multiple of four bytes.
        bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut bytes[start..start + message.buffer_len()]);
    }
    if socket.send(&bytes, 0)? != bytes.len() {
        bail!("the kernel took only a part");
    }
    let mut answered = 0;
    let mut buffer = Vec::with_capacity(8192);
    while answered < N {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        answered += acknowledged(&buffer)?;
    }
    Ok(())
}

/// Counts the acknowledgements in one datagram; the first refusal is an error.
fn acknowledged(mut datagram: &[u8]) -> Result<usize> {
    let mut count = 0;
    while !datagram.is_empty() {
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram)?;
        match answer.payload {
            NetlinkPayload::Error(error) => match error.code {
                None => count += 1,
                Some(code) => return Err(io::Error::from_raw_os_error(-code.get()).into()),
            },
            other => bail!("an answer that is no acknowledgement: {other:?}"),
        }
        let length = (answer.header.length as usize).next_multiple_of(4);
        datagram = datagram.get(length..).unwrap_or_default();
    }
    Ok(count)
}
