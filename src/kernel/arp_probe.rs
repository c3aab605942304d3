//! Probes whether an address is in use before it is assigned to an endpoint. On a shared network,
//! neither a record nor a neighbour table knows.
//!
//! IPv4 addresses are probed as in RFC 5227, IPv6 addresses with the neighbour solicitation of RFC
//! 4862. Neither contains a sender's IP address, so no neighbour learns from it. The sender's MAC
//! is the link's own: replies to a MAC that no bridge port has would be flooded, and not reach us.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{LinkAddr, MsgFlags, bind, recvfrom, send},
};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, eth, socket_with};

use super::{Kernel, Link};
use crate::model::{Family, Mac};

/// The number of probes, as in RFC 5227: a frame may be lost.
const PROBES: u32 = 3;

/// The time to wait for replies to each probe.
///
/// RFC 5227 waits for seconds, for hosts that boot at the same time and slow switches. Here a user
/// waits for a command. A running host's kernel answers within a millisecond; a busy one, or one
/// behind a wireless link, within the three intervals together.
const GAP: Duration = Duration::from_millis(60);

const ETHERNET: usize = 14;
const BROADCAST: [u8; 6] = [0xff; 6];
const TYPE_ARP: [u8; 2] = [0x08, 0x06];
const TYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// Ethernet and IPv4, with addresses of 6 and 4 bytes.
const ARP_FORMAT: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ARP_REQUEST: [u8; 2] = [0, 1];
const ICMPV6: u8 = 58;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const TARGET_LINK_ADDRESS: [u8; 2] = [2, 1];

/// Returns which hosts on a link's network answer for these addresses. Returns as soon as all have
/// been answered, or at the end of the last interval. Equivalent to `arping -D -I LINK ADDRESS` and
/// `ndisc6 -s :: ADDRESS LINK`.
///
/// On a link that is not Ethernet, nobody answers.
pub(super) fn who_has(link: &str, addresses: &BTreeSet<IpAddr>) -> Result<BTreeMap<IpAddr, Mac>> {
    let Some((at, own)) = address_of(link)? else { return Ok(BTreeMap::new()) };
    ask(&at, own, addresses).with_context(|| format!("cannot ask on `{link}` who has an address"))
}

/// Returns a link's `sockaddr_ll` and its MAC.
///
/// There is no other safe way to get a `sockaddr_ll` than from `getifaddrs`.
fn address_of(link: &str) -> Result<Option<(LinkAddr, Mac)>> {
    let all = getifaddrs().map_err(io::Error::from).context("cannot list the host's links")?;
    let mut found = all
        .filter(|a| a.interface_name == link)
        .filter_map(|a| a.address.and_then(|address| address.as_link_addr().copied()));
    Ok(found.find_map(|at| {
        Some((at, Mac::try_from(&at.addr().filter(|_| at.halen() == 6)?[..]).ok()?))
    }))
}

fn ask(at: &LinkAddr, own: Mac, asked: &BTreeSet<IpAddr>) -> io::Result<BTreeMap<IpAddr, Mac>> {
    let mut wires = Vec::new();
    for (family, protocol) in [(Family::V4, eth::ARP), (Family::V6, eth::IPV6)] {
        let of_family = || asked.iter().filter(move |ip| Family::of(**ip) == family);
        if of_family().next().is_some() {
            let questions = of_family().map(|ip| question(own, *ip)).collect::<Vec<_>>();
            wires.push((open(at, protocol)?, questions));
        }
    }
    let mut answers = BTreeMap::new();
    for _ in 0..PROBES {
        for (socket, questions) in &wires {
            for frame in questions {
                match send(socket.as_raw_fd(), frame, MsgFlags::empty()) {
                    // The next probe may get through.
                    Ok(_) | Err(Errno::ENOBUFS) => {}
                    // The link went down.
                    Err(Errno::ENETDOWN) => return Ok(answers),
                    Err(e) => return Err(e.into()),
                }
            }
        }
        let until = Instant::now() + GAP;
        while wait(&wires, until)? {
            for (socket, _) in &wires {
                listen(socket, at, own, asked, &mut answers)?;
            }
            if answers.len() == asked.len() {
                return Ok(answers);
            }
        }
    }
    Ok(answers)
}

