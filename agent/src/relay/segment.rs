//! One large packet of the kernel becomes the packets that it stands for.
//!
//! Only headers are written; the payload stays where it is.

use std::ops::Range;

use super::{
    checksum::Sum,
    packet::{self, Header, TCP, UDP, length, put, word},
    vnet::{Kind, Offload},
};

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Packets that are made of others in a buffer: new headers, and parts of their payloads.
#[derive(Debug, Default)]
pub struct Parts {
    headers: Vec<u8>,
    all: Vec<Part>,
    /// Where the packet begins in the buffer that is being split.
    base: usize,
}

#[derive(Clone, Debug)]
struct Part {
    header: Range<usize>,
    payload: Range<usize>,
}

impl Parts {
    /// Forgets the packets of before.
    pub fn clear(&mut self) {
        self.headers.clear();
        self.all.clear();
    }

    /// Says that the next packet to split begins here in the buffer.
    pub fn begin_at(&mut self, base: usize) {
        self.base = base;
    }

    /// Returns the number of packets.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Returns the length of a packet.
    pub fn size(&self, index: usize) -> usize {
        let part = &self.all[index];
        part.header.len() + part.payload.len()
    }

    /// Returns the two halves of a packet that was made of one in this buffer.
    pub fn halves<'a>(&'a self, index: usize, buffer: &'a [u8]) -> [&'a [u8]; 2] {
        let part = &self.all[index];
        [&self.headers[part.header.clone()], &buffer[part.payload.clone()]]
    }

    /// Adds the whole packet as it is.
    pub fn add_whole(&mut self, whole: &[u8]) {
        self.all.push(Part { header: 0..0, payload: self.base..self.base + whole.len() });
    }

    /// Adds a packet with this header, and returns the header as it will be sent.
    fn add(&mut self, header: &[u8], payload: Range<usize>) -> &mut [u8] {
        let start = self.headers.len();
        self.headers.extend_from_slice(header);
        let payload = self.base + payload.start..self.base + payload.end;
        self.all.push(Part { header: start..self.headers.len(), payload });
        &mut self.headers[start..]
    }
}

/// Does what the kernel has left to do: checksums, segments. `None` if it cannot be done, which no
/// kernel asks for.
pub fn split(header: &Header, offload: Offload, whole: &mut [u8], parts: &mut Parts) -> Option<()> {
    match offload.segments {
        None => {
            if let Some((start, offset)) = offload.checksum {
                complete(whole, usize::from(start), usize::from(offset), header.protocol)?;
            }
            parts.add_whole(whole);
        }
        Some((_, 0)) => return None,
        Some((Kind::Tcp, size)) => tcp(header, usize::from(size), whole, parts)?,
        Some((Kind::Udp, size)) => udp(header, usize::from(size), whole, parts)?,
    }
    Some(())
}

/// Writes the checksum of which the field holds the part of the pseudo header.
fn complete(whole: &mut [u8], start: usize, offset: usize, protocol: u8) -> Option<()> {
    let field = start.checked_add(offset).filter(|field| field + 2 <= whole.len())?;
    let checksum = Sum::default().with(&whole[start..]).checksum();
    put(whole, field, if protocol == UDP { nonzero(checksum) } else { checksum });
    Some(())
}

/// A checksum of zero says that a UDP packet has none (RFC 768).
fn nonzero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

fn tcp(header: &Header, size: usize, whole: &[u8], parts: &mut Parts) -> Option<()> {
    let at = header.length;
    let length_of_tcp = usize::from(*whole.get(at + 12)? >> 4) * 4;
    let start = at + length_of_tcp;
    if header.protocol != TCP || length_of_tcp < 20 || start > whole.len() {
        return None;
    }
    let first = sequence(whole, at);
    for (number, payload) in payloads(start..whole.len(), size) {
        let is_last = payload.end == whole.len();
        let seq = first.wrapping_add(u32::try_from(payload.start - start).ok()?);
        let made = begin(header, number, whole, start, payload.clone(), parts);
        made[at + 4..at + 8].copy_from_slice(&seq.to_be_bytes());
        if !is_last {
            made[at + 13] &= !(FIN | PSH);
        }
        if number > 0 {
            made[at + 13] &= !CWR;
        }
        let checksum = transport(made, at, 16, TCP, &whole[payload]);
        put(made, at + 16, checksum);
    }
    Some(())
}

