//! Consecutive packets of a flow become one large packet, which passes the kernel's network stack as
//! cheaply as a small one (GRO in software).
//!
//! Only what `segment` would cut into the same packets again is merged. The kernel takes the
//! checksum of a merged packet on trust, so that each packet's is verified first.

use std::{collections::HashMap, io::IoSlice, ops::Range};

use super::{
    packet::{self, Header, TCP, UDP, length, put, word},
    segment::{is_intact, pseudo, sequence},
    vnet::{self, Kind, Offload},
};

const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// The most packets in one: the kernel's limit for UDP (`UDP_MAX_SEGMENTS`).
const PACKETS: usize = 64;
/// The largest IPv4 packet.
const BYTES: usize = 65535;

/// What the kernel's TUN takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepts {
    /// A header before each packet.
    pub headers: bool,
    /// Large packets of UDP.
    pub udp: bool,
}

/// Packets in a buffer that are to be written, in their order, some of them as one.
#[derive(Debug)]
pub struct Merger {
    accepts: Accepts,
    packets: Vec<Packet>,
    groups: Vec<Group>,
    /// The group to which the next packet of a flow may be added.
    open: HashMap<u128, usize>,
}

#[derive(Debug)]
struct Packet {
    at: Range<usize>,
    next: Option<usize>,
}

#[derive(Debug)]
struct Group {
    first: usize,
    last: usize,
    count: usize,
    /// The payload of all packets.
    payload: usize,
    shape: Option<Shape>,
    is_verified: bool,
}

/// What all packets of a group have in common.
#[derive(Clone, Copy, Debug)]
struct Shape {
    kind: Kind,
    /// The length of the IP header.
    ip: usize,
    /// The length of both headers.
    headers: usize,
    /// The payload of each packet but the last.
    size: usize,
}

impl Merger {
    /// Makes one for a device.
    pub fn new(accepts: Accepts) -> Self {
        Self { accepts, packets: Vec::new(), groups: Vec::new(), open: HashMap::new() }
    }

