//! Flows and ports in a real kernel: namespaces of this process's own threads, which go with them.

#![expect(clippy::disallowed_types, reason = "the kernel is set up and questioned with its tools")]
#![expect(clippy::unwrap_used, reason = "allowed in tests, which the helpers here are part of")]

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Command, id},
    sync::mpsc::{Sender, channel},
    thread,
};

use netcord::{
    kernel::{
        conntrack::flush,
        ports::{Free, ephemeral, is_free, owner},
    },
    model::{PortRange, Protocol},
    plan::Flows,
};
use nix::{
    sched::{CloneFlags, unshare},
    unistd::gettid,
};

/// A thread in a network namespace of its own, which does what it is told.
struct Netns {
    tid: i32,
    jobs: Sender<Box<dyn FnOnce() + Send>>,
}

impl Netns {
    fn new() -> Self {
        let (jobs, todo) = channel::<Box<dyn FnOnce() + Send>>();
        let (tid, started) = channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("as root, or under `unshare -Urn`");
            tid.send(gettid().as_raw()).unwrap();
            for job in todo {
                job();
            }
        });
        let netns = Self { tid: started.recv().unwrap(), jobs };
        netns.sh("ip link set lo up");
        netns
    }

    fn run<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, answered) = channel();
        self.jobs.send(Box::new(move || drop(answer.send(f())))).unwrap();
        answered.recv().expect("the job panicked")
    }

    fn sh(&self, script: &str) -> String {
        let script = format!("set -e\n{script}");
        self.run(move || {
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{script}\n{stderr}");
            String::from_utf8(output.stdout).unwrap()
        })
    }

    /// Sends one datagram from one port to each of these.
    fn send(&self, to: &[&str]) {
        let to: Vec<SocketAddr> = to.iter().map(|to| to.parse().unwrap()).collect();
        self.run(move || {
            for to in to {
                let any = if to.is_ipv4() { "0.0.0.0:40000" } else { "[::]:40000" };
                let socket = UdpSocket::bind(any).unwrap();
                socket.send_to(b"x", to).unwrap();
            }
        });
    }

    fn flush(&self, protocol: Protocol, host_ip: &str, first: u16, last: u16) -> usize {
        let host_ip = host_ip.parse().unwrap();
        let flows = Flows { protocol, host_ip, ports: PortRange { first, last } };
        self.run(move || flush(&flows).unwrap())
    }

    /// `PROTOCOL DESTINATION PORT` of each flow between the lab's addresses, sorted.
    fn flows(&self, family: &str) -> Vec<String> {
        let listed = self.sh(&format!("conntrack -L -f {family} 2>/dev/null"));
        let field = |line: &str, key: &str| {
            let field = line.split_whitespace().find_map(|f| f.strip_prefix(key));
            field.unwrap_or_default().to_owned()
        };
        let mut flows: Vec<_> = listed
            .lines()
            .filter(|line| !field(line, "dport=").is_empty())
            .map(|line| {
                let protocol = line.split_whitespace().next().unwrap_or_default();
                format!("{protocol} {} {}", field(line, "dst="), field(line, "dport="))
            })
            .collect();
        flows.sort();
        flows
    }
}

/// client (10.1.0.2) -- host (10.1.0.1, 10.1.0.9; 10.2.0.1) -- server (10.2.0.2); the same in fd00.
/// The host publishes the server's UDP ports 53 and 54 as 5353 and 5354.
fn lab() -> [Netns; 3] {
    let [client, host, server] = [Netns::new(), Netns::new(), Netns::new()];
    host.sh(&format!(
        "ip link add c type veth peer name eth0 netns {}
         ip link add s type veth peer name eth0 netns {}
         ip addr add 10.1.0.1/24 dev c; ip addr add 10.1.0.9/24 dev c
         ip addr add 10.2.0.1/24 dev s
         ip addr add fd00:1::1/64 dev c nodad; ip addr add fd00:1::9/64 dev c nodad
         ip addr add fd00:2::1/64 dev s nodad
         ip link set c up; ip link set s up
         sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
         for p in 3 4; do
             iptables -t nat -A PREROUTING -p udp -m addrtype --dst-type LOCAL --dport 535$p \
                 -j DNAT --to 10.2.0.2:5$p
             ip6tables -t nat -A PREROUTING -p udp -m addrtype --dst-type LOCAL --dport 535$p \
                 -j DNAT --to [fd00:2::2]:5$p
         done
         for z in 1 2; do
             iptables -t raw -A PREROUTING -p udp --dport 700$z -j CT --zone $z
         done
         iptables -t raw -A PREROUTING -p udp --dport 7003 -j CT --zone-orig 3
         iptables -t raw -A PREROUTING -p udp --dport 7004 -j CT --zone-reply 4",
        client.tid, server.tid
    ));
    for (netns, n) in [(&client, 1), (&server, 2)] {
        netns.sh(&format!(
            "ip addr add 10.{n}.0.2/24 dev eth0; ip addr add fd00:{n}::2/64 dev eth0 nodad
             ip link set eth0 up
             ip route add default via 10.{n}.0.1; ip route add default via fd00:{n}::1"
        ));
    }
    [client, host, server]
}