fn udp(header: &Header, size: usize, whole: &[u8], parts: &mut Parts) -> Option<()> {
    let (at, start) = (header.length, header.length + 8);
    if header.protocol != UDP || start > whole.len() {
        return None;
    }
    for (number, payload) in payloads(start..whole.len(), size) {
        let made = begin(header, number, whole, start, payload.clone(), parts);
        put(made, at + 4, length(8 + payload.len()));
        let checksum = transport(made, at, 6, UDP, &whole[payload]);
        put(made, at + 6, nonzero(checksum));
    }
    Some(())
}

/// Cuts into pieces of this size; an empty payload is one piece.
fn payloads(all: Range<usize>, size: usize) -> impl Iterator<Item = (u16, Range<usize>)> {
    let end = all.end;
    let starts = all.clone().step_by(size).chain(all.is_empty().then_some(end));
    (0_u16..).zip(starts.map(move |start| start..end.min(start + size)))
}

/// Begins a packet with the headers of the whole.
fn begin<'a>(
    header: &Header,
    number: u16,
    whole: &[u8],
    start: usize,
    payload: Range<usize>,
    parts: &'a mut Parts,
) -> &'a mut [u8] {
    let total = length(start + payload.len());
    let made = parts.add(&whole[..start], payload);
    put(made, 2, total);
    put(made, 4, header.id.wrapping_add(number));
    packet::seal(made);
    made
}

/// Returns the checksum of TCP or UDP; the field is taken as zero.
fn transport(headers: &mut [u8], at: usize, field: usize, protocol: u8, payload: &[u8]) -> u16 {
    put(headers, at + field, 0);
    let bytes = length(headers.len() - at + payload.len());
    Sum::default()
        .with_pseudo_header(&headers[12..20], protocol, bytes)
        .with(&headers[at..])
        .with(payload)
        .checksum()
}

/// Returns whether the checksum of a TCP or UDP packet is right.
pub(super) fn is_intact(header: &Header, packet: &[u8]) -> bool {
    let bytes = length(header.total - header.length);
    Sum::default()
        .with_pseudo_header(&packet[12..20], header.protocol, bytes)
        .with(&packet[header.length..])
        .is_right()
}

/// Returns the part of the pseudo header in the checksum of a packet, for the kernel to complete.
pub(super) fn pseudo(packet: &[u8], header_length: usize, total: usize) -> u16 {
    let bytes = length(total - header_length);
    Sum::default().with_pseudo_header(&packet[12..20], packet[9], bytes).folded()
}

