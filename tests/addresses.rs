//! Endpoints with several addresses of one family.

use std::collections::BTreeSet;

use crate::support::{Lab, NETCORD};

const SUBNETS: &str = "--subnet 10.1.0.0/24 --subnet fd00:1::/64";
/// Not in the order of their values: the first ones are the endpoint's main ones.
const IPS: &str = "--ip 10.1.0.9 --ip 10.1.0.5 --ip 10.1.0.7 --ip fd00:1::9 --ip fd00:1::5";
const ALL: [&str; 5] = ["10.1.0.9", "10.1.0.5", "10.1.0.7", "fd00:1::9", "fd00:1::5"];

#[test]
fn an_endpoint_with_many_addresses_speaks_by_each_and_by_no_other() {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["web", "db"]);
    lab.sh("for ns in web db; do ip -n $ns link set lo up; done").ok();
    lab.netcord(&format!("bridge lab0 {SUBNETS} --no-spoof")).ok();
    let without = lab.snapshot();
    let attach = format!("attach lab0 web {IPS} -p 8080:80");
    assert_eq!(lab.netcord(&attach).ok().lines().collect::<Vec<_>>(), ALL);
    lab.netcord("attach lab0 db").ok();
    lab.serve_ports("web", &[80]);
    lab.reaches("outside", "tcp 192.0.2.1:8080", "web:80 from 192.0.2.2");
    for address in ALL {
        let family = if address.contains(':') { 6 } else { 4 };
        lab.until_within("db", &format!("ping -{family} -qc1 -W1 {address}"));
        let gateway = if family == 6 { "fd00:1::1" } else { "10.1.0.1" };
        lab.until_within("web", &format!("ping -{family} -qc1 -W1 -I {address} {gateway}"));
    }
    // The first one is that of its own packets.
    let source = lab.sh("ip -n web route get 10.1.0.1; ip -n web route get fd00:1::1").ok();
    assert!(source.contains("src 10.1.0.9") && source.contains("src fd00:1::9"), "{source}");
    // One that it was not given is heard by nobody.
    lab.sh(
        "ip -n web addr add 10.1.0.77/24 dev eth0; ip -n web addr add fd00:1::77/64 nodad dev eth0",
    )
    .ok();
    lab.within("web", "ping -4 -qc1 -W1 -I 10.1.0.77 10.1.0.1").exits(1);
    lab.within("web", "ping -6 -qc1 -W1 -I fd00:1::77 fd00:1::1").exits(1);
    lab.sh("ip -n web addr del 10.1.0.77/24 dev eth0; ip -n web addr del fd00:1::77/64 dev eth0")
        .ok();

    // The same set is no change, in any order; another one is refused, and so is a taken one.
    let after = lab.snapshot();
    lab.netcord(
        "attach lab0 web --ip fd00:1::5 --ip 10.1.0.7 --ip 10.1.0.9 --ip 10.1.0.5/24 \
                 --ip fd00:1::9",
    )
    .ok();
    for (other, code, words) in [
        ("web --ip 10.1.0.9", 4, "address is 10.1.0.5, 10.1.0.7, 10.1.0.9, not 10.1.0.9"),
        ("web --ip fd00:1::9 --ip fd00:1::6", 4, "not fd00:1::6, fd00:1::9"),
        ("db --ifname lan --ip 10.1.0.30 --ip 10.1.0.7", 4, "10.1.0.7 is taken by `web`"),
        ("db --ifname lan --ip 10.1.0.30 --ip 10.1.0.30", 2, "10.1.0.30 is given twice"),
        ("db --ifname lan --ip 10.1.0.30 --ip 10.3.0.30/24", 2, "in no subnet of network `lab0`"),
    ] {
        lab.netcord(&format!("attach lab0 {other}")).fails(code, &[words]);
    }
    after.assert_same(&lab.snapshot(), "nothing was changed");
    lab.netcord("doctor").ok();
    let list = lab.netcord("ps").ok();
    for address in ALL {
        assert!(list.contains(address), "{address}: {list}");
    }

    // A lost record comes back with all of them, and so does a lost address.
    let listed = lab.netcord("ps --wide").ok();
    lab.sh("rm -r /run/netcord").ok();
    lab.netcord("repair").ok();
    assert_eq!(lab.netcord("ps --wide").ok(), listed);
    after.assert_same(&lab.snapshot(), "rebuilt");
    lab.sh("ip -n web addr del 10.1.0.5/24 dev eth0").ok();
    let found = lab.netcord("doctor").exits(1).stdout;
    assert!(found.contains("does not have its address 10.1.0.5/24"), "{found}");
    lab.netcord("repair").ok();
    lab.until_within("db", "ping -4 -qc1 -W1 10.1.0.5");

    lab.netcord("detach lab0 web db").ok();
    without.assert_same(&lab.snapshot(), "detached");
    let many: Vec<_> = (2..=65).map(|n| format!("--ip 10.1.0.{n}")).collect();
    lab.netcord(&format!("attach lab0 web {}", many.join(" "))).ok();
    lab.until_within("web", "ping -4 -qc1 -W1 -I 10.1.0.65 10.1.0.1");
    lab.netcord(&format!("attach lab0 db {} --ip 10.1.0.90", many.join(" ")))
        .fails(2, &["at most 64 addresses"]);
}

