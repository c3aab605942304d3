//! ICMP errors (RFC 792, 1191, 1812): what a sender learns of a packet that cannot go on.

use std::{collections::HashMap, net::Ipv4Addr};

use super::{
    checksum::Sum,
    packet::{self, Header, ICMP, length, put},
};

/// The reason why a packet does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No peer has the destination.
    NoRoute,
    /// The peer cannot be reached.
    NoHost,
    /// It has passed too many routers.
    Expired,
    /// It is too large for the path and must not be fragmented; what fits.
    TooBig(u16),
}

/// The most of a packet that an error quotes, so that it has 576 bytes at most (RFC 1812, 4.3.2.3).
const QUOTE: usize = 548;
/// The types that are errors or obsolete; a query and its answer are not.
const QUERIES: [u8; 10] = [0, 8, 9, 10, 13, 14, 15, 16, 17, 18];

/// Returns the error to send. Its source is zero: the kernel puts in its own address there. `None` if
/// such a packet must not be answered (RFC 1122, 3.2.2).
pub fn error(reason: Reason, header: &Header, packet: &[u8]) -> Option<Vec<u8>> {
    let (source, destination) = (header.source, header.destination);
    let is_error = header.protocol == ICMP
        && packet.get(header.length).is_none_or(|kind| !QUERIES.contains(kind));
    let is_one = |address: Ipv4Addr| {
        !(address.is_unspecified() || address.is_multicast() || address.is_broadcast())
    };
    let may = !is_error
        && !header.is_later_fragment()
        && is_one(source)
        && is_one(destination)
        && !source.is_loopback();
    if !may {
        return None;
    }
    let (kind, code, mtu) = match reason {
        Reason::NoRoute => (3, 0, 0),
        Reason::NoHost => (3, 1, 0),
        Reason::Expired => (11, 0, 0),
        Reason::TooBig(mtu) => (3, 4, mtu),
    };
    let quote = &packet[..packet.len().min(QUOTE)];
    let mut answer = vec![0; 28];
    answer[0] = 0x45;
    // Internetwork control, as the kernel's.
    answer[1] = 0xc0;
    answer[8] = 64;
    answer[9] = ICMP;
    answer[16..20].copy_from_slice(&source.octets());
    answer[20] = kind;
    answer[21] = code;
    put(&mut answer, 26, mtu);
    answer.extend_from_slice(quote);
    let total = length(answer.len());
    put(&mut answer, 2, total);
    let checksum = Sum::default().with(&answer[20..]).checksum();
    put(&mut answer, 22, checksum);
    packet::seal(&mut answer);
    Some(answer)
}

/// The kernel's limits of ICMP errors: one a second to each address, six at once
/// (`net.ipv4.icmp_ratelimit`); and a thousand a second to all, fifty at once
/// (`net.ipv4.icmp_msgs_per_sec`). "Too big" has no limit.
#[derive(Debug)]
pub struct Limit {
    all: Bucket,
    addresses: HashMap<Ipv4Addr, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// In microseconds.
    credit: u64,
    since: u64,
}

const SECOND: u64 = 1_000_000;
/// More addresses than this are not remembered; the limit for all holds.
const ADDRESSES: usize = 4096;

impl Default for Limit {
    fn default() -> Self {
        Self { all: Bucket { credit: SECOND, since: 0 }, addresses: HashMap::new() }
    }
}

impl Limit {
    /// Returns whether an error may be sent at this time, in microseconds.
    pub fn allows(&mut self, reason: Reason, to: Ipv4Addr, now: u64) -> bool {
        if matches!(reason, Reason::TooBig(_)) {
            return true;
        }
        if self.addresses.len() >= ADDRESSES && !self.addresses.contains_key(&to) {
            self.addresses.clear();
        }
        let address = self.addresses.entry(to).or_insert(Bucket { credit: 6 * SECOND, since: now });
        address.has(SECOND, 6, now)
            && self.all.has(SECOND / 1000, 50, now)
            && address.take(SECOND)
            && self.all.take(SECOND / 1000)
    }
}

