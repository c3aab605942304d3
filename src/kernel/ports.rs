//! Ports of this host: which are taken, by whom, and where free ones are drawn from.
//!
//! A published port is no socket, only a rule: the kernel would let it shadow a service of the host
//! without a word. Everything here is about the namespace that the thread is in.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::AsRawFd,
    path::Path,
};

use anyhow::Context;
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, listen,
        setsockopt, socket, sockopt,
    },
};

use crate::model::{PortRange, Protocol};

/// Whether a port can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Free {
    /// It can.
    Yes,
    /// A socket has it.
    Taken,
    /// The host does not have the address.
    NoSuchAddress,
}

/// Whether a socket of this host could take the port, found out by taking it for a moment.
///
/// A port that needs a privilege counts as free, and so does any of SCTP where the kernel has not
/// loaded it: to open a socket would.
pub fn is_free(host_ip: IpAddr, port: u16, protocol: Protocol) -> anyhow::Result<Free> {
    if protocol == Protocol::Sctp && !Path::new("/proc/thread-self/net/sctp").exists() {
        return Ok(Free::Yes);
    }
    match take(host_ip, port, protocol) {
        Ok(()) | Err(Errno::EACCES) => Ok(Free::Yes),
        Err(Errno::EADDRINUSE) => Ok(Free::Taken),
        // EAFNOSUPPORT: no IPv6 at all. EINVAL: a link-local address that is on no link.
        Err(Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT | Errno::EINVAL) => Ok(Free::NoSuchAddress),
        Err(e) => Err(io::Error::from(e))
            .with_context(|| format!("cannot try {}/{protocol}", SocketAddr::new(host_ip, port))),
    }
}

fn take(host_ip: IpAddr, port: u16, protocol: Protocol) -> nix::Result<()> {
    let (family, address) = match host_ip {
        IpAddr::V4(_) => (AddressFamily::Inet, SocketAddr::new(host_ip, port)),
        IpAddr::V6(ip) => (AddressFamily::Inet6, SocketAddrV6::new(ip, port, 0, scope(ip)).into()),
    };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SockType::Stream, SockProtocol::Tcp),
        Protocol::Udp => (SockType::Datagram, SockProtocol::Udp),
        Protocol::Sctp => (SockType::Stream, SockProtocol::Sctp),
    };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, number)?;
    if host_ip.is_ipv6() {
        // `::` is to be IPv6 alone: 0.0.0.0 is asked for on its own.
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    if kind == SockType::Stream {
        // Connections of a server that is gone (TIME_WAIT) hold no port; one that listens does, in
        // spite of this. For UDP it would mean sharing.
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    if kind == SockType::Stream {
        listen(&socket, Backlog::new(0)?)?;
    }
    Ok(())
}

/// The link that has a link-local address, which says nothing without it; else 0.
fn scope(ip: Ipv6Addr) -> u32 {
    if !ip.is_unicast_link_local() {
        return 0;
    }
    let mut addresses = getifaddrs().into_iter().flatten().filter_map(|link| link.address);
    let scope = addresses.find_map(|address| {
        let address = address.as_sockaddr_in6().copied().filter(|a| a.ip() == ip)?;
        Some(address.scope_id())
    });
    scope.unwrap_or(0)
}

/// Who listens there, `nginx (pid 1310)`, if it can be told: an unprivileged user sees only their
/// own processes, and nobody sees those of SCTP.
///
/// Equivalent to `ss -lnp 'sport = PORT'`.
pub fn owner(host_ip: IpAddr, port: u16, protocol: Protocol) -> Option<String> {
    let mut sockets = sockets(protocol);
    sockets.retain(|s| s.has(host_ip, port));
    // A wildcard of IPv6 may be of IPv6 alone, which /proc does not tell: only if nothing else fits.
    let same_family = |s: &Socket| s.address.is_ipv4() == host_ip.is_ipv4();
    if sockets.iter().any(same_family) {
        sockets.retain(same_family);
    }
    // Connections keep a port too, after whoever listened has gone.
    if sockets.iter().any(|s| s.listens) {
        sockets.retain(|s| s.listens);
    }
    process_of(&sockets.iter().map(|s| s.inode).collect::<Vec<_>>())
}

/// A socket that waits for callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where: an address, or all.
    pub address: SocketAddr,
    /// Whose, `nginx (pid 1310)`, if it can be told.
    pub process: Option<String>,
}

