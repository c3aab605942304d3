//! Routes of every type, with metrics, inside a target and on the host.

use crate::support::{Lab, NETCORD};

const ROUTES: &str = "--metric 50 --route blackhole:10.9.0.0/16 --route unreachable:fd00:9::/48 \
                      --route prohibit:10.8.0.0/16,metric=7 --route 10.7.0.0/16,10.1.0.1,metric=5";

/// A target in two networks; the second brings the routes.
fn furnished() -> Lab {
    let lab = Lab::new();
    lab.netns(&["web", "db"]);
    lab.sh("ip -n web link set lo up").ok();
    lab.netcord("bridge lab0 --subnet 10.1.0.0/24 --subnet fd00:1::/64").ok();
    lab.netcord("bridge lab1 --subnet 10.2.0.0/24").ok();
    lab.netcord("attach lab1 web").ok();
    lab
}

fn routes(lab: &Lab) -> String {
    lab.sh("for v in 4 6; do ip -$v -n web route show; done").ok()
}

#[test]
fn routes_of_all_types_come_and_go_with_their_endpoint() {
    let lab = furnished();
    let without = lab.snapshot();
    let attach = format!("attach lab0 web {ROUTES}");
    lab.netcord(&attach).ok();
    let there = routes(&lab);
    for line in [
        "default via 10.2.0.1 dev eth0 proto 110",
        "default via 10.1.0.1 dev eth1 proto 110 metric 50",
        "blackhole 10.9.0.0/16 proto 110",
        "unreachable fd00:9::/48 dev lo proto 110 metric 1024",
        "prohibit 10.8.0.0/16 proto 110 metric 7",
        "10.7.0.0/16 via 10.1.0.1 dev eth1 proto 110 metric 5",
    ] {
        assert!(there.contains(line), "{line}: {there}");
    }
    let (after, shown) = (lab.snapshot(), lab.netcord("inspect web --format json").ok());
    let exported = lab.netcord("export").ok();
    assert!(exported.contains("--metric 50 --route blackhole:10.9.0.0/16"), "{exported}");

    // What leads nowhere is named, and a lower metric wins.
    for (to, text) in [
        ("10.9.0.1", "ip route blackhole 10.9.0.0/16"),
        ("10.8.0.1", "ip route prohibit 10.8.0.0/16"),
        ("[fd00:9::1]", "ip route unreachable fd00:9::/48"),
    ] {
        let path = lab.netcord(&format!("trace web {to}")).exits(1).stdout;
        assert!(path.contains(text), "{to}: {path}");
    }
    lab.netcord("doctor").ok();
    lab.netcord("repair --check").ok();

    // The same again is no change, and another is refused.
    lab.netcord(&format!("{attach} --ifname eth1")).ok();
    for (other, words) in [
        ("--metric 60", "metric is 50, not 60"),
        ("--route unreachable:10.9.0.0/16", "is blackhole, not unreachable"),
        ("--route 10.7.0.0/16,10.1.0.1", "is by 10.1.0.1 with metric 5, not by 10.1.0.1"),
    ] {
        lab.netcord(&format!("attach lab0 web --ifname eth1 {other}")).fails(4, &[words]);
    }
    after.assert_same(&lab.snapshot(), "nothing was changed");

    // Without records, each endpoint is rebuilt with its routes.
    for lost in ["rm /run/netcord/*/network-lab0.json", "rm -r /run/netcord"] {
        lab.sh(lost).ok();
        lab.netcord("repair").ok();
        after.assert_same(&lab.snapshot(), lost);
        let count = lab.netcord("inspect web --format json").ok().matches("blackhole").count();
        assert_eq!(count, shown.matches("blackhole").count(), "{lost}: one endpoint has it");
    }
    lab.sh("ip -n web route del blackhole 10.9.0.0/16").ok();
    lab.netcord("repair --check").exits(1);
    lab.netcord("repair").ok();
    after.assert_same(&lab.snapshot(), "repaired");

    lab.netcord("detach lab0 web").ok();
    without.assert_same(&lab.snapshot(), "detached");
}

#[test]
fn routes_that_rival_are_refused_before_anything_is_changed() {
    let lab = furnished();
    let before = lab.snapshot();
    for (routes, words) in [
        ("--route blackhole:10.9.0.0/16 --route 10.9.0.0/16,10.1.0.1", "blackhole and by 10.1.0.1"),
        ("--route default,10.1.0.9,metric=4 --route prohibit:default,metric=4", "to 0.0.0.0/0"),
        ("--route fd00:9::/48 --route unreachable:fd00:9::/48,metric=1024", "to fd00:9::/48"),
    ] {
        let hint = "each needs a metric of its own";
        lab.netcord(&format!("attach lab0 web {routes}")).fails(2, &[words, hint]);
        before.assert_same(&lab.snapshot(), routes);
    }
    // A default route that was given takes the place of the network's.
    lab.netcord("attach lab0 db --route unreachable:default --gateway fd00:1::1").ok();
    let routes = lab.sh("ip -n db route; ip -6 -n db route").ok();
    assert!(routes.contains("unreachable default proto 110"), "{routes}");
    assert!(!routes.contains("default via 10.1.0.1"), "{routes}");
    lab.sh(&format!("{NETCORD} doctor lab0")).ok();
}
