//! The programs, run by a small interpreter. Each frame is one that an endpoint could send.

use super::{
    assembler::{
        A_TO_X, ADD, ADD_X, AND, CONSTANT_TO_X, DROP, IPV4_HEADER_TO_X, JUMP, JUMP_IF_AT_LEAST,
        JUMP_IF_EQUAL, LOAD_BYTE, LOAD_BYTE_AFTER, LOAD_HALF, LOAD_HALF_AFTER, LOAD_LENGTH,
        LOAD_MEMORY, LOAD_WORD, LOAD_WORD_AFTER, PASS, RETURN, SHIFT_LEFT, STORE_MEMORY,
        VLAN_TAG_PRESENT,
    },
    *,
};

/// Runs a classic program as the kernel does (`net/core/filter.c`).
fn run(program: &[Instruction], frame: &[u8], tagged: bool) -> u32 {
    let (mut a, mut x, mut memory, mut at) = (0_u32, 0_u32, [0_u32; 16], 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let load = |from: u32, size: usize| {
            let bytes = frame.get(from as usize..from as usize + size)?;
            Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
        };
        let loaded = match code {
            LOAD_WORD if k == VLAN_TAG_PRESENT => Some(u32::from(tagged)),
            LOAD_WORD => load(k, 4),
            LOAD_HALF => load(k, 2),
            LOAD_BYTE => load(k, 1),
            LOAD_WORD_AFTER => load(x + k, 4),
            LOAD_HALF_AFTER => load(x + k, 2),
            LOAD_BYTE_AFTER => load(x + k, 1),
            LOAD_LENGTH => Some(u32::try_from(frame.len()).unwrap()),
            LOAD_MEMORY => Some(memory[k as usize]),
            AND => Some(a & k),
            ADD => Some(a + k),
            ADD_X => Some(a + x),
            SHIFT_LEFT => Some(a << k),
            _ => {
                match code {
                    STORE_MEMORY => memory[k as usize] = a,
                    CONSTANT_TO_X => x = k,
                    A_TO_X => x = a,
                    IPV4_HEADER_TO_X => match load(k, 1) {
                        Some(byte) => x = 4 * (byte & 0xf),
                        None => return 0,
                    },
                    JUMP => at += k as usize,
                    JUMP_IF_EQUAL => at += usize::from(if a == k { jt } else { jf }),
                    JUMP_IF_AT_LEAST => at += usize::from(if a >= k { jt } else { jf }),
                    RETURN => return k,
                    _ => panic!("no such instruction: {code:#x}"),
                }
                continue;
            }
        };
        // A load beyond the end ends the program.
        let Some(value) = loaded else { return 0 };
        a = value;
    }
}

const MAC: [u8; 6] = [0x02, 0x42, 10, 1, 0, 2];
const OTHER_MAC: [u8; 6] = [0x02, 0x42, 10, 1, 0, 3];
const OWN: [u8; 4] = [10, 1, 0, 2];
const OTHER: [u8; 4] = [10, 1, 0, 3];
const ALL: [u8; 4] = [255; 4];
const NOBODY: [u8; 4] = [0; 4];

fn ip6(text: &str) -> [u8; 16] {
    text.parse::<std::net::Ipv6Addr>().unwrap().octets()
}

fn own6() -> [u8; 16] {
    ip6("fd00:1::2")
}

fn other6() -> [u8; 16] {
    ip6("fd00:1::3")
}

fn spoofing(addresses: &[&str]) -> SpoofFilter {
    SpoofFilter::Spoofing {
        mac: Mac::try_from(&MAC[..]).unwrap(),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
    }
}

fn both() -> SpoofFilter {
    spoofing(&["10.1.0.2", "fd00:1::2"])
}

/// A filter for this number of addresses of each family, beginning with 10.1.0.10 and `fd00:1::a`.
fn many(count: u16) -> SpoofFilter {
    let v4 = (10..10 + count).map(|n| format!("10.1.0.{n}"));
    let v6 = (10..10 + count).map(|n| format!("fd00:1::{n:x}"));
    let all: Vec<_> = v4.chain(v6).collect();
    spoofing(&all.iter().map(String::as_str).collect::<Vec<_>>())
}