/// Reads a sequence number of TCP.
pub(super) fn sequence(packet: &[u8], at: usize) -> u32 {
    (u32::from(word(packet, at + 4)) << 16) | u32::from(word(packet, at + 6))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::packet::tests::packet, *};

    fn parts(whole: &mut [u8], offload: Offload) -> Option<Vec<Vec<u8>>> {
        let header = Header::of(whole).unwrap();
        let mut parts = Parts::default();
        split(&header, offload, whole, &mut parts)?;
        Some((0..parts.count()).map(|part| parts.halves(part, whole).concat()).collect())
    }

    /// A packet of TCP with these flags and options, whose checksum is not complete.
    fn tcp_packet(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut segment = vec![0; 20];
        put(&mut segment, 0, 1000);
        segment[4..8].copy_from_slice(&0xffff_fff0_u32.to_be_bytes());
        segment[12] = u8::try_from((20 + options.len()) / 4 * 16).unwrap();
        segment[13] = flags;
        segment.extend(options);
        segment.extend(payload);
        let mut whole = packet(TCP, 0x4000, &segment);
        let sum = pseudo(&whole, 20, whole.len());
        put(&mut whole, 36, sum);
        whole
    }

    const CHECKSUM: Option<(u16, u16)> = Some((20, 16));

    #[test]
    fn the_first_and_the_last_segment_have_their_flags() {
        let mut whole = tcp_packet(FIN | PSH | CWR | 0x10, &[], &[7; 250]);
        let segments = Some((Kind::Tcp, 100));
        let all = parts(&mut whole, Offload { checksum: CHECKSUM, segments, headers: 40 }).unwrap();
        let flags: Vec<_> = all.iter().map(|packet| packet[33]).collect();
        assert_eq!(flags, [CWR | 0x10, 0x10, FIN | PSH | 0x10]);
        let ids: Vec<_> = all.iter().map(|packet| word(packet, 4)).collect();
        assert_eq!(ids, [7, 8, 9]);
    }

    #[test]
    fn what_no_kernel_asks_for_is_refused() {
        let mut whole = tcp_packet(0x10, &[], &[7; 250]);
        let mut ask =
            |checksum, segments| parts(&mut whole, Offload { checksum, segments, headers: 40 });
        assert_eq!(ask(CHECKSUM, Some((Kind::Tcp, 0))), None, "segments without a size");
        assert_eq!(ask(CHECKSUM, Some((Kind::Udp, 100))), None, "TCP as UDP");
        assert_eq!(ask(Some((289, 0)), None), None, "a checksum outside");
        assert_eq!(ask(Some((u16::MAX, u16::MAX)), None), None, "a checksum far outside");
        let mut short = packet(TCP, 0, &[0; 12]);
        assert_eq!(
            parts(&mut short, Offload { segments: Some((Kind::Tcp, 9)), ..Offload::default() }),
            None
        );
    }

    proptest! {
        #[test]
        fn segments_of_tcp_make_the_whole(
            payload in prop::collection::vec(any::<u8>(), 0..5000),
            options in prop::collection::vec(any::<u8>(), 0..40),
            flags in any::<u8>(),
            size in 1_u16..1500,
        ) {
            let options = &options[..options.len() & !3];
            let mut whole = tcp_packet(flags, options, &payload);
            let headers = length(40 + options.len());
            let segments = Some((Kind::Tcp, size));
            let all = parts(&mut whole, Offload { checksum: CHECKSUM, segments, headers }).unwrap();
            let mut seen = Vec::new();
            for part in &all {
                let header = Header::of(part).unwrap();
                prop_assert!(is_intact(&header, part));
                let offset = sequence(part, 20).wrapping_sub(0xffff_fff0);
                prop_assert_eq!(usize::try_from(offset).unwrap(), seen.len());
                prop_assert_eq!(&part[40..usize::from(headers)], options);
                let payload = &part[usize::from(headers)..];
                prop_assert!(payload.len() <= usize::from(size));
                seen.extend_from_slice(payload);
            }
            prop_assert_eq!(seen, payload);
        }

        #[test]
        fn segments_of_udp_make_the_whole(
            payload in prop::collection::vec(any::<u8>(), 0..5000),
            size in 1_u16..1500,
        ) {
            let mut datagram = vec![0; 8];
            put(&mut datagram, 4, length(8 + payload.len()));
            datagram.extend(&payload);
            let mut whole = packet(UDP, 0x4000, &datagram);
            let segments = Some((Kind::Udp, size));
            let offload = Offload { checksum: Some((20, 6)), segments, headers: 28 };
            let mut seen = Vec::new();
            for part in parts(&mut whole, offload).unwrap() {
                let header = Header::of(&part).unwrap();
                prop_assert!(is_intact(&header, &part));
                prop_assert_ne!(word(&part, 26), 0);
                prop_assert_eq!(usize::from(word(&part, 24)), part.len() - 20);
                seen.extend_from_slice(&part[28..]);
            }
            prop_assert_eq!(seen, payload);
        }

        #[test]
        fn any_request_is_carried_out_or_refused(
            protocol in prop_oneof![Just(TCP), Just(UDP), any::<u8>()],
            payload in prop::collection::vec(any::<u8>(), 0..300),
            vnet in any::<[u8; 10]>(),
        ) {
            let mut whole = packet(protocol, 0, &payload);
            if let Some(offload) = Offload::of(vnet) {
                drop(parts(&mut whole, offload));
            }
        }

        #[test]
        fn a_vnet_header_is_read_as_it_was_written(
            checksum in any::<Option<(u16, u16)>>(),
            size in any::<Option<(bool, u16)>>(),
            headers in any::<u16>(),
        ) {
            let kind = |udp| if udp { Kind::Udp } else { Kind::Tcp };
            let segments = size.map(|(udp, size)| (kind(udp), size));
            let offload = Offload { checksum, segments, headers };
            prop_assert_eq!(Offload::of(offload.bytes()), Some(offload));
        }
    }
}
