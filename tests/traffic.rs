//! What flows: between endpoints, to the host, outside and back, and through published ports.

use crate::support::{FIREWALLS, Lab};

/// The host's other rules, and whether frames that only cross a bridge meet them.
#[derive(Clone, Copy, Debug)]
struct Kind {
    firewall: &'static str,
    policy: &'static str,
    bridged_frames_meet_iptables: bool,
}

fn kinds() -> impl Iterator<Item = Kind> {
    let policies = |firewall| ["ACCEPT", "DROP"].map(|policy| (firewall, policy));
    FIREWALLS.into_iter().flat_map(policies).flat_map(|(firewall, policy)| {
        [false, true].map(|bridged_frames_meet_iptables| Kind {
            firewall,
            policy,
            bridged_frames_meet_iptables,
        })
    })
}

/// What a kind of host is asked to do in a test, and the policies are afterwards as before.
fn on_every_kind_of_host(story: impl Fn(&Lab)) {
    for kind in kinds() {
        let lab = Lab::with_firewall(kind.firewall);
        lab.neighbour("outside").netns(&["web", "db"]);
        let policy = kind.policy;
        lab.sh(&format!("iptables -P FORWARD {policy}; ip6tables -P FORWARD {policy}")).ok();
        bridged_frames_meet_iptables(&lab, kind.bridged_frames_meet_iptables);
        story(&lab);
        for program in ["iptables", "ip6tables"] {
            let policy = format!("-P FORWARD {policy}");
            assert!(lab.sh(&format!("{program} -S FORWARD")).ok().contains(&policy));
        }
    }
}

/// Turns `br_netfilter` on or off.
fn bridged_frames_meet_iptables(lab: &Lab, on: bool) {
    let value = u8::from(on);
    assert!(
        lab.sh("test -d /proc/sys/net/bridge").code == 0,
        "br_netfilter is not loaded: as root, modprobe br_netfilter"
    );
    lab.sh(&format!(
        "for key in iptables ip6tables; do
             echo {value} > /proc/sys/net/bridge/bridge-nf-call-$key
         done"
    ))
    .ok();
}

/// A network lab0 with known addresses, and `web` (.2) and `db` (.3) on it, which serve port 80.
fn network(lab: &Lab, flags: &str) {
    lab.netcord(&format!("bridge lab0 --subnet 10.1.0.0/24 --subnet fd00:1::/64 {flags}")).ok();
    lab.netcord("attach lab0 web db").ok();
    lab.serve_ports("web", &[80]);
    lab.serve_ports("db", &[80]);
}

const PROTOCOLS: [&str; 2] = ["tcp", "udp"];

#[test]
fn endpoints_reach_each_other_the_host_and_outside_by_the_hosts_address() {
    on_every_kind_of_host(|lab| {
        network(lab, "");
        lab.serve_ports("host", &[80]);
        lab.serve_ports("outside", &[80]);
        for how in PROTOCOLS {
            lab.reaches("web", &format!("{how} 10.1.0.3:80"), "db:80 from 10.1.0.2");
            lab.reaches("web", &format!("{how} [fd00:1::3]:80"), "db:80 from fd00:1::2");
            lab.reaches("web", &format!("{how} 10.1.0.1:80"), "host:80 from 10.1.0.2");
            lab.reaches("web", &format!("{how} [fd00:1::1]:80"), "host:80 from fd00:1::2");
            lab.reaches("host", &format!("{how} 10.1.0.2:80"), "web:80 from 10.1.0.1");
            lab.reaches("host", &format!("{how} [fd00:1::2]:80"), "web:80 from fd00:1::1");
            lab.reaches("web", &format!("{how} 192.0.2.2:80"), "outside:80 from 192.0.2.1");
            lab.reaches("web", &format!("{how} [2001:db8::2]:80"), "outside:80 from 2001:db8::1");
        }
        for address in
            ["10.1.0.1", "10.1.0.3", "fd00:1::1", "fd00:1::3", "192.0.2.2", "2001:db8::2"]
        {
            lab.reaches("web", &format!("ping {address}"), "");
        }
    });
}

