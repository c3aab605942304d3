//! The frames that an endpoint must not send, as a program of classic BPF at its bridge port.
//!
//! Frames are checked where they leave the endpoint, so nothing inside its namespace can bypass the
//! program, and the program is deleted with the port. The kernel needs `sch_ingress` and `cls_bpf`;
//! no program in user space is needed.
//!
//! A load beyond a frame's end ends a classic program with 0, which means "pass" here. So the
//! program first checks that fixed headers are complete; no receiver accepts a packet that is cut
//! short behind them.

mod assembler;

use std::net::IpAddr;

use ipnetwork::IpNetwork;

pub use assembler::Instruction;
use assembler::{Assembler, Label, Load};

use crate::model::{Endpoint, Flag, Mac, Network};

/// The frames that an endpoint must not send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpoofFilter {
    /// Router advertisements and redirects, since the endpoint is no router.
    Routers,
    /// Everything that pretends to be another: frames from another MAC or address, ARP and ND
    /// answers for another's address, router advertisements, redirects, DHCP server messages.
    Spoofing {
        /// The endpoint's MAC.
        mac: Mac,
        /// The endpoint's addresses. For IPv6 the kernel adds a link-local one, derived from the
        /// MAC.
        addresses: Vec<IpAddr>,
    },
}

// Offsets in a frame: Ethernet (IEEE 802.3), ARP (RFC 826), IPv4 (RFC 791), IPv6 (RFC 8200).
const ETHERNET: u32 = 14;
const SOURCE_MAC: u32 = 6;
const ETHERTYPE: u32 = 12;
const ARP_FORMAT: u32 = ETHERNET;
const ARP_SENDER_MAC: u32 = ETHERNET + 8;
const ARP_SENDER: u32 = ETHERNET + 14;
const ARP_TARGET: u32 = ETHERNET + 24;
const ARP_END: u32 = ETHERNET + 28;
const IPV4_FRAGMENT: u32 = ETHERNET + 6;
const IPV4_PROTOCOL: u32 = ETHERNET + 9;
const IPV4_SOURCE: u32 = ETHERNET + 12;
const IPV4_END: u32 = ETHERNET + 20;
const IPV6_NEXT_HEADER: u32 = ETHERNET + 6;
const IPV6_SOURCE: u32 = ETHERNET + 8;
const IPV6_END: u32 = ETHERNET + 40;
/// Offset in a neighbour solicitation or advertisement (RFC 4861).
const ND_TARGET: u32 = 8;

const TYPE_IPV4: u32 = 0x0800;
const TYPE_ARP: u32 = 0x0806;
const TYPE_IPV6: u32 = 0x86dd;
const TYPES_VLAN: [u32; 2] = [0x8100, 0x88a8];
/// A smaller ethertype is the length of an IEEE 802.3 frame.
const TYPES_BEGIN: u32 = 0x600;
const LLC_SNAP: u32 = 0xaaaa;

const UDP: u32 = 17;
const HOP_BY_HOP: u32 = 0;
const ROUTING: u32 = 43;
const FRAGMENT: u32 = 44;
const DESTINATION_OPTIONS: u32 = 60;
const ICMPV6: u32 = 58;
const ROUTER_SOLICITATION: u32 = 133;
const ROUTER_ADVERTISEMENT: u32 = 134;
const NEIGHBOUR_SOLICITATION: u32 = 135;
const NEIGHBOUR_ADVERTISEMENT: u32 = 136;
const REDIRECT: u32 = 137;
const DHCP_SERVER: u32 = 67;
const DHCPV6_SERVER: u32 = 547;

/// The number of extension headers to follow; a packet with more is dropped. Ordinary packets have
/// one or two (RFC 8200 section 4.1 gives an order for five, two of them end-to-end).
const EXTENSIONS: usize = 4;

impl SpoofFilter {
    /// Restricts an endpoint to its own MAC and addresses, if its network wants that.
    pub(super) fn against_spoofing(network: &Network, endpoint: &Endpoint) -> Option<Self> {
        network.has(Flag::NoSpoof).then(|| {
            // The program is the same whatever the order of the addresses is.
            let mut addresses: Vec<_> = endpoint.addresses.iter().map(IpNetwork::ip).collect();
            addresses.sort_unstable();
            Self::Spoofing { mac: endpoint.mac, addresses }
        })
    }

    /// Returns the program.
    pub fn program(&self) -> Vec<Instruction> {
        let mut program = Assembler::default();
        match self {
            Self::Routers => routers(&mut program),
            Self::Spoofing { mac, addresses } => spoofing(&mut program, *mac, addresses),
        }
        program.finish()
    }

    /// Returns the program in the syntax of `tc`.
    pub fn bytecode(&self) -> String {
        let program = self.program();
        let lines = program.iter().map(|i| format!(",{} {} {} {}", i.code, i.jt, i.jf, i.k));
        format!("{}{}", program.len(), lines.collect::<String>())
    }
}

