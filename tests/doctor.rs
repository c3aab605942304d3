//! `doctor`: each test breaks one thing, and it is that one that is named, with its evidence, and
//! mended by the command that is printed. On a healthy host there is silence.

use std::{fs, path::Path};

use crate::support::{FIREWALLS, Lab, NETCORD};

/// A host with a neighbour and two namespaces, whose resolver is the neighbour, whatever the
/// machine's own is.
fn bare() -> Lab {
    prepared(Lab::new())
}

fn prepared(lab: Lab) -> Lab {
    lab.neighbour("outside").netns(&["web", "db"]);
    lab.sh("mkdir /run/etc && cp -r /etc/. /run/etc 2>/dev/null || true
            rm -f /run/etc/resolv.conf && echo nameserver 192.0.2.2 >/run/etc/resolv.conf
            mount --bind /run/etc /etc")
        .ok();
    lab
}

/// The same with a network that `web`, a server with a published port, and `db` are on.
fn host() -> Lab {
    networked(bare())
}

fn networked(lab: Lab) -> Lab {
    lab.netcord("bridge lab0 --subnet 10.1.0.0/24 --subnet fd00:1::/64").ok();
    lab.netcord("attach lab0 web -p 8080:80").ok();
    lab.netcord("attach lab0 db").ok();
    lab.serve("web", 80);
    lab
}

/// Nothing is found, and nothing said.
#[track_caller]
fn is_silent(lab: &Lab, about: &str) {
    let run = lab.netcord(&format!("doctor {about}"));
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
    run.ok();
}

/// This is found, and nothing else, with all of these words as evidence. Returns the commands that
/// mend it.
#[track_caller]
fn finds(lab: &Lab, about: &str, id: &str, evidence: &[&str]) -> Vec<String> {
    let run = lab.netcord(&format!("--format json doctor {about}")).exits(1);
    assert_eq!(run.stderr, "");
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.iter().all(|finding| finding["id"] == id), "{findings:#?}");
    let said: Vec<_> = findings
        .iter()
        .flat_map(|finding| finding["evidence"].as_array().unwrap())
        .map(|evidence| evidence.as_str().unwrap())
        .collect();
    for words in evidence {
        assert!(said.iter().any(|said| said.contains(words)), "`{words}` in {said:#?}");
    }
    findings.iter().filter_map(|f| f["command"].as_str().map(str::to_owned)).collect()
}

/// Runs what was printed, as it is.
#[track_caller]
fn run(lab: &Lab, commands: &[String]) {
    let bin = Path::new(NETCORD).parent().unwrap().display();
    assert!(!commands.is_empty(), "there is a command");
    for command in commands {
        lab.sh(&format!("PATH={bin}:$PATH\n{command}")).ok();
    }
}

/// A healthy host is broken by a script; that is found, and mended by the command that is printed.
#[track_caller]
fn names(lab: &Lab, id: &str, breaks: &str, evidence: &[&str]) {
    is_silent(lab, "");
    lab.sh(breaks).ok();
    let commands = finds(lab, "", id, evidence);
    run(lab, &commands);
    is_silent(lab, "");
}

#[test]
fn a_healthy_host_is_silent() {
    is_silent(&Lab::new(), "");
    for firewall in FIREWALLS {
        let lab = networked(prepared(Lab::with_firewall(firewall)));
        lab.netns(&["inner", "shy", "guest", "far"]);
        lab.sh("ip link add br0 type bridge && ip addr add 172.30.0.1/24 dev br0
                ip link set br0 up && ip link add d0 type veth peer name d1 && ip link set d0 up
                ip link set d1 up && ip addr add 198.51.100.1/24 dev d0")
            .ok();
        lab.netcord("bridge back --internal").ok();
        lab.netcord("bridge quiet --isolate --no-spoof").ok();
        lab.netcord("bridge plain --no-masquerade --mtu 1400").ok();
        lab.netcord("macvlan lan0 --parent d0 --ip-range 198.51.100.64/27").ok();
        lab.netcord("attach back inner web").ok();
        lab.netcord("attach quiet shy").ok();
        lab.netcord("attach plain shy --gateway none").ok();
        lab.netcord("attach br0 guest").ok();
        lab.netcord("attach lan0 far").ok();
        for about in ["", "lab0", "web", "shy", "br0", "guest", "far", "lan0", "back", "outside"] {
            is_silent(&lab, about);
        }
        lab.sh("iptables -S >/dev/null; ip6tables -S >/dev/null").ok();
        is_silent(&lab, "");
    }
}

#[test]
fn a_healthy_underlay_is_silent() {
    let lab = bare();
    lab.netcord("underlay mydr0 --parent eth0 --ip-range 192.0.2.64/27 --takeover --no-confirm")
        .ok();
    lab.netcord("attach mydr0 web").ok();
    is_silent(&lab, "");
    names(&lab, "link-down", "ip link set eth0 down", &["eth0: state DOWN"]);
}

#[test]
fn what_was_looked_at_is_told_to_who_asks() {
    let lab = host();
    let run = lab.netcord("-v doctor");
    assert!(run.stderr.starts_with("checked: ") && run.stderr.contains("rp-filter"), "{run:?}");
    run.ok();
    lab.sh("ip link set lab0 down").ok();
    let text = lab.netcord("doctor web").exits(1).stdout;
    assert!(text.starts_with("error: lab0: `lab0` is down  [link-down]\n"), "{text}");
    assert!(
        text.contains("\n    lab0: state DOWN mtu 1500\n    $ netcord bridge lab0\n"),
        "{text}"
    );
    let line = lab.netcord("--format jsonl doctor").exits(1).stdout;
    let finding: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&finding["where"], &finding["severity"]), (&"lab0".into(), &"error".into()));
    lab.netcord("doctor wbe").fails(3, &["no target `wbe`", "did you mean `web`?"]);
}

