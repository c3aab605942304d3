//! The known parts of a packet that does not exist yet: its header bytes, as far as they can be
//! known.

use std::net::{IpAddr, Ipv6Addr};

use ipnetwork::IpNetwork;

use super::{Header, Tracking, Zones, machine::Is};
use crate::model::{Mac, Protocol, overlap};

/// A byte, if known.
pub type Byte = Option<u8>;

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const SYN: u8 = 2;
const SYN_ACK: u8 = 0x12;

// ETH_P_*
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// The ports that need no privilege (`ip_unprivileged_port_start`).
const EPHEMERAL: (u16, u16) = (1024, u16::MAX);

/// A packet, as rules see it at one hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// The subnet of the source, if no more of it is known.
    pub source_in: Option<IpNetwork>,
    /// The subnet of the destination, if no more of it is known.
    pub destination_in: Option<IpNetwork>,
    /// The protocol number (IANA).
    pub protocol: u8,
    /// The source port, if it has one and that is known.
    pub source_port: Option<u16>,
    /// The destination port, if it has one and that is known.
    pub port: Option<u16>,
    /// The bounds of an unknown source port: the ephemeral ports.
    pub ephemeral: (u16, u16),
    /// Its role.
    pub kind: Kind,
    /// Its MACs.
    pub frame: Frame,
    /// Its mark.
    pub mark: u32,
    /// The conntrack state.
    pub tracking: Tracking,
    /// The conntrack zones.
    pub zones: Zones,
    /// The mark of its connection.
    pub connection_mark: u32,
}

/// The MACs of a frame, as far as known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The source MAC.
    pub source: Option<Mac>,
    /// The destination MAC; `None`: unknown or broadcast.
    pub destination: Option<Mac>,
}

/// The role of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first packet of a connection.
    First,
    /// The reply to the first.
    Answer,
    /// An ARP request, or a neighbour solicitation.
    Question {
        /// The address that it asks for.
        target: IpAddr,
    },
    /// An ARP reply, or a neighbour advertisement.
    Advertisement {
        /// The address that it answers for.
        target: IpAddr,
        /// The MAC of that address.
        mac: Option<Mac>,
    },
}

impl Kind {
    /// Returns whether it is ARP or neighbour discovery.
    pub fn is_of_neighbours(self) -> bool {
        matches!(self, Self::Question { .. } | Self::Advertisement { .. })
    }

    /// Returns whether it is the reply to a connection's first packet.
    pub fn is_answer(self) -> bool {
        self == Self::Answer
    }
}

impl Packet {
    /// Returns the first packet of a connection.
    pub fn first(source: IpAddr, destination: IpAddr, protocol: u8, port: Option<u16>) -> Self {
        Self {
            source,
            destination,
            source_in: None,
            destination_in: None,
            protocol,
            source_port: None,
            port,
            ephemeral: EPHEMERAL,
            kind: Kind::First,
            frame: Frame::default(),
            mark: 0,
            tracking: Tracking::default(),
            zones: Zones::default(),
            connection_mark: 0,
        }
    }

    /// Returns the first packet to a port; without one, an ICMP echo request.
    pub fn to(source: IpAddr, destination: IpAddr, port: Option<(u16, Protocol)>) -> Self {
        let protocol = match (port, destination) {
            (Some((_, Protocol::Tcp)), _) => 6,
            (Some((_, Protocol::Udp)), _) => 17,
            (Some((_, Protocol::Sctp)), _) => 132,
            (None, IpAddr::V4(_)) => 1,
            (None, IpAddr::V6(_)) => 58,
        };
        Self::first(source, destination, protocol, port.map(|(number, _)| number))
    }

    /// Returns the reply, as its receiver sends it.
    #[must_use]
    pub fn answer(&self) -> Self {
        let answer = Self::first(self.destination, self.source, self.protocol, self.source_port);
        let (source_port, ephemeral) = (self.port, self.ephemeral);
        Self { source_port, ephemeral, kind: Kind::Answer, ..answer }
    }

    /// Returns the request for an address's MAC. IPv6 sends it to a multicast group (RFC 4291,
    /// 2.7.1).
    pub fn question(source: IpAddr, target: IpAddr) -> Self {
        let to = match target {
            IpAddr::V4(_) => target,
            IpAddr::V6(v6) => {
                let [.., a, b, c] = v6.octets();
                let (high, low) = (0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
                Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, high, low).into()
            }
        };
        Self { kind: Kind::Question { target }, ..Self::first(source, to, ICMPV6, None) }
    }

    /// Returns the reply to such a request.
    #[must_use]
    pub fn advertisement(&self, target: IpAddr, mac: Option<Mac>) -> Self {
        let kind = Kind::Advertisement { target, mac };
        Self { kind, ..Self::first(target, self.source, ICMPV6, None) }
    }

    /// Clears what another namespace, or the other end of a veth pair, does not see.
    pub fn forget(&mut self) {
        (self.mark, self.connection_mark) = (0, 0);
        (self.tracking, self.zones) = (Tracking::default(), Zones::default());
    }

    /// Returns whether it is ARP, which has no IP header.
    pub fn is_arp(&self) -> bool {
        self.kind.is_of_neighbours() && self.source.is_ipv4()
    }

    /// Returns the ethertype of its frame.
    pub fn ether_type(&self) -> u16 {
        match self.source {
            _ if self.is_arp() => ARP,
            IpAddr::V4(_) => IPV4,
            IpAddr::V6(_) => IPV6,
        }
    }