impl Bucket {
    fn has(&mut self, price: u64, burst: u64, now: u64) -> bool {
        let earned = now.saturating_sub(self.since);
        self.credit = (price * burst).min(self.credit.saturating_add(earned));
        self.since = now;
        self.credit >= price
    }

    fn take(&mut self, price: u64) -> bool {
        self.credit -= price;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::packet::{UDP, tests::packet},
        *,
    };

    fn answer(packet: &[u8]) -> Option<Vec<u8>> {
        error(Reason::TooBig(1400), &Header::of(packet).unwrap(), packet)
    }

    #[test]
    fn an_error_quotes_the_packet_and_names_what_fits() {
        let whole = packet(UDP, 0x4000, &[9; 1400]);
        let answer = answer(&whole).unwrap();
        let header = Header::of(&answer).unwrap();
        assert_eq!((header.protocol, header.total), (ICMP, 576));
        assert_eq!(header.destination, Ipv4Addr::new(10, 5, 1, 2));
        assert_eq!(answer[20..22], [3, 4]);
        assert_eq!(answer[26..28], 1400_u16.to_be_bytes());
        assert_eq!(answer[28..], whole[..548]);
        assert!(Sum::default().with(&answer[20..]).is_right());
    }

    #[test]
    fn what_must_not_be_answered_is_not() {
        assert!(answer(&packet(ICMP, 0, &[8, 0, 0, 0])).is_some(), "an echo request");
        assert_eq!(answer(&packet(ICMP, 0, &[3, 0, 0, 0])), None, "an error");
        assert_eq!(answer(&packet(ICMP, 0, &[])), None, "an ICMP packet without a type");
        assert!(answer(&packet(UDP, 0x2000, &[9; 8])).is_some(), "a first fragment");
        assert_eq!(answer(&packet(UDP, 1, &[9; 8])), None, "a later fragment");
        for (at, byte) in [(12, 224), (16, 224), (12, 127)] {
            let mut packet = packet(UDP, 0, &[9; 8]);
            packet[at] = byte;
            packet::seal(&mut packet);
            assert_eq!(answer(&packet), None, "{byte} at {at}");
        }
    }

    #[test]
    fn an_address_gets_six_at_once_and_then_one_a_second() {
        let mut limit = Limit::default();
        let to = Ipv4Addr::new(10, 5, 1, 2);
        let mut count = |now| (0..100).filter(|_| limit.allows(Reason::NoRoute, to, now)).count();
        assert_eq!([count(0), count(SECOND), count(90 * SECOND)], [6, 1, 6]);
        assert!(limit.allows(Reason::TooBig(1400), to, 90 * SECOND));
    }

    #[test]
    fn all_addresses_together_get_fifty_at_once_and_a_thousand_a_second() {
        let mut limit = Limit::default();
        let mut count = |now, from: u32| {
            let addresses = (from..from + 10_000).map(Ipv4Addr::from_bits);
            addresses.filter(|to| limit.allows(Reason::Expired, *to, now)).count()
        };
        assert_eq!([count(0, 0), count(10_000, 20_000)], [50, 10]);
        assert!(limit.addresses.len() <= ADDRESSES);
    }

    proptest! {
        #[test]
        fn any_packet_is_answered_well_or_not_at_all(
            payload in prop::collection::vec(any::<u8>(), 0..900),
            protocol in any::<u8>(),
            flags in any::<u16>(),
            mtu in any::<u16>(),
        ) {
            let whole = packet(protocol, flags, &payload);
            let header = Header::of(&whole).unwrap();
            if let Some(answer) = error(Reason::TooBig(mtu), &header, &whole) {
                prop_assert!(answer.len() <= 576);
                prop_assert!(Header::of(&answer).is_some());
                prop_assert!(Sum::default().with(&answer[20..]).is_right());
            }
        }
    }
}