    /// Forgets all packets.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.groups.clear();
        self.open.clear();
    }

    /// Adds a packet of the buffer.
    pub fn add(&mut self, buffer: &[u8], at: Range<usize>, header: &Header) {
        let bytes = &buffer[at.clone()];
        let flow = flow(bytes, header);
        if header.is_fragment() {
            // It may belong to any of the flows.
            self.open.clear();
        }
        let shape = self.shape(bytes, header);
        if let (Some(flow), Some(shape)) = (flow, shape)
            && let Some(&group) = self.open.get(&flow)
            && self.fits(group, buffer, bytes, header, shape)
        {
            self.join(group, at, shape);
            if !self.may_grow(group, bytes, shape) {
                self.open.remove(&flow);
            }
            return;
        }
        let group = self.begin(at, bytes.len(), shape);
        if let Some(flow) = flow {
            if shape.is_some_and(|shape| self.may_grow(group, &buffer[self.range(group)], shape)) {
                self.open.insert(flow, group);
            } else {
                self.open.remove(&flow);
            }
        }
    }

    /// Returns the number of packets to write.
    pub fn count(&self) -> usize {
        self.groups.len()
    }

    /// Returns how many packets are in one that is written.
    pub fn packets_in(&self, group: usize) -> usize {
        self.groups[group].count
    }

    /// Returns the pieces of a packet to write. Some of them are made in `head`.
    pub fn pieces<'a>(
        &self,
        group: usize,
        buffer: &'a [u8],
        head: &'a mut Vec<u8>,
    ) -> Vec<IoSlice<'a>> {
        let group = &self.groups[group];
        head.clear();
        let first = self.packets[group.first].at.clone();
        let shape = group.shape.filter(|_| group.count > 1);
        let offload = shape.map_or_else(Offload::default, |shape| shape.offload());
        if self.accepts.headers {
            head.extend_from_slice(&offload.bytes());
        }
        let Some(shape) = shape else {
            return vec![IoSlice::new(head), IoSlice::new(&buffer[first])];
        };
        head.extend_from_slice(&buffer[first.start..first.start + shape.headers]);
        let last = &buffer[self.packets[group.last].at.clone()];
        shape.finish(&mut head[vnet::LENGTH..], group.payload, last);
        let mut pieces = Vec::with_capacity(1 + group.count);
        pieces.push(IoSlice::new(head));
        let mut next = Some(group.first);
        while let Some(packet) = next.map(|index| &self.packets[index]) {
            pieces.push(IoSlice::new(&buffer[packet.at.start + shape.headers..packet.at.end]));
            next = packet.next;
        }
        pieces
    }

    /// Returns how a packet could be merged with its successors, if at all.
    fn shape(&self, bytes: &[u8], header: &Header) -> Option<Shape> {
        // The kernel does not merge packets with options either.
        if !self.accepts.headers || header.is_fragment() || header.length != 20 {
            return None;
        }
        let ip = header.length;
        let (kind, headers) = match header.protocol {
            TCP if bytes.len() >= ip + 20 => {
                let tcp = usize::from(bytes[ip + 12] >> 4) * 4;
                let plain = matches!(bytes[ip + 13] & !PSH, ACK);
                (tcp >= 20 && plain).then_some((Kind::Tcp, ip + tcp))?
            }
            UDP if self.accepts.udp && bytes.len() >= ip + 8 => {
                let says = usize::from(word(bytes, ip + 4));
                let plain = says == bytes.len() - ip && word(bytes, ip + 6) != 0;
                plain.then_some((Kind::Udp, ip + 8))?
            }
            _ => return None,
        };
        let size = bytes.len().checked_sub(headers).filter(|size| *size > 0)?;
        Some(Shape { kind, ip, headers, size })
    }

    /// Returns whether a packet is the next one of a group.
    fn fits(
        &mut self,
        group: usize,
        buffer: &[u8],
        bytes: &[u8],
        header: &Header,
        shape: Shape,
    ) -> bool {
        let first = &buffer[self.range(group)];
        let group = &mut self.groups[group];
        let Some(own) = group.shape else { return false };
        let fits = own.ip == shape.ip
            && own.headers == shape.headers
            && shape.size <= own.size
            && own.headers + group.payload + shape.size <= BYTES
            && own.is_next(first, bytes, header, group.count, group.payload);
        if !fits {
            return false;
        }
        if !group.is_verified {
            group.is_verified = Header::of(first).is_some_and(|header| is_intact(&header, first));
        }
        group.is_verified && is_intact(header, bytes)
    }

    fn range(&self, group: usize) -> Range<usize> {
        self.packets[self.groups[group].first].at.clone()
    }

    fn join(&mut self, group: usize, at: Range<usize>, shape: Shape) {
        let index = self.packets.len();
        self.packets.push(Packet { at, next: None });
        let group = &mut self.groups[group];
        self.packets[group.last].next = Some(index);
        group.last = index;
        group.count += 1;
        group.payload += shape.size;
    }

    fn begin(&mut self, at: Range<usize>, bytes: usize, shape: Option<Shape>) -> usize {
        let index = self.packets.len();
        self.packets.push(Packet { at, next: None });
        let payload = shape.map_or(bytes, |shape| shape.size);
        let group =
            Group { first: index, last: index, count: 1, payload, shape, is_verified: false };
        self.groups.push(group);
        self.groups.len() - 1
    }

    /// Returns whether another packet may follow this one, the last of a group.
    fn may_grow(&self, group: usize, last: &[u8], shape: Shape) -> bool {
        let group = &self.groups[group];
        let is_pushed = shape.kind == Kind::Tcp && last[shape.ip + 13] & PSH != 0;
        let is_short = group.shape.is_some_and(|own| shape.size < own.size);
        !is_pushed && !is_short && group.count < PACKETS
    }
}