#[test]
fn without_masquerade_outside_sees_the_endpoints_own_address() {
    on_every_kind_of_host(|lab| {
        network(lab, "--no-masquerade");
        lab.serve_ports("outside", &[80]);
        lab.sh("ip -n outside route add 10.1.0.0/24 via 192.0.2.1
                ip -n outside -6 route add fd00:1::/64 via 2001:db8::1")
            .ok();
        for how in PROTOCOLS {
            lab.reaches("web", &format!("{how} 192.0.2.2:80"), "outside:80 from 10.1.0.2");
            lab.reaches("web", &format!("{how} [2001:db8::2]:80"), "outside:80 from fd00:1::2");
        }
    });
}

#[test]
fn an_internal_network_reaches_its_neighbours_and_the_host_and_nothing_outside() {
    on_every_kind_of_host(|lab| {
        network(lab, "--internal");
        lab.serve_ports("host", &[80]);
        lab.serve_ports("outside", &[80]);
        // Another network forwards, and the endpoint's root knows where the gateway is.
        lab.netns(&["open"]).netcord("bridge lab1 --subnet 10.2.0.0/24 --subnet fd00:2::/64").ok();
        lab.netcord("attach lab1 open").ok();
        lab.sh("ip -n web route add default via 10.1.0.1
                ip -n web -6 route add default via fd00:1::1
                ip -n outside route add 10.1.0.0/24 via 192.0.2.1
                ip -n outside -6 route add fd00:1::/64 via 2001:db8::1")
            .ok();
        for how in PROTOCOLS {
            lab.reaches("web", &format!("{how} 10.1.0.3:80"), "db:80 from 10.1.0.2");
            lab.reaches("web", &format!("{how} [fd00:1::3]:80"), "db:80 from fd00:1::2");
            lab.reaches("web", &format!("{how} 10.1.0.1:80"), "host:80 from 10.1.0.2");
            lab.reaches("open", &format!("{how} 192.0.2.2:80"), "outside:80 from 192.0.2.1");
            lab.does_not_reach("web", &format!("{how} 192.0.2.2:80"));
            lab.does_not_reach("web", &format!("{how} [2001:db8::2]:80"));
        }
    });
}

#[test]
fn isolated_endpoints_reach_the_host_and_outside_and_not_each_other() {
    on_every_kind_of_host(|lab| {
        network(lab, "--isolate");
        lab.serve_ports("host", &[80]);
        lab.serve_ports("outside", &[80]);
        lab.reaches("web", "tcp 10.1.0.1:80", "host:80 from 10.1.0.2");
        lab.reaches("web", "udp [fd00:1::1]:80", "host:80 from fd00:1::2");
        lab.reaches("web", "tcp 192.0.2.2:80", "outside:80 from 192.0.2.1");
        lab.does_not_reach("web", "tcp 10.1.0.3:80");
        lab.does_not_reach("web", "udp [fd00:1::3]:80");
        // By way of the host, whatever the neighbour would say of itself.
        lab.sh("mac=$(cat /sys/class/net/lab0/address)
                for ip in 10.1.0.3 fd00:1::3; do
                    ip -n web neigh replace $ip lladdr $mac dev eth0 nud permanent
                done
                for ip in 10.1.0.2 fd00:1::2; do
                    ip -n db neigh replace $ip lladdr $mac dev eth0 nud permanent
                done")
            .ok();
        lab.does_not_reach("web", "tcp 10.1.0.3:80");
        lab.does_not_reach("web", "udp [fd00:1::3]:80");
    });
}

#[test]
fn open_networks_reach_each_other_in_both_directions() {
    on_every_kind_of_host(|lab| {
        network(lab, "--open");
        lab.netns(&["far"]);
        let far = "bridge lab1 --subnet 10.2.0.0/24 --subnet fd00:2::/64 --open";
        lab.netcord(far).ok();
        lab.netcord("attach lab1 far").ok();
        lab.serve_ports("far", &[80]);
        for how in PROTOCOLS {
            // By the host's address in the other network, as everywhere outside.
            lab.reaches("web", &format!("{how} 10.2.0.2:80"), "far:80 from 10.2.0.1");
            lab.reaches("web", &format!("{how} [fd00:2::2]:80"), "far:80 from fd00:2::1");
            lab.reaches("far", &format!("{how} 10.1.0.2:80"), "web:80 from 10.1.0.1");
            lab.reaches("far", &format!("{how} [fd00:1::2]:80"), "web:80 from fd00:1::1");
        }
        lab.reaches("web", "ping 10.2.0.2", "");
        lab.reaches("far", "ping fd00:1::2", "");
        lab.netcord("detach lab1 far").ok();
        lab.netcord("rm lab1").ok();
        lab.netcord(far.trim_end_matches(" --open")).ok();
        lab.netcord("attach lab1 far").ok();
        for (from, to) in [("web", "10.2.0.2"), ("web", "[fd00:2::2]"), ("far", "10.1.0.2")] {
            lab.does_not_reach(from, &format!("tcp {to}:80"));
        }
    });
}

#[test]
fn a_published_port_is_reached_from_everywhere_by_the_hosts_addresses() {
    on_every_kind_of_host(|lab| {
        network(lab, "");
        lab.netns(&["other"]).netcord("bridge lab1 --subnet 10.2.0.0/24 --subnet fd00:2::/64").ok();
        lab.netcord("attach lab1 other").ok();
        lab.netcord("publish web 8080:80 8080:80/udp").ok();
        for how in PROTOCOLS {
            let (v4, v6) = (format!("{how} 192.0.2.1:8080"), format!("{how} [2001:db8::1]:8080"));
            lab.reaches("outside", &v4, "web:80 from 192.0.2.2");
            lab.reaches("outside", &v6, "web:80 from 2001:db8::2");
            lab.reaches("host", &format!("{how} 127.0.0.1:8080"), "web:80 from 10.1.0.1");
            lab.reaches("host", &format!("{how} 10.1.0.1:8080"), "web:80 from 10.1.0.1");
            assert!(lab.call("host", &v4, 5).is_some(), "{v4} from the host");
            assert!(lab.call("host", &v6, 5).is_some(), "{v6} from the host");
            for from in ["db", "web"] {
                lab.reaches(from, &v4, "web:80 from 10.1.0.1");
                lab.reaches(from, &v6, "web:80 from fd00:1::1");
                lab.reaches(from, &format!("{how} 10.1.0.1:8080"), "web:80 from 10.1.0.1");
            }
            assert!(lab.call("other", &v4, 5).is_some(), "{v4} from another network");
            assert!(lab.call("other", &v6, 5).is_some(), "{v6} from another network");
        }
        lab.netcord("unpublish web --all").ok();
        for how in PROTOCOLS {
            lab.does_not_reach("outside", &format!("{how} 192.0.2.1:8080"));
            lab.does_not_reach("outside", &format!("{how} [2001:db8::1]:8080"));
        }
        lab.reaches("host", "tcp 10.1.0.2:80", "web:80 from 10.1.0.1");
    });
}

#[test]
fn with_br_netfilter_turned_on_later_to_publish_again_is_enough() {
    for (family, to) in [("iptables", "192.0.2.1"), ("ip6tables", "[2001:db8::1]")] {
        let lab = Lab::new();
        lab.neighbour("outside").netns(&["web", "db"]);
        if lab.sh("test -d /proc/sys/net/bridge").code != 0 {
            return;
        }
        bridged_frames_meet_iptables(&lab, false);
        network(&lab, "");
        let (call, publish) = (format!("tcp {to}:8080"), "publish web 8080:80");
        lab.netcord(publish).ok();
        assert!(lab.call("web", &call, 5).is_some());
        lab.sh(&format!("echo 1 > /proc/sys/net/bridge/bridge-nf-call-{family}")).ok();
        lab.does_not_reach("web", &call);
        lab.netcord(publish).ok();
        assert!(lab.call("web", &call, 5).is_some(), "{family}");
    }
}

#[test]
fn isolated_neighbours_reach_published_ports() {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["web", "db"]);
    bridged_frames_meet_iptables(&lab, false);
    network(&lab, "--isolate");
    lab.netcord("publish web 8080:80").ok();
    lab.reaches("db", "tcp 192.0.2.1:8080", "web:80 from 10.1.0.1");
    lab.reaches("db", "tcp [2001:db8::1]:8080", "web:80 from fd00:1::1");
    lab.reaches("web", "tcp 192.0.2.1:8080", "web:80 from 10.1.0.1");
    lab.does_not_reach("db", "tcp 10.1.0.2:80");
}

#[test]
fn ranges_keep_their_order_and_one_of_a_range_is_the_first_free() {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["web", "db"]);
    lab.netcord("bridge lab0 --subnet 10.1.0.0/24").ok();
    lab.netcord("attach lab0 web db").ok();
    lab.serve_ports("web", &[80, 9000, 9003]);
    lab.netcord("publish web 8000-8003:9000-9003 9000-9003:9000-9003 8000-8003:9000-9003/udp").ok();
    for how in PROTOCOLS {
        lab.reaches("outside", &format!("{how} 192.0.2.1:8000"), "web:9000 from 192.0.2.2");
        lab.reaches("outside", &format!("{how} 192.0.2.1:8003"), "web:9003 from 192.0.2.2");
    }
    lab.reaches("outside", "tcp 192.0.2.1:9003", "web:9003 from 192.0.2.2");
    let shown = lab.netcord("publish web 8000-8010:80").ok();
    assert_eq!(shown, "0.0.0.0:8004 -> 10.1.0.2:80/tcp");
    lab.reaches("outside", "tcp 192.0.2.1:8004", "web:80 from 192.0.2.2");
    let shown = lab.netcord("publish db 80").ok();
    let (host, _) = shown.split_once(" -> ").unwrap();
    lab.serve_ports("db", &[80]);
    lab.reaches(
        "outside",
        &format!("tcp {}", host.replace("0.0.0.0", "192.0.2.1")),
        "db:80 from 192.0.2.2",
    );
    // The kernel of a test need not have SCTP sockets: the rule has to do.
    lab.netcord("publish web 3868:3868/sctp").ok();
    let rules = lab.rules_of_ports();
    let rule = "lab0/web publish 0.0.0.0:3868 -> 10.1.0.2:3868/sctp";
    assert!(rules.iter().any(|r| r == rule), "{rules:?}");
}

#[test]
fn a_port_that_is_taken_is_refused_and_it_is_said_by_whom() {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["web", "db"]);
    lab.netcord("bridge lab0").ok();
    lab.netcord("attach lab0 web db").ok();
    lab.netcord("publish web 8080:80 192.0.2.1:5353:53/udp").ok();
    lab.netcord("publish db 8080:80").fails(4, &["8080/tcp", "`web`"]);
    lab.netcord("publish db 192.0.2.1:8080:80").fails(4, &["8080/tcp", "`web`"]);
    lab.netcord("publish db 5353:53/udp").fails(4, &["5353/udp", "`web`"]);
    lab.netcord("publish db 8080:80/udp 127.0.0.1:5353:53/udp").ok();
    lab.listen("host", &["0.0.0.0:7000"]);
    let pid = lab.sh("ss -Hltnp sport = :7000 | sed 's/.*pid=\\([0-9]*\\).*/\\1/'").ok();
    let pid = format!("(pid {pid})");
    for port in ["7000:80", "7000:80/udp", "192.0.2.1:7000:80", "6999-7001:80-82"] {
        lab.netcord(&format!("publish db {port}")).fails(4, &["7000/", &pid]);
    }
}

