//! Doing it again is success, and changes nothing; undoing it again too.

use crate::support::{Lab, SCENARIOS, Snapshot};

/// Whether the JSON that a changing verb prints says that something changed.
#[track_caller]
fn changed(lab: &Lab, words: &str) -> bool {
    let printed = lab.netcord(&format!("--format json {words}")).ok();
    let json: serde_json::Value = serde_json::from_str(&printed).unwrap();
    json["changed"].as_bool().unwrap()
}

#[test]
fn every_command_a_second_and_a_tenth_time() {
    for scenario in SCENARIOS {
        let stage = scenario.stage();
        let (lab, name) = (&stage.lab, scenario.name);
        let before = lab.snapshot();
        assert!(changed(lab, &stage.command), "{name} changes something");
        let after = lab.snapshot();
        for _ in 0..9 {
            assert!(!changed(lab, &stage.command), "{name} changes nothing again");
        }
        stage.run().exits(0);
        after.assert_same(&lab.snapshot(), &format!("{name}, the eleventh time"));
        assert!(changed(lab, &stage.inverse), "{name} can be taken back");
        before.assert_same(&lab.snapshot(), &format!("{name}, taken back"));
        assert!(!changed(lab, &stage.inverse), "{name} is taken back once");
        stage.run_inverse().exits(0);
        before.assert_same(&lab.snapshot(), &format!("{name}, taken back again"));
    }
}

#[test]
fn bridge_again_mends_what_was_changed_by_hand() {
    mended(
        "iptables",
        &[
            "for t in raw filter nat; do iptables -t $t -F; ip6tables -t $t -F; done",
            "for t in raw filter nat; do iptables -t $t -F; iptables -t $t -X; done",
            "iptables -D FORWARD -m comment --comment 'netcord: FORWARD to NETCORD-FORWARD' -j NETCORD-FORWARD",
        ],
    );
    mended(
        "nftables",
        &[
            "nft flush ruleset",
            "nft flush chain inet netcord filter-lab0",
            "nft flush chain inet netcord nat-lab0",
            "nft delete element inet netcord filter '{ \"lab0\" }'",
            "nft 'delete element inet netcord nat { \"lab0\" }; flush chain inet netcord nat-lab0; \
             delete chain inet netcord nat-lab0'",
            "ip link set lab0 down",
            "ip addr del 172.20.0.1/16 dev lab0",
            "ip addr del fd00:1::1/64 dev lab0",
            "ip link set lab0 alias ''",
            "sysctl -qw net/ipv4/ip_forward=0",
        ],
    );
}

/// Each damage is mended by the same command again, once.
#[track_caller]
fn mended(firewall: &'static str, damages: &[&str]) {
    let lab = Lab::with_firewall(firewall);
    lab.netcord("bridge lab0 --subnet 172.20.0.0/16 --subnet fd00:1::/64").ok();
    let whole = lab.snapshot();
    for damage in damages {
        lab.sh(damage).ok();
        assert!(changed(&lab, "bridge lab0"), "`{damage}` is mended");
        whole.assert_same(&lab.snapshot(), damage);
        assert!(!changed(&lab, "bridge lab0"), "`{damage}` is mended once");
    }
    lab.sh("test $(cat /proc/sys/net/ipv4/ip_forward) = 1").ok();
}

#[test]
fn attach_again_mends_what_was_changed_by_hand() {
    let lab = Lab::new();
    lab.netns(&["web"]);
    lab.netcord("bridge lab0").ok();
    lab.netcord("attach lab0 web -p 8080:80").ok();
    let whole = lab.snapshot();
    for damage in [
        "nft flush map inet netcord ports4",
        "ip -n web link set eth0 down",
        "ip -n web addr del 172.17.0.2/16 dev eth0",
        "ip -n web route del default",
        "ip link set $(ls /sys/class/net | grep ^nc) alias ''",
    ] {
        lab.sh(damage).ok();
        assert!(changed(&lab, "attach lab0 web -p 8080:80"), "`{damage}` is mended");
        whole.assert_same(&lab.snapshot(), damage);
    }
}

/// The MTU of a link of the host.
#[track_caller]
fn mtu(lab: &Lab, link: &str) -> String {
    lab.sh(&format!("cat /sys/class/net/{link}/mtu")).ok()
}

