//! The sockets of a namespace, as the kernel lists them (`sock_diag(7)`), and their processes. All
//! functions apply to the thread's namespace. Equivalent to `ss -an`.

use std::{
    collections::{BTreeSet, HashMap},
    fmt, fs, io,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
    path::Path,
};

use anyhow::Result;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, SockDiagMessage, TCP_CLOSE, TCP_ESTABLISHED,
    TCP_LISTEN,
    inet::{
        ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
        nlas::Nla::{self, SkV6Only},
    },
};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, send},
};
use rtnetlink::sys::{Socket as NetlinkSocket, protocols::NETLINK_SOCK_DIAG};

use super::{Netns, datagram};
use crate::{
    error::{Error, Kind},
    model::{PortRange, Protocol},
};

/// Larger than the largest datagram of a dump, 32 KiB (`netlink_recvmsg`).
const BUFFER: usize = 1 << 16;
/// The crate lacks it: <https://www.iana.org/assignments/protocol-numbers>
const IPPROTO_SCTP: u8 = 132;

/// The sockets to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Listening sockets, and connected ones of UDP, since a server may connect a socket to each
    /// client.
    Listening,
    /// Connections, too.
    All,
}

/// Sockets, read once.
#[derive(Clone, Debug, Default)]
pub struct Sockets(Vec<Socket>);

/// A socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// The local address; unspecified: all.
    pub address: IpAddr,
    /// The local port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// Whether it listens.
    pub listens: bool,
    /// The index of the link that it is bound to; 0: none.
    pub link: u32,
    /// The peer of a connected UDP socket, which receives from no other.
    pub peer: Option<SocketAddr>,
    /// Whether it is bound to `::` and accepts IPv4 too.
    dual: bool,
    inode: u32,
}

impl Sockets {
    /// Reads the sockets: two dumps for each protocol, one for each IP version.
    pub fn here(protocols: &[Protocol], scope: Scope) -> Result<Self> {
        let mut found = Vec::new();
        for protocol in protocols {
            // A request would load the module, and without it there are no such sockets.
            if *protocol == Protocol::Sctp && !Path::new("/proc/thread-self/net/sctp").exists() {
                continue;
            }
            let socket = datagram::open(NETLINK_SOCK_DIAG)?;
            for family in [AF_INET, AF_INET6] {
                dump(&socket, family, *protocol, scope, &mut found)
                    .map_err(|error| lacking(error, *protocol))?;
            }
        }
        Ok(Self(found))
    }

    /// Returns the sockets with one of these ports on an address, or on any address if that is
    /// unspecified.
    pub fn at(
        &self,
        ip: IpAddr,
        ports: PortRange,
        protocol: Protocol,
    ) -> impl Iterator<Item = &Socket> {
        self.0.iter().filter(move |socket| {
            socket.protocol == protocol
                && ports.overlaps(PortRange::single(socket.port))
                && socket.has(ip)
        })
    }

    /// Returns those of them that listen.
    pub fn listening(
        &self,
        ip: IpAddr,
        ports: PortRange,
        protocol: Protocol,
    ) -> impl Iterator<Item = &Socket> {
        self.at(ip, ports, protocol).filter(|socket| socket.listens)
    }

    /// Returns those of them that listen, or are connected UDP sockets.
    pub fn serving(
        &self,
        ip: IpAddr,
        ports: PortRange,
        protocol: Protocol,
    ) -> impl Iterator<Item = &Socket> {
        self.at(ip, ports, protocol).filter(|socket| socket.listens || socket.peer.is_some())
    }

    /// Returns the receiver of packets that come in by a link to a port of an address.
    pub fn listener(&self, ip: IpAddr, port: u16, protocol: Protocol, link: u32) -> Listener<'_> {
        let serving = self.serving(ip, PortRange::single(port), protocol);
        let (listening, connected): (Vec<_>, Vec<_>) =
            serving.filter(|socket| socket.hears(link)).partition(|socket| socket.listens);
        match connected.iter().find_map(|socket| socket.peer) {
            _ if !listening.is_empty() => Listener::Sockets(listening),
            Some(peer) => Listener::Connected(peer),
            None => Listener::Nobody,
        }
    }
}