#[track_caller]
fn passes(guard: &SpoofFilter, frame: &[u8]) {
    assert_eq!(run(&guard.program(), frame, false), PASS, "{frame:02x?}");
}

#[track_caller]
fn drops(guard: &SpoofFilter, frame: &[u8]) {
    assert_eq!(run(&guard.program(), frame, false), DROP, "{frame:02x?}");
}

fn frame(source: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&[0xff; 6], &source[..], &ethertype.to_be_bytes(), payload].concat()
}

fn arp_by(mac: [u8; 6], sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let fixed = [0, 1, 8, 0, 6, 4, 0, 1];
    frame(MAC, 0x0806, &[&fixed, &mac[..], &sender, &[0; 6], &target].concat())
}

fn udp4(
    source: [u8; 4],
    destination: [u8; 4],
    ports: [u16; 2],
    options: u8,
    offset: u16,
) -> Vec<u8> {
    let [high, low] = offset.to_be_bytes();
    let fixed = [0x45 + options, 0, 0, 28, 0, 0, high, low, 64, 17, 0, 0];
    let padding = vec![1; usize::from(options) * 4];
    let [from, to] = ports.map(u16::to_be_bytes);
    let rest = [&fixed, &source[..], &destination, &padding, &from, &to, &[0; 4]].concat();
    frame(MAC, 0x0800, &rest)
}

/// A packet of IPv6 whose first header has this type.
fn packet6(source: [u8; 16], kind: u8, rest: &[u8]) -> Vec<u8> {
    let fixed = [0x60, 0, 0, 0, 0, 0, kind, 255];
    frame(MAC, 0x86dd, &[&fixed, &source[..], &ip6("ff02::1"), rest].concat())
}

fn nd(kind: u8, target: [u8; 16]) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0, 0, 0, 0], &target[..]].concat()
}

/// An extension header of this length in bytes, with the type of the next one.
fn extension(next: u8, length: u8) -> Vec<u8> {
    let mut header = vec![0; usize::from(length)];
    (header[0], header[1]) = (next, length / 8 - 1);
    header
}

#[test]
fn no_jump_is_too_far_and_each_leads_to_an_instruction() {
    for guard in [
        SpoofFilter::Routers,
        both(),
        spoofing(&["10.1.0.2", "fd00:1::2"]),
        many(1),
        many(31),
        many(32),
        spoofing(&[]),
        spoofing(&["fd00:1::2"]),
        spoofing(&["10.1.0.2"]),
    ] {
        let program = guard.program();
        assert!(program.len() < 4096, "BPF_MAXINSNS: {}", program.len());
        for (at, i) in program.iter().enumerate() {
            let k = if i.code == JUMP { i.k as usize } else { 0 };
            let furthest = at + 1 + usize::from(i.jt.max(i.jf)).max(k);
            assert!(i.code == RETURN || furthest < program.len(), "{at}: {i:?}");
        }
        assert!(guard.bytecode().starts_with(&format!("{},", program.len())));
    }
}

#[test]
fn a_mac_of_another_is_dropped_and_so_is_what_cannot_be_judged() {
    let guard = both();
    let good = udp4(OWN, OTHER, [5000, 53], 0, 0);
    passes(&guard, &good);
    assert_eq!(run(&guard.program(), &good, true), DROP, "behind a tag");
    for at in 6..12 {
        let mut bad = good.clone();
        bad[at] ^= 1;
        drops(&guard, &bad);
    }
    // 802.1Q, STP's length, EAPOL, LLDP, RARP.
    for ethertype in [0x8100, 0x88a8, 38, 0x888e, 0x88cc, 0x8035] {
        drops(&guard, &frame(MAC, ethertype, &[0; 46]));
    }
    for length in 12..good.len().min(34) {
        drops(&guard, &frame(MAC, 0x0800, &good[14..length.max(14)]));
    }
    // An endpoint without addresses may send nothing.
    drops(&spoofing(&[]), &good);
    drops(&spoofing(&["10.1.0.2"]), &packet6(own6(), 58, &[128, 0, 0, 0]));
    drops(&spoofing(&["fd00:1::2"]), &good);
    drops(&spoofing(&["fd00:1::2"]), &arp_by(MAC, OWN, OTHER));
}