impl Shape {
    /// Returns whether a packet differs from the first of a group only where it has to.
    fn is_next(
        &self,
        first: &[u8],
        bytes: &[u8],
        header: &Header,
        count: usize,
        payload: usize,
    ) -> bool {
        let same = |range: Range<usize>| first[range.clone()] == bytes[range];
        let ip = self.ip;
        // Version, length, TOS; flags, TTL, protocol; addresses and ports.
        if !(same(0..2) && same(6..10) && same(12..ip + 4)) {
            return false;
        }
        // Without DF, the identification distinguishes fragments, and segmentation counts it up. With
        // DF it has no meaning (RFC 6864).
        if !header.dont_fragment() && header.id != word(first, 4).wrapping_add(length(count)) {
            return false;
        }
        match self.kind {
            Kind::Udp => true,
            Kind::Tcp => {
                let expected =
                    sequence(first, ip).wrapping_add(u32::try_from(payload).unwrap_or(0));
                // Acknowledgement, length and flags but PSH, window, urgent pointer, options.
                sequence(bytes, ip) == expected
                    && same(ip + 8..ip + 13)
                    && (first[ip + 13] ^ bytes[ip + 13]) & !PSH == 0
                    && same(ip + 14..ip + 16)
                    && same(ip + 18..self.headers)
            }
        }
    }

    fn offload(&self) -> Offload {
        let field = if self.kind == Kind::Tcp { 16 } else { 6 };
        Offload {
            checksum: Some((length(self.ip), field)),
            segments: Some((self.kind, length(self.size))),
            headers: length(self.headers),
        }
    }

    /// Makes the headers of the first packet those of all.
    fn finish(&self, headers: &mut [u8], payload: usize, last: &[u8]) {
        let (ip, total) = (self.ip, self.headers + payload);
        put(headers, 2, length(total));
        packet::seal(headers);
        let sum = pseudo(headers, ip, total);
        match self.kind {
            Kind::Tcp => {
                headers[ip + 13] |= last[ip + 13] & PSH;
                put(headers, ip + 16, sum);
            }
            Kind::Udp => {
                put(headers, ip + 4, length(total - ip));
                put(headers, ip + 6, sum);
            }
        }
    }
}

