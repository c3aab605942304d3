//! Packets that cannot go on: what their senders learn, and what arrives all the same.

use std::{
    net::{Ipv4Addr, UdpSocket},
    time::Instant,
};

use netcord_agent::relay::packet::{Header, ICMP, seal};
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrV4, SocketType, ipproto, sendto, socket,
    sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover},
};

use crate::{
    lab::{Lab, TUN, container},
    packets::{INNER_PORT, Raw, inner, peer, received, send, udp},
    traffic,
};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("errors::no_route_is_answered", no_route_is_answered),
    ("errors::answers_have_a_limit", answers_have_a_limit),
    ("errors::an_error_is_not_answered", an_error_is_not_answered),
    ("errors::an_expired_packet_is_answered_on_its_way_out", expired_on_the_way_out),
    ("errors::an_expired_packet_is_answered_on_its_way_in", expired_on_the_way_in),
    ("errors::a_lowered_mtu_is_announced", a_lowered_mtu_is_announced),
    ("errors::what_may_be_fragmented_is", what_may_be_fragmented_is),
    ("errors::tcp_goes_through_a_narrow_path", tcp_goes_through_a_narrow_path),
    ("errors::fragments_pass", fragments_pass),
    ("errors::an_unreachable_host_is_answered", an_unreachable_host_is_answered),
];

/// The type, the code and the MTU of an ICMP error, and the packet that it is about.
fn error(packet: &[u8]) -> (u8, u8, u16, &[u8]) {
    let header = Header::of(packet).unwrap();
    assert_eq!(header.protocol, ICMP);
    (packet[20], packet[21], u16::from_be_bytes([packet[26], packet[27]]), &packet[28..])
}

/// A container sends UDP with this time to live.
fn send_with_ttl(from: &UdpSocket, to: Ipv4Addr, ttl: u32) {
    from.set_ttl(ttl).unwrap();
    from.send_to(b"hello", (to, INNER_PORT)).unwrap();
}

/// Leads packets to the relay of host 1 for which it has no peer.
fn without_a_peer(lab: &Lab) {
    lab.route("del", 1, 2);
    lab.on('h', 1, &format!("ip route add 10.5.2.0/24 dev {TUN}"));
}

fn no_route_is_answered() {
    let lab = Lab::new(2);
    without_a_peer(&lab);
    let mut relay = lab.relay(1, "");
    let (from, errors) = (inner(&lab, 1), Raw::icmp(&lab, 'c', 1));
    send_with_ttl(&from, container(2), 64);
    let packet = errors.packet();
    let (kind, code, _, about) = error(&packet);
    assert_eq!((kind, code), (3, 0));
    assert_eq!(Header::of(&packet).unwrap().source, Ipv4Addr::new(10, 5, 1, 1));
    assert_eq!(about[16..20], container(2).octets());
    assert_eq!(relay.count("no_route"), 1);
}

fn answers_have_a_limit() {
    let lab = Lab::new(2);
    without_a_peer(&lab);
    let mut relay = lab.relay(1, "");
    let from = inner(&lab, 1);
    let began = Instant::now();
    (0..30).for_each(|_| send_with_ttl(&from, container(2), 64));
    relay.until("no_route", 30, || ());
    let answers = relay.count("answers");
    assert!((6..=6 + 1 + began.elapsed().as_secs()).contains(&answers), "{answers}");
}

