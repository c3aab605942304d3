//! What is known of a packet before there is one: the bytes of its headers, as far as anybody can
//! know them.

use std::net::{IpAddr, Ipv6Addr};

use ipnetwork::IpNetwork;

use super::{Header, Tracking, Zones, machine::Is};
use crate::model::{Mac, overlap};

/// A byte, if it is known.
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

/// What nobody has to be allowed to use (`ip_unprivileged_port_start`).
const EPHEMERAL: (u16, u16) = (1024, u16::MAX);

/// A packet, as rules see it at one point of its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes to.
    pub destination: IpAddr,
    /// In which subnet it begins, where that is all that is known.
    pub source_in: Option<IpNetwork>,
    /// In which subnet it ends, where that is all that is known.
    pub destination_in: Option<IpNetwork>,
    /// IANA's number of its protocol.
    pub protocol: u8,
    /// The port it comes from, if it has one and that is known.
    pub source_port: Option<u16>,
    /// The port it goes to, if it has one and that is known.
    pub port: Option<u16>,
    /// Between which a port is that is not known: those that a sender may be given.
    pub ephemeral: (u16, u16),
    /// What it is for.
    pub kind: Kind,
    /// Between which MACs.
    pub frame: Frame,
    /// Its mark.
    pub mark: u32,
    /// What connection tracking calls it.
    pub tracking: Tracking,
    /// Where connection tracking looks for it.
    pub zones: Zones,
    /// The mark of its connection.
    pub connection_mark: u32,
}

/// The MACs of a frame, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Who sent it.
    pub source: Option<Mac>,
    /// For whom it is; `None`: not known, or for all.
    pub destination: Option<Mac>,
}

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It begins a flow.
    First,
    /// It answers the first one.
    Answer,
    /// It asks who has an address: ARP, or a neighbour solicitation.
    Question {
        /// Which.
        target: IpAddr,
    },
    /// It answers that.
    Advertisement {
        /// For which address.
        target: IpAddr,
        /// Who has it.
        mac: Option<Mac>,
    },
}

impl Kind {
    /// Whether it looks for a neighbour, or is one's answer.
    pub fn is_of_neighbours(self) -> bool {
        matches!(self, Self::Question { .. } | Self::Advertisement { .. })
    }

    /// Whether it answers the first packet of a flow.
    pub fn is_answer(self) -> bool {
        self == Self::Answer
    }
}

impl Packet {
    /// The first packet of a flow.
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

    /// What answers it, as its receiver sends that.
    #[must_use]
    pub fn answer(&self) -> Self {
        let answer = Self::first(self.destination, self.source, self.protocol, self.source_port);
        let (source_port, ephemeral) = (self.port, self.ephemeral);
        Self { source_port, ephemeral, kind: Kind::Answer, ..answer }
    }

    /// Who has an address, asked from an address: IPv6 asks a group (RFC 4291, 2.7.1).
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

    /// The answer to such a question.
    #[must_use]
    pub fn advertisement(&self, target: IpAddr, mac: Option<Mac>) -> Self {
        let kind = Kind::Advertisement { target, mac };
        Self { kind, ..Self::first(target, self.source, ICMPV6, None) }
    }

    /// What one namespace, or one end of a cable, knows of a packet, the next does not.
    pub fn forget(&mut self) {
        (self.mark, self.connection_mark) = (0, 0);
        (self.tracking, self.zones) = (Tracking::default(), Zones::default());
    }

    /// Whether it is ARP, and no packet at all.
    pub fn is_arp(&self) -> bool {
        self.kind.is_of_neighbours() && self.source.is_ipv4()
    }

    /// What its frame has in it.
    pub fn ether_type(&self) -> u16 {
        match self.source {
            _ if self.is_arp() => ARP,
            IpAddr::V4(_) => IPV4,
            IpAddr::V6(_) => IPV6,
        }
    }

    /// The whole frame.
    pub fn bytes(&self) -> Vec<Byte> {
        let headers = [Header::Link, Header::Network, Header::Transport];
        headers.into_iter().flat_map(|header| self.header(header).unwrap_or_default()).collect()
    }

    /// Whether an address of it is in a subnet, and whether it can be.
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
        // Where nothing is known, nothing is named.
        (if is_whole { Is::Yes } else { Is::Maybe }, known.prefix() > 0)
    }

    /// Whether a port is between two others.
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

    /// The bytes of a header; `None`: it has none.
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
                // It is whole, and as Linux sends it, it may not be cut.
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

/// The bytes of an address, as far as its subnet fixes them.
fn known(octets: &[u8], subnet: Option<IpNetwork>) -> Vec<Byte> {
    let whole = subnet.map_or(octets.len(), |subnet| usize::from(subnet.prefix() / 8));
    octets.iter().enumerate().map(|(i, byte)| (i < whole).then_some(*byte)).collect()
}
