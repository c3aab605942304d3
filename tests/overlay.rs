//! Overlay networks: endpoints on several hosts reach each other by their own addresses.

use serde_json::Value;

use crate::support::{FIREWALLS, Lab, NETCORD, Snapshot, VxlanPacket};

const ONE: &str = "overlay pods --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24";
const TWO: &str = "overlay pods --subnet 10.5.0.0/16 --host-subnet 10.5.2.0/24";
const DUAL: &str = "--subnet 10.5.0.0/16 --subnet fd00:5::/48";

/// The words by which one of three hosts makes a network of both families; the others are reached
/// by the addresses that `host` gives.
fn dual(number: u8, flags: &str, host: impl Fn(u8) -> String) -> String {
    let peers: Vec<_> = (1..=3)
        .filter(|other| *other != number)
        .map(|n| format!("--peer 10.5.{n}.0/24,fd00:5:0:{n}::/64={}", host(n)))
        .collect();
    format!(
        "overlay pods {DUAL} --host-subnet 10.5.{number}.0/24 \
         --host-subnet fd00:5:0:{number}::/64 {flags} {}",
        peers.join(" ")
    )
}

/// Two hosts with a network, `web` on the first and `db` on the second.
fn two_hosts(flags: &str) -> Lab {
    let lab = Lab::new();
    lab.hosts(2);
    lab.on("h1", &format!("{ONE} --peer 10.5.2.0/24=192.0.2.2 {flags}")).ok();
    lab.on("h2", &format!("{TWO} --peer 10.5.1.0/24=192.0.2.1 {flags}")).ok();
    lab.netns(&["web", "db"]);
    lab.on("h1", "attach pods web").ok();
    lab.on("h2", "attach pods db").ok();
    lab
}

/// Whether the JSON that a changing verb prints says that something changed.
#[track_caller]
fn changed(lab: &Lab, host: &str, words: &str) -> bool {
    let printed = lab.on(host, &format!("--format json {words}")).ok();
    serde_json::from_str::<Value>(&printed).unwrap()["changed"].as_bool().unwrap()
}

