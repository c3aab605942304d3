//! Sends the first packet of a connection from an ordinary socket, and receives the reply.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect,
        getsockopt, recv, send, socket, sockopt,
    },
};

use super::Netns;
use crate::{error::Error, model::ruleset::Packet};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// A packet that was sent.
#[derive(Debug)]
pub struct Probe {
    socket: OwnedFd,
    protocol: u8,
    /// The error, if sending failed.
    failed: Option<Errno>,
}

/// The reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet.
    None,
    /// It was received.
    Taken,
    /// No socket listens.
    Refused,
    /// It cannot be delivered.
    Failed(Errno),
}

impl Probe {
    /// Sends it in the thread's namespace.
    pub(super) fn send(packet: &Packet) -> Result<Self> {
        let family = match packet.destination {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        let (kind, number) = match packet.protocol {
            TCP => (SockType::Stream, SockProtocol::Tcp),
            UDP => (SockType::Datagram, SockProtocol::Udp),
            ICMP => (SockType::Raw, SockProtocol::Icmp),
            ICMPV6 => (SockType::Raw, SockProtocol::IcmpV6),
            _ => {
                return Err(Error::usage("only TCP, UDP and ICMP echoes can be sent")
                    .hint("send it with another program, and trace it with `--wait`")
                    .into());
            }
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(family, kind, flags, number)
            .map_err(io::Error::from)
            .context("cannot open a socket to send the packet")?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(packet.source, 0)))
            .map_err(io::Error::from)
            .with_context(|| format!("cannot send from {}", packet.source))?;
        let to = SockaddrStorage::from(SocketAddr::new(
            packet.destination,
            packet.port.unwrap_or_default(),
        ));
        let sent = connect(socket.as_raw_fd(), &to).and_then(|()| {
            let message = match packet.protocol {
                TCP => return Ok(0),
                UDP => Vec::new(),
                protocol => echo(protocol),
            };
            send(socket.as_raw_fd(), &message, MsgFlags::empty())
        });
        let failed = match sent {
            Ok(_) | Err(Errno::EINPROGRESS) => None,
            // If a rule drops a packet of this host, the kernel reports EPERM.
            Err(errno) => Some(errno),
        };
        Ok(Self { socket, protocol: packet.protocol, failed })
    }

    /// Returns the reply, if there is one by now.
    pub fn answer(&self) -> Result<Answer> {
        if let Some(errno) = self.failed {
            return Ok(of_errno(errno));
        }
        let error = getsockopt(&self.socket, sockopt::SocketError).map_err(io::Error::from)?;
        if error != 0 {
            return Ok(of_errno(Errno::from_raw(error)));
        }
        if self.protocol == TCP {
            let is_there =
                nix::sys::socket::getpeername::<SockaddrStorage>(self.socket.as_raw_fd());
            return Ok(if is_there.is_ok() { Answer::Taken } else { Answer::None });
        }
        let mut buffer = [0; 256];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) if self.is_answer(&buffer[..length]) => return Ok(Answer::Taken),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(Answer::None),
                Err(errno) => return Ok(of_errno(errno)),
            }
        }
    }

    /// A raw socket receives all ICMP messages of the other side; those of IPv4 with the header.
    fn is_answer(&self, bytes: &[u8]) -> bool {
        let message = match self.protocol {
            ICMP => bytes.get(usize::from(bytes.first().map_or(0, |b| b & 0xf)) * 4..),
            ICMPV6 => Some(bytes),
            _ => return true,
        };
        let kind = if self.protocol == ICMP { 0 } else { 129 };
        message.is_some_and(|m| m.first() == Some(&kind) && m.get(4..6) == Some(&own_number()[..]))
    }
}

impl AsFd for Probe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn of_errno(errno: Errno) -> Answer {
    match errno {
        Errno::ECONNREFUSED => Answer::Refused,
        errno => Answer::Failed(errno),
    }
}

/// The ICMP identifier that distinguishes our echo requests from others.
fn own_number() -> [u8; 2] {
    let [.., high, low] = std::process::id().to_be_bytes();
    [high, low]
}

/// An echo request (RFC 792, RFC 4443). The kernel computes the checksum for IPv6.
fn echo(protocol: u8) -> Vec<u8> {
    let kind = if protocol == ICMP { 8 } else { 128 };
    let [high, low] = own_number();
    let mut message = vec![kind, 0, 0, 0, high, low, 0, 1];
    if protocol == ICMP {
        let sum = super::arp_probe::checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

impl Netns {
    /// Sends the first packet of a connection from a socket in it.
    pub fn probe(&self, packet: &Packet) -> Result<Probe> {
        self.within(|| Probe::send(packet))?
    }
}