fn an_error_is_not_answered() {
    let lab = Lab::new(2);
    without_a_peer(&lab);
    let mut relay = lab.relay(1, "");
    let send_icmp = |message: [u8; 8]| {
        lab.within('c', 1, move || {
            let socket = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)).unwrap();
            let to = SocketAddrV4::new(container(2), 0);
            sendto(&socket, &message, SendFlags::empty(), &to).unwrap();
        });
    };
    send_icmp([3, 1, 0xfc, 0xfe, 0, 0, 0, 0]);
    relay.until("no_route", 1, || ());
    assert_eq!(relay.count("answers"), 0);
    // A request for an echo is none.
    send_icmp([8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
    relay.until("no_route", 2, || ());
    assert_eq!(relay.count("answers"), 1);
}

fn expired_on_the_way_out() {
    let lab = Lab::new(2);
    let _relay = lab.relay(1, "");
    let (from, errors, peer) = (inner(&lab, 1), Raw::icmp(&lab, 'c', 1), peer(&lab, 2));
    // The kernel takes one, and the relay another.
    send_with_ttl(&from, container(2), 2);
    let packet = errors.packet();
    let (kind, code, ..) = error(&packet);
    assert_eq!((kind, code), (11, 0));
    send_with_ttl(&from, container(2), 3);
    assert_eq!(Header::of(&received(&peer)).unwrap().ttl, 1);
}

fn expired_on_the_way_in() {
    let lab = Lab::new(2);
    let _relay = lab.relay(1, "");
    let (peer, container_1) = (peer(&lab, 2), inner(&lab, 1));
    let mut packet = udp(container(2), container(1), b"hello");
    packet[8] = 1;
    seal(&mut packet);
    send(&peer, 1, &packet);
    let answer = received(&peer);
    let (kind, code, _, about) = error(&answer);
    assert_eq!((kind, code, &about[..20]), (11, 0, &packet[..20]));
    assert_eq!(Header::of(&answer).unwrap().destination, container(2));
    // Three: for the relay, for the kernel, and to arrive.
    packet[8] = 3;
    seal(&mut packet);
    send(&peer, 1, &packet);
    assert_eq!(received(&container_1), b"hello");
}

fn a_lowered_mtu_is_announced() {
    let lab = Lab::new(2);
    let mut relay = lab.relay(1, "");
    let (from, errors, peer) = (inner(&lab, 1), Raw::icmp(&lab, 'c', 1), peer(&lab, 2));
    set_ip_mtu_discover(&from, Ipv4PathMtuDiscovery::DO).unwrap();
    let send = |bytes: usize| from.send_to(&vec![7; bytes], (container(2), INNER_PORT));
    send(1444).unwrap();
    assert_eq!(received(&peer).len(), 1472);
    lab.on('h', 1, "ip link set eth0 mtu 1400");
    send(1444).unwrap();
    let packet = errors.packet();
    let (kind, code, mtu, about) = error(&packet);
    assert_eq!((kind, code, mtu), (3, 4, 1372));
    assert_eq!(Header::of(&packet).unwrap().destination, container(1));
    assert_eq!(about[16..20], container(2).octets());
    // The container's kernel has learned it.
    assert!(send(1345).is_err());
    send(1344).unwrap();
    assert_eq!(received(&peer).len(), 1372);
    assert_eq!((relay.count("too_big"), relay.count("unsent")), (1, 0));
    // Wider again, for who has not learned it.
    lab.on('h', 1, "ip link set eth0 mtu 1500");
    lab.on('c', 1, "ip route flush cache; ip route replace default via 10.5.1.1 mtu lock 1472");
    // The relay asks the kernel once in a second.
    let before = relay.count("sent");
    relay.until("sent", before + 1, || drop(send(1444)));
    assert_eq!(received(&peer).len(), 1472);
}

fn what_may_be_fragmented_is() {
    let lab = Lab::new(2);
    let _relays = [lab.relay(1, ""), lab.relay(2, "")];
    lab.on('h', 1, "ip link set eth0 mtu 700");
    let (from, to) = (inner(&lab, 1), inner(&lab, 2));
    set_ip_mtu_discover(&from, Ipv4PathMtuDiscovery::DONT).unwrap();
    for bytes in [645, 1000, 1444, 4000] {
        let payload: Vec<_> = (0..=255).cycle().take(bytes).collect();
        from.send_to(&payload, (container(2), INNER_PORT)).unwrap();
        assert!(received(&to) == payload, "{bytes} bytes");
    }
}

fn tcp_goes_through_a_narrow_path() {
    let lab = Lab::new(3);
    // Host 3 is a router to host 2, and the way behind it is narrow.
    lab.on(
        'h',
        1,
        "for f in /proc/sys/net/ipv4/conf/*/accept_redirects; do echo 0 >$f; done
                    ip route add 192.0.2.2/32 via 192.0.2.3",
    );
    lab.on(
        'h',
        3,
        "for f in /proc/sys/net/ipv4/conf/*/send_redirects; do echo 0 >$f; done
                    ip route add 192.0.2.2/32 dev eth0 mtu lock 1300",
    );
    let mut relays = [lab.relay(1, ""), lab.relay(2, "")];
    traffic::transfer(&lab, 1, 2, 5 << 20);
    traffic::transfer(&lab, 2, 1, 5 << 20);
    assert!(relays[0].count("too_big") > 0, "the path was narrow");
}

fn fragments_pass() {
    let lab = Lab::new(2);
    let _relays = [lab.relay(1, ""), lab.relay(2, "")];
    let (from, to) = (inner(&lab, 1), inner(&lab, 2));
    for bytes in [1445, 4000, 60000] {
        let payload: Vec<_> = (0..=250).cycle().take(bytes).collect();
        from.send_to(&payload, (container(2), INNER_PORT)).unwrap();
        assert!(received(&to) == payload, "{bytes} bytes");
    }
}

fn an_unreachable_host_is_answered() {
    let lab = Lab::new(2);
    let mut relay = lab.relay(1, "");
    let (from, errors) = (inner(&lab, 1), Raw::icmp(&lab, 'c', 1));
    lab.on('h', 1, "ip route add unreachable 192.0.2.2/32");
    send_with_ttl(&from, container(2), 64);
    let packet = errors.packet();
    let (kind, code, ..) = error(&packet);
    assert_eq!((kind, code, relay.count("unsent")), (3, 1, 1));
    assert!(errors.is_silent());
}