impl Socket {
    /// Returns the local address and port.
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// Returns whether it is bound to an address, or whether that is unspecified.
    pub fn has(&self, ip: IpAddr) -> bool {
        let same_family = self.address.is_ipv4() == ip.is_ipv4();
        let same_address = self.address == ip || ip.is_unspecified();
        same_family && (same_address || self.address.is_unspecified()) || self.dual && ip.is_ipv4()
    }

    /// Returns whether it receives packets of a link.
    pub fn hears(&self, link: u32) -> bool {
        self.link == 0 || self.link == link
    }

    fn of(message: &InetResponse, protocol: Protocol) -> Self {
        let header = &message.header;
        let SocketId { source_address: address, destination_address, destination_port, .. } =
            header.socket_id;
        let is_only_v6 = message.nlas.iter().any(|nla: &Nla| matches!(nla, SkV6Only(true)));
        // UDP sockets that are not connected are in the state CLOSE.
        let is_udp = protocol == Protocol::Udp;
        let listening = if is_udp { TCP_CLOSE } else { TCP_LISTEN };
        let is_connected = is_udp && header.state == TCP_ESTABLISHED;
        let peer = SocketAddr::new(destination_address.to_canonical(), destination_port);
        Self {
            address: address.to_canonical(),
            port: header.socket_id.source_port,
            protocol,
            listens: header.state == listening,
            link: header.socket_id.interface_id,
            peer: is_connected.then_some(peer),
            dual: address.is_ipv6() && address.is_unspecified() && !is_only_v6,
            inode: header.inode,
        }
    }
}

fn dump(
    socket: &NetlinkSocket,
    family: u8,
    protocol: Protocol,
    scope: Scope,
    found: &mut Vec<Socket>,
) -> io::Result<()> {
    let request = InetRequest {
        family,
        protocol: match protocol {
            Protocol::Tcp => IPPROTO_TCP,
            Protocol::Udp => IPPROTO_UDP,
            Protocol::Sctp => IPPROTO_SCTP,
        },
        extensions: ExtensionFlags::empty(),
        states: match (scope, protocol) {
            (Scope::All, _) => StateFlags::all(),
            // For any other state the kernel walks its whole table of connections.
            (Scope::Listening, Protocol::Tcp) => StateFlags::LISTEN,
            (Scope::Listening, Protocol::Udp) => StateFlags::CLOSE | StateFlags::ESTABLISHED,
            (Scope::Listening, Protocol::Sctp) => StateFlags::LISTEN | StateFlags::CLOSE,
        },
        socket_id: if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() },
    };
    let mut message = NetlinkMessage::from(SockDiagMessage::InetRequest(request));
    message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    send(socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = datagram::read(socket, &mut buffer)?;
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            let (header, payload) = message.into_parts();
            let length = (header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            match payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(message)) => {
                    found.push(Socket::of(&message, protocol));
                }
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(io::Error::from_raw_os_error(-done.code));
                }
                NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(()),
                _ => {}
            }
        }
    }
}

fn lacking(error: io::Error, protocol: Protocol) -> anyhow::Error {
    match error.raw_os_error().map(Errno::from_raw) {
        // No handler for this family, or for this protocol.
        Some(Errno::ENOENT | Errno::EPROTONOSUPPORT) => {
            let message = format!("the kernel does not list its sockets of {protocol}");
            let module = format!("load the module: `modprobe {protocol}_diag`");
            Error::new(Kind::Missing, message).hint(module).into()
        }
        _ => anyhow::Error::from(error).context(format!("cannot list the sockets of {protocol}")),
    }
}

/// Returns whether a port of the loopback of the thread's namespace is listened on.
pub(super) fn answers_on_loopback(port: u16) -> Result<bool> {
    let sockets = Sockets::here(&[Protocol::Udp, Protocol::Tcp], Scope::Listening)?;
    let at = |protocol| sockets.listening([127, 0, 0, 1].into(), PortRange::single(port), protocol);
    Ok(at(Protocol::Udp).chain(at(Protocol::Tcp)).next().is_some())
}