    /// Returns the whole frame.
    pub fn bytes(&self) -> Vec<Byte> {
        let headers = [Header::Link, Header::Network, Header::Transport];
        headers.into_iter().flat_map(|header| self.header(header).unwrap_or_default()).collect()
    }

    /// Returns whether an address is in a subnet, and whether the subnet names it.
    pub(super) fn is_in(&self, source: bool, network: IpNetwork) -> (Is, bool) {
        let (address, known) = if source {
            (self.source, self.source_in)
        } else {
            (self.destination, self.destination_in)
        };
        let Some(known) = known else {
            let is_in = network.contains(address);
            return (Is::of(is_in), is_in);
        };
        if !overlap(network, known) {
            return (Is::No, false);
        }
        let is_whole = network.prefix() <= known.prefix();
        // A subnet names no unknown address.
        (if is_whole { Is::Yes } else { Is::Maybe }, known.prefix() > 0)
    }

    /// Returns whether a port is within bounds.
    pub(super) fn is_within(&self, port: Option<u16>, low: u16, high: u16) -> Is {
        let (first, last) = port.map_or(self.ephemeral, |port| (port, port));
        if last < low || high < first {
            Is::No
        } else if low <= first && last <= high {
            Is::Yes
        } else {
            Is::Maybe
        }
    }

    /// Returns the bytes of a header; `None`: it does not have it.
    pub(super) fn header(&self, header: Header) -> Option<Vec<Byte>> {
        match header {
            Header::Link => Some(self.ethernet()),
            Header::Network => Some(self.network()),
            Header::Transport if self.is_arp() => None,
            Header::Transport => Some(self.transport()),
        }
    }

    fn ethernet(&self) -> Vec<Byte> {
        let octets = |mac: Option<Mac>| mac.map_or([None; 6], |mac| mac.octets().map(Some));
        let to = match (self.kind, self.destination) {
            (Kind::Question { .. }, IpAddr::V4(_)) => [Some(0xff); 6],
            (Kind::Question { .. }, IpAddr::V6(v6)) => {
                let [.., a, b, c, d] = v6.octets();
                [0x33, 0x33, a, b, c, d].map(Some)
            }
            _ => octets(self.frame.destination),
        };
        let from = octets(self.frame.source);
        [&to[..], &from[..], &self.ether_type().to_be_bytes().map(Some)[..]].concat()
    }

    fn network(&self) -> Vec<Byte> {
        match (self.source, self.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) if self.is_arp() => {
                let octets = |mac: Option<Mac>| mac.map_or([None; 6], |mac| mac.octets().map(Some));
                let (number, own, target) = match self.kind {
                    Kind::Advertisement { mac, .. } => (2, mac, octets(self.frame.destination)),
                    _ => (1, self.frame.source, [Some(0); 6]),
                };
                let begin = [0, 1, 8, 0, 6, 4, 0, number].map(Some);
                let (from, to) = (from.octets().map(Some), to.octets().map(Some));
                [&begin[..], &octets(own), &from[..], &target, &to[..]].concat()
            }
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut bytes = vec![None; 20];
                (bytes[0], bytes[9]) = (Some(0x45), Some(self.protocol));
                // Not fragmented, with DF set, as Linux sends it.
                (bytes[6], bytes[7]) = (Some(0x40), Some(0));
                bytes.splice(12..16, known(&from.octets(), self.source_in));
                bytes.splice(16..20, known(&to.octets(), self.destination_in));
                bytes
            }
            (from, to) => {
                let octets = |ip| match ip {
                    IpAddr::V6(v6) => v6.octets(),
                    IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                };
                let mut bytes = vec![None; 40];
                bytes[6] = Some(self.protocol);
                bytes[7] = self.kind.is_of_neighbours().then_some(255);
                bytes.splice(8..24, known(&octets(from), self.source_in));
                bytes.splice(24..40, known(&octets(to), self.destination_in));
                bytes
            }
        }
    }

    fn transport(&self) -> Vec<Byte> {
        let mut bytes = vec![None; 20];
        let icmp = match (self.protocol, self.kind) {
            (ICMP, Kind::First) => Some(8),
            (ICMP, _) => Some(0),
            (ICMPV6, Kind::First) => Some(128),
            (ICMPV6, Kind::Answer) => Some(129),
            (ICMPV6, Kind::Question { .. }) => Some(135),
            (ICMPV6, Kind::Advertisement { .. }) => Some(136),
            _ => None,
        };
        if icmp.is_some() {
            (bytes[0], bytes[1]) = (icmp, Some(0));
            if let Kind::Question { target: IpAddr::V6(v6) }
            | Kind::Advertisement { target: IpAddr::V6(v6), .. } = self.kind
            {
                bytes.splice(8.., v6.octets().map(Some));
            }
            return bytes;
        }
        let octets = |port: Option<u16>| match port.map(u16::to_be_bytes) {
            Some([high, low]) => [Some(high), Some(low)],
            None => [None; 2],
        };
        bytes.splice(0..2, octets(self.source_port));
        bytes.splice(2..4, octets(self.port));
        if self.protocol == TCP {
            bytes[13] = Some(if self.kind.is_answer() { SYN_ACK } else { SYN });
        }
        bytes
    }
}

/// Returns the bytes of an address that its subnet determines.
fn known(octets: &[u8], subnet: Option<IpNetwork>) -> Vec<Byte> {
    let whole = subnet.map_or(octets.len(), |subnet| usize::from(subnet.prefix() / 8));
    octets.iter().enumerate().map(|(i, byte)| (i < whole).then_some(*byte)).collect()
}