/// Opens a packet socket for one ethertype at a link of the thread's namespace.
pub(super) fn frames_of(link: &str, protocol: Protocol) -> Result<OwnedFd> {
    let (at, _) = address_of(link)?.with_context(|| format!("there is no link `{link}`"))?;
    open(&at, protocol).with_context(|| format!("cannot listen to frames of `{link}`"))
}

/// Opens a packet socket for one ethertype at one link.
fn open(at: &LinkAddr, protocol: Protocol) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, Some(protocol))?;
    // The socket keeps its ethertype: the address names none.
    bind(socket.as_raw_fd(), at)?;
    Ok(socket)
}

/// Waits until a frame can be read; returns false at the deadline.
fn wait(wires: &[(OwnedFd, Vec<Vec<u8>>)], until: Instant) -> io::Result<bool> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let mut fds: Vec<_> = wires
            .iter()
            .map(|(socket, _)| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        // Rounded up, so that the last millisecond is no busy loop.
        let timeout =
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Reads frames, and keeps those that answer a probe.
fn listen(
    socket: &OwnedFd,
    at: &LinkAddr,
    own: Mac,
    asked: &BTreeSet<IpAddr>,
    answers: &mut BTreeMap<IpAddr, Mac>,
) -> io::Result<()> {
    // The headers are enough; a longer frame is truncated.
    let mut buffer = [0; 256];
    loop {
        match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) {
            // Before it was bound, the socket received the frames of all links.
            Ok((_, Some(from))) if from.ifindex() != at.ifindex() => {}
            Ok((length, _)) => {
                if let Some((ip, mac)) = claim(&buffer[..length])
                    && mac != own
                    && asked.contains(&ip)
                {
                    answers.entry(ip).or_insert(mac);
                }
            }
            Err(Errno::EAGAIN) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Returns the probe for an address.
fn question(own: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => arp_probe(own, v4),
        IpAddr::V6(v6) => neighbour_solicitation(own, v6),
    }
}

/// RFC 5227 section 2.1.1.
fn arp_probe(own: Mac, target: Ipv4Addr) -> Vec<u8> {
    let (mac, nobody) = (own.octets(), [0; 4]);
    [
        &BROADCAST[..],
        &mac,
        &TYPE_ARP,
        &ARP_FORMAT,
        &ARP_REQUEST,
        &mac,
        &nobody,
        &[0; 6],
        &target.octets(),
    ]
    .concat()
}

/// RFC 4862 section 5.4.2.
fn neighbour_solicitation(own: Mac, target: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    // The solicited-node group of the address (RFC 4291 section 2.7.1), and its MAC (RFC 2464).
    let group_mac = [0x33, 0x33, 0xff, a, b, c];
    let group =
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let source = Ipv6Addr::UNSPECIFIED;
    let mut message =
        [&[NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0], &target.octets()[..]].concat();
    // A solicitation without options has 24 bytes.
    let length = [0, 24];
    let pseudo_header =
        [&source.octets()[..], &group.octets(), &[0, 0], &length, &[0, 0, 0, ICMPV6]].concat();
    let sum = checksum(&[pseudo_header, message.clone()].concat());
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let header = [&[0x60, 0, 0, 0], &length[..], &[ICMPV6, 255]].concat();
    [
        &group_mac[..],
        &own.octets(),
        &TYPE_IPV6,
        &header,
        &source.octets(),
        &group.octets(),
        &message,
    ]
    .concat()
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let sum = bytes.chunks_exact(2).fold(0_u16, |sum, pair| {
        let (sum, carry) = sum.overflowing_add(u16::from_be_bytes([pair[0], pair[1]]));
        sum + u16::from(carry)
    });
    !sum
}

/// Returns the address that a frame claims for its sender, and the sender.
fn claim(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    let (header, payload) = frame.split_at_checked(ETHERNET)?;
    match [header[12], header[13]] {
        TYPE_ARP => claim_by_arp(payload),
        TYPE_IPV6 => claim_by_neighbour_discovery(header, payload),
        _ => None,
    }
}

fn claim_by_arp(arp: &[u8]) -> Option<(IpAddr, Mac)> {
    let address = |from: usize| {
        let octets: [u8; 4] = arp.get(from..from + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    };
    if !arp.starts_with(&ARP_FORMAT) {
        return None;
    }
    let (sender, target) = (address(14)?, address(24)?);
    let is_request = arp[6..8] == ARP_REQUEST;
    // A probe of another host, which wants the address too.
    let wanted = if sender.is_unspecified() && is_request { target } else { sender };
    Some((wanted.into(), Mac::try_from(&arp[8..14]).ok()?))
}

fn claim_by_neighbour_discovery(header: &[u8], packet: &[u8]) -> Option<(IpAddr, Mac)> {
    let (ip, message) = packet.split_at_checked(40)?;
    // A packet with a lower hop limit came through a router.
    if (ip[6], ip[7]) != (ICMPV6, 255) || message.len() < 24 {
        return None;
    }
    let target: [u8; 16] = message[8..24].try_into().ok()?;
    let from_nobody = ip[8..24] == [0; 16];
    let mac = match message[0] {
        NEIGHBOUR_ADVERTISEMENT => {
            let option = message.get(24..32).filter(|o| o.starts_with(&TARGET_LINK_ADDRESS));
            option.map_or(&header[6..12], |o| &o[2..])
        }
        NEIGHBOUR_SOLICITATION if from_nobody => &header[6..12],
        _ => return None,
    };
    Some((Ipv6Addr::from(target).into(), Mac::try_from(mac).ok()?))
}

impl Kernel {
    /// Returns which hosts on a link's network have these addresses.
    pub fn who_has(
        &self,
        link: &Link,
        addresses: &BTreeSet<IpAddr>,
    ) -> Result<BTreeMap<IpAddr, Mac>> {
        who_has(&link.name, addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [u8; 6] = [0x02, 0x42, 10, 7, 0, 1];
    const OTHER: [u8; 6] = [0x02, 0x42, 10, 7, 0, 2];

    fn mac(bytes: [u8; 6]) -> Mac {
        Mac::try_from(&bytes[..]).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_question_is_a_claim_of_who_asks() {
        for address in ["10.7.0.9", "fd00:7::9"] {
            let frame = question(mac(OTHER), ip(address));
            assert_eq!(claim(&frame), Some((ip(address), mac(OTHER))));
            for length in 0..frame.len() {
                assert_eq!(claim(&frame[..length]), None, "{length} bytes");
            }
        }
    }

    #[test]
    fn frames_are_as_the_rfcs_have_them() {
        let arp = arp_probe(mac(OWN), [10, 7, 0, 9].into());
        assert_eq!(arp.len(), 42);
        assert_eq!(arp[28..32], [0; 4]);
        assert_eq!(arp[38..42], [10, 7, 0, 9]);
        let nd = neighbour_solicitation(mac(OWN), "fd00:7::1:203".parse().unwrap());
        assert_eq!(nd.len(), 78);
        assert_eq!(nd[..6], [0x33, 0x33, 0xff, 1, 2, 3]);
        assert_eq!(nd[22..38], [0; 16]);
        assert_eq!(nd[38..54], "ff02::1:ff01:203".parse::<Ipv6Addr>().unwrap().octets());
        // The sum including the checksum is zero.
        let pseudo_header = [&nd[22..54], &[0, 0, 0, 24, 0, 0, 0, 58], &nd[54..]].concat();
        assert_eq!(checksum(&pseudo_header), 0);
    }

    #[test]
    fn answers_name_who_has_the_address() {
        let mut reply = arp_probe(mac(OTHER), [10, 7, 0, 1].into());
        reply[21] = 2;
        reply[28..32].copy_from_slice(&[10, 7, 0, 9]);
        assert_eq!(claim(&reply), Some((ip("10.7.0.9"), mac(OTHER))));

        let target: Ipv6Addr = "fd00:7::9".parse().unwrap();
        let mut advertisement = neighbour_solicitation(mac(OWN), target);
        advertisement[54] = NEIGHBOUR_ADVERTISEMENT;
        advertisement[22..38].copy_from_slice(&target.octets());
        assert_eq!(claim(&advertisement), Some((target.into(), mac(OWN))));
        advertisement.extend([&TARGET_LINK_ADDRESS[..], &OTHER].concat());
        assert_eq!(claim(&advertisement), Some((target.into(), mac(OTHER))));
        // Forwarded by a router, or a solicitation from a host that has an address.
        advertisement[21] = 254;
        assert_eq!(claim(&advertisement), None);
        (advertisement[21], advertisement[54]) = (255, NEIGHBOUR_SOLICITATION);
        assert_eq!(claim(&advertisement), None);
    }
}
