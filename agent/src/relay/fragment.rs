//! Fragmentation (RFC 791, 3.2), for packets that are too large for the path to a peer and may be
//! fragmented.

use super::packet::{self, Header, length, put, set_fragment};

/// Options with this bit are in each fragment.
const COPIED: u8 = 0x80;
const END: u8 = 0;
const NO_OPERATION: u8 = 1;

/// Returns the fragments of a packet, none longer than `mtu`; `None` if not even eight bytes fit.
pub fn fragments(header: &Header, packet: &[u8], mtu: usize) -> Option<Vec<Vec<u8>>> {
    let (first, payload) = packet.split_at(header.length);
    let size = mtu.checked_sub(header.length)? & !7;
    if size == 0 {
        return None;
    }
    let later = later_header(first);
    let (count, mut all) = (payload.len().div_ceil(size), Vec::new());
    for (number, piece) in payload.chunks(size).enumerate() {
        let mut fragment = if number == 0 { first.to_vec() } else { later.clone() };
        let bytes = length(fragment.len() + piece.len());
        put(&mut fragment, 2, bytes);
        let offset = header.offset() + length(number * size / 8);
        set_fragment(&mut fragment, offset, number + 1 < count || header.has_more_fragments());
        packet::seal(&mut fragment);
        fragment.extend_from_slice(piece);
        all.push(fragment);
    }
    Some(all)
}

/// Returns the header of the fragments after the first, without options that only the first has.
fn later_header(first: &[u8]) -> Vec<u8> {
    let (fixed, mut options) = first.split_at(20);
    let mut header = fixed.to_vec();
    while let Some(kind) = options.first().filter(|kind| **kind != END) {
        let bytes = match options.get(1) {
            _ if *kind == NO_OPERATION => 1,
            Some(bytes) if *bytes >= 2 => usize::from(*bytes),
            _ => break,
        };
        let Some((option, rest)) = options.split_at_checked(bytes) else { break };
        if kind & COPIED != 0 {
            header.extend_from_slice(option);
        }
        options = rest;
    }
    header.resize(header.len().next_multiple_of(4), END);
    header[0] = 0x40 | u8::try_from(header.len() / 4).unwrap_or(5);
    header
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::packet::{UDP, tests::packet},
        *,
    };

    #[test]
    fn options_that_are_not_copied_are_in_the_first_fragment_only() {
        let mut whole = packet(UDP, 0, &[7; 40]);
        // Record route (not copied), no operation, router alert (copied), end.
        let options = [7, 7, 4, 0, 0, 0, 0, 1, 148, 4, 0, 0];
        whole.splice(20..20, options);
        whole[0] = 0x48;
        put(&mut whole, 2, 72);
        packet::seal(&mut whole);
        let header = Header::of(&whole).unwrap();
        let all = fragments(&header, &whole, 56).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0][20..32], options);
        assert_eq!(all[1][20..24], [148, 4, 0, 0]);
        assert_eq!(Header::of(&all[1]).unwrap().length, 24);
    }

    #[test]
    fn a_path_without_room_for_eight_bytes_takes_nothing() {
        let whole = packet(UDP, 0, &[7; 40]);
        assert_eq!(fragments(&Header::of(&whole).unwrap(), &whole, 27), None);
    }

    proptest! {
        #[test]
        fn fragments_make_the_packet_again(
            payload in prop::collection::vec(any::<u8>(), 1..3000),
            mtu in 28_usize..1600,
            offset in 0_u16..1000,
            more in any::<bool>(),
            options in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut whole = packet(UDP, 0, &payload);
            let options = &options[..options.len() & !3];
            whole.splice(20..20, options.iter().copied());
            whole[0] = 0x45 + u8::try_from(options.len() / 4).unwrap();
            let total = length(whole.len());
            put(&mut whole, 2, total);
            set_fragment(&mut whole, offset, more);
            packet::seal(&mut whole);
            let header = Header::of(&whole).unwrap();
            let Some(all) = fragments(&header, &whole, mtu) else {
                prop_assert!(mtu < header.length + 8);
                return Ok(());
            };
            let (mut seen, last) = (Vec::new(), all.len() - 1);
            for (number, fragment) in all.iter().enumerate() {
                let part = Header::of(fragment).unwrap();
                prop_assert!(part.total <= mtu);
                prop_assert_eq!(usize::from(part.offset() - offset) * 8, seen.len());
                prop_assert_eq!(part.has_more_fragments(), number < last || more);
                prop_assert_eq!(part.id, header.id);
                seen.extend_from_slice(&fragment[part.length..]);
            }
            prop_assert_eq!(seen, payload);
        }
    }
}
