//! Ports of this host: which are taken, and where free ones are drawn from.
//!
//! A published port is no socket, only a rule: the kernel would silently let it shadow a service of
//! the host. Everything here is about the namespace that the thread is in.

use std::{
    fs, io,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
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
        // Nobody can bind to an address that is checked for duplicates; to all addresses they can.
        Err(Errno::EADDRNOTAVAIL) if is_own(host_ip) => {
            is_free(Ipv6Addr::UNSPECIFIED.into(), port, protocol)
        }
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

/// Whether a link of the host has this IPv6 address, be it tentative.
fn is_own(ip: IpAddr) -> bool {
    let IpAddr::V6(ip) = ip else { return false };
    let mut addresses = getifaddrs().into_iter().flatten().filter_map(|link| link.address);
    addresses.any(|address| address.as_sockaddr_in6().is_some_and(|a| a.ip() == ip))
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

    #[test]
    fn the_range_leaves_out_what_is_reserved() {
        assert_eq!(drawn("10\t15\n", "12,14-15\n"), [10, 11, 13]);
        assert_eq!(drawn("10\t12\n", "\n"), [10, 11, 12]);
        assert_eq!(drawn("65534 65535", "").len(), 2);
        assert_eq!(drawn("", "").len(), 28232);
    }
}
