//! IPv4 packets: their header, read and checked (RFC 791).

use std::net::Ipv4Addr;

use super::checksum::Sum;

/// TCP's protocol number.
pub const TCP: u8 = 6;
/// UDP's protocol number.
pub const UDP: u8 = 17;
/// ICMP's protocol number.
pub const ICMP: u8 = 1;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// The header of an IPv4 packet that is well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its length in bytes.
    pub length: usize,
    /// The length of the packet in bytes.
    pub total: usize,
    /// How many more routers it may pass.
    pub ttl: u8,
    /// The protocol of the payload.
    pub protocol: u8,
    /// The sender.
    pub source: Ipv4Addr,
    /// The receiver.
    pub destination: Ipv4Addr,
    /// The identification.
    pub id: u16,
    flags: u16,
}

impl Header {
    /// Reads the header of a packet; `None` unless the version, the lengths and the checksum are
    /// right and the packet is exactly as long as its header says.
    pub fn of(packet: &[u8]) -> Option<Self> {
        let first = *packet.first()?;
        let length = usize::from(first & 15) * 4;
        if first >> 4 != 4 || length < 20 || length > packet.len() {
            return None;
        }
        let header = &packet[..length];
        let total = usize::from(word(header, 2));
        if total != packet.len() || !Sum::default().with(header).is_right() {
            return None;
        }
        let address =
            |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
        Some(Self {
            length,
            total,
            ttl: header[8],
            protocol: header[9],
            source: address(12),
            destination: address(16),
            id: word(header, 4),
            flags: word(header, 6),
        })
    }

    /// Returns whether routers may not fragment it.
    pub fn dont_fragment(&self) -> bool {
        self.flags & DONT_FRAGMENT != 0
    }

    /// Returns whether it is a fragment.
    pub fn is_fragment(&self) -> bool {
        self.flags & (MORE_FRAGMENTS | OFFSET) != 0
    }

    /// Returns whether it is a fragment other than the first.
    pub fn is_later_fragment(&self) -> bool {
        self.flags & OFFSET != 0
    }

    /// Returns whether fragments follow it.
    pub fn has_more_fragments(&self) -> bool {
        self.flags & MORE_FRAGMENTS != 0
    }

    /// Returns the offset of a fragment, in units of eight bytes.
    pub fn offset(&self) -> u16 {
        self.flags & OFFSET
    }
}

/// Takes one from the time to live of a well-formed packet, and returns what is left.
pub fn age(packet: &mut [u8]) -> u8 {
    let ttl = packet[8].saturating_sub(1);
    packet[8] = ttl;
    seal(packet);
    ttl
}

/// Writes the checksum of the header that a packet begins with.
pub fn seal(packet: &mut [u8]) {
    let length = usize::from(packet[0] & 15) * 4;
    put(packet, 10, 0);
    let checksum = Sum::default().with(&packet[..length]).checksum();
    put(packet, 10, checksum);
}

/// Writes flags and offset of a fragment.
pub fn set_fragment(header: &mut [u8], offset: u16, more: bool) {
    put(header, 6, offset | if more { MORE_FRAGMENTS } else { 0 });
}

/// Reads a 16-bit word.
pub fn word(data: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([data[at], data[at + 1]])
}

/// Writes a 16-bit word.
pub fn put(data: &mut [u8], at: usize, word: u16) {
    data[at..at + 2].copy_from_slice(&word.to_be_bytes());
}

/// Converts a length that a 16-bit field can hold.
pub(super) fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A well-formed packet with these fields and this payload.
    pub(in super::super) fn packet(protocol: u8, flags: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        put(&mut packet, 2, length(20 + payload.len()));
        put(&mut packet, 4, 7);
        put(&mut packet, 6, flags);
        packet[8] = 64;
        packet[9] = protocol;
        packet[12..20].copy_from_slice(&[10, 5, 1, 2, 10, 5, 2, 2]);
        packet.extend(payload);
        seal(&mut packet);
        packet
    }

    type Fault = fn(&mut Vec<u8>);

    #[test]
    fn each_fault_is_seen() {
        let good = packet(UDP, 0, &[1, 2, 3]);
        assert!(Header::of(&good).is_some());
        let faults: [(&str, Fault); 7] = [
            ("empty", |p| p.clear()),
            ("cut in the header", |p| p.truncate(19)),
            ("cut in the payload", |p| p.truncate(22)),
            ("longer than it says", |p| p.push(0)),
            ("IPv6", |p| {
                p[0] = 0x65;
                seal(p);
            }),
            ("a header that is too short", |p| {
                p[0] = 0x44;
                seal(p);
            }),
            ("a wrong checksum", |p| p[10] ^= 1),
        ];
        for (what, fault) in faults {
            let mut bad = good.clone();
            fault(&mut bad);
            assert_eq!(Header::of(&bad), None, "{what}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Header::of(&bytes);
        }

        #[test]
        fn an_aged_packet_is_well_formed(
            payload in prop::collection::vec(any::<u8>(), 0..80),
            ttl in any::<u8>(),
        ) {
            let mut packet = packet(UDP, 0, &payload);
            packet[8] = ttl;
            seal(&mut packet);
            prop_assert_eq!(age(&mut packet), ttl.saturating_sub(1));
            prop_assert_eq!(Header::of(&packet).unwrap().ttl, ttl.saturating_sub(1));
        }
    }
}