#[test]
fn arp_speaks_for_its_own_address() {
    let guard = both();
    passes(&guard, &arp_by(MAC, OWN, OTHER));
    passes(&guard, &arp_by(MAC, OWN, OWN));
    passes(&guard, &arp_by(MAC, NOBODY, OWN));
    drops(&guard, &arp_by(MAC, NOBODY, OTHER));
    drops(&guard, &arp_by(MAC, OTHER, OTHER));
    drops(&guard, &arp_by(OTHER_MAC, OWN, OTHER));
    // Addresses of other lengths would shift the fields.
    let mut odd = arp_by(MAC, OWN, OTHER);
    odd[18] = 8;
    drops(&guard, &odd);
    drops(&guard, &arp_by(MAC, OWN, OTHER)[..40]);
    drops(&spoofing(&[]), &arp_by(MAC, NOBODY, OTHER));
}

#[test]
fn ipv4_comes_from_its_own_address_and_from_no_dhcp_server() {
    let guard = both();
    drops(&guard, &udp4(OTHER, OWN, [5000, 53], 0, 0));
    drops(&guard, &udp4(NOBODY, ALL, [68, 67], 0, 0));
    drops(&guard, &udp4(OWN, ALL, [67, 68], 0, 0));
    drops(&guard, &udp4(OWN, ALL, [67, 68], 5, 0));
    // The first of several fragments, and a later one.
    drops(&guard, &udp4(OWN, ALL, [67, 68], 0, 0x2000));
    passes(&guard, &udp4(OWN, ALL, [67, 68], 0, 0x2001));
    passes(&guard, &udp4(OWN, OTHER, [68, 67], 0, 0));
    let mut tcp = udp4(OWN, OTHER, [67, 80], 0, 0);
    tcp[23] = 6;
    passes(&guard, &tcp);
}

#[test]
fn ipv6_comes_from_its_own_addresses() {
    let guard = both();
    let echo = [128, 0, 0, 0, 0, 0, 0, 0];
    passes(&guard, &packet6(own6(), 58, &echo));
    passes(&guard, &packet6(ip6("fe80::42:aff:fe01:2"), 58, &echo));
    passes(&guard, &packet6(own6(), 6, &[0; 20]));
    for source in ["fd00:1::3", "fe80::42:aff:fe01:3", "::1", "::ffff:10.1.0.2"] {
        drops(&guard, &packet6(ip6(source), 58, &echo));
    }
    // Each of the four words counts.
    for at in [3, 7, 11, 15] {
        let mut source = own6();
        source[at] ^= 1;
        drops(&guard, &packet6(source, 58, &echo));
    }
    let unspecified = ip6("::");
    passes(&guard, &packet6(unspecified, 58, &nd(135, own6())));
    passes(&guard, &packet6(unspecified, 58, &nd(135, ip6("fe80::42:aff:fe01:2"))));
    drops(&guard, &packet6(unspecified, 58, &nd(135, other6())));
    drops(&guard, &packet6(unspecified, 58, &nd(136, own6())));
    drops(&guard, &packet6(unspecified, 17, &[0; 8]));
    drops(&guard, &packet6(own6(), 17, &[0x02, 0x23, 0x02, 0x22, 0, 8, 0, 0]));
    passes(&guard, &packet6(own6(), 17, &[0x02, 0x22, 0x02, 0x23, 0, 8, 0, 0]));
    drops(&guard, &packet6(own6(), 58, &[])[..50]);
}

#[test]
fn neighbour_advertisements_are_for_its_own_addresses() {
    let guard = both();
    passes(&guard, &packet6(own6(), 58, &nd(136, own6())));
    passes(&guard, &packet6(own6(), 58, &nd(136, ip6("fe80::42:aff:fe01:2"))));
    drops(&guard, &packet6(own6(), 58, &nd(136, other6())));
    passes(&guard, &packet6(own6(), 58, &nd(135, other6())));
    // Behind an extension header too.
    let behind = |target| [extension(58, 16), nd(136, target)].concat();
    passes(&guard, &packet6(own6(), 60, &behind(own6())));
    drops(&guard, &packet6(own6(), 60, &behind(other6())));
}

