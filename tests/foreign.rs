//! Foreign bridges: netcord uses them as they are, never changes them, and takes nobody's address.

use crate::support::Lab;

/// A host with a bridge `br0` that was made by hand, 10.7.0.1/24, and `hand` on it, wired by hand
/// with 10.7.0.2; and a neighbour outside.
fn host_with_a_bridge() -> Lab {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["hand", "web", "db"]);
    lab.sh("ip link add br0 type bridge; ip addr add 10.7.0.1/24 dev br0; ip link set br0 up
         ip link add cable type veth peer name eth0 netns hand; ip link set cable master br0 up
         ip -n hand addr add 10.7.0.2/24 dev eth0; ip -n hand link set eth0 up; ip -n hand route add default via 10.7.0.1")
        .ok();
    lab.until("ping -c1 -W1 10.7.0.2");
    lab
}

#[test]
fn it_is_used_as_it_is_and_left_as_it_was() {
    let lab = host_with_a_bridge();
    // What crosses the bridge is its owner's business, what comes from elsewhere meets the policy.
    lab.sh("iptables -P FORWARD DROP; echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables").ok();
    let before = lab.snapshot();
    // Forwarding is the host's switch, and shows on every link.
    let bridge = || {
        lab.sh("ip -o -d link show br0 | sed 's/[a-z_]*_timer *[0-9.]*//g'; ip -o -4 addr show br0
             sysctl -a 2>/dev/null | grep -F conf.br0. | grep -v forwarding")
            .ok()
    };
    let own = bridge();
    assert_eq!(lab.netcord("attach br0 web -p 8080:80").ok(), "10.7.0.3");
    assert_eq!(bridge(), own, "the bridge itself is not changed");
    lab.serve("web", 80);
    assert_eq!(lab.fetch("outside", "http://192.0.2.1:8080").ok(), "web");
    assert_eq!(lab.fetch("hand", "http://10.7.0.3").ok(), "web");
    assert_eq!(lab.fetch("hand", "http://192.0.2.1:8080").ok(), "web");
    lab.netcord("rm br0").fails(4, &["not netcord's"]);
    lab.netcord("bridge br0").fails(4, &["not netcord's"]);
    lab.netcord("detach br0 web").ok();
    before.assert_same(&lab.snapshot(), "after detach");
}

#[test]
fn an_address_that_somebody_has_is_not_given_out() {
    let lab = host_with_a_bridge();
    assert_eq!(lab.netcord("attach br0 web").ok(), "10.7.0.3", "the neighbour's is skipped");
    // Nobody remembers: the wire is asked.
    lab.sh("ip neigh flush dev br0; bridge fdb flush dev cable dynamic 2>/dev/null || true").ok();
    let mac = lab.sh("ip netns exec hand cat /sys/class/net/eth0/address 2>/dev/null || ip -n hand -br link show eth0 | awk '{ print $3 }'").ok();
    lab.netcord("attach br0 db --ip 10.7.0.2").fails(4, &["10.7.0.2 is taken by", &mac]);
    lab.netcord("attach br0 db --ip 10.7.0.1").fails(4, &["10.7.0.1 is taken"]);
    lab.netcord("attach br0 db --ip 10.7.0.3").fails(4, &["10.7.0.3 is taken by `web`"]);
    assert_eq!(lab.netcord("attach br0 db --ip 10.7.0.9/24 --gateway 10.7.0.2").ok(), "10.7.0.9");
    assert!(lab.within("db", "ip route").ok().contains("default via 10.7.0.2"));
}

#[test]
fn one_whose_last_port_left_is_used_again() {
    let lab = Lab::new();
    lab.netns(&["web"]).sh("ip link add br0 type bridge; ip addr add 10.7.0.1/24 dev br0").ok();
    for _ in 0..2 {
        // The kernel takes its MAC away with its last port.
        lab.netcord("attach br0 web").ok();
        assert!(lab.netcord("ps").ok().contains("web"), "the record can be read");
        lab.netcord("detach br0 web").ok();
    }
}

#[test]
fn without_an_address_of_its_own_it_needs_to_be_told_one() {
    let lab = Lab::new();
    lab.netns(&["a", "b"]).sh("ip link add br0 type bridge; ip link set br0 up").ok();
    lab.netcord("attach br0 a").fails(2, &["no subnet", "--ip"]);
    lab.netcord("attach br0 a --ip 10.9.0.1/24").ok();
    lab.netcord("attach br0 b --ip 10.9.0.2/24").ok();
    lab.within("a", "ping -c1 -W2 10.9.0.2").ok();
}

#[test]
fn a_second_network_gives_no_default_route_unless_told_to_and_puts_the_first_back() {
    let lab = host_with_a_bridge();
    lab.netcord("bridge lab0 --subnet 10.1.0.0/24").ok();
    lab.netcord("attach lab0 web").ok();
    let first = lab.within("web", "ip route").ok();
    lab.netcord("attach br0 web").ok();
    assert!(lab.within("web", "ip route").ok().contains("default via 10.1.0.1"));
    lab.netcord("detach br0 web").ok();
    lab.netcord("attach br0 web --gateway 10.7.0.1").ok();
    let routes = lab.within("web", "ip route").ok();
    assert!(routes.contains("default via 10.7.0.1") && !routes.contains("default via 10.1"));
    lab.netcord("detach br0 web").ok();
    assert_eq!(lab.within("web", "ip route").ok(), first);
}

#[test]
fn ports_of_what_others_attached_are_published() {
    for firewall in ["nftables", "iptables"] {
        let lab = host_with_a_bridge();
        lab.serve("hand", 80);
        lab.sh("iptables -P FORWARD DROP; ip addr add fd00:7::1/64 dev br0 nodad
             sysctl -qw net.ipv6.conf.all.forwarding=1
             ip -n hand addr add fd00:7::2/64 dev eth0 nodad; ip -n hand route add default via fd00:7::1")
            .ok();
        let before = lab.snapshot();
        let publish = format!("--firewall {firewall} publish hand 8080:80 8443:443");
        lab.netcord(&publish).ok();
        assert!(
            lab.netcord(&format!("{publish} --format json")).ok().contains(r#""changed":false"#)
        );
        assert_eq!(lab.fetch("outside", "http://192.0.2.1:8080").ok(), "hand");
        let ports = lab.netcord("port hand").ok();
        assert!(ports.contains("80/tcp -> 0.0.0.0:8080") && ports.contains("[::]:8080"), "{ports}");
        assert!(lab.netcord("ps").ok().lines().any(|l| l.contains("br0") && l.contains("8080")));
        assert!(lab.netcord("inspect hand").ok().contains(r#""foreign": true"#));
        let export = lab.netcord("export").ok();
        let line = format!("netcord --firewall {firewall} publish hand 0.0.0.0:8080:80/tcp");
        assert!(export.contains(&line), "{export}");
        lab.netcord("repair --check").ok();
        lab.netcord("detach br0 hand").fails(4, &["another program", "unpublish hand --all"]);

        // The record is lost, and the rules show what was on it.
        lab.sh("rm -r /run/netcord/*").ok();
        let repair = lab.netcord("repair");
        assert!(repair.stderr.contains("network `br0`"), "{}", repair.stderr);
        assert_eq!(lab.netcord("port hand").ok(), ports);
        assert_eq!(lab.rules_of_ports().len(), 4, "{firewall}");

        lab.netcord("unpublish hand 8443:443").ok();
        assert_eq!(lab.fetch("outside", "http://192.0.2.1:8080").ok(), "hand");
        lab.netcord("unpublish hand --all").ok();
        before.assert_same(&lab.snapshot(), firewall);
    }
}

#[test]
fn ports_of_what_others_attached_end_with_it() {
    let lab = host_with_a_bridge();
    let before = lab.snapshot();
    lab.netcord("publish hand 8080:80").ok();
    lab.netcord("reset --yes").ok();
    before.assert_same(&lab.snapshot(), "after reset");
    lab.sh("ip -n hand route del default").ok();
    lab.netcord("publish hand 8080:80").fails(4, &["no default route", "attach"]);
    lab.sh("ip -n hand route add default via 10.7.0.1").ok();
    lab.netcord("publish hand 8080:80").ok();
    lab.netcord("publish web 8080:80").fails(3, &["attached to no network"]);
    // It is attached to a network of netcord's besides; its default route still leads by `br0`.
    lab.netcord("bridge lab0").ok();
    lab.netcord("attach lab0 hand").ok();
    lab.netcord("publish hand 8081:80").ok();
    lab.netcord("detach lab0 hand").ok();
    assert_eq!(lab.netcord("port hand").ok().lines().count(), 2, "both by br0");
    lab.netcord("rm lab0").ok();
    lab.sh("ip link del cable").ok();
    lab.netcord("prune").ok();
    assert_eq!(lab.netcord("ps --format '{{.Target}}'").ok(), "");
    assert_eq!(lab.rules_of_ports(), Vec::<String>::new());
}
