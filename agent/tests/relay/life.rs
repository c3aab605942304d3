//! Starts and ends of relays, of devices and of peers.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::{
    lab::{Lab, PORT, TUN, container, host},
    packets::{INNER_PORT, inner, received},
    traffic,
};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("life::a_device_that_is_in_use_is_a_conflict", a_device_that_is_in_use_is_a_conflict),
    ("life::what_cannot_start_says_why", what_cannot_start_says_why),
    ("life::a_terminated_relay_succeeds", a_terminated_relay_succeeds),
    ("life::a_relay_ends_with_its_device", a_relay_ends_with_its_device),
    ("life::a_restart_interrupts_a_hundred_packets_at_most", a_restart_interrupts_little),
    ("life::a_peer_that_vanishes_stops_nobody_else", a_peer_that_vanishes_stops_nobody_else),
    ("life::a_relay_has_no_privileges", a_relay_has_no_privileges),
    ("life::many_routes_are_followed", many_routes_are_followed),
    ("life::a_device_that_was_down_works_again", a_device_that_was_down_works_again),
    ("life::memory_has_a_bound", memory_has_a_bound),
];

/// Runs the relay of host 1 with other arguments; returns its exit code and what it said.
fn refused(lab: &Lab, change: &[(&str, &str)], off: &str) -> (i32, String) {
    let command = lab.relay_command(1, off);
    let mut words: Vec<_> =
        command.get_args().map(|word| word.to_str().unwrap().to_owned()).collect();
    for (flag, value) in change {
        let at = words.iter().position(|word| word == flag).unwrap();
        (*value).clone_into(&mut words[at + 1]);
    }
    let mut command = lab.command('h', 1, &words[1]);
    let output = command.args(&words[2..]).env("NETCORD_RELAY_OFF", off).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn a_device_that_is_in_use_is_a_conflict() {
    let lab = Lab::new(2);
    let _relays = [lab.relay(1, ""), lab.relay(2, "")];
    let (code, said) = refused(&lab, &[], "");
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("link `tun0` is in use: another process is attached to it"), "{said}");
    // The first one works on.
    traffic::transfer(&lab, 1, 2, 1 << 20);
}

fn what_cannot_start_says_why() {
    let lab = Lab::new(1);
    let links = || lab.on('h', 1, "ip -br link | cut -d' ' -f1");
    let before = links();
    let _taken = lab.within('h', 1, || std::net::UdpSocket::bind((host(1), PORT + 1)).unwrap());
    let port = (PORT + 1).to_string();
    for (change, off, code, why) in [
        (("--link", "tun9"), "", 3, "link `tun9` does not exist"),
        (("--link", "eth0"), "", 4, "link `eth0` is not a TUN device"),
        (("--host", "192.0.2.9"), "", 3, "address 192.0.2.9 is not one of this host"),
        (("--port", &port), "", 4, "UDP port 192.0.2.1:8286 is in use by another process"),
        (("--subnet", "10.5.1.0/33"), "", 2, "--subnet"),
        (("--port", &port), "tun,fast", 2, "`fast` is not `tun`, `send` or `receive`"),
    ] {
        let (found, said) = refused(&lab, &[change], off);
        assert_eq!(found, code, "{change:?}: {said}");
        assert!(said.contains(why), "{change:?}: {said}");
    }
    assert_eq!(links(), before, "no device was made");
}

fn a_terminated_relay_succeeds() {
    let lab = Lab::new(1);
    let mut relay = lab.relay(1, "");
    relay.signal(Signal::SIGTERM);
    assert_eq!(relay.end().code(), Some(0));
    lab.on('h', 1, &format!("ip link show {TUN}"));
}

fn a_relay_ends_with_its_device() {
    let lab = Lab::new(2);
    let mut relays = [lab.relay(1, ""), lab.relay(2, "")];
    // While it has nothing to do, and under traffic.
    lab.on('h', 1, &format!("ip link del {TUN}"));
    assert_eq!(relays[0].end().code(), Some(0));
    lab.on(
        'h',
        2,
        &format!("ping -qfw1 {} >/dev/null & ip link del {TUN}; wait || :", container(1)),
    );
    assert_eq!(relays[1].end().code(), Some(0));
}

