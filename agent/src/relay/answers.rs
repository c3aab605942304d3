//! Sends ICMP errors as the kernel would: through a raw socket, so that it routes them, gives them a
//! source, and its firewall sees them.
//!
//! Written to the device, an error with an address of this host as its source would be dropped as a
//! martian.

use std::{
    cell::RefCell,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
    time::Instant,
};

use anyhow::{Context, Result};
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with,
};

use super::{
    counters::Counters,
    icmp::{self, Limit, Reason},
    packet::Header,
};

/// The sender of ICMP errors.
#[derive(Debug)]
pub(super) struct Answers {
    /// Of the protocol `RAW`, which receives nothing.
    socket: OwnedFd,
    limit: RefCell<Limit>,
    began: Instant,
}

impl Answers {
    /// Opens the socket.
    pub(super) fn open() -> Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::INET, SocketType::RAW, flags, Some(ipproto::RAW))
            .context("cannot open a raw socket")?;
        Ok(Self { socket, limit: RefCell::default(), began: Instant::now() })
    }

    /// Sends an error about a packet to its source, if it may be answered.
    pub(super) fn send(&self, reason: Reason, header: &Header, packet: &[u8], counters: &Counters) {
        let Some(error) = icmp::error(reason, header, packet) else { return };
        let now = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        if !self.limit.borrow_mut().allows(reason, header.source, now) {
            return;
        }
        if self.send_to(&error, header.source).is_ok() {
            counters.answers.one();
        }
    }

    fn send_to(&self, error: &[u8], to: Ipv4Addr) -> rustix::io::Result<usize> {
        sendto(&self.socket, error, SendFlags::empty(), &SocketAddrV4::new(to, 0))
    }
}