/// Who of the host listens to one of these ports.
///
/// Equivalent to `ss -lnp 'sport >= FIRST and sport <= LAST'`.
pub fn listeners(host_ip: IpAddr, ports: PortRange, protocol: Protocol) -> Vec<Listener> {
    let mut found = sockets(protocol);
    found.retain(|s| {
        s.listens && ports.overlaps(PortRange::single(s.port)) && s.has(host_ip, s.port)
    });
    let listener = |s: &Socket| Listener {
        address: SocketAddr::new(s.address, s.port),
        process: process_of(&[s.inode]),
    };
    found.iter().map(listener).collect()
}

/// Whether a port of the thread's own loopback is listened to.
pub(super) fn answers_on_loopback(port: u16) -> bool {
    let answers = |s: &Socket| s.listens && s.has(Ipv4Addr::LOCALHOST.into(), port);
    [Protocol::Udp, Protocol::Tcp].into_iter().flat_map(sockets).any(|s| answers(&s))
}

/// Who takes what comes for a port of an address: its name, or nothing if that cannot be told;
/// `None`: nobody does. Equivalent to `ss -lnp 'sport = PORT'`.
pub(super) fn listener(at: IpAddr, port: u16, protocol: Protocol) -> Option<String> {
    let mut sockets = sockets(protocol);
    sockets.retain(|s| s.listens && s.has(at, port));
    let inodes: Vec<_> = sockets.iter().map(|s| s.inode).collect();
    (!inodes.is_empty()).then(|| process_of(&inodes).unwrap_or_default())
}

/// A socket as /proc shows it.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    address: IpAddr,
    port: u16,
    listens: bool,
    inode: u64,
}

impl Socket {
    /// Whether it has this port of this address, or of any address if that is unspecified.
    fn has(&self, host_ip: IpAddr, port: u16) -> bool {
        let same_family = self.address.is_ipv4() == host_ip.is_ipv4();
        let same_address = self.address == host_ip || host_ip.is_unspecified();
        let is_wildcard = self.address.is_unspecified();
        let is_dual = is_wildcard && self.address.is_ipv6();
        self.port == port && (same_family && (same_address || is_wildcard) || is_dual)
    }
}

fn sockets(protocol: Protocol) -> Vec<Socket> {
    let files: &[&str] = match protocol {
        Protocol::Tcp => &["tcp", "tcp6"],
        Protocol::Udp => &["udp", "udp6"],
        Protocol::Sctp => &[],
    };
    let mut sockets = Vec::new();
    for file in files {
        // The thread's own: /proc/net is the namespace of the process's first thread.
        let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
        sockets.extend(text.lines().filter_map(parse));
    }
    sockets
}

