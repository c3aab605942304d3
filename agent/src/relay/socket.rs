//! The UDP socket: each datagram holds one packet.

use std::{
    cell::Cell,
    io::{self, IoSlice, IoSliceMut},
    net::{self, Ipv4Addr, SocketAddrV4},
    ops::Range,
    os::fd::AsRawFd,
};

use anyhow::Result;
use netcord::error::Error;
use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SetSockOpt, SockaddrIn,
        getsockopt, recvmmsg, sendmsg, setsockopt, sockopt,
    },
};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use tokio::{io::Interest, net::UdpSocket};

/// The most datagrams in a series (`UDP_MAX_SEGMENTS` of Linux before 6.9).
pub(super) const SERIES: usize = 64;
/// The most bytes in a series, as in one datagram.
pub(super) const SERIES_BYTES: usize = 65507;
/// The headers of IPv4 and UDP.
pub(super) const HEADERS: u16 = 28;

/// What the kernel may hold for the relay in each direction.
const QUEUE: usize = 7 << 20;
/// How many datagrams, or series of them, are received at once.
const MESSAGES: usize = 32;
/// Room for a series. Not a power of two, because the first bytes of all would compete for the same
/// lines of a cache.
const ROOM: usize = (64 << 10) + 1600;

/// The socket of both directions.
#[derive(Debug)]
pub(super) struct Socket {
    udp: UdpSocket,
    own: SocketAddrV4,
    sends_series: Cell<bool>,
    receives_series: bool,
}

/// Datagrams that have come.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) from: SocketAddrV4,
    /// All of them, in the buffer.
    pub(super) at: Range<usize>,
    /// The length of each but the last.
    pub(super) size: usize,
}

impl Socket {
    /// Opens a socket with this address.
    pub(super) fn open(own: SocketAddrV4, send: bool, receive: bool) -> Result<Self> {
        let socket = net::UdpSocket::bind(own).map_err(|error| refused(own, error))?;
        socket.set_nonblocking(true)?;
        // Datagrams are not fragmented, and one that is too large is an error.
        set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DO)?;
        force(&socket, &sockopt::RcvBufForce, &sockopt::RcvBuf)?;
        force(&socket, &sockopt::SndBufForce, &sockopt::SndBuf)?;
        let sends_series = send && setsockopt(&socket, sockopt::UdpGsoSegment, &0).is_ok();
        let receives_series = receive && setsockopt(&socket, sockopt::UdpGroSegment, &true).is_ok();
        let udp = UdpSocket::from_std(socket)?;
        Ok(Self { udp, own, sends_series: Cell::new(sends_series), receives_series })
    }

    /// Returns whether one system call sends several datagrams.
    pub(super) fn sends_series(&self) -> bool {
        self.sends_series.get()
    }

    /// Sends one datagram in a system call from now on.
    pub(super) fn send_no_series(&self) {
        self.sends_series.set(false);
    }

    /// Returns whether the kernel may hand over several datagrams as one.
    pub(super) fn receives_series(&self) -> bool {
        self.receives_series
    }

    /// Returns the port of this host and of its peers.
    pub(super) fn port(&self) -> u16 {
        self.own.port()
    }

    /// Sends a datagram, or several of this size each but the last; waits while the kernel has no
    /// room.
    pub(super) async fn send(
        &self,
        pieces: &[IoSlice<'_>],
        size: Option<u16>,
        to: Ipv4Addr,
    ) -> Result<(), Errno> {
        let to = SockaddrIn::from(SocketAddrV4::new(to, self.own.port()));
        let size = size.as_ref().map(ControlMessage::UdpGsoSegments);
        let fd = self.udp.as_raw_fd();
        let send = || {
            sendmsg(fd, pieces, size.as_slice(), MsgFlags::MSG_DONTWAIT, Some(&to))?;
            Ok(())
        };
        self.udp.async_io(Interest::WRITABLE, send).await.map_err(|error| errno(&error))
    }

    /// Returns a buffer for what is received.
    pub(super) fn buffer() -> Vec<u8> {
        vec![0; MESSAGES * ROOM]
    }

    /// Waits for datagrams.
    pub(super) async fn receive(
        &self,
        buffer: &mut [u8],
        received: &mut Vec<Received>,
    ) -> io::Result<()> {
        received.clear();
        let receive = || match self.receive_now(buffer, received) {
            // A peer that is not there is none of the others' concern.
            Ok(()) | Err(Errno::EINTR | Errno::ECONNREFUSED | Errno::EHOSTUNREACH) => Ok(()),
            Err(error) => Err(error.into()),
        };
        self.udp.async_io(Interest::READABLE, receive).await
    }

    fn receive_now(&self, buffer: &mut [u8], received: &mut Vec<Received>) -> Result<(), Errno> {
        let space = self.receives_series.then(|| cmsg_space!(i32));
        // The kernel writes into the headers, so that they serve once.
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(MESSAGES, space);
        let mut rooms: Vec<_> =
            buffer.chunks_exact_mut(ROOM).map(|room| [IoSliceMut::new(room)]).collect();
        let fd = self.udp.as_raw_fd();
        let messages = recvmmsg(fd, &mut headers, &mut rooms, MsgFlags::MSG_DONTWAIT, None)?;
        for (number, message) in messages.enumerate() {
            let Some(from) = message.address else { continue };
            let mut size = message.bytes;
            if self.receives_series {
                for control in message.cmsgs()? {
                    if let ControlMessageOwned::UdpGroSegments(each) = control {
                        size = usize::try_from(each).unwrap_or(size);
                    }
                }
            }
            let start = number * ROOM;
            let at = start..start + message.bytes;
            received.push(Received { from: SocketAddrV4::from(from), at, size });
        }
        Ok(())
    }

    /// Returns the size of the largest packet of the network that fits in a datagram to a host.
    pub(super) fn room_to(&self, host: Ipv4Addr) -> Option<u16> {
        let probe = net::UdpSocket::bind((*self.own.ip(), 0)).ok()?;
        probe.connect((host, self.own.port())).ok()?;
        let mtu = getsockopt(&probe, sockopt::IpMtu).ok()?;
        u16::try_from(mtu).unwrap_or(u16::MAX).checked_sub(HEADERS)
    }
}

/// Asks for a queue beyond the limit of the host, which takes a privilege, or else up to it.
fn force(
    socket: &net::UdpSocket,
    beyond: &impl SetSockOpt<Val = usize>,
    within: &impl SetSockOpt<Val = usize>,
) -> Result<(), Errno> {
    beyond.set(socket, &QUEUE).or_else(|_| within.set(socket, &QUEUE))
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

fn refused(own: SocketAddrV4, error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            Error::conflict(format!("UDP port {own} is in use by another process")).into()
        }
        io::ErrorKind::AddrNotAvailable => {
            Error::not_found(format!("address {} is not one of this host", own.ip())).into()
        }
        _ => anyhow::Error::from(error).context(format!("cannot open UDP port {own}")),
    }
}