#[test]
fn routers_words_are_dropped_wherever_they_hide() {
    let fragment = |next: u8, offset: u16| {
        let [high, low] = offset.to_be_bytes();
        vec![next, 0, high, low, 0, 0, 0, 1]
    };
    for guard in [both(), SpoofFilter::Routers] {
        for kind in [134, 137] {
            let words = nd(kind, own6());
            drops(&guard, &packet6(own6(), 58, &words));
            for first in [0, 43, 60] {
                for length in [8, 24, 248] {
                    let hidden = [extension(58, length), words.clone()].concat();
                    drops(&guard, &packet6(own6(), first, &hidden));
                }
            }
            let deep = [extension(60, 8), extension(60, 16), extension(58, 8), words.clone()];
            drops(&guard, &packet6(own6(), 0, &deep.concat()));
            for next in [58_u8, 60, 0, 44] {
                let first = [fragment(next, 1), words.clone()].concat();
                drops(&guard, &packet6(own6(), 44, &first));
                let behind = [extension(44, 8), first].concat();
                drops(&guard, &packet6(own6(), 60, &behind));
            }
            let maze = [vec![extension(60, 8); 9].concat(), extension(58, 8), words].concat();
            drops(&guard, &packet6(own6(), 60, &maze));
        }
        // A large ping in fragments, and a report of multicast groups.
        let echo = [128, 0, 0, 0, 0, 0, 0, 0];
        passes(&guard, &packet6(own6(), 44, &[fragment(58, 1), echo.to_vec()].concat()));
        passes(&guard, &packet6(own6(), 44, &[fragment(58, 185 << 3), vec![134; 16]].concat()));
        passes(&guard, &packet6(own6(), 0, &[extension(58, 8), vec![143; 16]].concat()));
        // A router solicitation.
        passes(&guard, &packet6(own6(), 58, &[133, 0, 0, 0, 0, 0, 0, 0]));
    }
}

#[test]
fn whose_router_advertisements_are_dropped_may_say_all_else() {
    let guard = SpoofFilter::Routers;
    passes(&guard, &arp_by(OTHER_MAC, OTHER, OWN));
    passes(&guard, &udp4(OTHER, ALL, [67, 68], 0, 0));
    passes(&guard, &packet6(other6(), 58, &nd(136, own6())));
    // A bridge protocol data unit is an 802.3 frame too.
    passes(&guard, &frame(MAC, 38, &[0x42, 0x42, 3, 0]));
    drops(&guard, &frame(MAC, 60, &[0xaa, 0xaa, 3, 0, 0, 0, 0x86, 0xdd]));
    drops(&guard, &frame(MAC, 0x8100, &[0, 0, 0x86, 0xdd]));
    drops(&guard, &frame(MAC, 0x88a8, &[0, 0, 0x86, 0xdd]));
}

#[test]
fn of_many_addresses_each_is_its_own_and_no_other() {
    let most = u16::try_from(Endpoint::MAX_ADDRESSES / 2).unwrap();
    for count in [2, 3, 20, most] {
        let guard = many(count);
        assert!(guard.program().len() < 4096, "BPF_MAXINSNS");
        for n in 9..=10 + count {
            let [_, last] = n.to_be_bytes();
            let (v4, v6) = ([10, 1, 0, last], ip6(&format!("fd00:1::{n:x}")));
            let frames = [
                arp_by(MAC, v4, OTHER),
                arp_by(MAC, NOBODY, v4),
                udp4(v4, OTHER, [1000, 53], 0, 0),
                packet6(v6, 58, &[128, 0, 0, 0]),
                packet6([0; 16], 58, &nd(135, v6)),
                packet6(ip6("fd00:1::a"), 58, &nd(136, v6)),
            ];
            for frame in frames {
                if (10..10 + count).contains(&n) {
                    passes(&guard, &frame);
                } else {
                    drops(&guard, &frame);
                }
            }
        }
        drops(&guard, &udp4([10, 1, 0, 10], OTHER, [67, 68], 0, 0));
        drops(&guard, &packet6(ip6("fd00:1::a"), 58, &nd(134, own6())));
        drops(&guard, &arp_by(OTHER_MAC, [10, 1, 0, 10], OTHER));
    }
}