#[test]
#[ignore = "needs namespaces: as root, or under `unshare -Urn`"]
fn only_the_flows_towards_the_published_port_are_forgotten() {
    let [client, host, _target] = lab();
    client.send(&["10.1.0.1:5353", "10.1.0.9:5353", "10.1.0.1:5354", "10.1.0.1:53"]);
    // Merely routed, to the same port of somebody else.
    client.send(&["10.2.0.2:5353"]);
    let _server = host.run(|| TcpListener::bind("0.0.0.0:5353").unwrap());
    let _stream = client.run(|| TcpStream::connect("10.1.0.1:5353").unwrap());
    let all = [
        "tcp 10.1.0.1 5353",
        "udp 10.1.0.1 53",
        "udp 10.1.0.1 5353",
        "udp 10.1.0.1 5354",
        "udp 10.1.0.9 5353",
        "udp 10.2.0.2 5353",
    ];
    assert_eq!(host.flows("ipv4"), all);

    assert_eq!(host.flush(Protocol::Udp, "0.0.0.0", 54, 54), 0, "the target's port");
    assert_eq!(host.flush(Protocol::Sctp, "0.0.0.0", 1, 65535), 0);
    assert_eq!(host.flush(Protocol::Udp, "::", 1, 65535), 0);
    assert_eq!(host.flush(Protocol::Udp, "10.1.0.3", 1, 65535), 0);
    assert_eq!(host.flows("ipv4"), all);

    assert_eq!(host.flush(Protocol::Udp, "10.1.0.9", 5353, 5353), 1);
    assert_eq!(host.flush(Protocol::Udp, "0.0.0.0", 5353, 5353), 1);
    let rest = ["tcp 10.1.0.1 5353", "udp 10.1.0.1 53", "udp 10.1.0.1 5354", "udp 10.2.0.2 5353"];
    assert_eq!(host.flows("ipv4"), rest);

    assert_eq!(host.flush(Protocol::Tcp, "0.0.0.0", 5353, 5354), 1);
    assert_eq!(host.flush(Protocol::Udp, "0.0.0.0", 5350, 5360), 1);
    assert_eq!(host.flows("ipv4"), ["udp 10.1.0.1 53", "udp 10.2.0.2 5353"]);
}

#[test]
#[ignore = "needs namespaces: as root, or under `unshare -Urn`"]
fn ipv6_flows_are_forgotten_alike() {
    let [client, host, _server] = lab();
    client.send(&["[fd00:1::1]:5353", "[fd00:1::9]:5353", "[fd00:1::1]:5354"]);
    client.send(&["[fd00:2::2]:5353", "10.1.0.1:5353"]);
    assert_eq!(host.flows("ipv6").len(), 4);
    assert_eq!(host.flush(Protocol::Udp, "fd00:1::9", 5353, 5353), 1);
    assert_eq!(host.flush(Protocol::Udp, "::", 5353, 5353), 1);
    assert_eq!(host.flows("ipv6"), ["udp fd00:1::1 5354", "udp fd00:2::2 5353"]);
    assert_eq!(host.flows("ipv4"), ["udp 10.1.0.1 5353"]);
}

#[test]
#[ignore = "needs namespaces: as root, or under `unshare -Urn`"]
fn entries_of_other_zones_are_found_and_told_apart() {
    let [client, host, _server] = lab();
    let ports = ["10.1.0.1:7001", "10.1.0.1:7002", "10.1.0.1:7003", "10.1.0.1:7004"];
    client.send(&ports);
    // The same flow twice: once in zone 1, once in none.
    host.sh("iptables -t raw -D PREROUTING -p udp --dport 7001 -j CT --zone 1");
    client.send(&ports[..1]);
    assert_eq!(host.flows("ipv4").len(), 5);
    assert_eq!(host.flush(Protocol::Udp, "0.0.0.0", 7001, 7001), 2);
    assert_eq!(host.flush(Protocol::Udp, "0.0.0.0", 7002, 7004), 3);
    assert!(host.flows("ipv4").is_empty());
}

