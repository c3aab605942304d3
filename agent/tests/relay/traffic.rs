//! Packets that arrive, and how.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    process::Stdio,
    thread,
    time::Instant,
};

use crate::{
    lab::{ALL_OFF, Lab, TUN, container},
    packets::{INNER_PORT, PATIENCE, inner, received},
};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("traffic::tcp_both_ways_is_intact", tcp_both_ways_is_intact),
    ("traffic::each_feature_can_be_off", each_feature_can_be_off),
    ("traffic::udp_and_pings_of_any_size_arrive", udp_and_pings_of_any_size_arrive),
    ("traffic::large_packets_are_carried_as_one", large_packets_are_carried_as_one),
    ("traffic::a_relay_of_one_packet_a_datagram_understands", a_relay_like_flannels_understands),
    ("traffic::a_refused_series_is_sent_one_by_one", a_refused_series_is_sent_one_by_one),
    ("traffic::a_slow_wire_does_not_make_the_relay_spin", a_slow_wire_does_not_make_it_spin),
];

const TCP_PORT: u16 = 7001;

/// Sends this many bytes from one container to another; they arrive as they were.
#[track_caller]
pub(crate) fn transfer(lab: &Lab, from: u8, to: u8, bytes: usize) {
    let listener = lab.within('c', to, || TcpListener::bind(("0.0.0.0", TCP_PORT)).unwrap());
    let sender = lab.within('c', from, move || {
        let mut stream = TcpStream::connect((container(to), TCP_PORT)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        thread::spawn(move || {
            let block = block();
            let mut left = bytes;
            while left > 0 {
                let now = left.min(block.len());
                stream.write_all(&block[..now]).unwrap();
                left -= now;
            }
            stream.shutdown(Shutdown::Write).unwrap();
        })
    });
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (expected, mut seen) = (block(), 0);
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = stream.read(&mut buffer).expect("bytes come");
        if read == 0 {
            break;
        }
        let mut new = &buffer[..read];
        while !new.is_empty() {
            let at = seen % expected.len();
            let (now, later) = new.split_at(new.len().min(expected.len() - at));
            assert!(now == &expected[at..at + now.len()], "the bytes after {seen} differ");
            (seen, new) = (seen + now.len(), later);
        }
    }
    assert_eq!(seen, bytes);
    sender.join().unwrap();
}

/// Bytes without a pattern. Their number is prime, so that no packet begins where another did.
fn block() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(byte).take(1_000_003).collect()
}

fn tcp_both_ways_is_intact() {
    let lab = Lab::new(2);
    lab.small_packets_on_the_wire();
    let _relays = [lab.relay(1, ""), lab.relay(2, "")];
    thread::scope(|scope| {
        for (from, to) in [(1, 2), (2, 1)] {
            scope.spawn({
                let lab = &lab;
                move || transfer(lab, from, to, 200 << 20)
            });
        }
    });
}