/// Passes everything but the messages of routers.
///
/// The kernel removes the outermost tag before a filter sees the frame, so a frame with one tag is
/// checked like one without.
fn routers(program: &mut Assembler) {
    let (ipv6, ethertype) = (program.label(), program.label());
    program.load(Load::Half(ETHERTYPE));
    program.jump_if(TYPE_IPV6, ipv6);
    // A second tag, or an 802.3 header followed by a SNAP header, hides IPv6 from this program, but
    // not from every receiver (CVE-2021-27853, CVE-2021-27861).
    for tag in TYPES_VLAN {
        program.drop_if(tag);
    }
    program.jump_if_at_least(TYPES_BEGIN, ethertype);
    program.load(Load::Half(ETHERNET));
    program.drop_if(LLC_SNAP);
    program.place(ethertype);
    program.pass();

    program.place(ipv6);
    let icmp = program.label();
    headers(program, icmp, None);
    program.place(icmp);
    program.load(Load::ByteAfter(IPV6_END));
    program.drop_if(ROUTER_ADVERTISEMENT);
    program.drop_if(REDIRECT);
    program.pass();
}

/// Drops every frame that does not come from the endpoint's own MAC and addresses.
fn spoofing(program: &mut Assembler, mac: Mac, addresses: &[IpAddr]) {
    let ipv4: Vec<u32> = addresses
        .iter()
        .filter_map(|ip| match ip {
            IpAddr::V4(v4) => Some(v4.to_bits()),
            IpAddr::V6(_) => None,
        })
        .collect();
    let mut ipv6: Vec<u128> = addresses
        .iter()
        .filter_map(|ip| match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => Some(v6.to_bits()),
        })
        .collect();
    if !ipv6.is_empty() {
        ipv6.push(mac.link_local().to_bits());
    }

    // Frames with a VLAN tag are dropped.
    program.load(Load::VlanTagPresent);
    program.drop_unless(0);
    // A bridge learns the source MAC, and then sends frames for it to this port.
    is_mac(program, SOURCE_MAC, mac);
    let (of_arp, of_ipv4, of_ipv6) = (program.label(), program.label(), program.label());
    program.load(Load::Half(ETHERTYPE));
    if !ipv4.is_empty() {
        program.jump_if(TYPE_ARP, of_arp);
        program.jump_if(TYPE_IPV4, of_ipv4);
    }
    if !ipv6.is_empty() {
        program.jump_if(TYPE_IPV6, of_ipv6);
    }
    // Drop other ethertypes: they cannot be checked.
    program.drop();

    program.place(of_arp);
    if !ipv4.is_empty() {
        arp(program, mac, &ipv4);
    }
    program.place(of_ipv4);
    if !ipv4.is_empty() {
        self::ipv4(program, &ipv4);
    }
    program.place(of_ipv6);
    if !ipv6.is_empty() {
        self::ipv6(program, &ipv6);
    }
}

fn is_mac(program: &mut Assembler, at: u32, mac: Mac) {
    let mac = mac.octets();
    program.load(Load::Word(at));
    program.drop_unless(u32::from_be_bytes([mac[0], mac[1], mac[2], mac[3]]));
    program.load(Load::Half(at + 4));
    program.drop_unless(u32::from_be_bytes([0, 0, mac[4], mac[5]]));
}

fn at_least(program: &mut Assembler, length: u32) {
    let long_enough = program.label();
    program.load(Load::Length);
    program.jump_if_at_least(length, long_enough);
    program.drop();
    program.place(long_enough);
}

fn arp(program: &mut Assembler, mac: Mac, own: &[u32]) {
    at_least(program, ARP_END);
    // Ethernet and IPv4, with addresses of 6 and 4 bytes: only then are the offsets right.
    program.load(Load::Word(ARP_FORMAT));
    program.drop_unless(0x0001_0800);
    program.load(Load::Half(ARP_FORMAT + 4));
    program.drop_unless(0x0604);
    // Neighbours learn the sender's MAC and address, from requests and replies alike.
    is_mac(program, ARP_SENDER_MAC, mac);
    let (own_sender, nobody) = (program.label(), program.label());
    program.load(Load::Word(ARP_SENDER));
    for address in own {
        program.jump_if(*address, own_sender);
    }
    program.jump_if(0, nobody);
    program.drop();
    // A probe (RFC 5227) for another's address would keep its owner from using it.
    program.place(nobody);
    program.load(Load::Word(ARP_TARGET));
    drop_unless_any(program, own);
    program.place(own_sender);
    program.pass();
}

fn ipv4(program: &mut Assembler, own: &[u32]) {
    at_least(program, IPV4_END);
    program.load(Load::Word(IPV4_SOURCE));
    drop_unless_any(program, own);

    // A DHCP server could tell clients its own gateway. A client need not send either: leases are
    // requested from the host's side.
    let pass = program.label();
    program.load(Load::Byte(IPV4_PROTOCOL));
    program.jump_unless(UDP, pass);
    program.load(Load::Half(IPV4_FRAGMENT));
    program.and(0x1fff);
    // Only the first fragment contains ports.
    program.jump_unless(0, pass);
    program.ipv4_header_to_x(ETHERNET);
    program.load(Load::HalfAfter(ETHERNET));
    program.drop_if(DHCP_SERVER);
    program.place(pass);
    program.pass();
}

