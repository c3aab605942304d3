//! The way of a packet: what is worked out is what a real packet does.

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
        let good = ["arrives", "leaves"].contains(&way["verdict"]["outcome"].as_str().unwrap());
        assert_eq!(run.code, i32::from(!good), "{words}");
        way
    };
    let (worked_out, live) = (run(""), run("--live "));
    assert_eq!(worked_out["live"], false);
    assert_eq!(live["live"], true);
    assert_eq!(worked_out["verdict"], live["verdict"], "{words}:\n{worked_out:#}\n{live:#}");
    // The same rules too, wherever a packet got.
    let met = |way: &Value| -> Vec<(String, String)> {
        let hops = way["hops"].as_array().unwrap().iter();
        hops.flat_map(|hop| hop["rules"].as_array().unwrap())
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
    let run = lab.netcord("trace db web:80").exits(0);
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