#[test]
fn endpoints_on_different_hosts_reach_each_other_by_their_own_addresses() {
    let v4 = |n: u8| format!("192.0.2.{n}");
    let v6 = |n: u8| format!("2001:db8::{n}");
    let both = |n: u8| format!("192.0.2.{n},2001:db8::{n}");
    let ways: [(&str, &dyn Fn(u8) -> String); 4] = [
        ("", &v4),
        ("--vni 77 --port 4789", &v6),
        ("--direct-routing", &both),
        ("--backend host-gw", &both),
    ];
    for (number, (flags, host)) in ways.into_iter().enumerate() {
        let firewall = FIREWALLS[number % 2];
        let lab = Lab::new();
        lab.hosts(3).netns(&["web1", "web2", "web3"]);
        for n in 1..=3 {
            let name = format!("h{n}");
            // A strict host: its sources are checked, and what is not accepted is dropped.
            lab.sh(&format!(
                "nsenter --net=/run/netns/{name} sh -c 'sysctl -qw net.ipv4.conf.all.rp_filter=1 \
                 net.ipv4.conf.default.rp_filter=1; for t in iptables ip6tables; do \
                 $t -P FORWARD DROP; done'"
            ))
            .ok();
            let words = format!("--firewall {firewall} {}", dual(n, flags, host));
            assert_eq!(
                lab.on(&name, &words).ok(),
                format!("10.5.{n}.0/24\nfd00:5:0:{n}::/64"),
                "it prints this host's subnets"
            );
            assert!(!changed(&lab, &name, &words), "{words} again");
            lab.on(&name, &format!("attach pods web{n}")).ok();
            lab.serve_ports(&format!("web{n}"), &[80]);
        }
        for (from, to) in [(1, 2), (2, 3), (3, 1)] {
            let (place, server) = (format!("web{from}"), format!("web{to}"));
            for how in ["tcp", "udp"] {
                let answer = format!("{server}:80 from 10.5.{from}.2");
                lab.reaches(&place, &format!("{how} 10.5.{to}.2:80"), &answer);
                let answer = format!("{server}:80 from fd00:5:0:{from}::2");
                lab.reaches(&place, &format!("{how} [fd00:5:0:{to}::2]:80"), &answer);
            }
            lab.reaches(&place, &format!("ping 10.5.{to}.2"), "");
            lab.reaches(&place, &format!("ping fd00:5:0:{to}::2"), "");
        }
        // The host itself, too, and the world by the host's address.
        lab.reaches("h1", "ping 10.5.2.2", "");
        lab.reaches("h1", "ping fd00:5:0:2::2", "");
        lab.serve_ports("world", &[80]);
        lab.reaches("web1", "tcp 192.0.2.254:80", "world:80 from 192.0.2.1");
        lab.reaches("web1", "udp [2001:db8::fe]:80", "world:80 from 2001:db8::1");
        // No host lets packets from outside in.
        lab.sh("ip -n world route add 10.5.0.0/16 via 192.0.2.1
                ip -n world -6 route add fd00:5::/48 via 2001:db8::1")
            .ok();
        for to in ["tcp 10.5.1.2:80", "tcp 10.5.2.2:80", "udp [fd00:5:0:1::2]:80"] {
            lab.does_not_reach("world", to);
        }
    }
}

#[test]
fn hosts_with_ipv6_only_reach_each_other() {
    let v6 = |n: u8| format!("2001:db8::{n}");
    let only_ipv6 = |n: u8| {
        format!(
            "overlay pods --subnet fd00:5::/48 --host-subnet fd00:5:0:{n}::/64 --backend host-gw \
             --peer fd00:5:0:{}::/64={}",
            3 - n,
            v6(3 - n)
        )
    };
    let both = |n: u8| dual(n, "", v6);
    for (words, is_dual) in [(&both as &dyn Fn(u8) -> String, true), (&only_ipv6, false)] {
        let lab = Lab::new();
        lab.hosts(2).netns(&["web1", "web2"]);
        lab.sh("for host in h1 h2; do ip -4 -n $host addr flush dev eth0; done").ok();
        for n in 1..=2 {
            let host = format!("h{n}");
            lab.on(&host, &words(n)).ok();
            lab.on(&host, &format!("attach pods web{n}")).ok();
            lab.on(&host, "repair --check").ok();
        }
        lab.reaches("web1", "ping fd00:5:0:2::2", "");
        lab.reaches("h2", "ping fd00:5:0:1::2", "");
        if is_dual {
            lab.reaches("web1", "ping 10.5.2.2", "");
            lab.reaches("h2", "ping 10.5.1.2", "");
        } else {
            // The next hop of an IPv4 subnet has an IPv4 address.
            let wanted = format!("{ONE} --peer 10.5.2.0/24={} --backend host-gw", v6(2));
            lab.on("h1", &wanted.replace("pods", "other"))
                .fails(2, &["the next hop of 10.5.2.0/24", "--backend vxlan"]);
        }
    }
}

#[test]
fn a_large_packet_passes_whole() {
    let lab = two_hosts("");
    // 1450 bytes with IP and ICMP header, and no fragment of it.
    lab.within("web", "ping -q -M do -c1 -W2 -s 1422 10.5.2.2").ok();
    lab.within("web", "ping -q -M do -c1 -W2 -s 1423 10.5.2.2").exits(1);
}

#[test]
fn frames_on_the_wire_are_vxlan() {
    let lab = two_hosts("--vni 4097");
    let capture = lab.capture("h2", "eth0", 8472, 2);
    lab.within("web", "ping -q -c1 -W2 10.5.2.2").ok();
    let frames = capture.frames();
    let asked = VxlanPacket::of(&frames[0]);
    let wanted = VxlanPacket {
        from: [192, 0, 2, 1].into(),
        to: [192, 0, 2, 2].into(),
        port: 8472,
        flags: 8,
        vni: 4097,
        inner_to: "02:76:c0:00:02:02".into(),
        inner_from: "02:76:c0:00:02:01".into(),
        inner_ethertype: 0x800,
        source: [10, 5, 1, 2].into(),
        destination: [10, 5, 2, 2].into(),
        ttl: 63,
    };
    assert_eq!(asked, wanted);
    let answered = VxlanPacket::of(&frames[1]);
    assert_eq!((answered.source, answered.destination), (wanted.destination, wanted.source));
}

#[test]
fn a_host_whose_side_was_made_by_hand_is_a_peer() {
    let lab = Lab::new();
    lab.hosts(2).netns(&["web"]);
    lab.on("h1", &format!("{ONE} --peer 10.5.2.0/24=192.0.2.2")).ok();
    lab.on("h1", "attach pods web").ok();
    let mac = lab.on("h1", "--format json peers pods").ok();
    let peers: Value = serde_json::from_str(&mac).unwrap();
    assert_eq!(peers[1]["mac"], "02:76:c0:00:02:02");
    lab.sh("nsenter --net=/run/netns/h2 sh -euc '
            ip link add flannel.1 address 02:76:c0:00:02:02 mtu 1450 type vxlan id 1 \
                local 192.0.2.2 dev eth0 dstport 8472 nolearning
            ip addr add 10.5.2.0/32 dev flannel.1; ip link set flannel.1 up
            ip neigh replace 10.5.1.0 lladdr 02:76:c0:00:02:01 dev flannel.1 nud permanent
            bridge fdb replace 02:76:c0:00:02:01 dev flannel.1 dst 192.0.2.1 self permanent
            ip route add 10.5.1.0/24 via 10.5.1.0 dev flannel.1 onlink
            ip addr add 10.5.2.7/32 dev lo'")
        .ok();
    lab.listen("h2", &["10.5.2.7:80"]);
    lab.reaches("web", "tcp 10.5.2.7:80", "h2:80 from 10.5.1.2");
    lab.reaches("h2", "ping 10.5.1.2", "");
}

#[test]
fn other_peers_change_only_what_differs() {
    let lab = Lab::new();
    lab.hosts(1);
    let peers = |all: &[u8]| -> String {
        let words = all.iter().map(|n| format!(" --peer 10.5.{n}.0/24=192.0.2.{n}"));
        words.collect::<Vec<_>>().concat()
    };
    lab.on("h1", &format!("{ONE}{}", peers(&[2, 3]))).ok();
    let words = format!("{ONE}{}", peers(&[3, 4]));
    let script = lab.on("h1", &format!("--dry-run {words}")).ok();
    let commands: Vec<_> =
        script.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert_eq!(
        commands,
        [
            "set -eu",
            "ip route del 10.5.2.0/24 via 10.5.2.0 dev vx-pods onlink proto 110",
            "bridge fdb del 02:76:c0:00:02:02 dev vx-pods dst 192.0.2.2 self",
            "ip neigh del 10.5.2.0 dev vx-pods",
            "ip neigh replace 10.5.4.0 lladdr 02:76:c0:00:02:04 dev vx-pods nud permanent protocol 110",
            "bridge fdb replace 02:76:c0:00:02:04 dev vx-pods dst 192.0.2.4 self permanent",
            "ip route add 10.5.4.0/24 via 10.5.4.0 dev vx-pods onlink proto 110",
        ]
    );
    lab.on("h1", &words).ok();
    let now = lab.snapshot_of("h1");
    assert!(!changed(&lab, "h1", &words), "the same again");
    let fresh = Lab::new();
    fresh.hosts(1);
    fresh.on("h1", &words).ok();
    let comparable = |snapshot: &Snapshot| {
        snapshot.without(|line| line.starts_with("record ") || line.contains(" link/ether "))
    };
    comparable(&now).assert_same(&comparable(&fresh.snapshot_of("h1")), "as if made at once");
    // All at once, and none at all.
    assert!(changed(&lab, "h1", ONE));
    lab.sh("! nsenter --net=/run/netns/h1 ip route | grep -q vx-pods").ok();
    assert!(!changed(&lab, "h1", ONE));
}

#[test]
fn what_must_not_change_is_a_conflict() {
    let lab = Lab::new();
    lab.hosts(1);
    lab.on("h1", &format!("{ONE} --peer 10.5.2.0/24=192.0.2.2")).ok();
    let before = lab.snapshot_of("h1");
    let start = "overlay pods --subnet 10.5.0.0/16";
    for (words, difference) in [
        (
            "overlay pods --subnet 10.4.0.0/15 --host-subnet 10.5.1.0/24".to_owned(),
            "subnet is 10.5.0.0/16, not 10.4.0.0/15",
        ),
        (
            format!("{start} --host-subnet 10.5.9.0/24"),
            "host-subnet is 10.5.1.0/24, not 10.5.9.0/24",
        ),
        (format!("{ONE} --backend host-gw"), "backend is vxlan, not host-gw"),
        (format!("{ONE} --vni 2"), "VNI is 1, not 2"),
        (format!("{ONE} --port 4789"), "port is 8472, not 4789"),
        (format!("{ONE} --direct-routing"), "direct-routing is false, not true"),
        (format!("{ONE} --mtu 1400"), "MTU is 1450, not 1400"),
        (format!("{ONE} --parent eth1"), "parent is eth0, not eth1"),
        (format!("{ONE} --public-ip 192.0.2.9"), "public-ip is 192.0.2.1, not 192.0.2.9"),
        (format!("{ONE} --gateway 10.5.1.9"), "gateway is 10.5.1.1, not 10.5.1.9"),
        (format!("{ONE} --internal"), "internal is false, not true"),
        (format!("{ONE} --label a=b"), "label a is missing, not b"),
        ("bridge pods".to_owned(), "mode is overlay, not bridge"),
    ] {
        lab.on("h1", &words).fails(4, &[difference, "hint: "]);
    }
    lab.on("h1", "bridge lab0 --subnet 10.5.9.0/24").fails(4, &["network `pods` (10.5.0.0/16)"]);
    before.assert_same(&lab.snapshot_of("h1"), "nothing was changed");
}

#[test]
fn bad_input_changes_nothing() {
    let lab = Lab::new();
    lab.hosts(1);
    lab.sh("nsenter --net=/run/netns/h1 sh -euc '
            ip link add other type vxlan id 7 dstport 8472 local 192.0.2.1
            ip link add two type veth peer name far; ip addr add 203.0.113.1/24 dev two
            ip link set two up; ip link set far up
            ip route add 10.7.1.0/24 via 192.0.2.254; ip link add taken type bridge'")
        .ok();
    lab.on("h1", "bridge lab0 --subnet 172.20.0.0/16").ok();
    lab.mirror("h1", "192.0.2.1:7");
    let before = lab.snapshot_of("h1");
    let cases: &[(&str, i32, &str)] = &[
        ("x", 2, "--host-subnet <CIDR>"),
        ("x --subnet 10.5.0.0/16", 2, "--host-subnet <CIDR>"),
        ("x --subnet 172.20.0.0/15 --host-subnet 172.20.1.0/24", 4, "network `lab0`"),
        ("x --subnet 192.0.0.0/16 --host-subnet 192.0.9.0/24", 4, "the host's own address"),
        ("x --subnet 10.7.0.0/16 --host-subnet 10.7.9.0/24", 4, "the host's route to 10.7.1.0/24"),
        ("x --subnet 10.5.0.0/16 --host-subnet 10.6.1.0/24", 2, "outside of 10.5.0.0/16"),
        ("x --subnet 10.5.0.1/16 --host-subnet 10.5.1.0/24", 2, "host bits"),
        ("PODS --peer 10.5.1.0/25=192.0.2.2", 2, "this host's own --host-subnet"),
        ("PODS --peer 10.5.2.0/24=192.0.2.1", 4, "is this host itself"),
        ("PODS --peer 10.6.2.0/24=192.0.2.2", 2, "outside of 10.5.0.0/16"),
        ("PODS --peer 10.5.2.0/24=192.0.2.2 --peer 10.5.2.0/24=192.0.2.3", 2, "overlaps with"),
        ("PODS --peer 10.5.2.0/24=192.0.2.2 --peer 10.5.3.0/24=192.0.2.2", 2, "another peer is"),
        ("PODS --peer 10.5.2.0/24", 2, "expected SUBNET=HOST"),
        ("PODS --peer 10.5.2.0/24=h2", 2, "`h2` is not an IP address"),
        ("PODS --peer 10.5.2.0/24,10.5.3.0/24=192.0.2.2", 2, "one subnet per IP family"),
        ("PODS --peer 10.5.2.0=192.0.2.2", 2, "prefix length is missing"),
        ("PODS --peer 10.5.2.0/24=192.0.2.2 --vni 0", 2, "0 is not in 1..=16777215"),
        ("PODS --peer 10.5.2.0/24=192.0.2.2 --vni 16777216", 2, "is not in 1..=16777215"),
        (
            "PODS --peer 10.5.2.0/24=192.0.2.2 --vni 7",
            4,
            "VNI 7 is taken on this host by link `other`",
        ),
        ("PODS --peer 10.5.2.0/24=192.0.2.2 --port 0", 2, "0 is not in 1..=65535"),
        ("PODS --peer 10.5.2.0/24=192.0.2.2 --mtu 1451", 2, "more than 1450"),
        ("PODS --peer 10.5.2.0/24=192.0.2.2 --parent eth9", 3, "no link `eth9`"),
        ("PODS --peer 10.5.2.0/24=192.0.2.2 --parent taken", 3, "no IPv4 address"),
        ("PODS --peer 10.5.2.0/24=192.0.2.2 --parent two", 4, "reached by `eth0`"),
        ("PODS --peer 10.5.2.0/24=192.0.2.2 --public-ip 192.0.2.9", 3, "no link of this host"),
        ("PODS --peer 10.5.2.0/24=192.0.2.2 --reach 192.0.2.1", 4, "is this host itself"),
        (
            "PODS --peer 10.5.2.0/24=192.0.2.2 --parent eth0 --reach 192.0.2.2",
            2,
            "exclude each other",
        ),
        ("PODS --peer 10.5.2.0/24=198.51.100.2 --backend host-gw", 4, "not on the link `eth0`"),
        (
            "PODS --peer 10.5.2.0/24=192.0.2.2 --backend host-gw --vni 2",
            2,
            "does not support --vni",
        ),
        ("PODS --peer 10.5.2.0/24=192.0.2.2 --backend ipip", 2, "invalid value 'ipip'"),
        ("PODS --peer 10.5.2.0/24=192.0.2.2 --backend udp --vni 2", 2, "does not support --vni"),
        (
            "PODS --peer 10.5.2.0/24=192.0.2.2 --backend udp --direct-routing",
            2,
            "does not support --direct-routing",
        ),
        (
            "x --subnet 10.5.0.0/16 --subnet fd00:5::/48 --host-subnet 10.5.1.0/24 --host-subnet \
             fd00:5:0:1::/64 --backend udp --peer 10.5.2.0/24,fd00:5:0:2::/64=192.0.2.2",
            2,
            "carries IPv4 only, and fd00:5::/48 is IPv6",
        ),
        (
            "PODS --peer 10.5.2.0/24=2001:db8::2 --backend udp --public-ip 2001:db8::1",
            2,
            "and 2001:db8::1 is IPv6",
        ),
        (
            "PODS --peer 10.5.2.0/24=192.0.2.2 --backend udp --port 7",
            4,
            "UDP port 7, the tunnel's, is in use on this host",
        ),
        (
            "x --subnet 10.5.0.0/16 --subnet fd00:5::/48 --host-subnet 10.5.1.0/24 --host-subnet \
             fd00:5:0:1::/64 --backend host-gw --peer 10.5.2.0/24,fd00:5:0:2::/64=192.0.2.2",
            2,
            "needs an address of the host to be the next hop of fd00:5:0:2::/64",
        ),
        ("lab0 --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24", 4, "mode is bridge, not overlay"),
        ("taken --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24", 4, "a link `taken` exists"),
        ("PODS --isolate", 2, "--isolate"),
    ];
    for (words, code, part) in cases {
        let words = words.replace("PODS", "x --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24");
        lab.on("h1", &format!("overlay {words}")).fails(*code, &[part]);
    }
    before.assert_same(&lab.snapshot_of("h1"), "nothing was changed");
    lab.sh("nsenter --net=/run/netns/h1 sh -euc 'ip route del default; ip -6 route del default'")
        .ok();
    let far = format!("{ONE} --peer 10.5.2.0/24=198.51.100.2");
    lab.on("h1", &far).fails(4, &["no route leads there", "ip route get 198.51.100.2"]);
    lab.on("h1", ONE).fails(3, &["no link leads to other hosts", "--parent"]);
    lab.on("h1", "peers lab0").fails(2, &["has no peers"]);
    lab.on("h1", "peers pod").fails(3, &["no network `pod`"]);
}

#[test]
fn docker_spells_it_with_create() {
    let lab = Lab::new();
    lab.hosts(1);
    let words = "--subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24 --peer 10.5.2.0/24=192.0.2.2 \
                 --vni 9 --parent eth0 --mtu 1400 --no-spoof";
    assert!(changed(&lab, "h1", &format!("create -d overlay pods {words}")));
    assert!(!changed(&lab, "h1", &format!("overlay pods {words}")));
    lab.on("h1", "create -d overlay x --host-subnet 10.6.1.0/24").fails(2, &["needs --subnet"]);
    lab.on("h1", "create -d overlay x --subnet 10.6.0.0/16").fails(2, &["needs --host-subnet"]);
    lab.on("h1", "create x --peer 10.6.1.0/24=192.0.2.2").fails(2, &["does not support --peer"]);
    lab.on("h1", "create -d overlay x --isolate --subnet 10.6.0.0/16 --host-subnet 10.6.1.0/24")
        .fails(2, &["does not support --isolate"]);
}

#[test]
fn everything_goes_with_the_network() {
    for flags in ["", "--backend host-gw"] {
        for verb in ["rm pods", "reset --yes"] {
            let lab = Lab::new();
            lab.hosts(1);
            let before = lab.snapshot_of("h1");
            lab.on("h1", &format!("{ONE} --peer 10.5.2.0/24=192.0.2.2 {flags}")).ok();
            lab.netns(&["web"]);
            lab.on("h1", "attach pods web").ok();
            lab.on("h1", "rm pods").fails(4, &["web"]);
            if verb == "rm pods" {
                lab.on("h1", "detach pods web").ok();
            }
            lab.on("h1", verb).ok();
            lab.sh("ip netns del web").ok();
            before.assert_same(&lab.snapshot_of("h1"), verb);
        }
    }
}

const DAMAGES: [&str; 12] = [
    "ip link del vx-pods",
    "bridge fdb del 02:76:c0:00:02:02 dev vx-pods dst 192.0.2.2 self",
    "ip neigh del 10.5.2.0 dev vx-pods",
    "ip route del 10.5.2.0/24",
    "ip addr del 10.5.1.0/32 dev vx-pods",
    "ip link set vx-pods down",
    "ip link set vx-pods down; ip link set vx-pods up",
    "ip link set vx-pods mtu 1300",
    "ip link set vx-pods address 02:00:00:00:00:99",
    "ip link set vx-pods alias x",
    "ip link del vx-pods; ip link add vx-pods group 28259 type vxlan id 5 local 192.0.2.1 dev eth0 \
     dstport 8472 nolearning",
    "ip neigh replace 10.5.2.0 lladdr 02:00:00:00:00:99 dev vx-pods nud permanent",
];

#[test]
fn damage_is_told_and_repaired() {
    let lab = two_hosts("");
    lab.listen("db", &["10.5.2.2:80"]);
    let whole = lab.snapshot_of("h1");
    let again = format!("{ONE} --peer 10.5.2.0/24=192.0.2.2");
    for damage in DAMAGES {
        for mend in ["repair", &again] {
            lab.sh(&format!("nsenter --net=/run/netns/h1 sh -euc '{damage}'")).ok();
            lab.on("h1", "repair --check").exits(1);
            lab.on("h1", mend).ok();
            whole.assert_same(&lab.snapshot_of("h1"), &format!("{damage}, {mend}"));
            assert_eq!(lab.on("h1", "repair --check").ok(), "", "{damage}");
        }
        lab.reaches("web", "tcp 10.5.2.2:80", "db:80 from 10.5.1.2");
    }
    // The parent loses the routes by other hosts as it goes down.
    let lab = two_hosts("--backend host-gw");
    let whole = lab.snapshot_of("h1");
    for damage in [
        "ip link set eth0 down; ip link set eth0 up; ip addr add fe80::1/64 nodad dev eth0; ip addr add 2001:db8::1/64 nodad dev eth0; ip route add default via 192.0.2.254; ip -6 route add default via 2001:db8::fe",
        "ip route del 10.5.2.0/24",
    ] {
        lab.sh(&format!("nsenter --net=/run/netns/h1 sh -euc '{damage}'")).ok();
        lab.on("h1", "repair --check").exits(1);
        lab.on("h1", "repair").ok();
        whole.assert_same(&lab.snapshot_of("h1"), damage);
    }
}

#[test]
fn a_parent_that_is_down_or_gone_does_not_keep_the_rest() {
    for flags in ["", "--backend host-gw"] {
        let lab = two_hosts(flags);
        lab.on("h1", "bridge lab0 --subnet 172.20.0.0/16").ok();
        let on_h1 = |script: &str| {
            lab.sh(&format!("nsenter --net=/run/netns/h1 sh -euc '{script}'")).ok();
        };
        on_h1("ip link set eth0 down");
        let drift = lab.on("h1", "repair --check").exits(1).stdout;
        assert!(drift.contains("ip link set dev eth0 up"), "{drift}");
        lab.on("h1", "repair").ok();
        lab.reaches("web", "ping 10.5.2.2", "");
        on_h1("ip link del eth0; ip link del lab0; ip link set pods down");
        for _ in 0..2 {
            lab.on("h1", "repair").fails(4, &["network `pods`", "parent link is gone"]);
            on_h1("ip link show lab0 up | grep -q lab0; ip link show pods up | grep -q pods");
        }
        lab.sh("ip link add p-h1 master wire type veth peer name eth0 netns h1
                ip link set p-h1 up; ip -n h1 link set eth0 up; ip -n h1 addr add 192.0.2.1/24 dev eth0")
            .ok();
        lab.on("h1", "repair").ok();
        lab.reaches("web", "ping 10.5.2.2", "");
    }
}

#[test]
fn the_link_to_the_others_is_chosen_by_what_is_asked() {
    let lab = Lab::new();
    lab.hosts(1);
    lab.sh("nsenter --net=/run/netns/h1 sh -euc '
            ip link add two type veth peer name far; ip link set two up; ip link set far up
            ip addr add 203.0.113.1/24 dev two; ip addr add 203.0.113.9/24 dev two
            ip route add 198.51.100.0/24 via 203.0.113.254'")
        .ok();
    for (flags, link, host) in [
        // The default route, the route to the first of the others, and what is named.
        ("", "eth0", "192.0.2.1"),
        ("--peer 10.5.2.0/24=198.51.100.2", "two", "203.0.113.1"),
        ("--parent two", "two", "203.0.113.1"),
        ("--parent eth0 --peer 10.5.2.0/24=192.0.2.2", "eth0", "192.0.2.1"),
        ("--reach 198.51.100.7", "two", "203.0.113.1"),
        ("--public-ip 203.0.113.9", "two", "203.0.113.9"),
    ] {
        let script = lab.on("h1", &format!("--dry-run {ONE} {flags}")).ok();
        let tunnel = format!("local {host} dev {link} ");
        assert!(script.contains(&tunnel), "{flags}: {tunnel}: {script}");
    }
}

#[test]
fn doctor_names_the_host_that_packets_do_not_reach() {
    let lab = two_hosts("");
    assert_eq!(lab.on("h1", "doctor").ok(), "");
    let whole = lab.snapshot_of("h1");
    for (damage, shown) in [
        (DAMAGES[0], "`vx-pods` is missing or down"),
        (DAMAGES[1], "missing: bridge fdb"),
        (DAMAGES[2], "missing: ip neigh"),
        (DAMAGES[3], "missing: ip route"),
        (DAMAGES[5], "`vx-pods` is missing or down"),
    ] {
        lab.sh(&format!("nsenter --net=/run/netns/h1 sh -euc '{damage}'")).ok();
        let said = lab.on("h1", "doctor").exits(1).stdout;
        assert!(said.contains("[peer-missing]") && said.contains(shown), "{damage}: {said}");
        assert!(said.contains("$ netcord repair"), "{said}");
        lab.on("h1", "repair").ok();
        assert_eq!(lab.on("h1", "doctor").ok(), "", "{damage}");
        whole.assert_same(&lab.snapshot_of("h1"), damage);
    }
}

#[test]
fn the_marks_of_another_life_go_and_those_of_others_stay() {
    let lab = two_hosts("");
    lab.sh("nsenter --net=/run/netns/h1 sh -euc '
            ip neigh add 10.5.9.0 lladdr 02:76:c0:00:02:09 dev vx-pods nud permanent protocol 110
            bridge fdb add 02:76:c0:00:02:09 dev vx-pods dst 192.0.2.9 self permanent
            ip route add 10.5.9.0/24 via 10.5.9.0 dev vx-pods onlink proto 110
            ip route add 10.5.10.0/24 via 192.0.2.10 dev eth0 proto 110'")
        .ok();
    let others = "nsenter --net=/run/netns/h1 sh -euc '
            ip neigh add 10.5.11.0 lladdr 02:00:00:00:00:11 dev vx-pods nud permanent
            bridge fdb add 02:00:00:00:00:11 dev vx-pods dst 192.0.2.11 self permanent
            ip route add 10.5.11.0/24 via 10.5.11.0 dev vx-pods onlink'";
    lab.sh(others).ok();
    let drift = lab.on("h1", "repair --check").exits(1).stdout;
    assert_eq!(drift.lines().count(), 4, "{drift}");
    lab.on("h1", "repair").ok();
    let left = lab
        .sh("nsenter --net=/run/netns/h1 sh -euc 'ip neigh show nud permanent; bridge fdb show dev vx-pods; ip route'")
        .ok();
    for gone in ["10.5.9.0", "02:76:c0:00:02:09", "10.5.10.0"] {
        assert!(!left.contains(gone), "{left}");
    }
    for stays in ["10.5.11.0 dev vx-pods", "02:00:00:00:00:11 dst", "10.5.11.0/24 via"] {
        assert!(left.contains(stays), "{stays}: {left}");
    }
}

#[test]
fn a_lost_record_is_made_of_the_marks() {
    for flags in
        ["--vni 9 --port 4789", "--direct-routing", "--backend host-gw", "--backend udp --port 77"]
    {
        let lab = two_hosts(flags);
        let words = format!("{ONE} --peer 10.5.2.0/24=192.0.2.2 {flags}");
        let (peers, whole) = (lab.on("h1", "peers pods").ok(), lab.snapshot_of("h1"));
        lab.sh("find /run/netcord -name 'network-pods.json' -delete").ok();
        let told = lab.on("h1", "peers pods").exits(0);
        assert_eq!(told.stdout.trim_end(), peers, "{flags}");
        assert!(told.stderr.contains("network `pods`"), "{}", told.stderr);
        lab.on("h1", "repair").ok();
        assert!(!changed(&lab, "h1", &words), "{flags}");
        assert_eq!(lab.on("h1", "repair --check").ok(), "", "{flags}");
        let is_record = |line: &str| line.starts_with("record ");
        whole.without(is_record).assert_same(&lab.snapshot_of("h1").without(is_record), flags);
        lab.on("h1", "detach pods web").ok();
        lab.on("h1", "rm pods").ok();
    }
}

#[test]
fn a_host_is_the_same_after_its_own_export() {
    for flags in [
        "--vni 9 --internal",
        "--direct-routing --label a=b",
        "--backend host-gw",
        "--backend udp --port 77",
    ] {
        let lab = Lab::new();
        lab.hosts(1);
        let before = lab.snapshot_of("h1");
        lab.on("h1", &format!("{ONE} --peer 10.5.2.0/24=192.0.2.2,2001:db8::2 {flags}")).ok();
        let whole = lab.snapshot_of("h1");
        let shown = lab.on("h1", "inspect pods").ok();
        let script = lab.on("h1", "export").ok();
        let commands = lab.on("h1", "inspect pods --commands").ok();
        lab.on("h1", "rm pods").ok();
        before.assert_same(&lab.snapshot_of("h1"), "removed");
        let run = |script: &str| {
            let script = format!("netcord() {{ {NETCORD} \"$@\"; }}\n{script}");
            std::fs::write(lab.path("/run/script.sh"), script).unwrap();
            lab.sh("nsenter --net=/run/netns/h1 sh -e /run/script.sh").ok();
        };
        run(&script);
        whole.assert_same(&lab.snapshot_of("h1"), flags);
        assert_eq!(lab.on("h1", "inspect pods").ok(), shown);
        lab.on("h1", "rm pods").ok();
        run(&commands);
        let is_record = |line: &str| line.starts_with("record ");
        whole.without(is_record).assert_same(&lab.snapshot_of("h1").without(is_record), flags);
    }
}

#[test]
fn the_hosts_are_listed() {
    let lab = Lab::new();
    lab.hosts(1);
    lab.on(
        "h1",
        &format!(
            "{ONE} --direct-routing --peer 10.5.2.0/24=192.0.2.2 --peer 10.5.3.0/24=198.51.100.3 \
             --peer 10.5.4.0/24=203.0.113.4"
        ),
    )
    .ok();
    lab.sh("nsenter --net=/run/netns/h1 sh -euc 'ip neigh del 10.5.3.0 dev vx-pods
            ip route add unreachable 203.0.113.0/24'")
        .ok();
    let table = lab.on("h1", "peers pods").ok();
    let rows: Vec<Vec<_>> = table
        .lines()
        .map(|line| line.split("  ").filter(|c| !c.is_empty()).map(str::trim).collect())
        .collect();
    assert_eq!(
        rows,
        [
            vec!["HOST", "SUBNET", "BACKEND", "VIA", "STATE"],
            vec!["192.0.2.1", "10.5.1.0/24", "vxlan", "this host", "ok"],
            vec!["192.0.2.2", "10.5.2.0/24", "vxlan", "eth0", "ok"],
            vec!["198.51.100.3", "10.5.3.0/24", "vxlan", "vx-pods", "incomplete"],
            vec!["203.0.113.4", "10.5.4.0/24", "vxlan", "vx-pods", "unreachable"],
        ]
    );
    let json: Value = serde_json::from_str(&lab.on("h1", "--format json peers pods").ok()).unwrap();
    assert_eq!(
        json[2]["missing"][0],
        "ip neigh replace 10.5.3.0 lladdr 02:76:c6:33:64:03 dev vx-pods nud permanent protocol 110"
    );
    assert_eq!(lab.on("h1", "--format jsonl peers pods").ok().lines().count(), 4);
    let list = lab.on("h1", "ls").ok();
    assert!(list.contains("pods      overlay   10.5.1.0/24   10.5.1.1"), "{list}");
}

#[test]
fn an_internal_network_reaches_its_endpoints_on_all_hosts_and_nothing_else() {
    for firewall in FIREWALLS {
        let lab = Lab::new();
        lab.hosts(2).netns(&["web", "db"]);
        for (host, words, peer) in
            [("h1", ONE, "1.0/24=192.0.2.1"), ("h2", TWO, "2.0/24=192.0.2.2")]
        {
            let peer = if peer.starts_with('1') { "2.0/24=192.0.2.2" } else { "1.0/24=192.0.2.1" };
            lab.on(host, &format!("--firewall {firewall} {words} --internal --peer 10.5.{peer}"))
                .ok();
        }
        lab.on("h1", "attach pods web").ok();
        lab.on("h2", "attach pods db").ok();
        lab.reaches("web", "ping 10.5.2.2", "");
        lab.does_not_reach("web", "ping 192.0.2.254");
        lab.does_not_reach("web", "ping 192.0.2.2");
    }
}

#[test]
fn a_published_port_is_reached_from_outside_and_by_endpoints_of_other_hosts() {
    for firewall in FIREWALLS {
        let lab = Lab::new();
        lab.hosts(2).netns(&["web", "db"]);
        let h2 = format!("--firewall {firewall} {TWO} --peer 10.5.1.0/24=192.0.2.1");
        lab.on("h1", &format!("--firewall {firewall} {ONE} --peer 10.5.2.0/24=192.0.2.2")).ok();
        lab.on("h2", &h2).ok();
        lab.on("h1", "attach pods web").ok();
        lab.on("h2", "attach pods db -p 8080:80").ok();
        lab.serve_ports("db", &[80]);
        lab.reaches("world", "tcp 192.0.2.2:8080", "db:80 from 192.0.2.254");
        lab.reaches("web", "tcp 192.0.2.2:8080", "db:80 from 192.0.2.1");
        lab.reaches("web", "tcp 10.5.2.2:80", "db:80 from 10.5.1.2");
    }
}

/// Two hosts, `one` and `two`, that see each other's links, with `web` and `db` on them.
fn two_hosts_on_a_cable(flags: &str) -> Lab {
    let lab = Lab::new();
    lab.netns(&["one", "two", "web", "db"]);
    lab.sh("ip -n one link add eth0 type veth peer name eth0 netns two
            for host in 1:one 2:two; do
                ip -n ${host#*:} addr add 192.0.2.${host%:*}/24 dev eth0
                ip -n ${host#*:} link set eth0 up; ip -n ${host#*:} link set lo up
            done")
        .ok();
    lab.on("one", &format!("{ONE} --peer 10.5.2.0/24=192.0.2.2 {flags}")).ok();
    lab.on("two", &format!("{TWO} --peer 10.5.1.0/24=192.0.2.1 {flags}")).ok();
    lab.on("one", "attach pods web").ok();
    lab.on("two", "attach pods db").ok();
    lab
}

/// What happens to a traced packet and to its reply, a line each, and the verdict.
pub(crate) fn path(printed: &str) -> String {
    let traced: Value = serde_json::from_str(printed).unwrap();
    let hops = ["hops", "answer"].map(|part| traced[part].as_array().unwrap().clone()).concat();
    let lines = hops.iter().map(|hop| hop["what"].as_str().unwrap());
    lines.chain(traced["verdict"]["text"].as_str()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_path_goes_through_the_tunnel() {
    let lab = two_hosts_on_a_cable("");
    lab.serve_ports("db", &[80]);
    lab.reaches("web", "tcp 10.5.2.2:80", "db:80 from 10.5.1.2");
    let way = path(&lab.on("one", "--format json trace web 10.5.2.2:80").ok());
    let mut rest = way.as_str();
    for part in [
        "by vx-pods via 10.5.2.0",
        "10.5.2.0 is 02:76:c0:00:02:02 on vx-pods",
        "vx-pods: in a UDP packet to 192.0.2.2, port 8472 (VXLAN, VNI 1)",
        "192.0.2.1 -> 192.0.2.2 by eth0",
        "vx-pods takes the frame out of it (VNI 1)",
        "10.5.1.2 -> 10.5.2.2 by pods",
        "listens on 80/tcp",
        "vx-pods: in a UDP packet to 192.0.2.1, port 8472 (VXLAN, VNI 1)",
        "web gets the answer",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("`{part}` is not next in\n{way}"));
        rest = &rest[at + part.len()..];
    }
    // Each part of the tunnel can break, here or there.
    for (host, damage, mended, why) in [
        (
            "one",
            "bridge fdb del 02:76:c0:00:02:02 dev vx-pods dst 192.0.2.2 self",
            "netcord",
            "the forwarding table (FDB) of vx-pods has no host for 02:76:c0:00:02:02",
        ),
        (
            "two",
            "bridge fdb del 02:76:c0:00:02:01 dev vx-pods dst 192.0.2.1 self",
            "netcord",
            "the answer dies at link of two",
        ),
        ("two", "ip link set vx-pods down", "netcord", "vx-pods is down"),
        (
            "two",
            "nft 'add table ip no; add chain ip no in { type filter hook input priority 0; }; \
             add rule ip no in udp dport 8472 drop'",
            "nft delete table ip no",
            "dies at INPUT of two",
        ),
        (
            "one",
            "nft 'add table ip no; add chain ip no out { type filter hook output priority 0; }; \
             add rule ip no out udp dport 8472 drop'",
            "nft delete table ip no",
            "dies at OUTPUT of host",
        ),
    ] {
        lab.within(host, damage).ok();
        lab.does_not_reach("web", "tcp 10.5.2.2:80");
        let way = path(&lab.on("one", "--format json trace web 10.5.2.2:80").exits(1).stdout);
        assert!(way.contains(why), "{damage}: {way}");
        match mended {
            "netcord" => drop(lab.on(host, "repair").ok()),
            command => drop(lab.within(host, command).ok()),
        }
        lab.reaches("web", "tcp 10.5.2.2:80", "db:80 from 10.5.1.2");
    }
    // The subnet of no host: the packet does not leave by another route.
    lab.within("one", "ip route add default via 192.0.2.99").ok();
    let way = path(&lab.on("one", "--format json trace web 10.5.77.1").exits(1).stdout);
    assert!(way.contains("ip route unreachable 10.5.0.0/16"), "{way}");
    // Nor does a host that is gone take what is sent to it.
    lab.on("one", &format!("{ONE} --peer 10.5.2.0/24=192.0.2.99")).ok();
    let way = path(&lab.on("one", "--format json trace web 10.5.2.2:80").exits(1).stdout);
    assert!(way.contains("nobody answers for 192.0.2.99"), "{way}");
}

#[test]
fn the_picture_has_the_other_hosts() {
    let lab = Lab::new();
    lab.hosts(1);
    lab.on(
        "h1",
        &format!(
            "{ONE} --direct-routing --peer 10.5.2.0/24=192.0.2.2 --peer 10.5.3.0/24=198.51.100.3"
        ),
    )
    .ok();
    let tree = lab.on("h1", "graph").ok();
    let ends: Vec<_> = tree.lines().rev().take(2).collect();
    assert_eq!(
        ends,
        [
            "   └─ host 198.51.100.3  10.5.3.0/24  by vx-pods",
            "   ├─ host 192.0.2.2     10.5.2.0/24  by eth0"
        ]
    );
    let dot = lab.on("h1", "graph --format dot").ok();
    assert!(dot.contains(r#"[label="host 192.0.2.2\n10.5.2.0/24""#), "{dot}");
    assert!(dot.contains(r#"[label="by vx-pods"]"#), "{dot}");
    let svg = lab.on("h1", "graph --format svg").ok();
    assert!(svg.contains(">host 198.51.100.3</text>") && svg.contains("2 other hosts"), "{svg}");
    let shown = lab.on("h1", "graph pods").ok();
    assert!(shown.contains("vx-pods  vxlan") && shown.contains("host 192.0.2.2"), "{shown}");
    let json: Value = serde_json::from_str(&lab.on("h1", "graph --format json").ok()).unwrap();
    let peers = &json["segments"][0]["peers"];
    assert_eq!((&peers[0]["host"], &peers[0]["via"][0]), (&"192.0.2.2".into(), &"eth0".into()));
    assert_eq!(peers[1]["subnets"][0], "10.5.3.0/24");
}

/// What `peers --check` says of the second host, and its exit code.
#[track_caller]
fn checked(lab: &Lab, code: i32) -> String {
    let table = lab.on("h1", "peers pods --check").exits(code).stdout;
    table.lines().nth(2).unwrap().split("  ").last().unwrap().trim().to_owned()
}

#[test]
fn hosts_are_asked_whether_packets_arrive() {
    const DROP: &str = "table ip cloud { chain c { type filter hook";
    for flags in ["", "--backend host-gw"] {
        let lab = two_hosts(flags);
        let does = |script: &str| drop(lab.sh(script).ok());
        let asked = checked(&lab, 0);
        assert!(asked.starts_with("ok, ") && asked.ends_with(" ms"), "{asked}");
        let json = lab.on("h1", "--format json peers pods --check").ok();
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json[1]["reach"]["reach"], json[0].get("reach")), (&"answers".into(), None));
        assert!(json[1]["reach"]["milliseconds"].as_f64().unwrap() > 0.0);
        // There and back: what the tunnel sends, or packets with the addresses of endpoints.
        let dropped = if flags.is_empty() { "udp dport 8472" } else { "ip saddr 10.5.0.0/16" };
        for hook in ["prerouting priority -400", "output priority 0"] {
            let filter = format!("{hook}; {dropped} drop");
            does(&format!("ip netns exec h2 nft '{DROP} {filter}; }}; }}'"));
            assert_eq!(checked(&lab, 1), "ok, filtered on the way", "{filter}");
            does("ip netns exec h2 nft delete table ip cloud");
        }
        does("ip -n h2 link set eth0 mtu 1400");
        assert_eq!(checked(&lab, 1), "ok, large packets are lost", "{flags}");
        does("ip -n h2 link set eth0 mtu 1500; ip link set p-h2 down");
        assert_eq!(checked(&lab, 1), "ok, no answer", "{flags}");
        does("ip link set p-h2 up");
        assert!(checked(&lab, 0).ends_with(" ms"), "{flags}");
    }
    // Each family is asked.
    let lab = Lab::new();
    lab.hosts(2);
    for n in 1..=2 {
        let words = dual(n, "", |n| format!("2001:db8::{n}"));
        let words = words.replace(" --peer 10.5.3.0/24,fd00:5:0:3::/64=2001:db8::3", "");
        lab.on(&format!("h{n}"), &words).ok();
    }
    assert!(checked(&lab, 0).ends_with(" ms"));
    lab.sh("ip netns exec h2 nft 'table ip6 cloud { chain c { type filter hook input priority 0; \
            iifname vx-pods drop; }; }'")
        .ok();
    assert_eq!(checked(&lab, 1), "ok, filtered on the way");
}
