//! Frames as an attacker makes them, and who sends them: the test binary, run in a namespace.

#![allow(clippy::print_stdout, reason = "it is a program of its own")]

use std::{
    env,
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd,
};

use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, send, socket,
    },
};

use super::Lab;

/// What to send, for [`sends_frames`].
const FRAMES: &str = "NETCORD_TEST_FRAMES";

pub(crate) type MacBytes = [u8; 6];

pub(crate) const BROADCAST: MacBytes = [0xff; 6];
const ALL_NODES_MAC: MacBytes = [0x33, 0x33, 0, 0, 0, 1];
const ALL_NODES: &str = "ff02::1";

impl Lab {
    /// Sends frames, whatever is in them, by a link of a namespace.
    #[track_caller]
    pub(crate) fn send_frames(&self, place: &str, link: &str, frames: &[Vec<u8>]) {
        let own = env::current_exe().unwrap();
        let test = concat!(module_path!(), "::sends_frames").split_once("::").unwrap().1;
        let hex = |frame: &Vec<u8>| frame.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>();
        let words: Vec<_> = frames.iter().map(|frame| hex(frame).concat()).collect();
        let output = self
            .command("ip")
            .args(["netns", "exec", place, own.to_str().unwrap()])
            .args([test, "--exact", "--ignored", "--nocapture"])
            .env(FRAMES, format!("{link} {}", words.join(" ")))
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains(&format!("sent {}", frames.len())), "{printed}");
    }

    /// The MAC of a link of a namespace, or of `host`.
    #[track_caller]
    pub(crate) fn mac(&self, place: &str, link: &str) -> MacBytes {
        let ip = if place == "host" { "ip".into() } else { format!("ip -n {place}") };
        let text = self.sh(&format!("{ip} -br link show dev {link} | awk '{{ print $3 }}'")).ok();
        let bytes: Vec<_> = text.split(':').map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
        bytes.try_into().unwrap()
    }
}

/// As `ip` shows it.
pub(crate) fn shown(mac: MacBytes) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}

#[test]
#[ignore = "no test: what `Lab::send_frames` runs"]
fn sends_frames() {
    let Ok(words) = env::var(FRAMES) else { return };
    let mut words = words.split(' ');
    let link = words.next().unwrap();
    let socket =
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), SockProtocol::EthAll)
            .unwrap();
    bind(socket.as_raw_fd(), &address_of(link)).unwrap();
    let mut sent = 0;
    for word in words {
        let bytes: Vec<_> = (0..word.len() / 2)
            .map(|i| u8::from_str_radix(&word[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        send(socket.as_raw_fd(), &bytes, MsgFlags::empty()).unwrap();
        sent += 1;
    }
    println!("sent {sent}");
}

pub(super) fn address_of(link: &str) -> LinkAddr {
    let mut addresses = getifaddrs().unwrap().filter(|a| a.interface_name == link);
    addresses.find_map(|a| a.address.and_then(|a| a.as_link_addr().copied())).unwrap()
}

fn ethernet(to: MacBytes, from: MacBytes, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ethertype.to_be_bytes(), payload].concat()
}

/// A gratuitous ARP: "this address is at this MAC", in a frame from that MAC.
pub(crate) fn gratuitous_arp(mac: MacBytes, address: &str) -> Vec<u8> {
    let ip = address.parse::<Ipv4Addr>().unwrap().octets();
    let fixed = [0, 1, 8, 0, 6, 4, 0, 1];
    ethernet(BROADCAST, mac, 0x0806, &[&fixed, &mac[..], &ip, &[0; 6], &ip].concat())
}

/// A datagram over IPv4.
pub(crate) fn udp(
    (to_mac, to): (MacBytes, &str),
    (from_mac, from): (MacBytes, &str),
    ports: [u16; 2],
) -> Vec<u8> {
    let [to, from] = [to, from].map(|a| a.parse::<Ipv4Addr>().unwrap().octets());
    let mut header = vec![0x45, 0, 0, 36, 0, 0, 0, 0, 64, 17, 0, 0];
    header.extend([from, to].concat());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let [source, destination] = ports.map(u16::to_be_bytes);
    // A checksum of 0 is none.
    header.extend([&source[..], &destination, &[0, 16, 0, 0], &[b'x'; 8]].concat());
    ethernet(to_mac, from_mac, 0x0800, &header)
}

/// An unsolicited neighbour advertisement that overrides: "this address is at this MAC".
pub(crate) fn neighbour_advertisement(mac: MacBytes, from: &str, target: &str) -> Vec<u8> {
    let target = target.parse::<Ipv6Addr>().unwrap().octets();
    let body = [&[136, 0, 0, 0, 0x20, 0, 0, 0], &target[..], &[2, 1], &mac].concat();
    icmpv6(mac, from, &[], body)
}

/// A router advertisement: "I am your default router", behind these extension headers, the first
/// of which is of hop-by-hop options.
pub(crate) fn router_advertisement(mac: MacBytes, from: &str, extensions: &[u8]) -> Vec<u8> {
    let body = [&[134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0][..], &[1, 1], &mac].concat();
    icmpv6(mac, from, extensions, body)
}

fn icmpv6(mac: MacBytes, from: &str, extensions: &[u8], mut body: Vec<u8>) -> Vec<u8> {
    let from = from.parse::<Ipv6Addr>().unwrap().octets();
    let to = ALL_NODES.parse::<Ipv6Addr>().unwrap().octets();
    let length = u8::try_from(body.len()).unwrap();
    let pseudo = [&from[..], &to, &[0, 0, 0, length, 0, 0, 0, 58], &body].concat();
    let sum = checksum(&pseudo);
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    let next = if extensions.is_empty() { 58 } else { 0 };
    let all = u8::try_from(extensions.len()).unwrap() + length;
    let header = [&[0x60, 0, 0, 0, 0, all, next, 255], &from[..], &to].concat();
    ethernet(ALL_NODES_MAC, mac, 0x86dd, &[&header, extensions, &body].concat())
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [a, b] => u32::from(u16::from_be_bytes([a, b])),
        [a] => u32::from(a) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