#[test]
fn what_may_not_be_looked_at_is_said() {
    let lab = host();
    let bin = NETCORD;
    // Without any privilege, in the same namespaces.
    let run = lab.sh(&format!("setpriv --bounding-set=-all --inh-caps=-all {bin} doctor 2>&1"));
    assert!(run.stdout.contains("not looked at: "), "{run:?}");
    assert!(run.stdout.contains("the rules of the firewall"), "{run:?}");
    assert!(run.stdout.contains("may not be entered"), "{run:?}");
    assert!(!run.stdout.contains("error:"), "{run:?}");
    // It found nothing, and may not say that there is nothing.
    run.exits(5);
}

#[test]
fn links_that_are_down() {
    let lab = host();
    names(&lab, "link-down", "ip link set lab0 down", &["lab0: state DOWN"]);
    names(&lab, "link-down", "ip -n web link set eth0 down", &["eth0: state DOWN"]);
    let outer = "ip -o link show master lab0 | sed -n '1s/^[0-9]*: \\([^@]*\\)@.*/\\1/p'";
    names(&lab, "link-down", &format!("ip link set $({outer}) down"), &["state DOWN"]);
    let taken_out = format!("ip link set $({outer}) nomaster");
    names(&lab, "not-in-bridge", &taken_out, &["no master"]);
    names(&lab, "loopback-down", "ip -n web link set lo down", &["lo: state DOWN"]);
}

#[test]
fn a_bridge_that_is_gone() {
    let lab = host();
    names(&lab, "bridge-missing", "ip link del lab0", &["Device \"lab0\" does not exist."]);
}

#[test]
fn a_wire_that_is_not_plugged_in() {
    let lab = host();
    lab.sh("ip -n outside link set wire down").ok();
    assert!(finds(&lab, "", "no-carrier", &["eth0: <NO-CARRIER,UP>"]).is_empty());
    lab.sh("ip -n outside link set wire up").ok();
    lab.until("ip link show eth0 | grep -q LOWER_UP");
    is_silent(&lab, "");
}

