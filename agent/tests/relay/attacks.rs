//! Packets that somebody has forged, or that are broken: each is dropped and counted, while the same
//! packet without the fault arrives.

use netcord_agent::relay::packet::seal;
use nix::sys::signal::Signal;

use crate::{
    lab::{Lab, container},
    packets::{Raw, inner, outer, peer, received, send, tcp, udp},
};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("attacks::a_forged_packet_of_a_peer_is_dropped", a_forged_packet_of_a_peer_is_dropped),
    ("attacks::a_stranger_is_not_heard", a_stranger_is_not_heard),
    ("attacks::a_container_cannot_forge_its_source", a_container_cannot_forge_its_source),
    ("attacks::corrupt_segments_are_not_merged", corrupt_segments_are_not_merged),
    ("attacks::a_route_that_goes_stops_both_directions", a_route_that_goes_stops_both_directions),
];

type Fault = fn(&mut Vec<u8>);

/// Changes a header, and its checksum with it.
fn changed(packet: &mut [u8], at: usize, bytes: &[u8]) {
    packet[at..at + bytes.len()].copy_from_slice(bytes);
    seal(packet);
}

fn a_forged_packet_of_a_peer_is_dropped() {
    let lab = Lab::new(3);
    let mut relay = lab.relay(1, "");
    let (peer, container_1) = (peer(&lab, 2), inner(&lab, 1));
    let faults: [(&str, &str, Fault); 15] = [
        ("another peer's source", "wrong_source", |p| changed(p, 12, &[10, 5, 3, 2])),
        ("this host's source", "wrong_source", |p| changed(p, 12, &[10, 5, 1, 7])),
        ("a source outside of the network", "wrong_source", |p| changed(p, 12, &[8, 8, 8, 8])),
        ("a loopback source", "wrong_source", |p| changed(p, 12, &[127, 0, 0, 1])),
        ("another peer's destination", "wrong_destination", |p| changed(p, 16, &[10, 5, 3, 2])),
        ("the host as destination", "wrong_destination", |p| changed(p, 16, &[192, 0, 2, 1])),
        ("a loopback destination", "wrong_destination", |p| changed(p, 16, &[127, 0, 0, 1])),
        ("a multicast destination", "wrong_destination", |p| changed(p, 16, &[224, 0, 0, 1])),
        ("nothing", "malformed", |p| p.clear()),
        ("garbage", "malformed", |p| p.fill(0xa5)),
        ("IPv6", "malformed", |p| changed(p, 0, &[0x65])),
        ("a short header", "malformed", |p| changed(p, 0, &[0x44])),
        ("truncated", "malformed", |p| p.truncate(30)),
        ("oversized", "malformed", |p| p.push(0)),
        ("a wrong checksum", "malformed", |p| p[10] ^= 1),
    ];
    let before = relay.counters();
    for (number, (what, counter, fault)) in faults.iter().enumerate() {
        let good = udp(container(2), container(1), what.as_bytes());
        let mut bad = good.clone();
        fault(&mut bad);
        let count = relay.count(counter);
        send(&peer, 1, &bad);
        send(&peer, 1, &good);
        // Packets do not overtake each other: the bad one would have come first.
        assert_eq!(received(&container_1), what.as_bytes(), "{what}");
        // A datagram that is not forged comes by itself.
        container_1.set_nonblocking(true).unwrap();
        assert!(container_1.recv(&mut [0; 9]).is_err(), "{what}: it arrived twice");
        container_1.set_nonblocking(false).unwrap();
        assert_eq!(relay.count(counter), count + 1, "{what}");
        let received = before["received"].as_u64().unwrap() + number as u64 + 1;
        assert_eq!(relay.count("received"), received, "{what}");
    }
}

fn a_stranger_is_not_heard() {
    let lab = Lab::new(3);
    lab.route("del", 1, 3);
    let mut relay = lab.relay(1, "");
    let (known, container_1) = (peer(&lab, 2), inner(&lab, 1));
    let strangers = [
        ("a host that is no peer, with its own source", peer(&lab, 3), container(3)),
        ("a host that is no peer, with a peer's source", peer_again(&lab), container(2)),
        ("another process on a peer's host", outer(&lab, 2, 9999), container(2)),
    ];
    for (number, (what, socket, source)) in (1..).zip(&strangers) {
        send(socket, 1, &udp(*source, container(1), b"forged"));
        send(&known, 1, &udp(container(2), container(1), what.as_bytes()));
        // Those of several hosts may overtake each other.
        relay.until("unknown_host", number, || ());
        assert_eq!(received(&container_1), what.as_bytes());
    }
    // The same datagram is welcome once there is a route.
    lab.route("add", 1, 3);
    relay.until("received", 4, || {
        send(&strangers[0].1, 1, &udp(container(3), container(1), b"a peer"));
    });
    assert_eq!(received(&container_1), b"a peer");
}