#[test]
fn a_bridge_keeps_its_mtu_whatever_its_ports_have() {
    for own in ["1500", "1400", "65535"] {
        let lab = Lab::new();
        lab.netns(&["web"]);
        lab.netcord(&format!("bridge lab0 --mtu {own}")).ok();
        lab.netcord("attach lab0 web --mtu 1300").ok();
        for step in ["", "detach lab0 web", "attach lab0 web --mtu 1290"] {
            if !step.is_empty() {
                lab.netcord(step).ok();
            }
            assert_eq!(mtu(&lab, "lab0"), own, "after `{step}`");
            assert!(!changed(&lab, "bridge lab0"), "after `{step}`");
            assert_eq!(lab.netcord("repair --check").ok(), "");
            let found = lab.netcord("doctor lab0").stdout;
            assert!(!found.contains("mtu-mismatch"), "{found}");
        }
        lab.sh("ip link set lab0 mtu 1350").ok();
        assert!(changed(&lab, "bridge lab0"), "its MTU is given back");
        assert_eq!(mtu(&lab, "lab0"), own);
        assert!(!changed(&lab, "bridge lab0"));
    }
}

/// Networks `lab0` and `lab1`, with `web` in the first; the second took the default route over.
fn with_two_networks(firsts: &str, seconds: &str) -> (Lab, Snapshot) {
    let lab = Lab::new();
    lab.netns(&["web"]);
    lab.netcord("bridge lab0 --subnet 172.20.0.0/16 --subnet fd00:1::/64").ok();
    lab.netcord("bridge lab1 --subnet 172.21.0.0/16 --subnet fd00:2::/64").ok();
    lab.netcord(firsts).ok();
    let before = lab.snapshot();
    lab.netcord(seconds).ok();
    (lab, before)
}

#[test]
fn a_default_route_that_gave_way_is_not_missed_and_comes_back() {
    for (first, second, gateways) in [
        ("lab0", "lab1", "--gateway 172.21.0.1 --gateway fd00:2::1"),
        ("lab1", "lab0", "--gateway 172.20.0.1 --gateway fd00:1::1"),
    ] {
        let attach = format!("attach {second} web {gateways}");
        let (lab, before) = with_two_networks(&format!("attach {first} web"), &attach);
        let both = lab.snapshot();
        for again in [format!("attach {first} web"), attach, "repair".into()] {
            assert!(!changed(&lab, &again), "`{again}` changes nothing");
        }
        assert_eq!(lab.netcord("repair --check").ok(), "");
        both.assert_same(&lab.snapshot(), "all again");
        // What is asked for again and is missing comes, but not the route that gave way.
        lab.sh("ip -n web addr del $(ip -n web -o -4 addr show eth0 | awk '{print $4}') dev eth0")
            .ok();
        assert!(changed(&lab, &format!("attach {first} web")));
        both.assert_same(&lab.snapshot(), "mended");

        let script = lab.netcord("inspect --commands web").ok();
        lab.sh("ip -n web link del eth0; ip -n web link del eth1").ok();
        lab.sh(&format!("set -e\n{script}")).ok();
        // Links and records come in another order.
        let sorted = |snapshot: &Snapshot| snapshot.mapped(str::to_owned);
        sorted(&both).assert_same(&sorted(&lab.snapshot()), "as the script does it");

        assert!(changed(&lab, &format!("detach {second} web")));
        before.assert_same(&lab.snapshot(), "the second network is gone");
        assert!(!changed(&lab, &format!("attach {first} web")));
    }
}

#[test]
fn a_default_route_that_gave_way_goes_with_its_network() {
    let attach = "attach lab1 web --gateway 172.21.0.1 --gateway fd00:2::1";
    let (lab, _) = with_two_networks("attach lab0 web", attach);
    lab.netcord("detach lab0 web").ok();
    assert!(!changed(&lab, attach), "it is as it was");
    assert_eq!(lab.netcord("repair --check").ok(), "");
    // The other way round: now it is the second that gives way.
    lab.netcord("attach lab0 web --gateway 172.20.0.1 --gateway fd00:1::1").ok();
    let both = lab.snapshot();
    lab.sh("ip -n web route del default; ip -n web -6 route del default").ok();
    lab.netcord("repair").ok();
    both.assert_same(&lab.snapshot(), "the one that is in force is mended");
    lab.netcord("detach lab0 web").ok();
    lab.sh("ip -n web route show default | grep -q 172.21.0.1").ok();
    lab.netcord("attach lab0 web").ok();
    lab.netcord("detach lab0 web").ok();
    lab.netcord("detach lab1 web").ok();
    assert_eq!(lab.sh("ip -n web -br link | grep -c eth || true").ok(), "0");
}

#[test]
fn a_network_is_detached_although_its_predecessor_is_gone() {
    let (lab, _) = with_two_networks("attach lab0 web", "attach lab1 web --gateway 172.21.0.1");
    lab.netcord("detach lab0 web").ok();
    lab.netcord("detach lab1 web").ok();
    assert_eq!(lab.netcord("ps -q").ok(), "");
    let (lab, _) = with_two_networks("attach lab0 web", "attach lab1 web --gateway 172.21.0.1");
    lab.netcord("reset").ok();
    assert_eq!(lab.netcord("ps -q").ok(), "");
}