#[test]
fn a_full_bridge() {
    let lab = bare();
    lab.netcord("bridge lab7").ok();
    lab.sh("for n in $(seq 1023); do
                echo link add f$n master lab7 type veth peer name g$n
            done | ip -batch -")
        .ok();
    let commands = finds(&lab, "", "bridge-full", &["1023 ports"]);
    assert_eq!(commands, ["netcord bridge lab8"]);
    run(&lab, &commands);
    lab.sh("ip link del f1").ok();
    is_silent(&lab, "");
}

#[test]
fn macs_that_two_have_and_macs_that_changed() {
    let lab = host();
    let of = |netns: &str| {
        format!(
            "$(ip netns exec {netns} cat /proc/self/net/dev >/dev/null; ip -n {netns} -o link show eth0 | sed 's/.*ether \\([^ ]*\\).*/\\1/')"
        )
    };
    let twice = format!("ip -n db link set eth0 address {}", of("web"));
    names(&lab, "mac-duplicate", &twice, &["dev eth0 in web", "dev eth0 in db"]);
    let other = "ip -n db link set eth0 address 02:00:00:00:00:09";
    names(&lab, "mac-changed", other, &["02:00:00:00:00:09 dev eth0"]);
    let bridge = "ip link set lab0 address 02:00:00:00:00:0a
        mkdir -p /run/udev/data
        echo E:ID_NET_LINK_FILE=/usr/lib/systemd/network/99-default.link \
            >/run/udev/data/n$(cat /sys/class/net/lab0/ifindex)";
    names(&lab, "mac-changed", bridge, &["02:00:00:00:00:0a dev lab0", "99-default.link"]);
}

#[test]
fn mtus_that_do_not_fit() {
    let lab = host();
    names(&lab, "mtu-mismatch", "ip -n web link set eth0 mtu 1400", &["eth0 mtu 1400 in web"]);
    let way_out = "ip link set eth0 mtu 1400; ip -n outside link set wire mtu 1400";
    names(&lab, "mtu-mismatch", way_out, &["eth0 mtu 1400", "lab0 mtu 1500"]);
    assert!(lab.netcord("inspect lab0").ok().contains("\"mtu\": 1400"));
    assert_eq!(lab.netcord("port web").ok().lines().count(), 2, "its port is published again");
}

#[test]
fn addresses_that_are_gone_or_that_two_have() {
    let lab = host();
    let gone = "ip -n web addr del 10.1.0.2/24 dev eth0; ip -n web route add default via 10.1.0.1 dev eth0 onlink";
    names(&lab, "address-missing", gone, &["addresses of eth0: fd00:1::2/64"]);
    let gateway = "ip addr del 10.1.0.1/24 dev lab0";
    names(&lab, "address-missing", gateway, &["addresses of lab0: fd00:1::1/64"]);
    let twice = "ip -n db addr add 10.1.0.2/24 dev eth0";
    names(&lab, "address-clash", twice, &["dev eth0 in web", "dev eth0 in db"]);
    let route = "ip route add 10.1.0.128/25 via 192.0.2.2 dev eth0";
    names(&lab, "address-clash", route, &["10.1.0.128/25 via 192.0.2.2 dev eth0"]);
    let elsewhere = "ip addr add 10.1.0.200/24 dev eth0";
    names(&lab, "address-clash", elsewhere, &["10.1.0.200/24 dev eth0"]);
    let ps = lab.netcord("ps").ok();
    assert!(!ps.contains("10.1.0."), "the network has moved: {ps}");
}

#[test]
fn default_routes_that_are_gone_or_lead_to_nobody() {
    let lab = host();
    names(&lab, "default-route", "ip -n web route del default", &["routes inside: 10.1.0.0/24"]);
    let nobody = "ip -n web route replace default via 10.1.0.99 dev eth0";
    names(&lab, "default-route", nobody, &["default via 10.1.0.99 dev eth0"]);
}

#[test]
fn a_strict_reverse_path_filter() {
    let lab = host();
    lab.netcord("bridge side0 --subnet 10.2.0.0/24").ok();
    lab.netcord("attach side0 web -p 8081:81").ok();
    lab.serve("web", 81);
    let strict = "ip netns exec web sysctl -qw net.ipv4.conf.eth1.rp_filter=1";
    names(&lab, "rp-filter", strict, &["net.ipv4.conf.eth1.rp_filter = 1", "default dev eth0"]);
    let all =
        "ip netns exec web sysctl -qw net.ipv4.conf.eth1.rp_filter=0 net.ipv4.conf.all.rp_filter=1";
    names(&lab, "rp-filter", all, &["net.ipv4.conf.all.rp_filter = 1"]);
}

#[test]
fn forwarding_that_is_off() {
    let lab = host();
    let ipv4 = "sysctl -qw net.ipv4.ip_forward=0";
    names(&lab, "forwarding-off", ipv4, &["net.ipv4.ip_forward = 0"]);
    let ipv6 = "sysctl -qw net.ipv6.conf.all.forwarding=0";
    names(&lab, "forwarding-off", ipv6, &["net.ipv6.conf.all.forwarding = 0"]);
}

#[test]
fn a_forward_policy_that_drops() {
    let lab = networked(prepared(Lab::with_firewall("nftables")));
    let policy = "iptables -P FORWARD DROP";
    names(&lab, "forward-drop", policy, &["-P FORWARD DROP"]);
    let last = "iptables -P FORWARD ACCEPT; ip6tables -A FORWARD -j REJECT";
    names(&lab, "forward-drop", last, &["-A FORWARD -j REJECT"]);

    // Where our rules are iptables', a policy does no harm, and a rule that drops everything does.
    let lab = networked(prepared(Lab::with_firewall("iptables")));
    lab.sh(policy).ok();
    is_silent(&lab, "");
    names(&lab, "forward-drop", "iptables -I FORWARD -j DROP", &["-A FORWARD -j DROP"]);
}

#[test]
fn who_drops_is_told_by_their_chains() {
    for (chains, owner) in [
        ("iptables -N DOCKER-USER; iptables -A FORWARD -j DOCKER-USER", "docker's firewall"),
        ("iptables -N ufw-before-forward; iptables -A FORWARD -j ufw-before-forward", "ufw"),
        ("true", "another program's firewall"),
    ] {
        let lab = networked(prepared(Lab::with_firewall("nftables")));
        is_silent(&lab, "");
        lab.sh(&format!("{chains}; iptables -P FORWARD DROP")).ok();
        let said = lab.netcord("doctor lab0").exits(1).stdout;
        assert!(said.contains(&format!("{owner} drops packets from `lab0`")), "{said}");
        let commands = finds(&lab, "lab0", "forward-drop", &["-P FORWARD DROP"]);
        run(&lab, &commands);
        is_silent(&lab, "");
    }
}

#[test]
fn a_chain_of_nftables_that_drops() {
    let lab = host();
    let chain = "nft add table inet corp
        nft 'add chain inet corp pass { type filter hook forward priority 0; policy drop; }'";
    names(&lab, "forward-drop", chain, &["chain inet corp pass { policy drop; }"]);
    let set = "nft flush chain inet corp pass
        nft 'add set inet corp links { type ifname; elements = { eth7 }; }'
        nft 'add rule inet corp pass iifname @links accept comment \"not lab0\"'";
    names(&lab, "forward-drop", set, &["no rule names `lab0`"]);
    lab.sh("nft flush chain inet corp pass
            nft 'add rule inet corp pass iifname { lab0, eth7 } accept'")
        .ok();
    // It names the link, and forgets the answers.
    finds(&lab, "", "path-broken", &["but the answer dies at FORWARD of host: inet corp pass"]);
    lab.sh("nft 'add rule inet corp pass oifname { lab0, eth7 } accept'").ok();
    is_silent(&lab, "");
    let bridge = "nft add table bridge corp
        nft 'add chain bridge corp cross { type filter hook forward priority 0; policy drop; }'";
    lab.sh(bridge).ok();
    let commands = finds(&lab, "", "bridge-netfilter", &["chain bridge corp cross"]);
    // Not every kernel has `ibrname` (nft_meta_bridge): it is not run here.
    assert_eq!(commands, ["nft insert rule bridge corp cross meta ibrname lab0 accept"]);
}

#[test]
fn firewalld_that_was_not_told_of_a_network() {
    let lab = host();
    is_silent(&lab, "");
    lab.start_firewalld("nftables");
    let commands = finds(&lab, "", "forward-drop", &["no zone has `lab0`"]);
    run(&lab, &commands);
    is_silent(&lab, "");
}

#[test]
fn a_foreign_bridge_and_what_drops_there() {
    let lab = bare();
    lab.sh("ip link add br0 type bridge && ip addr add 172.30.0.1/24 dev br0 && ip link set br0 up
            sysctl -qw net.ipv4.ip_forward=1")
        .ok();
    lab.netcord("attach br0 web").ok();
    names(&lab, "forward-drop", "iptables -P FORWARD DROP", &["-P FORWARD DROP"]);
}

#[test]
fn bridged_frames_that_meet_a_firewall() {
    for firewall in FIREWALLS {
        let lab = prepared(Lab::with_firewall(firewall));
        lab.netcord("bridge back --internal --subnet 10.3.0.0/24").ok();
        lab.netcord("attach back web db").ok();
        let bridged = "echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
            iptables -I FORWARD -j DROP";
        let evidence = ["net.bridge.bridge-nf-call-iptables = 1", "-A FORWARD -j DROP"];
        names(&lab, "bridge-netfilter", bridged, &evidence);
        lab.sh("ip netns exec web ping -qc1 -W3 10.3.0.3").ok();
    }
}

#[test]
fn rules_that_are_gone() {
    for (firewall, masquerade, all) in [
        ("nftables", "nft flush chain inet netcord nat-lab0", "nft flush ruleset"),
        (
            "iptables",
            "iptables -t nat -S NETCORD-POSTROUTING | grep MASQ | sed 's/^-A/iptables -t nat -D/' | sh",
            "iptables -F FORWARD",
        ),
    ] {
        let lab = prepared(Lab::with_firewall(firewall));
        lab.netcord("bridge lab0 --subnet 10.1.0.0/24").ok();
        lab.netcord("attach lab0 web").ok();
        names(&lab, "masquerade-missing", masquerade, &["not there: "]);
        names(&lab, "rules-missing", all, &["not there: "]);
    }
}

#[test]
fn rules_of_iptables_that_say_something_else_than_their_comment() {
    let lab = networked(prepared(Lab::with_firewall("iptables")));
    is_silent(&lab, "");
    let accept = "iptables -R NETCORD-ISOLATE 1 -m comment --comment \
                  'netcord:lab0 unpublished 10.1.0.0/24' -j ACCEPT";
    names(&lab, "rules-missing", accept, &["changed: iptables -t filter -A NETCORD-ISOLATE"]);
    let masquerade = "ip6tables -t nat -R NETCORD-POSTROUTING 3 -s fd00:9::/64 ! -o lab0 -m comment \
                      --comment 'netcord:lab0 masquerade fd00:1::/64' -j MASQUERADE";
    names(&lab, "masquerade-missing", masquerade, &["changed: ip6tables -t nat", "fd00:9::/64"]);
    let elsewhere = "iptables -t nat -R NETCORD-DNAT 1 -p tcp --dport 8080 -m comment --comment \
                     'netcord:lab0/web publish 0.0.0.0:8080 -> 10.1.0.2:80/tcp' -j DNAT \
                     --to-destination 10.1.0.9:80";
    names(&lab, "port-missing", elsewhere, &["changed: ", "10.1.0.9:80"]);
    // What another program changed can be taken away all the same.
    lab.sh(elsewhere).ok();
    lab.sh(accept).ok();
    lab.netcord("unpublish web 8080").ok();
    lab.netcord("detach lab0 web db").ok();
    lab.netcord("rm lab0").ok();
    lab.sh("! iptables-save | grep -i netcord").ok();
}

#[test]
fn connection_tracking_that_is_full() {
    let lab = host();
    is_silent(&lab, "");
    // The limit is the machine's, and no namespace may set it: a file stands in for it.
    lab.sh("ip netns exec web ping -qc1 -W3 192.0.2.2
            echo 1 >/run/max && mount --bind /run/max /proc/sys/net/netfilter/nf_conntrack_max")
        .ok();
    let commands = finds(&lab, "", "conntrack-full", &["nf_conntrack_max = 1"]);
    lab.sh("echo 262144 >/run/max").ok();
    is_silent(&lab, "");
    assert!(commands[0].starts_with("sysctl -w net.netfilter.nf_conntrack_max="), "{commands:?}");
}

#[test]
fn published_ports_without_a_rule() {
    for (firewall, breaks) in [
        ("nftables", "nft flush map inet netcord ports4; nft flush map inet netcord ports6"),
        ("iptables", "iptables -t nat -F NETCORD-DNAT"),
    ] {
        let lab = networked(prepared(Lab::with_firewall(firewall)));
        names(&lab, "port-missing", breaks, &["not in ", "0.0.0.0:8080 -> 10.1.0.2:80/tcp"]);
        assert_eq!(lab.fetch("outside", "http://192.0.2.1:8080").ok(), "web");
    }
}

#[test]
fn published_ports_that_another_rule_takes() {
    for firewall in FIREWALLS {
        let lab = networked(prepared(Lab::with_firewall(firewall)));
        let rule = "-p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.1.0.3:80";
        let shadow = format!("iptables -t nat -I PREROUTING {rule}");
        names(&lab, "port-shadowed", &shadow, &[&format!("-A PREROUTING {rule}")]);
        assert_eq!(lab.fetch("outside", "http://192.0.2.1:8080").ok(), "web");
        let docker = format!(
            "iptables -t nat -N DOCKER; iptables -t nat -I PREROUTING -j DOCKER
             iptables -t nat -A DOCKER {rule}"
        );
        names(&lab, "port-shadowed", &docker, &[&format!("-A DOCKER {rule}")]);
    }
    let lab = networked(prepared(Lab::with_firewall("nftables")));
    let chain = "nft add table ip corp
        nft 'add chain ip corp in { type nat hook prerouting priority dstnat; }'
        nft 'add chain ip corp out { type nat hook output priority -100; }'
        nft 'add rule ip corp out tcp dport 8081 dnat to 10.1.0.3:80'
        nft 'add rule ip corp in udp dport 8080 dnat to 10.1.0.3:80'
        nft 'add rule ip corp in tcp dport 8081 dnat to 10.1.0.3:80'";
    lab.sh(chain).ok();
    for rule in ["tcp dport 8080 dnat to 10.1.0.3:80", "tcp dport 8000-9000 redirect to :81"] {
        let shadow = format!("nft 'add rule ip corp in {rule}'");
        names(&lab, "port-shadowed", &shadow, &["rule ip corp in handle "]);
        assert_eq!(lab.fetch("outside", "http://192.0.2.1:8080").ok(), "web");
    }
    // What the host itself sends is shown as a path.
    lab.sh("nft 'add rule ip corp out tcp dport 8080 dnat to 10.1.0.3:80'").ok();
    finds(&lab, "", "path-broken", &["refused by db: nobody listens on 80/tcp"]);
}

#[test]
fn a_program_that_listens_to_a_published_port() {
    let lab = host();
    let listens = "busybox httpd -p 8080 -h /run";
    names(&lab, "port-listener", listens, &["listening: ", ":8080/tcp"]);
}

#[test]
fn names_that_lead_nowhere() {
    let lab = host();
    let dangling = "ln -s /proc/999999/ns/net /run/netns/ghost";
    names(&lab, "name-dangling", dangling, &["/run/netns/ghost -> /proc/999999/ns/net"]);
    names(&lab, "name-dangling", "touch /run/netns/husk", &["/run/netns/husk: nothing is mounted"]);
    let pid = lab.null_mode_process();
    lab.netcord(&format!("none app --of {pid}")).ok();
    is_silent(&lab, "");
    lab.sh(&format!("kill {pid}")).ok();
    lab.until("! readlink -e /run/netns/app");
    run(&lab, &finds(&lab, "", "name-dangling", &[&format!("/run/netns/app -> /proc/{pid}")]));
    is_silent(&lab, "");
}

#[test]
fn an_endpoint_that_died() {
    let lab = host();
    is_silent(&lab, "");
    lab.sh("ip netns del db").ok();
    lab.until("[ $(ip -o link show master lab0 | wc -l) = 1 ]");
    let commands = finds(&lab, "", "endpoint-dead", &["does not exist."]);
    assert_eq!(finds(&lab, "db", "endpoint-dead", &[]), commands);
    run(&lab, &commands);
    is_silent(&lab, "");
}

#[test]
fn a_resolver_on_a_loopback_where_nobody_answers() {
    let lab = host();
    is_silent(&lab, "");
    lab.sh("echo nameserver 127.0.0.53 >/etc/resolv.conf").ok();
    // The host names no other server, and netcord does not choose somebody's.
    let evidence = ["/etc/resolv.conf: nameserver 127.0.0.53"];
    let commands = finds(&lab, "", "resolver-loopback", &evidence);
    for command in &commands {
        assert!(lab.sh(command).exits(2).stderr.contains("SERVER: set it to"), "{command}");
        lab.sh(&format!("SERVER=192.0.2.7\n{command}")).ok();
    }
    assert_eq!(lab.sh("ip netns exec web cat /etc/resolv.conf").ok(), "nameserver 192.0.2.7");
    is_silent(&lab, "");
    // Of a process that has no name in /run/netns.
    let pid = lab.null_mode_process();
    lab.netcord(&format!("attach lab0 {pid}")).ok();
    let commands = finds(&lab, "", "resolver-loopback", &evidence);
    assert!(lab.sh(&commands[0]).exits(2).stderr.contains("SERVER: set it to"), "{commands:?}");
    lab.sh(&format!("SERVER=192.0.2.8\n{} </dev/null", commands[0])).ok();
    assert_eq!(lab.sh("cat /run/resolv.conf.netcord").ok(), "nameserver 192.0.2.8");
    lab.sh(&format!("kill -9 {pid}")).ok();
    lab.until("[ $(ip -o link show master lab0 | wc -l) = 2 ]");
    lab.netcord("prune").ok();
    lab.sh("rm -r /etc/netns; mkdir -p /run/systemd/resolve
            echo nameserver 192.0.2.2 >/run/systemd/resolve/resolv.conf")
        .ok();
    run(&lab, &finds(&lab, "", "resolver-loopback", &["127.0.0.53"]));
    assert_eq!(lab.sh("ip netns exec web cat /etc/resolv.conf").ok(), "nameserver 192.0.2.2");
    is_silent(&lab, "");
}

#[test]
fn links_that_another_program_manages() {
    let lab = host();
    let manager = "mkdir -p /run/NetworkManager/devices
        printf '[device]\\nmanaged=true\\n' >/run/NetworkManager/devices/$(cat /sys/class/net/lab0/ifindex)";
    lab.sh(manager).ok();
    let commands = finds(&lab, "", "managed-elsewhere", &["managed=true"]);
    assert_eq!(commands, ["nmcli device set lab0 managed no"]);
    lab.sh("rm -r /run/NetworkManager").ok();
    is_silent(&lab, "");
    let networkd = "mkdir -p /run/systemd/netif/links
        printf 'ADMIN_STATE=configured\\nNETWORK_FILE=/etc/systemd/network/all.network\\n' \
            >/run/systemd/netif/links/$(cat /sys/class/net/lab0/ifindex)";
    lab.sh(networkd).ok();
    let commands = finds(&lab, "", "managed-elsewhere", &["ADMIN_STATE=configured", "all.network"]);
    assert!(commands[0].contains("Unmanaged=yes"), "{commands:?}");
}

#[test]
fn a_target_that_netcord_did_not_attach() {
    let lab = bare();
    lab.netcord("bridge lab0 --subnet 10.1.0.0/24").ok();
    let bare_target = finds(&lab, "web", "not-attached", &["links inside: lo"]);
    assert_eq!(bare_target, ["netcord attach lab0 web"]);
    let pid = lab.null_mode_process();
    lab.sh(&format!(
        "ip link add h0 master lab0 type veth peer name eth0 netns /proc/{pid}/ns/net
         ip link set h0 up; in='nsenter --net=/proc/{pid}/ns/net ip'
         $in link set lo up; $in link set eth0 up; $in addr add 10.1.0.9/24 dev eth0
         $in route add default via 10.1.0.1"
    ))
    .ok();
    is_silent(&lab, &pid.to_string());
    let within = format!("nsenter --net=/proc/{pid}/ns/net ip");
    for (breaks, id) in [
        ("route del default", "default-route"),
        ("link set eth0 mtu 1300", "mtu-mismatch"),
        ("link set lo down", "loopback-down"),
    ] {
        lab.sh(&format!("{within} {breaks}")).ok();
        for about in [pid.to_string(), "lab0".to_owned()] {
            let commands = finds(&lab, &about, id, &[]);
            if about == "lab0" {
                run(&lab, &commands);
            }
        }
        is_silent(&lab, &pid.to_string());
    }
    // It is nobody's whom netcord answers for, unless somebody asks.
    lab.sh(&format!("{within} route del default")).ok();
    is_silent(&lab, "");
}

#[test]
fn forwarding_that_is_off_for_one_link() {
    for firewall in FIREWALLS {
        let lab = prepared(Lab::with_firewall(firewall));
        lab.netcord("bridge lab0 --subnet 10.1.0.0/24 --subnet fd00:1::/64").ok();
        lab.netcord("attach lab0 web").ok();
        let call = "ip netns exec web ping -qc1 -W1 192.0.2.2";
        lab.sh(call).ok();
        for (key, dies) in [
            ("net.ipv4.conf.lab0.forwarding", true),
            ("net.ipv4.conf.eth0.forwarding", true),
            ("net.ipv6.conf.lab0.forwarding", false),
        ] {
            let off = format!("sysctl -qw {key}=0");
            names(&lab, "forwarding-off", &off, &[&format!("{key} = 0")]);
            for mends in ["repair", "bridge lab0"] {
                lab.sh(&off).ok();
                lab.sh(call).exits(i32::from(dies));
                let told = lab.netcord("repair --check").exits(1).stdout;
                assert!(told.contains(&key.replace('.', "/")), "{told}");
                lab.netcord(mends).ok();
                lab.sh(call).ok();
                assert_eq!(lab.netcord("repair --check").ok(), "", "{mends}: {key}");
            }
        }
        // A link is born as `default` says.
        lab.sh("sysctl -qw net.ipv4.conf.default.forwarding=0").ok();
        lab.netcord("bridge lab1 --subnet 10.2.0.0/24").ok();
        assert_eq!(lab.sh("sysctl -n net.ipv4.conf.lab1.forwarding").ok(), "1");
    }
}

/// More sockets than one answer of the kernel holds, of each kind that a server may have.
const MANY_SERVERS: &str = "exec ip netns exec web perl -MIO::Socket::IP -e '
    for my $port (20001 .. 20300) {
        for my $kind ([\"udp\"], [\"tcp\", Listen => 1]) {
            my ($proto, @listen) = @$kind;
            my $where = (\"0.0.0.0\", \"::\", \"10.1.0.2\")[$port % 3];
            push @all, IO::Socket::IP->new(Proto => $proto, LocalHost => $where,
                LocalPort => $port, V6Only => 0, @listen) || die $@;
        }
    }
    open my $ready, q(>), q(/run/served);
    sleep'";

#[test]
fn none_of_many_servers_is_missed() {
    let lab = host();
    let mut servers = lab.start(MANY_SERVERS);
    lab.until("[ -e /run/served ]");
    for protocol in ["udp", "tcp"] {
        lab.netcord(&format!("publish web 127.0.0.1:30001-30300:20001-20300/{protocol}")).ok();
    }
    is_silent(&lab, "");
    lab.netcord("publish web 30301:20301/udp").ok();
    finds(&lab, "", "port-unserved", &["20301/udp"]);
    servers.kill().unwrap();
    servers.wait().unwrap();
}

/// A server for each word: `PORT,ADDRESS,LINK,PEER`, a dash for none. With a link it hears that one
/// only (`SO_BINDTODEVICE`), with a peer nobody else.
const SERVERS: &str = r#"
    use IO::Socket::IP; use Socket qw(:all);
    my $proto = shift;
    for (@ARGV) {
        my ($port, $host, $link, $peer) = map { $_ eq "-" ? undef : $_ } split ",";
        my $socket = IO::Socket::IP->new(
            Proto => $proto, LocalHost => $host =~ s/!//r, LocalPort => $port,
            V6Only => $host =~ /!/ ? 1 : 0, $proto eq "tcp" ? (Listen => 1) : (),
            Sockopts => [$link ? [SOL_SOCKET, 25, "$link\0"] : ()]) || die "$_: $@";
        if ($peer) {
            my ($error, $found) = getaddrinfo($peer, 5000, {
                family => $socket->sockdomain, socktype => SOCK_DGRAM, flags => AI_V4MAPPED });
            CORE::connect($socket, $found->{addr}) || die "$_: $! $error";
        }
        push @all, $socket;
    }
    open my $ready, ">", "/run/served-$proto";
    sleep;
"#;

/// How a server listens that is called from outside.
const HEARD: [&str; 8] = [
    "0.0.0.0,-,-",
    "::,-,-",
    "!::,-,-",
    "10.1.0.2,-,-",
    "::ffff:10.1.0.2,-,-",
    "fd00:1::2,-,-",
    "0.0.0.0,eth0,-",
    "::,eth0,-",
];
/// The same of UDP: it has found its one caller.
const CONNECTED: [&str; 4] =
    ["0.0.0.0,-,10.1.0.3", "::,-,fd00:1::3", "::,-,::ffff:10.1.0.3", "10.1.0.2,eth0,10.1.0.3"];
/// How one listens that is not.
const UNHEARD: [&str; 5] =
    ["127.0.0.1,-,-", "::1,-,-", "::ffff:127.0.0.1,-,-", "0.0.0.0,lo,-", "::,lo,-"];

#[test]
fn a_server_is_seen_however_it_listens() {
    let lab = host();
    fs::write(lab.path("/run/servers.pl"), SERVERS).unwrap();
    for protocol in ["udp", "tcp"] {
        let connected: &[&str] = if protocol == "udp" { &CONNECTED } else { &[] };
        let heard: Vec<_> = HEARD.iter().chain(connected).zip(21_001..).collect();
        let unheard: Vec<_> = UNHEARD.iter().zip(22_001..).collect();
        let all = heard.iter().chain(&unheard).map(|(how, port)| format!("{port},{how}"));
        let all: Vec<_> = all.collect();
        lab.sh(&format!(
            "ip netns exec web perl /run/servers.pl {protocol} '{}' >/dev/null 2>&1 &
             until [ -e /run/served-{protocol} ]; do sleep 0.02; done",
            all.join("' '")
        ))
        .ok();
        let publish = |port: &u16| format!("{}:{port}/{protocol}", port + 10_000);
        let ports: Vec<_> = heard.iter().map(|(_, port)| publish(port)).collect();
        lab.netcord(&format!("publish web {}", ports.join(" "))).ok();
        is_silent(&lab, "");
        for (how, port) in &unheard {
            lab.netcord(&format!("publish web {}", publish(port))).ok();
            finds(&lab, "", "port-unheard", &[&format!(":{port}/{protocol}")]);
            lab.netcord(&format!("unpublish web {}", publish(port))).ok();
            let traced = lab.netcord(&format!("trace db 10.1.0.2:{port}/{protocol}")).exits(1);
            assert!(traced.stdout.contains("refused by web"), "{how}: {}", traced.stdout);
        }
    }
    // Whom a connected socket does not hear is refused.
    let connected = 21_001 + HEARD.len();
    for live in ["", "--live "] {
        let traced = lab.netcord(&format!("trace {live}db web:{connected}/udp")).exits(1).stdout;
        assert!(traced.contains("refused by web"), "{traced}");
        assert!(traced.contains("connected to 10.1.0.3:5000"), "{traced}");
    }
}
