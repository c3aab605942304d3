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