#[test]
fn two_endpoints_have_one_port_of_different_addresses() {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["web", "db"]);
    network(&lab, "");
    lab.netcord("publish web 127.0.0.2:8080:80").ok();
    lab.netcord("publish db 127.0.0.3:8080:80 192.0.2.1:8080:80").ok();
    lab.reaches("host", "tcp 127.0.0.2:8080", "web:80 from 10.1.0.1");
    lab.reaches("host", "tcp 127.0.0.3:8080", "db:80 from 10.1.0.1");
    lab.reaches("outside", "tcp 192.0.2.1:8080", "db:80 from 192.0.2.2");
    lab.does_not_reach("host", "tcp 127.0.0.1:8080");
}

#[test]
fn a_client_that_keeps_its_udp_socket_comes_to_the_new_endpoint() {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["web", "db"]);
    network(&lab, "");
    lab.serve_ports("host", &[5354]);
    for to in ["192.0.2.1:5353", "[2001:db8::1]:5353"] {
        let ask = || lab.send("outside", 40000, to, 1).unwrap_or_default();
        // One that is lost is asked again, from the same port: a flow that is remembered wrongly
        // stays so.
        let comes_to = |server: &str| (0..10).any(|_| ask().starts_with(server));
        // A flow before there is anything to reach is remembered too.
        assert_eq!(ask(), "");
        lab.netcord("publish web 5353:80/udp").ok();
        assert!(comes_to("web:80"));
        let other = to.replace("5353", "5354");
        assert!(lab.send("outside", 40001, &other, 1).is_some());
        lab.netcord("unpublish web 5353:80/udp").ok();
        assert_eq!(ask(), "", "nobody after unpublish");
        lab.netcord("publish db 5353:80/udp").ok();
        assert!(comes_to("db:80"));
        lab.netcord("unpublish db --all").ok();
        // Only what came for the published port was forgotten.
        let flows =
            lab.sh("conntrack -L -p udp 2>/dev/null; conntrack -L -f ipv6 -p udp 2>/dev/null").ok();
        assert!(flows.contains("dport=5354"), "{flows}");
    }
}

#[test]
fn an_endpoint_is_as_its_flags_say() {
    let lab = Lab::new();
    lab.netns(&["web", "db"]);
    lab.netcord("bridge lab0 --subnet 10.1.0.0/24").ok();
    let flags = "--mtu 1400 --mac 02:00:00:00:00:05 --ifname lan0 --host-ifname cable
                 --gateway none --route 198.51.100.0/24,10.1.0.1 --route 203.0.113.0/24";
    lab.netcord(&format!("attach lab0 web {flags}")).ok();
    let link = lab.sh("ip -n web -o link show lan0; ip -o link show cable master lab0").ok();
    for part in ["mtu 1400", "02:00:00:00:00:05", "cable"] {
        assert!(link.contains(part), "{part}: {link}");
    }
    let routes = lab.sh("ip -n web route").ok();
    assert!(routes.contains("198.51.100.0/24 via 10.1.0.1 dev lan0"), "{routes}");
    assert!(routes.contains("203.0.113.0/24 dev lan0"), "{routes}");
    assert!(!routes.contains("default"), "{routes}");
    lab.reaches("host", "ping 10.1.0.2", "");
}
