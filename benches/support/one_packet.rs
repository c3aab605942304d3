//! A relay as flannel's UDP backend has it: one packet in a datagram, two system calls for each.

use std::{
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsFd,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tun_rs::DeviceBuilder;

/// Carries packets between the TUN device of this name and this address until it fails. Each route is
/// the first three bytes of a subnet, and its host.
pub(crate) fn one_packet(
    link: &str,
    own: (Ipv4Addr, u16),
    routes: &[([u8; 3], Ipv4Addr)],
) -> std::io::Error {
    relay(link, own, routes).expect_err("it has no end")
}

fn relay(
    link: &str,
    own: (Ipv4Addr, u16),
    routes: &[([u8; 3], Ipv4Addr)],
) -> std::io::Result<std::convert::Infallible> {
    let tun = DeviceBuilder::new().name(link).inherit_enable_state().build_sync()?;
    tun.set_nonblocking(true)?;
    let socket = UdpSocket::bind(own)?;
    socket.set_nonblocking(true)?;
    let mut buffer = [0; 1472];
    loop {
        let mut wait = [tun.as_fd(), socket.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        poll(&mut wait, PollTimeout::NONE)?;
        if let Ok(length) = tun.recv(&mut buffer)
            && let Some(packet) = aged(&mut buffer[..length])
        {
            let to = routes.iter().find(|(subnet, _)| packet[16..19] == *subnet);
            if let Some((_, host)) = to {
                // What the kernel does not take is lost.
                drop(socket.send_to(packet, (*host, own.1)));
            }
        }
        if let Ok(length) = socket.recv(&mut buffer)
            && let Some(packet) = aged(&mut buffer[..length])
        {
            drop(tun.send(packet));
        }
    }
}

/// Takes one from the time to live and changes the checksum by as much (RFC 1141).
fn aged(packet: &mut [u8]) -> Option<&[u8]> {
    if packet.len() < 20 || packet[0] >> 4 != 4 || packet[8] <= 1 {
        return None;
    }
    packet[8] -= 1;
    let sum = u32::from(u16::from_be_bytes([packet[10], packet[11]])) + 0x100;
    let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).ok()?;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    Some(packet)
}