/// The port of a host is taken by a socket already; this is one of another address of it.
fn peer_again(lab: &Lab) -> std::net::UdpSocket {
    lab.on('h', 3, "ip addr add 192.0.2.33/24 dev eth0");
    let address = std::net::SocketAddrV4::new([192, 0, 2, 33].into(), crate::lab::PORT);
    lab.within('h', 3, move || std::net::UdpSocket::bind(address).unwrap())
}

fn a_container_cannot_forge_its_source() {
    let lab = Lab::new(2);
    // Neither the container nor the kernel prevents it.
    lab.on('h', 1, "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done");
    lab.on('c', 1, "ip addr add 10.5.2.77/32 dev lo; ip addr add 10.5.1.77/32 dev lo");
    let mut relay = lab.relay(1, "");
    let peer = peer(&lab, 2);
    let send_from = |source: [u8; 4]| {
        lab.within('c', 1, move || {
            let socket =
                std::net::UdpSocket::bind((std::net::Ipv4Addr::from(source), 7000)).unwrap();
            socket.send_to(b"hello", (container(2), 7000)).unwrap();
        });
    };
    send_from([10, 5, 2, 77]);
    send_from([10, 5, 1, 77]);
    assert_eq!(received(&peer)[12..16], [10, 5, 1, 77]);
    assert_eq!(relay.count("wrong_source"), 1);
}

fn corrupt_segments_are_not_merged() {
    let lab = Lab::new(2);
    let mut relay = lab.relay(1, "");
    let (peer, container_1) = (peer(&lab, 2), Raw::tcp(&lab, 'c', 1));
    let segment = |number: u32| tcp(container(2), container(1), number * 100, &[7; 100]);
    // The relay stands still until all have come, so that it has the chance to merge them.
    let mut all_of = |segments: &[Vec<u8>]| {
        let writes = relay.count("writes");
        relay.signal(Signal::SIGSTOP);
        for segment in segments {
            send(&peer, 1, segment);
        }
        relay.signal(Signal::SIGCONT);
        let wanted = payload(segments).len();
        let mut arrived: Vec<Vec<u8>> = Vec::new();
        while payload(&arrived).len() < wanted {
            arrived.push(container_1.packet());
        }
        (arrived, relay.count("writes") - writes)
    };
    let good: Vec<_> = (0..4).map(segment).collect();
    let (arrived, writes) = all_of(&good);
    assert_eq!((payload(&arrived), writes), (payload(&good), 1), "as one");
    let mut bad = good.clone();
    bad[2][45] ^= 1;
    let (arrived, writes) = all_of(&bad);
    assert_eq!((payload(&arrived), writes), (payload(&bad), 3), "two and one and one");
    // The checksum is still wrong, so that the receiver knows.
    assert!(arrived.iter().any(|packet| packet[20..] == bad[2][20..]));
}

fn payload(packets: &[Vec<u8>]) -> Vec<u8> {
    packets.iter().flat_map(|packet| packet[40..].to_vec()).collect()
}

fn a_route_that_goes_stops_both_directions() {
    let lab = Lab::new(3);
    let mut relay = lab.relay(1, "");
    let (second, third) = (peer(&lab, 2), peer(&lab, 3));
    let container_1 = inner(&lab, 1);
    send(&second, 1, &udp(container(2), container(1), b"before"));
    assert_eq!(received(&container_1), b"before");
    lab.route("del", 1, 2);
    // Until the relay has read the routes again, packets may still pass.
    relay.until("unknown_host", 1, || {
        send(&second, 1, &udp(container(2), container(1), b"after"));
    });
    let passed = relay.count("received");
    send(&second, 1, &udp(container(2), container(1), b"after"));
    send(&third, 1, &udp(container(3), container(1), b"another"));
    while received(&container_1) != b"another" {}
    assert_eq!(relay.count("received"), passed + 1);
    // A way that bypasses the network's routes, as if the kernel had not heard yet.
    lab.on('h', 1, &format!("ip route add 10.5.2.0/24 dev {}", crate::lab::TUN));
    container_1.send_to(b"hello", (container(2), 7000)).unwrap();
    relay.until("no_route", 1, || ());
    second.set_nonblocking(true).unwrap();
    assert!(second.recv(&mut [0; 100]).is_err());
}