fn ipv6(program: &mut Assembler, own: &[u128]) {
    at_least(program, IPV6_END);
    let (own_source, icmp, udp, pass) =
        (program.label(), program.label(), program.label(), program.label());
    jump_if_any(program, own, |offset| Load::Word(IPV6_SOURCE + offset), own_source);

    // The unspecified source is for duplicate address detection (RFC 4862). A solicitation for
    // another's address would keep its owner from using it.
    let nobody = program.label();
    jump_if_any(program, &[0], |offset| Load::Word(IPV6_SOURCE + offset), nobody);
    program.drop();
    program.place(nobody);
    program.load(Load::Byte(IPV6_NEXT_HEADER));
    program.drop_unless(ICMPV6);
    program.load(Load::Byte(IPV6_END));
    program.drop_unless(NEIGHBOUR_SOLICITATION);
    let target = IPV6_END + ND_TARGET;
    jump_if_any(program, own, |offset| Load::Word(target + offset), pass);
    program.drop();

    program.place(own_source);
    headers(program, icmp, Some(udp));
    program.place(udp);
    program.load(Load::HalfAfter(IPV6_END));
    program.drop_if(DHCPV6_SERVER);
    program.pass();

    program.place(icmp);
    let answer = program.label();
    program.load(Load::ByteAfter(IPV6_END));
    program.drop_if(ROUTER_ADVERTISEMENT);
    program.drop_if(REDIRECT);
    program.jump_if(NEIGHBOUR_ADVERTISEMENT, answer);
    program.pass();
    // A neighbour advertisement names the owner of its target, whatever its own source address is.
    program.place(answer);
    jump_if_any(program, own, |offset| Load::WordAfter(target + offset), pass);
    program.drop();
    program.place(pass);
    program.pass();
}

/// Drops the frame if A is none of these values, of which there is one at least.
fn drop_unless_any(program: &mut Assembler, any: &[u32]) {
    let Some((last, others)) = any.split_last() else { return };
    let found = program.label();
    for value in others {
        program.jump_if(*value, found);
    }
    program.drop_unless(*last);
    program.place(found);
}

/// Jumps if the 16 bytes, loaded in words, are one of these addresses.
fn jump_if_any(program: &mut Assembler, any: &[u128], at: impl Fn(u32) -> Load, to: Label) {
    for address in any {
        let other = program.label();
        let words = [address >> 96, address >> 64, address >> 32, *address];
        for (word, offset) in words.into_iter().zip([0, 4, 8, 12]) {
            program.load(at(offset));
            // The low 32 bits.
            #[expect(clippy::cast_possible_truncation, reason = "a word of the four")]
            program.jump_unless(word as u32, other);
        }
        program.go(to);
        program.place(other);
    }
}

/// Follows the extension headers of IPv6. At `icmp` and `udp`, X is their total length. Everything
/// else passes, except for what could hide neighbour discovery.
fn headers(program: &mut Assembler, icmp: Label, udp: Option<Label>) {
    let (fragment, pass) = (program.label(), program.label());
    let extensions = [HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS];
    program.zero_to_x();
    program.load(Load::Byte(IPV6_NEXT_HEADER));
    for _ in 0..EXTENSIONS {
        let extension = program.label();
        program.jump_if(ICMPV6, icmp);
        if let Some(udp) = udp {
            program.jump_if(UDP, udp);
        }
        program.jump_if(FRAGMENT, fragment);
        for kind in extensions {
            program.jump_if(kind, extension);
        }
        program.go(pass);
        program.place(extension);
        program.skip_extension(IPV6_END);
    }
    // The last header must lead to a protocol, else there are too many extension headers.
    program.jump_if(ICMPV6, icmp);
    if let Some(udp) = udp {
        program.jump_if(UDP, udp);
    }
    for kind in [FRAGMENT].into_iter().chain(extensions) {
        program.drop_if(kind);
    }
    program.go(pass);

    program.place(fragment);
    program.load(Load::HalfAfter(IPV6_END + 2));
    program.and(0xfff8);
    // A later fragment is useless without the first.
    program.jump_unless(0, pass);
    program.load(Load::ByteAfter(IPV6_END));
    for kind in [FRAGMENT].into_iter().chain(extensions) {
        program.drop_if(kind);
    }
    program.jump_unless(ICMPV6, pass);
    // Fragmented neighbour discovery is invalid (RFC 6980).
    program.load(Load::ByteAfter(IPV6_END + 8));
    for kind in ROUTER_SOLICITATION..=REDIRECT {
        program.drop_if(kind);
    }
    program.place(pass);
    program.pass();
}

#[cfg(test)]
mod tests;
