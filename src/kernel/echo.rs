//! Sends ICMP echo requests to several hosts at once, and waits for the replies.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect,
        recv, send, socket,
    },
};
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{timeout, timeout_at},
};

/// A request is sent again after this time, as often as there is time.
const AGAIN: Duration = Duration::from_millis(500);

/// An echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// The source address, one of this host.
    pub from: IpAddr,
    /// The destination address.
    pub to: IpAddr,
    /// The length of the IP packet in bytes. It is not fragmented.
    pub length: u32,
}

/// Sends requests, and returns the time after which the reply to each one came; `None` if none came.
///
/// # Errors
/// If this process may not send echo requests.
pub async fn echoes(requests: &[Echo], limit: Duration) -> Result<Vec<Option<Duration>>> {
    let asked = requests.iter().zip(0_u16..).map(|(request, number)| ask(request, number, limit));
    try_join_all(asked).await
}

async fn ask(request: &Echo, number: u16, limit: Duration) -> Result<Option<Duration>> {
    #[expect(deprecated, reason = "its successor is unsafe; the descriptor is the value's own")]
    let socket = AsyncFd::with_interest(open(request)?, Interest::READABLE)?;
    let end = tokio::time::Instant::now() + limit;
    let mut attempt = 0;
    while tokio::time::Instant::now() < end {
        attempt += 1;
        let message = message(request, number, attempt);
        let begun = Instant::now();
        // What cannot be sent has no reply.
        send(socket.as_raw_fd(), &message, MsgFlags::empty()).ok();
        let answered = timeout_at(end, timeout(AGAIN, answer(&socket, request, &message)));
        if let Ok(Ok(answered)) = answered.await {
            answered?;
            return Ok(Some(begun.elapsed()));
        }
    }
    Ok(None)
}

fn open(request: &Echo) -> Result<OwnedFd> {
    let (family, protocol) = match request.to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Raw, flags, protocol)
        .map_err(io::Error::from)
        .context("cannot open a socket to send an echo request")?;
    match request.to {
        IpAddr::V4(_) => sockopt::set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?,
        IpAddr::V6(_) => sockopt::set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?,
    }
    // Without the address, or a route, no reply comes.
    let address = |ip| SockaddrStorage::from(SocketAddr::new(ip, 0));
    bind(socket.as_raw_fd(), &address(request.from)).ok();
    connect(socket.as_raw_fd(), &address(request.to)).ok();
    Ok(socket)
}

/// Waits for the reply. A raw socket receives all ICMP messages of the other side; those of IPv4 with
/// the header.
async fn answer(socket: &AsyncFd<OwnedFd>, request: &Echo, sent: &[u8]) -> Result<()> {
    let mut buffer = [0; 256];
    let (kind, is_ipv4) = if request.to.is_ipv4() { (0, true) } else { (129, false) };
    loop {
        let mut ready = socket.readable().await?;
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => {
                let header = if is_ipv4 { usize::from(buffer[0] & 0xf) * 4 } else { 0 };
                let reply = buffer[..length].get(header..);
                let is_reply = reply.is_some_and(|reply| {
                    reply.first() == Some(&kind) && reply.get(4..8) == sent.get(4..8)
                });
                if is_reply {
                    return Ok(());
                }
            }
            // An error that another host reports is no reply.
            Err(Errno::EAGAIN) => ready.clear_ready(),
            Err(_) => {}
        }
    }
}

/// An echo request (RFC 792, RFC 4443). The kernel computes the checksum for IPv6.
fn message(request: &Echo, number: u16, attempt: u16) -> Vec<u8> {
    let (kind, header) = if request.to.is_ipv4() { (8, 20) } else { (128, 40) };
    let length = usize::try_from(request.length).unwrap_or_default();
    let mut message = vec![0; length.saturating_sub(header).max(8)];
    message[0] = kind;
    let [.., high, low] = std::process::id().to_be_bytes();
    let own = u16::from_be_bytes([high, low]).wrapping_add(number);
    message[4..6].copy_from_slice(&own.to_be_bytes());
    message[6..8].copy_from_slice(&attempt.to_be_bytes());
    if request.to.is_ipv4() {
        message.truncate(message.len() / 2 * 2);
        let sum = super::arp_probe::checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}