fn a_restart_interrupts_little() {
    let lab = Lab::new(2);
    let (mut first, _second) = (lab.relay(1, ""), lab.relay(2, ""));
    let state = || lab.on('h', 1, "ip -o link show tun0; ip -o addr show tun0; ip route");
    let before = state();
    let (from, to) = (inner(&lab, 1), inner(&lab, 2));
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let sender = thread::spawn({
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        move || {
            while !stop.load(Ordering::Relaxed) {
                let number = sent.fetch_add(1, Ordering::Relaxed);
                // While the device has no carrier, packets are lost.
                drop(from.send_to(&number.to_be_bytes(), (container(2), INNER_PORT)));
                thread::sleep(Duration::from_millis(1));
            }
        }
    });
    let next = || u32::from_be_bytes(received(&to).try_into().unwrap());
    let mut last = 0;
    while last < 200 {
        last = next();
    }
    first.signal(Signal::SIGKILL);
    first.end();
    // At least one packet comes while nobody carries it.
    let ended = sent.load(Ordering::Relaxed);
    while sent.load(Ordering::Relaxed) < ended + 2 {
        thread::yield_now();
    }
    let _again = lab.relay(1, "");
    let mut missing = 0;
    while last < 1000 {
        let number = next();
        missing += number - last - 1;
        last = number;
    }
    stop.store(true, Ordering::Relaxed);
    sender.join().unwrap();
    assert!((1..=100).contains(&missing), "{missing} of a thousand packets a second are lost");
    assert_eq!(state(), before);
}

fn a_peer_that_vanishes_stops_nobody_else() {
    let lab = Lab::new(3);
    let relays = [1, 2, 3].map(|number| lab.relay(number, ""));
    let (from, to) = (inner(&lab, 1), inner(&lab, 3));
    // First its relay, then its host.
    for end in ["", "ip link set eth0 down"] {
        relays[1].signal(Signal::SIGKILL);
        lab.on('h', 2, &format!("{end}\n:"));
        for _ in 0..50 {
            drop(from.send_to(b"who answers?", (container(2), INNER_PORT)));
            from.send_to(b"hello", (container(3), INNER_PORT)).unwrap();
            assert_eq!(received(&to), b"hello");
        }
        traffic::transfer(&lab, 1, 3, 5 << 20);
        traffic::transfer(&lab, 3, 1, 5 << 20);
    }
}

fn a_relay_has_no_privileges() {
    let lab = Lab::new(1);
    let relay = lab.relay(1, "");
    let status = std::fs::read_to_string(format!("/proc/{}/status", relay.pid())).unwrap();
    for line in ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line}: {status}");
    }
}

fn many_routes_are_followed() {
    let lab = Lab::new(2);
    let mut relays = [lab.relay(1, ""), lab.relay(2, "")];
    // As many as the largest network has, faster than they can be read.
    let routes = |verb: &str| {
        let line = |n: u32| {
            let [_, _, high, low] = n.to_be_bytes();
            format!("route {verb} 10.{}.{low}.0/24 via 192.0.2.2 dev {TUN} onlink\n", high + 6)
        };
        let batch: String = (0..5000).map(line).collect();
        let file = format!("/run/{}", lab.place('r', 1));
        std::fs::write(&file, batch).unwrap();
        lab.on('h', 1, &format!("ip -batch {file}"));
    };
    routes("add");
    traffic::transfer(&lab, 1, 2, 1 << 20);
    let from = inner(&lab, 1);
    let last = Ipv4Addr::new(10, 6 + 19, 135, 1);
    let sent = relays[0].count("sent");
    let hello = || assert!(from.send_to(b"hello", (last, INNER_PORT)).is_ok());
    relays[0].until("sent", sent + 1, hello);
    routes("del");
    lab.on('h', 1, &format!("ip route add 10.25.135.0/24 dev {TUN}"));
    let refused = relays[0].count("no_route");
    relays[0].until("no_route", refused + 1, hello);
    traffic::transfer(&lab, 2, 1, 1 << 20);
}

fn a_device_that_was_down_works_again() {
    let lab = Lab::new(2);
    let _relays = [lab.relay(1, ""), lab.relay(2, "")];
    lab.on('h', 1, &format!("ip link set {TUN} down"));
    lab.on('h', 2, &format!("ping -qc1 -w1 {} >/dev/null || :", container(1)));
    // The kernel has dropped the routes with it.
    lab.on('h', 1, &format!("ip link set {TUN} up"));
    lab.route("add", 1, 2);
    lab.on('c', 1, &format!("until ping -qc1 -W1 {} >/dev/null; do :; done", container(2)));
    traffic::transfer(&lab, 1, 2, 1 << 20);
}

fn memory_has_a_bound() {
    let lab = Lab::new(2);
    let relays = [lab.relay(1, ""), lab.relay(2, "")];
    let from = inner(&lab, 1);
    let flood = || {
        for _ in 0..50_000 {
            drop(from.send_to(&[7; 1400], (container(2), INNER_PORT)));
        }
    };
    flood();
    // What comes for a relay that stands still waits in the kernel, as far as it has room.
    for relay in relays.iter().rev() {
        relay.signal(Signal::SIGSTOP);
        flood();
    }
    for relay in &relays {
        relay.signal(Signal::SIGCONT);
    }
    traffic::transfer(&lab, 1, 2, 1 << 20);
    for relay in &relays {
        assert!(relay.peak_memory() < 40 << 10, "{} KiB", relay.peak_memory());
    }
}
