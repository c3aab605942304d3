//! `trace`: the computed path is that of a real packet.

use serde_json::Value;

use crate::support::{FIREWALLS, Lab, NETCORD};

/// A host with a neighbour on the wire, and networks of all kinds.
fn host(firewall: &'static str) -> Lab {
    let lab = Lab::with_firewall(firewall);
    lab.neighbour("outside").netns(&["web", "db", "iso", "iso2", "inner"]);
    lab.netcord("bridge lab0 --subnet 10.1.0.0/24 --subnet fd00:1::/64").ok();
    lab.netcord("bridge lab1 --subnet 10.2.0.0/24 --isolate").ok();
    lab.netcord("bridge lab2 --subnet 10.3.0.0/24 --internal").ok();
    lab.netcord("attach lab0 web -p 8080:80").ok();
    lab.netcord("attach lab0 db").ok();
    lab.netcord("attach lab1 iso").ok();
    lab.netcord("attach lab1 iso2").ok();
    lab.netcord("attach lab2 inner").ok();
    lab.serve("web", 80);
    lab
}

/// The way as it is worked out, and what a real packet does: they end the same, and nothing stays.
#[track_caller]
fn agreed(lab: &Lab, words: &str) -> Value {
    let rules = || {
        lab.sh("for n in $(ip netns list | cut -d' ' -f1); do ip netns exec $n nft -s list ruleset; done
             nft -s list ruleset")
            .ok()
    };
    let before = rules();
    let run = |more: &str| {
        let run = lab.netcord(&format!("--format json trace {more}{words}"));
        let way: Value = serde_json::from_str(&run.stdout)
            .unwrap_or_else(|e| panic!("{words}: {e}: {}", run.stderr));
        let code = match way["verdict"]["outcome"].as_str().unwrap() {
            "arrives" | "leaves" => 0,
            "unknown" => 9,
            _ => 1,
        };
        assert_eq!(run.code, code, "{words}: {way:#}");
        let is_open = !way["unjudged"].as_array().unwrap().is_empty();
        assert!(code != 9 || is_open, "{words}: what is not judged has a name: {way:#}");
        way
    };
    let (worked_out, live) = (run(""), run("--live "));
    assert_eq!(worked_out["live"], false);
    assert_eq!(live["live"], true);
    assert_eq!(worked_out["verdict"], live["verdict"], "{words}:\n{worked_out:#}\n{live:#}");
    // The same rules too, wherever a packet got.
    let met = |way: &Value| -> Vec<(String, String)> {
        let hops = way["hops"].as_array().unwrap().iter();
        // One that may be for it is met by one of them only.
        hops.flat_map(|hop| hop["rules"].as_array().unwrap())
            .filter(|met| met["certain"] == true)
            .map(|met| (met["chain"].to_string(), met["handle"].to_string()))
            .collect()
    };
    assert_eq!(met(&worked_out), met(&live), "{words}");
    assert_eq!(before, rules(), "{words}: the rules are as before");
    worked_out
}

#[track_caller]
fn ends(lab: &Lab, words: &str, outcome: &str, place: &str, stage: &str, text: &str) -> Value {
    let way = agreed(lab, words);
    let verdict = &way["verdict"];
    assert_eq!(verdict["outcome"], outcome, "{words}: {verdict:#}");
    assert_eq!((&verdict["place"], &verdict["stage"]), (&place.into(), &stage.into()), "{words}");
    assert!(verdict["text"].as_str().unwrap().contains(text), "{words}: {verdict:#}");
    way
}

fn stages(way: &Value, place: &str) -> Vec<String> {
    let hops = way["hops"].as_array().unwrap().iter().filter(|hop| hop["place"] == place);
    hops.map(|hop| hop["stage"].as_str().unwrap().to_owned()).collect()
}

fn says(way: &Value, place: &str, stage: &str) -> String {
    let hops = way["hops"].as_array().unwrap().iter();
    let at = hops.filter(|hop| hop["place"] == place && hop["stage"] == stage);
    at.map(|hop| hop["what"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join("; ")
}

#[test]
fn what_arrives_arrives() {
    for firewall in FIREWALLS {
        let lab = host(firewall);
        for from in ["db", "host"] {
            let way = ends(
                &lab,
                &format!("{from} web:80"),
                "arrives",
                "web",
                "socket",
                "web listens on 80/tcp",
            );
            assert!(says(&way, from, "neighbour").contains("10.1.0.2"));
            assert!(says(&way, "host", "bridge").contains("lab0: from"));
        }
        let way = ends(&lab, "web outside", "arrives", "outside", "socket", "answers echoes");
        assert!(
            says(&way, "host", "postrouting").contains("from 192.0.2.1 from here on"),
            "{way:#}"
        );
        assert!(stages(&way, "web").contains(&"route".to_owned()));
        let way = ends(&lab, "outside host:8080", "arrives", "web", "socket", "80/tcp");
        assert!(says(&way, "host", "prerouting").contains("to 10.1.0.2 port 80"), "{way:#}");
        ends(&lab, "web 192.0.2.1:8080", "arrives", "web", "socket", "80/tcp");
        ends(&lab, "host 127.0.0.1:8080", "arrives", "web", "socket", "80/tcp");
        ends(&lab, "db [fd00:1::2]:80", "arrives", "web", "socket", "80/tcp");
        ends(&lab, "db fd00:1::2", "arrives", "web", "socket", "fd00:1::2");
    }
}

#[test]
fn packets_between_open_networks_arrive_and_others_do_not() {
    for firewall in FIREWALLS {
        let lab = host(firewall);
        lab.netns(&["one", "two"]);
        for (name, number, target) in [("open1", 4, "one"), ("open2", 5, "two")] {
            lab.netcord(&format!(
                "bridge {name} --subnet 10.{number}.0.0/24 --subnet fd00:{number}::/64 --open"
            ))
            .ok();
            lab.netcord(&format!("attach {name} {target}")).ok();
            lab.serve_ports(target, &[80]);
        }
        ends(&lab, "one two:80", "arrives", "two", "socket", "80/tcp");
        ends(&lab, "two [fd00:4::2]:80", "arrives", "one", "socket", "80/tcp");
        let (hook, rule) = match firewall {
            "nftables" => ("forward", "from-open"),
            _ => ("prerouting", "NETCORD-FROM-OPEN"),
        };
        ends(&lab, "db two:80", "dies", "host", hook, rule);
        ends(&lab, "db [fd00:5::2]:80", "dies", "host", hook, rule);
        assert_eq!(lab.netcord("doctor open1").ok(), "");
    }
}

#[test]
fn what_dies_dies_there() {
    for firewall in FIREWALLS {
        let lab = host(firewall);
        ends(&lab, "outside web:80", "dies", "outside", "route", "no route");
        ends(&lab, "db web:81", "refused", "web", "socket", "nobody listens on 81/tcp");
        ends(&lab, "db web:53/udp", "refused", "web", "socket", "nobody listens on 53/udp");
        ends(&lab, "outside host:8081", "refused", "host", "socket", "8081/tcp");
        ends(&lab, "iso iso2", "dies", "host", "bridge", "isolated");
        ends(&lab, "db 10.1.0.77", "dies", "db", "neighbour", "nobody answers for 10.1.0.77");
        let at = if firewall == "nftables" { "forward" } else { "prerouting" };
        let way = ends(&lab, "web iso:80", "dies", "host", at, "drop");
        assert!(way["verdict"]["rule"]["handle"].is_u64(), "{way:#}");
        ends(&lab, "inner outside", "dies", "inner", "route", "no route");
        lab.sh("ip -n inner route add default via 10.3.0.1").ok();
        ends(&lab, "inner outside", "dies", "host", "forward", "drop");
        // An unpublished port, by who knows the way.
        lab.sh("ip -n outside route add 10.1.0.0/24 via 192.0.2.1").ok();
        ends(&lab, "outside web:80", "dies", "host", at, "drop");
        lab.sh("ip link set lab1 down").ok();
        ends(&lab, "iso iso2", "dies", "host", "bridge", "lab1 is down");
    }
}

#[test]
fn switches_and_policies_of_others_are_named() {
    for firewall in FIREWALLS {
        let lab = host(firewall);
        lab.sh("ip -n outside addr add 203.0.113.1/24 dev wire; ip -n outside route add 10.2.0.0/24 via 192.0.2.1").ok();
        ends(&lab, "web 198.51.100.1:53/udp", "dies", "outside", "route", "ip_forward is 0");
        lab.sh("sysctl -qw net.ipv4.conf.eth0.rp_filter=1; ip -n outside route add 192.0.2.1 dev wire src 203.0.113.1; ip route del default").ok();
        ends(&lab, "outside host:8080", "dies", "host", "route", "rp_filter");
        lab.sh("sysctl -qw net.ipv4.conf.eth0.rp_filter=0; ip -n outside route del 192.0.2.1 dev wire; ip route add default via 192.0.2.2").ok();
        lab.sh("iptables -P FORWARD DROP").ok();
        let way = agreed(&lab, "outside host:8080");
        let outcome = if firewall == "nftables" { "dies" } else { "arrives" };
        assert_eq!(way["verdict"]["outcome"], outcome, "{way:#}");
        if firewall == "nftables" {
            assert_eq!(
                way["verdict"]["text"],
                "dies at FORWARD of host: ip filter FORWARD: policy drop"
            );
        }
        lab.sh("iptables -P FORWARD ACCEPT; iptables -I INPUT -p tcp --dport 22 -m comment --comment 'no ssh' -j REJECT").ok();
        ends(&lab, "outside host:22", "dies", "host", "input", "no ssh");
    }
}

#[test]
fn rules_of_all_shapes_are_judged_as_the_kernel_does() {
    let lab = host("nftables");
    lab.sh("nft -f - <<'END'
table inet shapes {
    set bad { type ipv4_addr; flags interval; elements = { 10.1.0.64/26, 10.9.0.0-10.9.0.9 } }
    map doors { type inet_service : verdict; elements = { 81 : drop, 82 : jump deeper } }
    set pairs { type ipv4_addr . inet_service; flags interval; elements = { 10.1.0.0/24 . 90-99 } }
    chain deeper { ip saddr 10.1.0.3 meta mark 0 return; drop; }
    chain after { type filter hook forward priority 20; policy accept;
        ct state established,related accept
        ip daddr @bad drop comment \"bad ones\"
        tcp dport vmap @doors
        tcp dport 83 ct state new drop
        tcp dport { 84, 85 } drop
        tcp dport 86-88 ip ttl 255 drop
        ip daddr . tcp dport @pairs drop
        tcp dport != 1-1000 drop comment \"high ones\"
        meta mark set 7
        tcp flags & (syn | ack) == syn tcp dport 100 meta mark 7 drop
    }
}
END")
        .ok();
    for (port, outcome) in [
        (80, "arrives"),
        (81, "dies"),
        (82, "refused"),
        (83, "dies"),
        (84, "dies"),
        (85, "dies"),
        (89, "refused"),
        (90, "dies"),
        (99, "dies"),
        (100, "dies"),
        (101, "refused"),
        (1001, "dies"),
    ] {
        let way = agreed(&lab, &format!("db web:{port}"));
        assert_eq!(way["verdict"]["outcome"], outcome, "{port}: {way:#}");
    }
    assert!(agreed(&lab, "db web:1001")["verdict"]["text"].as_str().unwrap().contains("high ones"));
}

#[test]
fn what_cannot_be_known_before_is_said_and_a_real_packet_tells() {
    let lab = host("nftables");
    lab.sh("nft add table inet late; nft add chain inet late after '{ type filter hook forward priority 20; }'
            nft add rule inet late after ip ttl 63 tcp dport 8000 drop
            nft add rule inet late after ip ttl 64 tcp dport 80 drop")
        .ok();
    let run = lab.netcord("trace db web:80").exits(9);
    assert!(
        run.stdout.contains("not known: whether this is for it, at FORWARD of host"),
        "{}",
        run.stdout
    );
    let live = lab.netcord("trace --live db web:80").exits(1).stdout;
    let live = live.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        live.ends_with("inet late after: @nh,64,8 64 meta l4proto tcp th dport 80 drop"),
        "{live}"
    );
    assert!(!run.stdout.contains("8000"), "another port's rule is not for it: {}", run.stdout);
    // A rule that may be for it, and with which it would come to the same, is no reason for doubt.
    lab.sh("nft flush chain inet late after; nft add rule inet late after ip ttl 63 accept").ok();
    ends(&lab, "db web:80", "arrives", "web", "socket", "80/tcp");
}

/// The host's end of a target's link.
fn port(lab: &Lab, target: &str) -> String {
    let index = format!("ip -n {target} -o link show eth0 | sed -E 's/.*@if([0-9]+):.*/\\1/'");
    lab.sh(&format!("ip -o link | sed -nE \"s/^$({index}): ([^@:]+).*/\\1/p\""))
        .ok()
        .trim()
        .to_owned()
}

/// Breaks something, looks at what becomes of packets, and mends it.
#[track_caller]
fn broken(lab: &Lab, damage: &str, mend: &str, cases: &[(&str, &str, &str, &str, &str)]) {
    lab.sh(damage).ok();
    for (words, outcome, place, stage, text) in cases {
        let way = agreed(lab, words);
        let verdict = &way["verdict"];
        let found = (&verdict["outcome"], &verdict["place"], &verdict["stage"]);
        let wanted = (&(*outcome).into(), &(*place).into(), &(*stage).into());
        assert_eq!(found, wanted, "{damage}: {words}: {verdict:#}");
        let told = verdict["text"].as_str().unwrap();
        assert!(told.contains(text), "{damage}: {words}: {told}");
    }
    lab.sh(mend).ok();
}

/// What no neighbour is asked for any more, nor remembers.
const FORGET: &str = "for n in web db; do ip -n $n neigh flush all; done; ip neigh flush all";

#[test]
fn a_mac_that_nobody_has_is_nobodys() {
    let lab = host("nftables");
    let wrong = |netns: &str, to: &str, link: &str, how: &str| {
        let netns = if netns == "host" { String::new() } else { format!("-n {netns}") };
        format!("ip {netns} neigh replace {to} lladdr 02:00:00:00:00:99 dev {link} nud {how}")
    };
    let right = |netns: &str, to: &str, link: &str| {
        let netns = if netns == "host" { String::new() } else { format!("-n {netns}") };
        format!("ip {netns} neigh del {to} dev {link}")
    };
    for how in ["permanent", "stale"] {
        broken(
            &lab,
            &wrong("db", "10.1.0.2", "eth0", how),
            FORGET,
            &[("db web:80", "dies", "db", "neighbour", "nobody has 02:00:00:00:00:99")],
        );
        lab.sh("ip -n db neigh del 10.1.0.2 dev eth0 || true").ok();
    }
    broken(
        &lab,
        &wrong("db", "fd00:1::2", "eth0", "permanent"),
        &right("db", "fd00:1::2", "eth0"),
        &[("db [fd00:1::2]:80", "dies", "db", "neighbour", "(permanent)")],
    );
    broken(
        &lab,
        &wrong("host", "10.1.0.2", "lab0", "permanent"),
        &right("host", "10.1.0.2", "lab0"),
        &[
            ("host web:80", "dies", "host", "neighbour", "nobody has"),
            ("outside host:8080", "dies", "host", "neighbour", "nobody has"),
        ],
    );
    broken(
        &lab,
        &wrong("web", "10.1.0.3", "eth0", "permanent"),
        &right("web", "10.1.0.3", "eth0"),
        &[("db web:80", "dies", "web", "neighbour", "arrives, but the answer dies")],
    );
    broken(
        &lab,
        &wrong("outside", "192.0.2.1", "wire", "permanent"),
        &right("outside", "192.0.2.1", "wire"),
        &[
            ("outside host:8080", "dies", "outside", "neighbour", "nobody has"),
            ("web outside", "dies", "outside", "neighbour", "the answer dies"),
        ],
    );
}

#[test]
fn what_is_not_tracked_or_tracked_elsewhere_is_not_translated() {
    let to_raw = |firewall: &str, chain: &str, nft: &str, iptables: &str| match firewall {
        "nftables" => format!(
            "nft add table ip odd
             nft add chain ip odd c '{{ type filter hook {chain} priority -300; }}'
             nft add rule ip odd c {nft}"
        ),
        _ => format!("iptables -t raw -A {} {iptables}", chain.to_uppercase()),
    };
    for firewall in FIREWALLS {
        let lab = host(firewall);
        let mend =
            if firewall == "nftables" { "nft delete table ip odd" } else { "iptables -t raw -F" };
        let rule = to_raw(
            firewall,
            "prerouting",
            "tcp dport 8080 notrack",
            "-p tcp --dport 8080 -j CT --notrack",
        );
        broken(
            &lab,
            &rule,
            mend,
            &[("outside host:8080", "refused", "host", "socket", "8080/tcp")],
        );
        let rule = to_raw(
            firewall,
            "prerouting",
            "ip saddr 192.0.2.2 notrack",
            "-s 192.0.2.2 -j CT --notrack",
        );
        broken(&lab, &rule, mend, &[("web outside", "dies", "host", "socket", "the answer dies")]);
        let rule =
            to_raw(firewall, "prerouting", "iifname lab0 ct zone set 7", "-i lab0 -j CT --zone 7");
        broken(
            &lab,
            &rule,
            mend,
            &[
                ("web outside", "dies", "host", "socket", "the answer dies"),
                ("web db", "arrives", "db", "socket", "answers echoes"),
            ],
        );
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is one table")]
fn rules_of_all_families_are_judged() {
    let lab = host("nftables");
    let (web, db) = (port(&lab, "web"), port(&lab, "db"));
    let table = |netns: &str, family: &str, chain: &str, rule: &str| {
        let within =
            if netns == "host" { String::new() } else { format!("ip netns exec {netns} ") };
        (
            format!(
                "{FORGET}
                 {within}nft add table {family} odd
                 {within}nft add chain {family} odd c '{{ {chain} ; }}'
                 {within}nft add rule {family} odd c {rule}"
            ),
            format!("{within}nft delete table {family} odd"),
        )
    };
    let bridge = |hook: &str| format!("type filter hook {hook} priority 0");
    let device =
        |hook: &str, link: &str| format!("type filter hook {hook} device {link} priority 0");
    for (netns, family, chain, rule, case) in [
        (
            "host",
            "bridge",
            bridge("forward"),
            "ip daddr 10.1.0.2 tcp dport 80 drop",
            ("db web:80", "dies", "host", "bridge", "bridge odd c"),
        ),
        (
            "host",
            "bridge",
            bridge("forward"),
            "tcp sport 80 drop",
            ("db web:80", "dies", "host", "bridge", "the answer dies"),
        ),
        (
            "host",
            "bridge",
            bridge("prerouting"),
            "ether type arp drop",
            ("db web:80", "dies", "host", "bridge", "arp drop"),
        ),
        (
            "host",
            "bridge",
            bridge("prerouting"),
            "icmpv6 type nd-neighbor-solicit drop",
            ("db [fd00:1::2]:80", "dies", "host", "bridge", "drop"),
        ),
        (
            "host",
            "bridge",
            bridge("input"),
            "ip daddr 10.1.0.1 icmp type echo-request drop",
            ("web 10.1.0.1", "dies", "host", "bridge", "bridge odd c"),
        ),
        (
            "host",
            "bridge",
            bridge("output"),
            "tcp dport 80 drop",
            ("outside host:8080", "dies", "host", "bridge", "80"),
        ),
        (
            "host",
            "netdev",
            device("ingress", &db),
            "tcp dport 80 drop",
            ("db web:80", "dies", "host", "ingress", "netdev odd c"),
        ),
        (
            "host",
            "netdev",
            device("egress", &web),
            "tcp dport 80 drop",
            ("db web:80", "dies", "host", "egress", "netdev odd c"),
        ),
        (
            "web",
            "netdev",
            device("ingress", "eth0"),
            "tcp dport 80 drop",
            ("outside host:8080", "dies", "web", "ingress", "netdev odd c"),
        ),
        (
            "web",
            "inet",
            device("ingress", "eth0"),
            "tcp dport 80 drop",
            ("db web:80", "dies", "web", "ingress", "inet odd c"),
        ),
        (
            "host",
            "netdev",
            device("ingress", "eth0"),
            "ip saddr 192.0.2.2 icmp type echo-reply drop",
            ("web outside", "dies", "host", "ingress", "the answer dies"),
        ),
        (
            "web",
            "arp",
            bridge("input"),
            "arp operation request drop",
            ("db web:80", "dies", "web", "neighbour", "arp odd c"),
        ),
        (
            "web",
            "arp",
            bridge("output"),
            "arp operation reply drop",
            ("db web:80", "dies", "web", "neighbour", "arp odd c"),
        ),
        (
            "db",
            "arp",
            bridge("output"),
            "arp operation request drop",
            ("db web:80", "dies", "db", "neighbour", "arp odd c"),
        ),
        (
            "web",
            "inet",
            bridge("input"),
            "icmpv6 type nd-neighbor-solicit drop",
            ("db [fd00:1::2]:80", "dies", "web", "input", "drop"),
        ),
        (
            "web",
            "inet",
            bridge("input"),
            "ct state new tcp dport 80 drop",
            ("db web:80", "dies", "web", "input", "drop"),
        ),
        (
            "web",
            "inet",
            bridge("output"),
            "ct state established drop",
            ("db web:80", "dies", "web", "output", "the answer dies"),
        ),
        (
            "db",
            "inet",
            bridge("input"),
            "ct state != established drop",
            ("db web:80", "arrives", "web", "socket", "80/tcp"),
        ),
    ] {
        let (damage, mend) = table(netns, family, &chain, rule);
        broken(&lab, &damage, &mend, &[case]);
    }
}

#[test]
fn ports_of_a_bridge_are_judged() {
    let lab = host("nftables");
    let (web, db) = (port(&lab, "web"), port(&lab, "db"));
    let set = |port: &str, flags: &str| format!("ip link set {port} type bridge_slave {flags}");
    // The kernel itself ends the state of blocking at once where no spanning tree is spoken.
    let state = |port: &str, number: u8| format!("bridge link set dev {port} state {number}");
    for (number, word) in [(0, "disabled"), (1, "listening"), (2, "learning")] {
        for port in [&web, &db] {
            broken(
                &lab,
                &state(port, number),
                &state(port, 3),
                &[
                    ("db web:80", "dies", "host", "bridge", word),
                    ("db [fd00:1::2]:80", "dies", "host", "bridge", word),
                ],
            );
        }
        broken(
            &lab,
            &state(&web, number),
            &state(&web, 3),
            &[("outside host:8080", "dies", "host", "bridge", word)],
        );
    }
    let both = |flags: &str| format!("{}; {}", set(&web, flags), set(&db, flags));
    broken(
        &lab,
        &both("isolated on"),
        &both("isolated off"),
        &[
            ("db web:80", "dies", "host", "bridge", "isolated"),
            ("host web:80", "arrives", "web", "socket", "80/tcp"),
        ],
    );
    // db knows the MAC, and the bridge does not.
    let knows = "ip -n db neigh replace 10.1.0.2 lladdr $(ip netns exec web cat /sys/class/net/eth0/address) dev eth0 nud permanent";
    let forgotten = format!(
        "{knows}; {}; bridge fdb del $(ip netns exec web cat /sys/class/net/eth0/address) dev {web} master || true",
        set(&web, "learning off")
    );
    broken(
        &lab,
        &format!("{forgotten}; {}", set(&web, "flood off")),
        &set(&web, "flood on learning on"),
        &[("db web:80", "dies", "host", "bridge", "flood of port")],
    );
    broken(
        &lab,
        &forgotten,
        &format!("{}; ip -n db neigh del 10.1.0.2 dev eth0", set(&web, "learning on")),
        &[("db web:80", "arrives", "web", "socket", "80/tcp")],
    );
    let damage = format!("{FORGET}; {}", set(&web, "bcast_flood off"));
    broken(
        &lab,
        &damage,
        &set(&web, "bcast_flood on"),
        &[("db web:80", "dies", "host", "bridge", "bcast_flood")],
    );
}

#[test]
fn filters_of_tc_are_judged_or_named() {
    let lab = host("nftables");
    let (web, db) = (port(&lab, "web"), port(&lab, "db"));
    let filter = |link: &str, side: &str, filter: &str| {
        format!(
            "{FORGET}; tc qdisc add dev {link} clsact; tc filter add dev {link} {side} {filter}"
        )
    };
    let mend = |link: &str| format!("tc qdisc del dev {link} clsact");
    let drops = "protocol all bpf da bytecode '1,6 0 0 2,'";
    // TCP alone.
    let drops_tcp = "protocol ip bpf da bytecode '4,48 0 0 23,21 0 1 6,6 0 0 2,6 0 0 0,'";
    broken(
        &lab,
        &filter(&db, "ingress", drops),
        &mend(&db),
        &[
            ("db web:80", "dies", "host", "ingress", "tc filter"),
            ("web db", "dies", "host", "ingress", "tc filter"),
        ],
    );
    broken(
        &lab,
        &filter(&web, "egress", drops_tcp),
        &mend(&web),
        &[
            ("db web:80", "dies", "host", "egress", "tc filter"),
            ("db web", "arrives", "web", "socket", "echoes"),
        ],
    );
    broken(
        &lab,
        &filter(&web, "ingress", drops_tcp),
        &mend(&web),
        &[("db web:80", "dies", "host", "ingress", "the answer dies")],
    );
    // What is not judged is named, and a real packet tells.
    let is_open = |lab: &Lab, words: &str, what: &str, live: i32| {
        let told = lab.netcord(&format!("trace {words}")).exits(9).stdout;
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(what) && told.contains("as far as was judged"), "{told}");
        lab.netcord(&format!("trace --live {words}")).exits(live);
    };
    lab.sh(&filter(
        &db,
        "ingress",
        "protocol ip u32 match ip dport 80 0xffff action mirred egress redirect dev lo",
    ))
    .ok();
    is_open(&lab, "db web:80", &format!("tc filter (u32) at {db}"), 1);
    is_open(&lab, "db web", &format!("tc filter (u32) at {db}"), 0);
    lab.sh(&mend(&db)).ok();
    lab.sh(&format!("tc qdisc add dev {web} root tbf rate 8bit burst 10 limit 10")).ok();
    is_open(&lab, "db web:80", &format!("queue (tbf) at {web}"), 1);
    lab.sh(&format!("tc qdisc del dev {web} root")).ok();
    lab.sh("ebtables -A FORWARD -p IPv4 --ip-proto tcp --ip-dport 80 -j DROP").ok();
    is_open(&lab, "db web:80", "bridge filter FORWARD", 1);
    lab.sh("ebtables -F").ok();
    // Our own filter is known, and so is what it drops.
    lab.netcord("bridge lab3 --subnet 10.4.0.0/24 --no-spoof").ok();
    lab.netns(&["g1", "g2"]);
    lab.netcord("attach lab3 g1 g2").ok();
    ends(&lab, "g1 g2", "arrives", "g2", "socket", "echoes");
    lab.sh("ip -n g1 addr add 10.4.0.99/24 dev eth0; ip -n g1 route add 10.4.0.3 dev eth0 src 10.4.0.99; ip -n g1 neigh flush all").ok();
    ends(&lab, "g1 10.4.0.3", "dies", "host", "ingress", "tc filter");
}

#[test]
fn who_does_not_answer_for_an_address_is_named() {
    let lab = host("nftables");
    let inside = |netns: &str, key: &str, value: u8| {
        format!("ip netns exec {netns} sysctl -qw net.ipv4.conf.{key}={value}")
    };
    for (key, value) in [("eth0.arp_ignore", 8), ("all.arp_ignore", 8)] {
        let damage = format!("{FORGET}; {}", inside("web", key, value));
        broken(
            &lab,
            &damage,
            &inside("web", key, 0),
            &[
                (
                    "db web:80",
                    "dies",
                    "db",
                    "neighbour",
                    &format!("net.ipv4.conf.{key} is 8 in web"),
                ),
                ("db [fd00:1::2]:80", "arrives", "web", "socket", "80/tcp"),
            ],
        );
    }
    let other = "ip -n web addr add 10.1.0.50/32 dev lo";
    broken(&lab, other, "true", &[("db 10.1.0.50", "arrives", "web", "socket", "echoes")]);
    let damage = format!("{FORGET}; {}", inside("web", "eth0.arp_ignore", 1));
    broken(
        &lab,
        &damage,
        &inside("web", "eth0.arp_ignore", 0),
        &[
            ("db 10.1.0.50", "dies", "db", "neighbour", "arp_ignore is 1 in web"),
            ("db web:80", "arrives", "web", "socket", "80/tcp"),
        ],
    );
    for netns in ["web", "db"] {
        let damage = format!("{FORGET}; ip -n {netns} link set eth0 arp off");
        broken(
            &lab,
            &damage,
            &format!("ip -n {netns} link set eth0 arp on"),
            &[("db web:80", "dies", netns, "neighbour", "NOARP")],
        );
    }
    lab.sh("ip -n db route add 192.0.2.2 dev eth0").ok();
    broken(
        &lab,
        FORGET,
        "true",
        &[("db outside", "dies", "db", "neighbour", "nobody answers for 192.0.2.2")],
    );
    broken(
        &lab,
        &format!("{FORGET}; sysctl -qw net.ipv4.conf.lab0.proxy_arp=1"),
        "sysctl -qw net.ipv4.conf.lab0.proxy_arp=0",
        &[("db outside", "arrives", "outside", "socket", "echoes")],
    );
}

#[test]
fn a_router_answers_for_whom_it_was_told_to() {
    let lab = host("nftables");
    lab.sh("ip -n db route add 192.0.2.2 dev eth0; ip -n db route add 2001:db8::2 dev eth0").ok();
    let told = |switch: &str| format!("{FORGET}; sysctl -qw net.ipv6.conf.lab0.proxy_ndp={switch}");
    let named = |what: &str| {
        format!(
            "ip neigh {what} proxy 192.0.2.2 dev lab0; ip neigh {what} proxy 2001:db8::2 dev lab0"
        )
    };
    let silent = |to| ("dies", "db", "neighbour", to);
    // For neighbour discovery it takes both, for ARP a name is enough.
    for (damage, mend, [(o4, p4, s4, t4), (o6, p6, s6, t6)]) in [
        (
            told("1"),
            told("0"),
            [silent("nobody answers for 192.0.2.2"), silent("nobody answers for 2001:db8::2")],
        ),
        (
            format!("{FORGET}; {}", named("add")),
            named("del"),
            [("arrives", "outside", "socket", "echoes"), silent("nobody answers for 2001:db8::2")],
        ),
        (
            format!("{}; {}", told("1"), named("add")),
            format!("{}; {}", told("0"), named("del")),
            [("arrives", "outside", "socket", "echoes"); 2],
        ),
    ] {
        let cases = [("db 192.0.2.2", o4, p4, s4, t4), ("db 2001:db8::2", o6, p6, s6, t6)];
        broken(&lab, &damage, &mend, &cases);
    }
}

#[test]
fn an_answer_that_dies_is_a_no() {
    for firewall in FIREWALLS {
        let lab = host(firewall);
        broken(
            &lab,
            "ip rule add pref 100 from 10.1.0.0/24 unreachable",
            "ip rule del pref 100",
            &[
                (
                    "outside host:8080",
                    "dies",
                    "host",
                    "route",
                    "arrives, but the answer dies at route of host: 10.1.0.2",
                ),
                (
                    "outside host:8080",
                    "dies",
                    "host",
                    "route",
                    "ip rule 100: from 10.1.0.0/24 unreachable",
                ),
                (
                    "web outside",
                    "dies",
                    "host",
                    "route",
                    "ip rule 100: from 10.1.0.0/24 unreachable",
                ),
            ],
        );
        broken(
            &lab,
            "ip -n web rule add pref 100 from 10.1.0.2 prohibit",
            "ip -n web rule del pref 100",
            &[("db web:80", "dies", "web", "route", "prohibit")],
        );
        broken(
            &lab,
            "ip -n web route add blackhole 10.1.0.3/32",
            "ip -n web route del blackhole 10.1.0.3/32",
            &[("db web:80", "dies", "web", "route", "ip route blackhole 10.1.0.3/32")],
        );
        broken(
            &lab,
            "ip -6 -n web route add unreachable fd00:1::3/128",
            "ip -6 -n web route del unreachable fd00:1::3/128",
            &[("db [fd00:1::2]:80", "dies", "web", "route", "unreachable")],
        );
        broken(
            &lab,
            "ip -n web route del default",
            "ip -n web route add default via 10.1.0.1",
            &[
                ("outside host:8080", "dies", "web", "route", "no route leads there"),
                ("db web:80", "arrives", "web", "socket", "80/tcp"),
            ],
        );
    }
}

#[test]
fn routes_that_forbid_and_switches_are_called_by_their_names() {
    let lab = host("nftables");
    for word in ["blackhole", "unreachable", "prohibit"] {
        let (add, del) = (
            format!("ip route add {word} 198.51.100.0/24"),
            format!("ip route del {word} 198.51.100.0/24"),
        );
        let text = format!("ip route {word} 198.51.100.0/24");
        broken(
            &lab,
            &add,
            &del,
            &[
                ("web 198.51.100.1", "dies", "host", "route", text.as_str()),
                ("host 198.51.100.1", "dies", "host", "route", text.as_str()),
            ],
        );
        let add = format!("ip -6 route add {word} 2001:db8:5::/48");
        let del = format!("ip -6 route del {word} 2001:db8:5::/48");
        let text = format!("ip route {word} 2001:db8:5::/48");
        broken(&lab, &add, &del, &[("host 2001:db8:5::1", "dies", "host", "route", text.as_str())]);
    }
    broken(
        &lab,
        "sysctl -qw net.ipv4.conf.lab0.forwarding=0",
        "sysctl -qw net.ipv4.conf.lab0.forwarding=1",
        &[
            ("web outside", "dies", "host", "route", "net.ipv4.conf.lab0.forwarding is 0"),
            ("outside host:8080", "dies", "host", "route", "net.ipv4.conf.lab0.forwarding is 0"),
        ],
    );
    broken(
        &lab,
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qw net.ipv4.ip_forward=1",
        &[("web outside", "dies", "host", "route", "net.ipv4.ip_forward is 0")],
    );
}

#[test]
fn bridges_behind_bridges_are_followed() {
    let lab = host("nftables");
    lab.netns(&["mid", "leaf"]);
    lab.sh("ip link add up0 type veth peer name eth0 netns mid; ip link set up0 master lab0 up
            ip -n mid link add br0 type bridge forward_delay 0; ip -n mid link set br0 up
            ip -n mid link set eth0 master br0 up
            ip -n mid link add d0 type veth peer name eth0 netns leaf; ip -n mid link set d0 master br0 up
            ip -n leaf addr add 10.1.0.77/24 dev eth0; ip -n leaf link set eth0 up; ip -n leaf link set lo up").ok();
    ends(&lab, "db 10.1.0.77", "arrives", "leaf", "socket", "echoes");
    ends(&lab, "leaf web:80", "arrives", "web", "socket", "80/tcp");
    broken(
        &lab,
        "bridge -n mid link set dev d0 state 2",
        "bridge -n mid link set dev d0 state 3",
        &[
            ("leaf web:80", "dies", "mid", "bridge", "learning"),
            ("db 10.1.0.77", "dies", "mid", "bridge", "learning"),
        ],
    );
}

#[test]
fn somebody_elses_packet_is_waited_for() {
    for firewall in FIREWALLS {
        let lab = host(firewall);
        let mut waiting = lab
            .command(NETCORD)
            .args(["trace", "--live", "--wait", "192.0.2.2", "host:8080"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        lab.until("nft list tables | grep -q netcord-trace");
        assert_eq!(lab.fetch("outside", "http://192.0.2.1:8080").ok(), "web");
        let mut told = String::new();
        std::io::Read::read_to_string(&mut waiting.stdout.take().unwrap(), &mut told).unwrap();
        assert!(waiting.wait().unwrap().success());
        assert!(
            told.contains("comes from outside by eth0") && told.contains("arrives: web"),
            "{told}"
        );
    }
    let lab = host("nftables");
    lab.netcord("trace --live 192.0.2.9 host:8080").fails(2, &["--wait"]);
    lab.netcord("trace --live --wait --timeout 1 192.0.2.2 host:8080")
        .fails(7, &["no such packet"]);
}

#[test]
fn nothing_stays_of_one_that_is_killed() {
    for signal in ["INT", "TERM", "KILL"] {
        let lab = host("nftables");
        let mut waiting =
            lab.start(&format!("exec {NETCORD} trace --live --wait outside host:8080"));
        lab.until("nft list tables | grep -q netcord-trace");
        lab.sh(&format!("kill -{signal} $(pidof -x netcord)")).ok();
        lab.until("! nft list tables | grep -q netcord-trace");
        lab.until("! ip netns exec outside nft list tables | grep -q netcord-trace");
        assert!(!waiting.wait().unwrap().success(), "{signal}");
    }
}

#[test]
fn other_links_than_veths_are_followed() {
    let lab = host("nftables");
    lab.netns(&["m1", "m2"]);
    lab.netcord("macvlan lan0 --parent eth0 --ip-range 192.0.2.64/27").ok();
    lab.netcord("attach lan0 m1").ok();
    lab.netcord("attach lan0 m2").ok();
    ends(&lab, "m1 m2", "arrives", "m2", "socket", "answers echoes");
    ends(&lab, "m1 outside", "arrives", "outside", "socket", "answers echoes");
    ends(&lab, "m1 192.0.2.1", "dies", "m1", "neighbour", "eth0 itself");
    // A namespace that nobody can find.
    lab.sh("ip netns add far; ip link add gone type veth peer name there netns far
            ip link set gone up; ip -n far link set there up; ip route add 198.51.100.0/24 dev gone
            touch /run/hidden; mount --bind /run/netns/far /run/hidden; ip netns del far")
        .ok();
    ends(&lab, "web 198.51.100.9:53/udp", "leaves", "host", "link", "by gone");
}

#[test]
fn who_is_not_there_is_told() {
    let lab = host("nftables");
    lab.netcord("trace web nosuch:80").fails(3, &["nosuch"]);
    lab.netcord("trace nosuch web").fails(3, &["nosuch"]);
    lab.netcord("trace web db:0").fails(2, &["port"]);
    lab.netcord("trace 192.0.2.9 [fd00:1::2]:80").fails(2, &["IP version"]);
    lab.netns(&["bare"]);
    lab.netcord("trace web bare").fails(3, &["no address", "netcord attach"]);
}

#[test]
fn the_lines_fit_a_terminal() {
    let lab = host("nftables");
    let told = lab.netcord("trace web outside").ok();
    assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
    assert!(told.ends_with("arrives: outside answers echoes to 192.0.2.2"), "{told}");
    assert!(
        told.starts_with("web      route        10.1.0.2 -> 192.0.2.2 by eth0 via 10.1.0.1\n"),
        "{told}"
    );
}
