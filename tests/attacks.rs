//! What must not flow. Each test shows in passing that what it forbids would work otherwise, or
//! that the same thing works where it is allowed.

use crate::support::{FIREWALLS, Lab};

/// A host with `web` (10.1.0.2, `fd00:1::2`) on lab0, serving port 80, and somebody outside who knows
/// the way to it.
fn host_with_a_neighbour_who_routes_to_endpoints(firewall: &'static str, flags: &str) -> Lab {
    let lab = Lab::with_firewall(firewall);
    lab.neighbour("outside").netns(&["web"]);
    lab.netcord(&format!("bridge lab0 --subnet 10.1.0.0/24 --subnet fd00:1::/64 {flags}")).ok();
    lab.netcord("attach lab0 web").ok();
    lab.serve_ports("web", &[80, 81]);
    lab.sh("ip -n outside route add 10.1.0.0/24 via 192.0.2.1
            ip -n outside -6 route add fd00:1::/64 via 2001:db8::1")
        .ok();
    lab
}

#[test]
fn a_neighbour_that_routes_to_an_endpoint_does_not_reach_it() {
    for firewall in FIREWALLS {
        let lab = host_with_a_neighbour_who_routes_to_endpoints(firewall, "");
        lab.netcord("publish web 8080:80 8080:80/udp").ok();
        for how in ["tcp", "udp"] {
            lab.reaches("outside", &format!("{how} 192.0.2.1:8080"), "web:80 from 192.0.2.2");
            lab.reaches("outside", &format!("{how} [2001:db8::1]:8080"), "web:80 from 2001:db8::2");
            for port in [80, 81] {
                lab.does_not_reach("outside", &format!("{how} 10.1.0.2:{port}"));
                lab.does_not_reach("outside", &format!("{how} [fd00:1::2]:{port}"));
            }
        }
    }
}

#[test]
fn without_masquerade_only_answers_and_published_ports_come_in() {
    for firewall in FIREWALLS {
        let lab = host_with_a_neighbour_who_routes_to_endpoints(firewall, "--no-masquerade");
        lab.serve_ports("outside", &[80]);
        lab.netcord("publish web 8080:80").ok();
        lab.reaches("web", "tcp 192.0.2.2:80", "outside:80 from 10.1.0.2");
        lab.reaches("outside", "tcp 192.0.2.1:8080", "web:80 from 192.0.2.2");
        lab.does_not_reach("outside", "tcp 10.1.0.2:81");
        lab.does_not_reach("outside", "udp [fd00:1::2]:81");
    }
}

#[test]
fn an_open_network_is_closed_to_all_but_open_networks() {
    for firewall in FIREWALLS {
        for flags in ["--open", "--open --no-masquerade"] {
            let lab = host_with_a_neighbour_who_routes_to_endpoints(firewall, flags);
            lab.netns(&["open", "closed"]);
            lab.netcord("bridge lab1 --subnet 10.2.0.0/24 --subnet fd00:2::/64 --open").ok();
            lab.netcord("bridge lab2 --subnet 10.3.0.0/24 --subnet fd00:3::/64").ok();
            lab.netcord("attach lab1 open").ok();
            lab.netcord("attach lab2 closed").ok();
            lab.serve_ports("closed", &[80]);
            for to in ["tcp 10.1.0.2:80", "udp [fd00:1::2]:80"] {
                assert!(lab.call("open", to, 5).is_some(), "{to}");
                lab.does_not_reach("closed", to);
                lab.does_not_reach("outside", to);
            }
            lab.does_not_reach("open", "udp 10.3.0.2:80");
            lab.does_not_reach("open", "tcp [fd00:3::2]:80");
            // Who takes the address of an open network, in a closed one, is no open network.
            lab.sh("ip -n closed addr add 10.2.0.2/32 dev lo
                    ip -n closed addr add fd00:2::2/128 dev lo
                    ip -n closed route add 10.1.0.2 via 10.3.0.1 src 10.2.0.2
                    ip -n closed -6 route add fd00:1::2 via fd00:3::1 src fd00:2::2
                    sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.lab2.rp_filter=0")
                .ok();
            lab.does_not_reach("closed", "tcp 10.1.0.2:80");
            lab.does_not_reach("closed", "udp [fd00:1::2]:80");
            lab.netcord("detach lab1 open").ok();
            lab.netcord("rm lab1").ok();
            lab.netcord("bridge lab1 --subnet 10.2.0.0/24 --subnet fd00:2::/64").ok();
            lab.netcord("attach lab1 open").ok();
            lab.does_not_reach("open", "tcp 10.1.0.2:80");
            lab.does_not_reach("open", "udp [fd00:1::2]:80");
        }
    }
}

#[test]
fn what_is_published_on_loopback_is_not_reached_from_outside() {
    for firewall in FIREWALLS {
        let lab = host_with_a_neighbour_who_routes_to_endpoints(firewall, "");
        lab.netcord("publish web 127.0.0.1:8080:80").ok();
        lab.reaches("host", "tcp 127.0.0.1:8080", "web:80 from 10.1.0.1");
        // The worst case: the admin lets 127.0.0.1 in by eth0, and the attacker sends it there.
        lab.listen("host", &["127.0.0.1:7000"]);
        lab.sh("echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet
            ip netns exec outside sh -euc '
                echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet
                ip rule add pref 1 lookup local to 192.0.2.0/24
                ip rule add pref 2 lookup 100 to 127.0.0.1
                ip route add 127.0.0.1 via 192.0.2.1 dev wire src 192.0.2.2 table 100
                ip rule add pref 3 lookup local
                ip rule del pref 0'")
            .ok();
        lab.reaches("outside", "tcp 127.0.0.1:7000", "host:7000 from 192.0.2.2");
        lab.does_not_reach("outside", "tcp 127.0.0.1:8080");
        lab.does_not_reach("outside", "tcp 192.0.2.1:8080");
        let all = lab.sh("cat /proc/sys/net/ipv4/conf/all/route_localnet").ok();
        assert_eq!(all, "0");
    }
}

#[test]
fn endpoints_do_not_reach_services_on_the_hosts_loopback() {
    for firewall in FIREWALLS {
        let lab = host_with_a_neighbour_who_routes_to_endpoints(firewall, "");
        lab.listen("host", &["127.0.0.1:7000", "10.1.0.1:7001"]);
        lab.netcord("publish web 8080:80").ok();
        assert_eq!(lab.sh("cat /proc/sys/net/ipv4/conf/lab0/route_localnet").ok(), "1");
        lab.sh("ip netns exec web sh -euc '
                echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet
                ip link set lo down
                ip rule add pref 1 lookup local to 10.1.0.0/24
                ip rule add pref 2 lookup 100 to 127.0.0.1
                ip route add 127.0.0.1 via 10.1.0.1 dev eth0 src 10.1.0.2 table 100
                ip rule add pref 3 lookup local
                ip rule del pref 0'")
            .ok();
        lab.reaches("web", "tcp 10.1.0.1:7001", "host:7001 from 10.1.0.2");
        lab.does_not_reach("web", "tcp 127.0.0.1:7000");
        // It is our rule that keeps it off.
        lab.sh(match firewall {
            "iptables" => "iptables -t raw -F NETCORD-PREROUTING",
            _ => "nft flush chain inet netcord raw",
        })
        .ok();
        lab.reaches("web", "tcp 127.0.0.1:7000", "host:7000 from 10.1.0.2");
        lab.netcord("unpublish web --all").ok();
        assert_eq!(lab.sh("cat /proc/sys/net/ipv4/conf/lab0/route_localnet").ok(), "0");
    }
}

#[test]
fn what_only_passes_through_to_the_same_port_is_not_taken() {
    for firewall in FIREWALLS {
        let lab = host_with_a_neighbour_who_routes_to_endpoints(firewall, "");
        lab.netns(&["beyond", "db"]);
        lab.sh("ip link add eth1 type veth peer name wire netns beyond
            ip link set eth1 addrgenmode none; ip -n beyond link set wire addrgenmode none
            ip addr add 198.51.100.1/24 dev eth1; ip addr add 2001:db8:1::1/64 nodad dev eth1
            ip addr add fe80::1/64 nodad dev eth1; ip -n beyond addr add fe80::2/64 nodad dev wire
            ip -n beyond addr add 198.51.100.2/24 dev wire
            ip -n beyond addr add 2001:db8:1::2/64 nodad dev wire
            ip link set eth1 up; ip -n beyond link set wire up
            ip -n beyond route add default via 198.51.100.1
            ip -n beyond -6 route add default via 2001:db8:1::1
            ip -n outside route add 198.51.100.0/24 via 192.0.2.1
            ip -n outside -6 route add 2001:db8:1::/64 via 2001:db8::1")
            .ok();
        lab.netcord("attach lab0 db").ok();
        lab.netcord("publish web 8080:80 8080:80/udp").ok();
        lab.serve_ports("beyond", &[8080]);
        lab.serve_ports("db", &[8080]);
        for how in ["tcp", "udp"] {
            lab.reaches("outside", &format!("{how} 192.0.2.1:8080"), "web:80 from 192.0.2.2");
            lab.reaches(
                "outside",
                &format!("{how} 198.51.100.2:8080"),
                "beyond:8080 from 192.0.2.2",
            );
            lab.reaches(
                "outside",
                &format!("{how} [2001:db8:1::2]:8080"),
                "beyond:8080 from 2001:db8::2",
            );
            lab.reaches(
                "web",
                &format!("{how} 198.51.100.2:8080"),
                "beyond:8080 from 198.51.100.1",
            );
            lab.reaches("web", &format!("{how} 10.1.0.3:8080"), "db:8080 from 10.1.0.2");
            lab.reaches(
                "host",
                &format!("{how} 198.51.100.2:8080"),
                "beyond:8080 from 198.51.100.1",
            );
        }
    }
}

#[test]
fn networks_do_not_reach_each_other_save_published_ports() {
    for firewall in FIREWALLS {
        let lab = host_with_a_neighbour_who_routes_to_endpoints(firewall, "");
        lab.netns(&["other"]).netcord("bridge lab1 --subnet 10.2.0.0/24 --subnet fd00:2::/64").ok();
        lab.netcord("attach lab1 other").ok();
        lab.netcord("publish web 8080:80").ok();
        lab.reaches("other", "tcp 192.0.2.1:8080", "web:80 from 10.1.0.1");
        for to in [
            "tcp 10.1.0.2:80",
            "udp 10.1.0.2:81",
            "tcp [fd00:1::2]:80",
            "ping 10.1.0.2",
            "ping fd00:1::2",
        ] {
            lab.does_not_reach("other", to);
            let answer = if to.starts_with("ping") { "" } else { "web" };
            // From the host itself the same works.
            assert!(lab.call("host", to, 5).unwrap().starts_with(answer));
        }
    }
}

#[test]
fn jumps_of_ours_stand_behind_those_of_others() {
    let lab = Lab::with_firewall("iptables");
    lab.neighbour("outside").netns(&["web"]);
    lab.sh("for t in iptables ip6tables; do
                $t -t nat -A PREROUTING -p tcp --dport 1 -j RETURN; $t -A FORWARD -p tcp --dport 1 -j RETURN
            done")
        .ok();
    lab.netcord("bridge lab0 --ipv6").ok();
    lab.netcord("attach lab0 web -p 8080:80").ok();
    for program in ["iptables", "ip6tables"] {
        for chain in ["-t nat -S PREROUTING", "-S FORWARD"] {
            let rules = lab.sh(&format!("{program} {chain}")).ok();
            let first = rules.lines().find(|l| l.starts_with("-A")).unwrap();
            assert!(first.ends_with("-j RETURN"), "{rules}");
        }
    }
}

#[test]
fn masquerade_gives_nobody_a_privileged_source_port() {
    for firewall in FIREWALLS {
        let lab = host_with_a_neighbour_who_routes_to_endpoints(firewall, "");
        lab.serve_ports("outside", &[80]);
        for to in ["192.0.2.2", "[2001:db8::2]"] {
            let tcp = lab
                .within("web", &format!("curl -gsS --max-time 5 --local-port 600 http://{to}:80"))
                .ok();
            let udp = lab.send("web", 601, &format!("{to}:80"), 5).unwrap();
            for answer in [tcp, udp] {
                let (_, port) = answer.trim().rsplit_once(':').unwrap();
                assert!(port.parse::<u16>().unwrap() >= 1024, "{answer}");
            }
        }
    }
}

#[test]
fn a_router_advertisement_from_an_endpoint_configures_nothing_on_the_host() {
    for flags in ["--subnet 10.1.0.0/24", "--subnet 10.1.0.0/24 --subnet fd00:1::/64"] {
        let lab = Lab::new();
        lab.neighbour("outside").netns(&["web"]);
        lab.netcord(&format!("bridge lab0 {flags}")).ok();
        lab.netcord("attach lab0 web").ok();
        for link in ["lab0", "nc*"] {
            let values = lab
                .sh(&format!("cd /proc/sys/net/ipv6/conf; for l in {link}; do echo $(cat $l/disable_ipv6) $(cat $l/accept_ra); done"))
                .ok();
            // Off, or deaf to routers.
            for line in values.lines() {
                assert!(line.starts_with('1') || line.ends_with(" 0"), "{link}: {line}");
            }
        }
        let inside = lab.within("web", "cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6").ok();
        assert_eq!(inside, if flags.contains("fd00") { "0" } else { "1" });
    }
}

#[test]
fn a_host_that_learned_its_route_from_a_router_keeps_listening() {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["web"]);
    lab.sh("ip -6 route replace default via 2001:db8::2 dev eth0 proto ra").ok();
    lab.sh("ip -6 route del default via 2001:db8::2 dev eth0 proto boot || true").ok();
    let accept_ra = "cat /proc/sys/net/ipv6/conf/eth0/accept_ra";
    assert_eq!(lab.sh(accept_ra).ok(), "1");
    lab.netcord("bridge lab0 --ipv6").ok();
    assert_eq!(lab.sh(accept_ra).ok(), "2");
    assert!(lab.sh("ip -6 route show default").ok().contains("proto ra"));
}