/// Returns the addresses, ports and the protocol of a packet of TCP or UDP.
fn flow(bytes: &[u8], header: &Header) -> Option<u128> {
    let has_ports = matches!(header.protocol, TCP | UDP) && !header.is_fragment();
    let ports = bytes.get(header.length..header.length + 4).filter(|_| has_ports)?;
    let number = |bytes: &[u8]| bytes.iter().fold(0_u128, |sum, b| (sum << 8) | u128::from(*b));
    Some((number(&bytes[12..20]) << 40) | (number(ports) << 8) | u128::from(header.protocol))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{
            packet::tests::packet,
            segment::{Parts, split},
        },
        *,
    };

    const ALL: Accepts = Accepts { headers: true, udp: true };

    /// A packet of a flow as a test wants it.
    #[derive(Clone, Debug)]
    struct Plan {
        flow: u16,
        protocol: u8,
        /// The payload; the most frequent sizes are those of full packets.
        size: usize,
        flags: u8,
        /// What does not follow from the packet before: a gap, another TTL, a wrong checksum, ...
        change: u8,
        byte: u8,
    }

    fn plans() -> impl Strategy<Value = Vec<Plan>> {
        let size =
            prop_oneof![8 => Just(100_usize), 1 => Just(99), 1 => Just(0), 1 => 0..1400_usize];
        let flags = prop_oneof![8 => Just(ACK), 1 => Just(ACK | PSH), 1 => any::<u8>()];
        let protocol = prop_oneof![6 => Just(TCP), 4 => Just(UDP), 1 => Just(1), 1 => any::<u8>()];
        let change = prop_oneof![12 => Just(0_u8), 5 => 1..14_u8];
        let plan = (0..3_u16, protocol, size, flags, change, any::<u8>()).prop_map(
            |(flow, protocol, size, flags, change, byte)| Plan {
                flow,
                protocol,
                size,
                flags,
                change,
                byte,
            },
        );
        prop::collection::vec(plan, 0..90)
    }

    /// The packets of plans, one behind the other in a buffer.
    fn made(plans: &[Plan]) -> (Vec<u8>, Vec<Range<usize>>) {
        let (mut buffer, mut all) = (Vec::new(), Vec::new());
        let mut next = [(0xffff_ff00_u32, 0xfff0_u16); 3];
        for plan in plans {
            let (sequence, id) = &mut next[usize::from(plan.flow)];
            if plan.change == 1 {
                *sequence = sequence.wrapping_add(1);
            }
            let bytes = one(plan, *sequence, *id);
            *sequence = sequence.wrapping_add(u32::try_from(plan.size).unwrap());
            *id = id.wrapping_add(1);
            all.push(buffer.len()..buffer.len() + bytes.len());
            buffer.extend(bytes);
        }
        (buffer, all)
    }

    fn one(plan: &Plan, sequence: u32, id: u16) -> Vec<u8> {
        let mut head = vec![0; if plan.protocol == TCP { 20 } else { 8 }];
        put(&mut head, 0, 1000 + plan.flow);
        put(&mut head, 2, 80);
        match plan.protocol {
            TCP => {
                head[4..8].copy_from_slice(&sequence.to_be_bytes());
                head[12] = 0x50;
                head[13] = plan.flags;
                match plan.change {
                    2 => put(&mut head, 14, 500),
                    3 => put(&mut head, 10, 1),
                    // Options.
                    4 => {
                        head[12] = 0x60;
                        head.extend([1, 1, 1, plan.byte & 1]);
                    }
                    5 => head[12] = plan.byte,
                    _ => {}
                }
            }
            _ => put(&mut head, 4, length(8 + plan.size)),
        }
        let fragment = match plan.change {
            6 => 0,
            7 => 0x2000,
            8 => 5,
            _ => 0x4000,
        };
        head.extend(vec![plan.byte; plan.size]);
        let mut bytes = packet(plan.protocol, fragment, &head);
        put(&mut bytes, 4, if plan.change == 9 { 77 } else { id });
        bytes[8] -= u8::from(plan.change == 10);
        bytes[1] = u8::from(plan.change == 11);
        packet::seal(&mut bytes);
        let field = if plan.protocol == TCP { 36 } else { 26 };
        let sum = super::super::checksum::Sum::default()
            .with_pseudo_header(&bytes[12..20], plan.protocol, length(bytes.len() - 20))
            .with(&bytes[20..])
            .checksum();
        put(&mut bytes, field, sum);
        if plan.change == 12 {
            bytes[field] ^= 1;
        }
        if plan.change == 13 && plan.protocol == UDP {
            put(&mut bytes, field, 0);
        }
        bytes
    }

    /// What the kernel makes of the packets that are written: the packets of the network.
    fn written(merger: &Merger, buffer: &[u8]) -> (Vec<Vec<u8>>, usize) {
        let (mut all, mut head) = (Vec::new(), Vec::new());
        for group in 0..merger.count() {
            let whole: Vec<u8> =
                merger.pieces(group, buffer, &mut head).iter().flat_map(|p| p.to_vec()).collect();
            let (vnet, packet) = whole.split_first_chunk().unwrap();
            let mut packet = packet.to_vec();
            let header = Header::of(&packet).expect("a merged packet is well-formed");
            let mut parts = Parts::default();
            split(&header, Offload::of(*vnet).unwrap(), &mut packet, &mut parts).unwrap();
            assert_eq!(parts.count(), merger.packets_in(group));
            all.extend((0..parts.count()).map(|part| parts.halves(part, &packet).concat()));
        }
        (all, merger.count())
    }

    /// The packets of each flow, without an identification that has no meaning.
    fn flows(packets: impl IntoIterator<Item = Vec<u8>>) -> HashMap<(u8, Vec<u8>), Vec<Vec<u8>>> {
        let mut flows = HashMap::<_, Vec<_>>::new();
        for mut packet in packets {
            let header = Header::of(&packet).unwrap();
            if header.dont_fragment() {
                put(&mut packet, 4, 0);
                packet::seal(&mut packet);
            }
            // Fragments have no ports: all are one flow.
            let key = if header.is_fragment() { vec![] } else { packet[20..22].to_vec() };
            flows.entry((header.protocol, key)).or_default().push(packet);
        }
        flows
    }

    fn merged(accepts: Accepts, buffer: &[u8], all: &[Range<usize>]) -> Merger {
        let mut merger = Merger::new(accepts);
        for at in all {
            let header = Header::of(&buffer[at.clone()]).unwrap();
            merger.add(buffer, at.clone(), &header);
        }
        merger
    }

    fn good(protocol: u8, count: usize, size: usize) -> Vec<Plan> {
        vec![Plan { flow: 0, protocol, size, flags: ACK, change: 0, byte: 7 }; count]
    }

    #[test]
    fn consecutive_packets_become_one() {
        for (protocol, count, size, writes) in [
            (TCP, 40, 1400, 1),
            (TCP, 50, 1400, 2),
            (TCP, 65, 10, 2),
            (UDP, 40, 1400, 1),
            (TCP, 40, 0, 40),
            (1, 40, 100, 40),
        ] {
            let (buffer, all) = made(&good(protocol, count, size));
            let merger = merged(ALL, &buffer, &all);
            assert_eq!(merger.count(), writes, "{count} of {size} bytes of protocol {protocol}");
        }
    }

    #[test]
    fn each_difference_begins_a_new_one() {
        // A packet without DF has to count the identification up, as this one does.
        for (change, writes) in (0..13).map(|c| (c, if matches!(c, 0 | 9) { 1 } else { 3 })) {
            let mut plans = good(TCP, 9, 100);
            plans[4].change = change;
            let (buffer, all) = made(&plans);
            // After a gap and before it are two.
            let writes = if change == 1 { 2 } else { writes };
            assert_eq!(merged(ALL, &buffer, &all).count(), writes, "change {change}");
        }
    }

    #[test]
    fn a_device_without_offload_gets_each_by_itself() {
        let (buffer, all) = made(&good(TCP, 9, 100));
        let merger = merged(Accepts { headers: false, udp: false }, &buffer, &all);
        let mut head = Vec::new();
        assert_eq!(merger.count(), 9);
        let bytes: Vec<u8> =
            merger.pieces(8, &buffer, &mut head).iter().flat_map(|p| p.to_vec()).collect();
        assert_eq!(bytes, buffer[all[8].clone()]);
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_went_in(plans in plans(), udp in any::<bool>()) {
            let (buffer, all) = made(&plans);
            let merger = merged(Accepts { headers: true, udp }, &buffer, &all);
            let (packets, _) = written(&merger, &buffer);
            prop_assert_eq!(packets.len(), all.len());
            let before = flows(all.into_iter().map(|at| buffer[at].to_vec()));
            prop_assert_eq!(flows(packets), before);
        }

        #[test]
        fn a_merger_takes_any_packets(
            payloads in prop::collection::vec(
                (any::<u8>(), any::<u16>(), prop::collection::vec(any::<u8>(), 0..60)), 0..20),
        ) {
            let (mut buffer, mut all) = (Vec::new(), Vec::new());
            for (protocol, flags, payload) in payloads {
                let start = buffer.len();
                let protocol = if protocol & 1 == 0 { protocol } else { TCP };
                buffer.extend(packet(protocol, flags, &payload));
                all.push(start..buffer.len());
            }
            let merger = merged(ALL, &buffer, &all);
            prop_assert_eq!(written(&merger, &buffer).0.len(), all.len());
        }
    }
}