/// The receiver of the packets to a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listener<'s> {
    /// Sockets that listen, any of which may get them.
    Sockets(Vec<&'s Socket>),
    /// A connected socket, which receives from this peer only.
    Connected(SocketAddr),
    /// No socket.
    Nobody,
}

/// A process that has a socket open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its PID.
    pub pid: u32,
}

/// `nginx (pid 1310)`
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = fs::read(format!("/proc/{}/comm", self.pid)).unwrap_or_default();
        let name = String::from_utf8_lossy(&name);
        write!(f, "{} (pid {})", name.trim_end().escape_debug(), self.pid)
    }
}

/// Returns the owner of a port, if known: an unprivileged user sees only their own processes. Equivalent to
/// `ss -anp 'sport = PORT'`.
pub fn owner(ip: IpAddr, port: u16, protocol: Protocol) -> Option<Holder> {
    let sockets = Sockets::here(&[protocol], Scope::All).ok()?;
    let mut found: Vec<_> = sockets.at(ip, PortRange::single(port), protocol).collect();
    // Connections keep a port in use after the listening socket is closed.
    if found.iter().any(|s| s.listens) {
        found.retain(|s| s.listens);
    }
    process_of(&found)
}

/// Returns the oldest process that has one of these sockets open: a server's parent rather than its
/// workers.
pub fn process_of(sockets: &[&Socket]) -> Option<Holder> {
    holders(sockets).into_values().min().map(|pid| Holder { pid })
}

/// Returns the process of each socket, if known.
pub fn processes_of(sockets: &[&Socket]) -> Vec<Option<Holder>> {
    let found = holders(sockets);
    let holder = |socket: &&Socket| found.get(&socket.inode).map(|pid| Holder { pid: *pid });
    sockets.iter().map(holder).collect()
}

/// Returns the oldest process of each socket, by the socket's inode. One pass over `/proc` finds
/// all, since each process may have many files.
fn holders(sockets: &[&Socket]) -> HashMap<u32, u32> {
    let mut wanted: BTreeSet<_> = sockets.iter().map(|socket| socket.inode).collect();
    let mut found = HashMap::new();
    if wanted.is_empty() {
        return found;
    }
    let names = fs::read_dir("/proc").into_iter().flatten().flatten().map(|e| e.file_name());
    let mut pids: Vec<u32> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    for pid in pids {
        for file in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let target = fs::read_link(file.path()).unwrap_or_default();
            let inode = target.to_str().and_then(|t| t.strip_prefix("socket:["));
            let inode = inode.and_then(|t| t.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode.filter(|inode| wanted.remove(inode)) {
                found.insert(inode, pid);
            }
        }
        if wanted.is_empty() {
            break;
        }
    }
    found
}

impl Netns {
    /// Returns whether a port of its own loopback is listened on.
    pub fn answers_on_loopback(&self, port: u16) -> Result<bool> {
        self.within(|| answers_on_loopback(port))?
    }

    /// Returns its sockets that listen, or are connected UDP sockets.
    pub fn sockets(&self, protocols: &[Protocol]) -> Result<Sockets> {
        self.within(|| Sockets::here(protocols, Scope::Listening))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_wildcard_has_every_address() {
        for (address, dual, wanted, expected) in [
            ("0.0.0.0", false, "192.0.2.1", true),
            ("0.0.0.0", false, "2001:db8::1", false),
            ("::", true, "192.0.2.1", true),
            ("::", true, "0.0.0.0", true),
            ("::", true, "2001:db8::1", true),
            ("::", false, "192.0.2.1", false),
            ("::", false, "0.0.0.0", false),
            ("::", false, "2001:db8::1", true),
            ("192.0.2.1", false, "0.0.0.0", true),
            ("192.0.2.1", false, "::", false),
            ("192.0.2.1", false, "192.0.2.2", false),
            ("2001:db8::1", false, "::", true),
            ("2001:db8::1", false, "0.0.0.0", false),
        ] {
            let protocol = Protocol::Tcp;
            let address = ip(address);
            let socket = Socket {
                address,
                port: 80,
                protocol,
                listens: true,
                link: 0,
                peer: None,
                dual,
                inode: 1,
            };
            assert_eq!(socket.has(ip(wanted)), expected, "{address} {dual} {wanted}");
        }
    }
}