#[test]
fn a_shared_network_is_asked_about_each_address() {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["web"]);
    lab.sh("ip -n outside addr add 192.0.2.7/24 dev wire").ok();
    lab.netcord("macvlan lan0 --parent eth0 --host-access").ok();
    lab.netcord("attach lan0 web --ip 192.0.2.9 --ip 192.0.2.7")
        .fails(4, &["192.0.2.7 is taken by"]);
    let without = lab.snapshot();
    lab.netcord("attach lan0 web --ip 192.0.2.9 --ip 192.0.2.8 --ip 2001:db8::9 --ip 2001:db8::8")
        .ok();
    for address in ["192.0.2.9", "192.0.2.8", "2001:db8::9", "2001:db8::8"] {
        lab.netcord(&format!("trace host {address}")).ok();
        lab.until_within("outside", &format!("ping -qc1 -W1 {address}"));
        lab.sh(&format!("ping -qc1 -W2 {address}")).ok();
    }
    lab.netcord("detach lan0 web").ok();
    without.assert_same(&lab.snapshot(), "detached");
}

/// A bridge with two subnets of each family: an endpoint has an address of each, and its default routes
/// are by the first ones.
#[test]
fn a_bridge_may_have_several_subnets_of_a_family() {
    for firewall in ["nftables", "iptables"] {
        let lab = Lab::new();
        lab.neighbour("outside").netns(&["web", "db"]);
        lab.sh("for ns in web db; do ip -n $ns link set lo up; done").ok();
        let before = lab.snapshot();
        let bridge = format!(
            "--firewall {firewall} bridge lab0 --subnet 10.1.0.0/24 --subnet 10.2.0.0/24 \
             --subnet fd00:1::/64 --subnet fd00:2::/64 --gateway 10.2.0.9 --ip-range 10.2.0.64/28"
        );
        lab.netcord(&bridge).ok();
        lab.netcord(&bridge).ok();
        let own = lab.sh("ip -o addr show dev lab0 scope global | awk '{print $4}'").ok();
        assert_eq!(
            own.lines().collect::<BTreeSet<_>>(),
            ["10.1.0.1/24", "10.2.0.9/24", "fd00:1::1/64", "fd00:2::1/64"].into()
        );
        let without = lab.snapshot();
        let web = lab.netcord("attach lab0 web -p 8080:80").ok();
        assert_eq!(
            web.lines().collect::<Vec<_>>(),
            ["10.1.0.2", "10.2.0.64", "fd00:1::2", "fd00:2::2"]
        );
        let routes = lab.sh("ip -n web route show default; ip -n web -6 route show default").ok();
        assert!(routes.contains("via 10.1.0.1") && routes.contains("via fd00:1::1"), "{routes}");
        assert_eq!(routes.matches("default").count(), 2, "{routes}");
        // An address that is asked for is the only one of its family, and its gateway that of the route.
        let db = lab.netcord("attach lab0 db --ip 10.2.0.7").ok();
        assert_eq!(db.lines().collect::<Vec<_>>(), ["10.2.0.7", "fd00:1::3", "fd00:2::3"]);
        assert!(lab.sh("ip -n db route show default").ok().contains("via 10.2.0.9"));

        lab.serve_ports("web", &[80]);
        lab.reaches("outside", "tcp 192.0.2.1:8080", "web:80 from 192.0.2.2");
        for (from, to) in [("web", "10.2.0.7"), ("db", "10.2.0.64"), ("db", "10.1.0.2")] {
            lab.until_within(from, &format!("ping -qc1 -W1 {to}"));
        }
        // By each of its addresses it reaches the world, by masquerade; the world reaches none.
        for own in ["10.1.0.2", "10.2.0.64", "fd00:1::2", "fd00:2::2"] {
            let far = if own.contains(':') { "2001:db8::2" } else { "192.0.2.2" };
            lab.until_within("web", &format!("ping -qc1 -W1 -I {own} {far}"));
        }
        lab.sh("ip -n outside route add 10.2.0.0/24 via 192.0.2.1").ok();
        lab.within("outside", "ping -qc1 -W1 10.2.0.64").exits(1);
        lab.sh("ip -n outside route del 10.2.0.0/24").ok();

        let after = lab.snapshot();
        for (other, code, words) in [
            ("--subnet 10.1.0.0/24", 4, "subnet is 10.1.0.0/24, 10.2.0.0/24, not 10.1.0.0/24"),
            ("--subnet 10.1.0.0/24 --subnet 10.1.0.128/25", 2, "overlap"),
            (
                "--subnet 10.1.0.0/24 --subnet 10.2.0.0/24 --gateway 10.2.0.1 --gateway 10.2.0.2",
                2,
                "at most one gateway",
            ),
            ("--subnet 10.1.0.0/24 --subnet 10.2.0.0/24 --gateway 10.3.0.1", 2, "in no subnet"),
            (
                "--subnet 10.1.0.0/24 --subnet 10.2.0.0/24 --gateway 10.2.0.1",
                4,
                "gateway is 10.2.0.9, not 10.2.0.1",
            ),
        ] {
            lab.netcord(&format!("bridge lab0 {other}")).fails(code, &[words]);
        }
        lab.netcord("macvlan lan0 --parent eth0 --subnet 10.4.0.0/24 --subnet 10.5.0.0/24")
            .fails(2, &["at most one subnet per IP family"]);
        after.assert_same(&lab.snapshot(), "nothing was changed");
        lab.netcord("doctor").ok();
        lab.netcord("repair --check").ok();

        // Records that are lost come back, in order, and so does the network from what `export` prints.
        let shown = lab.netcord("inspect lab0").ok();
        let listed = lab.netcord("ps --wide").ok();
        lab.sh("rm -r /run/netcord; ip addr del 10.1.0.1/24 dev lab0").ok();
        lab.netcord("repair").ok();
        assert_eq!(lab.netcord("inspect lab0").ok(), shown);
        assert_eq!(lab.netcord("ps --wide").ok(), listed);
        after.assert_same(&lab.snapshot(), "rebuilt");
        let export = lab.netcord("export").ok();
        lab.netcord("detach lab0 web db").ok();
        without.assert_same(&lab.snapshot(), "detached");
        lab.netcord("rm lab0").ok();
        before.assert_same(&lab.snapshot(), "removed");
        lab.sh(&format!("netcord() {{ {NETCORD} \"$@\"; }}\n{export}")).ok();
        assert_eq!(lab.netcord("inspect lab0").ok(), shown);
    }
}