#[test]
#[ignore = "needs namespaces: as root, or under `unshare -Urn`"]
fn a_table_of_many_datagrams_is_read_to_its_end() {
    let [client, host, _server] = lab();
    client.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:40000").unwrap();
        for port in 10000..30000 {
            socket.send_to(b"x", ("10.1.0.1", port)).unwrap();
        }
    });
    let before = host.flows("ipv4").len();
    assert!(before > 19000, "{before}");
    let outside = host.flush(Protocol::Udp, "0.0.0.0", 10000, 10009)
        + host.flush(Protocol::Udp, "0.0.0.0", 29990, 29999);
    assert_eq!(outside, 20);
    assert_eq!(host.flush(Protocol::Udp, "0.0.0.0", 1, 65535), before - 20);
    assert!(host.flows("ipv4").is_empty());
}

#[test]
#[ignore = "needs namespaces: as root, or under `unshare -Urn`"]
fn a_taken_port_is_known_and_so_is_who_has_it() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let free = move |address, port, protocol| is_free(ip(address), port, protocol).unwrap();
    Netns::new().run(move || {
        let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        let me = Some(format!("{} (pid {})", name.trim_end(), id()));

        let one = TcpListener::bind("127.0.0.1:80").unwrap();
        assert_eq!(free("127.0.0.1", 80, tcp), Free::Taken);
        assert_eq!(free("0.0.0.0", 80, tcp), Free::Taken);
        for other in ["127.0.0.2", "::", "::1"] {
            assert_eq!(free(other, 80, tcp), Free::Yes, "{other}");
            assert_eq!(owner(ip(other), 80, tcp), None, "{other}");
        }
        assert_eq!(free("127.0.0.1", 80, udp), Free::Yes);
        assert_eq!(free("192.0.2.1", 80, tcp), Free::NoSuchAddress);
        assert_eq!(free("2001:db8::1", 80, udp), Free::NoSuchAddress);
        assert_eq!(free("fe80::1", 80, udp), Free::NoSuchAddress);
        assert_eq!(owner(ip("127.0.0.1"), 80, tcp), me);
        assert_eq!(owner(ip("0.0.0.0"), 80, tcp), me);

        // What a connection leaves behind does not keep the port; nor did the trials.
        let client = TcpStream::connect("127.0.0.1:80").unwrap();
        drop(one.accept().unwrap());
        drop((client, one));
        assert_eq!(free("0.0.0.0", 80, tcp), Free::Yes);
        assert_eq!(owner(ip("127.0.0.1"), 80, tcp), None);

        let dual = UdpSocket::bind("[::]:53").unwrap();
        for address in ["0.0.0.0", "127.0.0.1", "::", "::1"] {
            assert_eq!(free(address, 53, udp), Free::Taken, "{address}");
            assert_eq!(owner(ip(address), 53, udp), me, "{address}");
        }
        drop(dual);
        assert_eq!(free("::", 53, udp), Free::Yes);
        assert_eq!(free("127.0.0.1", 53, Protocol::Sctp), Free::Yes);
    });
}

#[test]
#[ignore = "needs namespaces: as root, or under `unshare -Urn`"]
fn link_local_addresses_are_tried_on_their_link() {
    let [_client, host, _server] = lab();
    host.sh("ip addr add fe80::77/64 dev c nodad");
    host.run(|| {
        let ip = "fe80::77".parse().unwrap();
        assert_eq!(is_free(ip, 53, Protocol::Udp).unwrap(), Free::Yes);
        let _all = UdpSocket::bind("[::]:53").unwrap();
        assert_eq!(is_free(ip, 53, Protocol::Udp).unwrap(), Free::Taken);
    });
}

#[test]
#[ignore = "needs namespaces: as root, or under `unshare -Urn`"]
fn the_range_is_the_namespaces_own() {
    let netns = Netns::new();
    netns.sh("sysctl -qw net.ipv4.ip_local_port_range='5000 5005'
              sysctl -qw net.ipv4.ip_local_reserved_ports=5001,5003-5004");
    assert_eq!(netns.run(ephemeral), [5000, 5002, 5005]);
}
