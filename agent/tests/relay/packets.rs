use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::OwnedFd,
    time::Duration,
};

use netcord_agent::relay::{
    checksum::Sum,
    packet::{Header, ICMP, TCP, UDP, put, seal},
};
use rustix::net::{
    AddressFamily, RecvFlags, SocketType, ipproto, recv, socket, sockopt::Timeout,
    sockopt::set_socket_timeout,
};

use crate::lab::{Lab, PORT, host};

/// No wait of a test is longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The port of containers.
pub(crate) const INNER_PORT: u16 = 7000;

/// A UDP packet between containers.
pub(crate) fn udp(from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; 8];
    put(&mut datagram, 0, INNER_PORT);
    put(&mut datagram, 2, INNER_PORT);
    put(&mut datagram, 4, (8 + payload.len()).try_into().unwrap());
    datagram.extend(payload);
    with_checksum(ip(UDP, from, to, &datagram), 6)
}

/// A TCP segment that only acknowledges, with this sequence number and payload.
pub(crate) fn tcp(from: Ipv4Addr, to: Ipv4Addr, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![0; 20];
    put(&mut segment, 0, INNER_PORT);
    put(&mut segment, 2, INNER_PORT);
    segment[4..8].copy_from_slice(&sequence.to_be_bytes());
    segment[12] = 0x50;
    segment[13] = 0x10;
    segment.extend(payload);
    with_checksum(ip(TCP, from, to, &segment), 16)
}

fn with_checksum(mut packet: Vec<u8>, field: usize) -> Vec<u8> {
    let bytes = (packet.len() - 20).try_into().unwrap();
    let sum = Sum::default().with_pseudo_header(&packet[12..20], packet[9], bytes);
    let checksum = sum.with(&packet[20..]).checksum();
    put(&mut packet, 20 + field, checksum);
    packet
}

/// An IPv4 packet.
pub(crate) fn ip(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 20];
    packet[0] = 0x45;
    put(&mut packet, 2, (20 + payload.len()).try_into().unwrap());
    put(&mut packet, 6, 0x4000);
    packet[8] = 64;
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    packet.extend(payload);
    seal(&mut packet);
    packet
}

/// A peer that is no relay: sends what it wants.
pub(crate) fn peer(lab: &Lab, number: u8) -> UdpSocket {
    outer(lab, number, PORT)
}

/// A socket of a host on the wire.
pub(crate) fn outer(lab: &Lab, number: u8, port: u16) -> UdpSocket {
    bound(lab, 'h', number, SocketAddrV4::new(host(number), port))
}

/// A socket of a container.
pub(crate) fn inner(lab: &Lab, number: u8) -> UdpSocket {
    bound(lab, 'c', number, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, INNER_PORT))
}

fn bound(lab: &Lab, kind: char, number: u8, address: SocketAddrV4) -> UdpSocket {
    let socket = lab.within(kind, number, move || UdpSocket::bind(address).unwrap());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends a packet in a datagram to a relay.
pub(crate) fn send(from: &UdpSocket, to: u8, packet: &[u8]) {
    from.send_to(packet, (host(to), PORT)).unwrap();
}

/// The next datagram.
#[track_caller]
pub(crate) fn received(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65536];
    let (length, _) = socket.recv_from(&mut buffer).expect("a datagram comes");
    buffer.truncate(length);
    buffer
}

/// Receives IPv4 packets of a protocol that come to a host or a container.
pub(crate) struct Raw(OwnedFd);

impl Raw {
    pub(crate) fn icmp(lab: &Lab, kind: char, number: u8) -> Self {
        Self::new(lab, kind, number, ICMP)
    }

    pub(crate) fn tcp(lab: &Lab, kind: char, number: u8) -> Self {
        Self::new(lab, kind, number, TCP)
    }

    fn new(lab: &Lab, kind: char, number: u8, protocol: u8) -> Self {
        let socket = lab.within(kind, number, move || {
            let protocol = if protocol == ICMP { ipproto::ICMP } else { ipproto::TCP };
            socket(AddressFamily::INET, SocketType::RAW, Some(protocol)).unwrap()
        });
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// The next packet.
    #[track_caller]
    pub(crate) fn packet(&self) -> Vec<u8> {
        let mut buffer = vec![0; 65536];
        let (length, _) = recv(&self.0, &mut buffer[..], RecvFlags::empty()).expect("it comes");
        buffer.truncate(length);
        assert!(Header::of(&buffer).is_some());
        buffer
    }

    /// Returns whether there is nothing now.
    pub(crate) fn is_silent(&self) -> bool {
        recv(&self.0, &mut [0; 100][..], RecvFlags::DONTWAIT).is_err()
    }
}