fn each_feature_can_be_off() {
    for (off, ready) in [
        ("tun", r#"{"ready":true,"receive":"gro","send":"segments","tun":"off"}"#),
        ("send", r#"{"ready":true,"receive":"gro","send":"datagrams","tun":"tso,uso"}"#),
        ("receive", r#"{"ready":true,"receive":"datagrams","send":"segments","tun":"tso,uso"}"#),
        (ALL_OFF, r#"{"ready":true,"receive":"datagrams","send":"datagrams","tun":"off"}"#),
        // After one without offload on the same device.
        ("", r#"{"ready":true,"receive":"gro","send":"segments","tun":"tso,uso"}"#),
    ] {
        let lab = Lab::new(2);
        for _ in 0..2 {
            // The kernel keeps what the last relay of a device has switched on.
            drop(lab.relay(1, ""));
            let relays = [lab.relay(1, off), lab.relay(2, "")];
            assert_eq!(relays[0].ready.to_string(), ready);
            transfer(&lab, 1, 2, 5 << 20);
            transfer(&lab, 2, 1, 5 << 20);
        }
    }
}

fn udp_and_pings_of_any_size_arrive() {
    let lab = Lab::new(2);
    let _relays = [lab.relay(1, ""), lab.relay(2, "")];
    let sockets = [inner(&lab, 1), inner(&lab, 2)];
    for bytes in [0, 1, 2, 100, 1443, 1444, 1445, 20000] {
        let payload: Vec<_> = (0..=250).cycle().take(bytes).collect();
        for (from, to) in [(1, 2), (2, 1)] {
            let to_socket = &sockets[usize::from(to) - 1];
            sockets[from - 1].send_to(&payload, (container(to), INNER_PORT)).unwrap();
            assert!(received(to_socket) == payload, "{bytes} bytes");
        }
        lab.on('c', 1, &format!("ping -qc1 -W30 -s{bytes} {}", container(2)));
        lab.on('c', 2, &format!("ping -qc1 -W30 -s{bytes} {}", container(1)));
    }
    // The host itself, which has the address of the device.
    lab.on('h', 1, &format!("ping -qc1 -W30 {}", container(2)));
}

fn large_packets_are_carried_as_one() {
    let lab = Lab::new(2);
    lab.small_packets_on_the_wire();
    let mut relays = [lab.relay(1, ""), lab.relay(2, "")];
    transfer(&lab, 1, 2, 20 << 20);
    let [sent, sends] = ["sent", "sends"].map(|name| relays[0].count(name));
    let [received, writes] = ["received", "writes"].map(|name| relays[1].count(name));
    assert!(sends * 10 < sent, "{sent} packets in {sends} calls");
    assert!(writes * 3 < received, "{received} packets in {writes} calls");
}

fn a_relay_like_flannels_understands() {
    let lab = Lab::new(2);
    let mut relay = lab.relay(1, "");
    let _other = lab.one_packet(2, 1);
    lab.on('c', 1, &format!("ping -qc1 -W30 -s1400 {}", container(2)));
    transfer(&lab, 1, 2, 10 << 20);
    transfer(&lab, 2, 1, 10 << 20);
    assert_eq!(relay.count("malformed"), 0);
}

fn a_refused_series_is_sent_one_by_one() {
    let lab = Lab::new(2);
    let _other = lab.relay(2, "");
    // Each twentieth call fails as if the link had no offload of checksums. Some of them are series.
    let mut command = lab.command('h', 1, "strace");
    command.args(["-qq", "-o", "/dev/null", "-e", "trace=sendmsg"]);
    command.args(["-e", "inject=sendmsg:error=EIO:when=20+20"]);
    let relay = lab.relay_command(1, "");
    command.args(relay.get_args().skip(1)).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("strace runs");
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    transfer(&lab, 1, 2, 5 << 20);
    lab.on('h', 1, &format!("ip link del {TUN}"));
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let line = "netcord-agent relay: each datagram is sent by itself from now on: the kernel refused \
                a series: EIO: I/O error\n";
    assert_eq!(said, line);
}

fn a_slow_wire_does_not_make_it_spin() {
    let lab = Lab::new(2);
    let relays = [lab.relay(1, ""), lab.relay(2, "")];
    // The queue is larger than what the kernel lets a socket have in it.
    lab.on('h', 1, "tc qdisc add dev eth0 root tbf rate 200mbit burst 100k limit 100m");
    let from = inner(&lab, 1);
    let (began, before) = (Instant::now(), relays[0].ticks());
    let payload = [7; 1400];
    // What does not fit is dropped on the way, and nobody stands still for ever.
    (0..100_000).for_each(|_| drop(from.send_to(&payload, (container(2), INNER_PORT))));
    transfer(&lab, 2, 1, 4 << 20);
    let spent = u128::from(relays[0].ticks() - before) * 10;
    assert!(spent < began.elapsed().as_millis() / 2, "{spent} ms of {:?}", began.elapsed());
    assert!(relays[0].peak_memory() < 40 << 10, "{} KiB", relays[0].peak_memory());
}