/// A line of `tcp`, `tcp6`, `udp`, `udp6`: number, local, remote, state, five more, inode.
fn parse(line: &str) -> Option<Socket> {
    // TCP_LISTEN and, for UDP, TCP_CLOSE: not connected. <net/tcp_states.h>
    const LISTENS: [&str; 2] = ["0A", "07"];
    let fields: Vec<_> = line.split_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(address)?)),
        32 => {
            let mut octets = [0; 16];
            for (at, octets) in octets.chunks_mut(4).enumerate() {
                octets.copy_from_slice(&word(address.get(at * 8..at * 8 + 8)?)?);
            }
            IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
        }
        _ => return None,
    };
    Some(Socket {
        address,
        port: u16::from_str_radix(port, 16).ok()?,
        listens: LISTENS.contains(fields.get(3)?),
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// Four bytes in the order of the network, printed as one number of this machine.
fn word(hex: &str) -> Option<[u8; 4]> {
    u32::from_str_radix(hex, 16).ok().map(u32::to_ne_bytes)
}

/// The oldest process that has one of these sockets: a server's parent rather than its workers.
fn process_of(inodes: &[u64]) -> Option<String> {
    if inodes.is_empty() {
        return None;
    }
    let names = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.file_name());
    let mut pids: Vec<u32> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    let pid = pids.into_iter().find(|pid| has_one(*pid, inodes))?;
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    let name = String::from_utf8_lossy(&name);
    Some(format!("{} (pid {pid})", name.trim_end().escape_debug()))
}

fn has_one(pid: u32, inodes: &[u64]) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    open.flatten().any(|file| {
        let target = fs::read_link(file.path()).unwrap_or_default();
        target
            .to_str()
            .and_then(|t| t.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
            .is_some_and(|inode| inodes.contains(&inode))
    })
}

/// The ports that the kernel itself draws from for who does not care, lowest first.
///
/// `net.ipv4.ip_local_port_range`, or the kernel's default of it, less
/// `net.ipv4.ip_local_reserved_ports`.
pub fn ephemeral() -> Vec<u16> {
    let read = |name| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    drawn(&read("ip_local_port_range"), &read("ip_local_reserved_ports"))
}

fn drawn(range: &str, reserved: &str) -> Vec<u16> {
    let mut ends = range.split_whitespace().map_while(|end| end.parse().ok());
    let (first, last) = ends.next().zip(ends.next()).unwrap_or((32768, 60999));
    let reserved: Vec<PortRange> =
        reserved.trim().split(',').filter_map(|range| range.parse().ok()).collect();
    let is_free = |port: &u16| !reserved.iter().any(|r| r.overlaps(PortRange::single(*port)));
    (first..=last).filter(is_free).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn reads_what_proc_shows() {
        let v4 = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0";
        let v4 = parse(v4).unwrap();
        let socket = Socket { address: ip("127.0.0.1"), port: 8080, listens: true, inode: 4711 };
        assert_eq!(v4, socket);
        let v6 = " 512: 0000000000000000FFFF0000010200C0:14E9 00000000000000000000000000000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 42 2 0000000000000000 0";
        let v6 = parse(v6).unwrap();
        assert_eq!((v6.address, v6.port, v6.listens), (ip("192.0.2.1"), 5353, false));
        assert_eq!(parse("  sl  local_address rem_address   st tx_queue rx_queue"), None);
    }

    #[test]
    fn a_wildcard_has_every_address() {
        let has = |address, wanted| {
            Socket { address: ip(address), port: 80, listens: true, inode: 1 }.has(ip(wanted), 80)
        };
        for (address, wanted, expected) in [
            ("0.0.0.0", "192.0.2.1", true),
            ("0.0.0.0", "2001:db8::1", false),
            ("::", "192.0.2.1", true),
            ("::", "0.0.0.0", true),
            ("::", "2001:db8::1", true),
            ("192.0.2.1", "0.0.0.0", true),
            ("192.0.2.1", "::", false),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::1", "::", true),
            ("2001:db8::1", "0.0.0.0", false),
        ] {
            assert_eq!(has(address, wanted), expected, "{address} {wanted}");
        }
    }

    #[test]
    fn the_range_leaves_out_what_is_reserved() {
        assert_eq!(drawn("10\t15\n", "12,14-15\n"), [10, 11, 13]);
        assert_eq!(drawn("10\t12\n", "\n"), [10, 11, 12]);
        assert_eq!(drawn("65534 65535", "").len(), 2);
        assert_eq!(drawn("", "").len(), 28232);
    }
}
