//! `reset`: the host as before netcord, whatever it did and whatever became of its records.

use crate::support::{FIREWALLS, Lab, NETCORD, SCENARIOS};

/// A host with things of others, and then everything of ours.
const EVERYTHING: &str = "
    netcord bridge lab0 --subnet 10.7.0.0/24 --isolate
    netcord bridge lab1 --subnet 10.8.0.0/24 --subnet fd00:8::/64 --no-spoof
    netcord bridge back --subnet 10.9.0.0/24 --internal
    netcord macvlan lan0 --parent eth0 --host-access
    netcord none made; netcord none named --of $pid
    netcord attach lab0 web db -q; netcord attach lab1 web made
    netcord attach br0 web; netcord attach lan0 db --ip 192.0.2.9
    netcord publish web 8080:80 127.0.0.1:5353:53/udp; netcord publish made 9000-9004:9000-9004";

fn others() -> Lab {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["web", "db"]);
    // Forwarding is on already, and lo is up: that netcord turned such on, no mark tells.
    lab.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
            ip -n web link set lo up; ip -n db link set lo up
            ip link add br0 address 02:00:00:00:00:60 type bridge; ip link set br0 addrgenmode none
            ip addr add 10.6.0.1/24 dev br0; ip link set br0 up
            iptables -A FORWARD -s 198.51.100.0/24 -j DROP
            nft add table inet theirs")
        .ok();
    lab
}

fn make_everything(lab: &Lab, firewall: &str) {
    let pid = lab.null_mode_process();
    lab.sh(&format!(
        "netcord() {{ {NETCORD} --firewall {firewall} \"$@\"; }}; pid={pid}{EVERYTHING}"
    ))
    .ok();
}

#[test]
fn all_of_ours_goes_and_nothing_of_others() {
    for firewall in FIREWALLS {
        let lab = others();
        let before = lab.snapshot();
        make_everything(&lab, firewall);
        let whole = lab.snapshot();
        let script = lab.netcord("--dry-run reset").ok();
        assert!(script.contains("ip link del") && script.starts_with("#!/bin/sh"), "{script}");
        whole.assert_same(&lab.snapshot(), "after a dry run");
        let removed = lab.netcord("reset").ok();
        for what in ["endpoint lab0/web", "network lab0", "network lan0", "name made"] {
            assert!(removed.lines().any(|l| l == what), "{what}: {removed}");
        }
        before.assert_same(&lab.snapshot(), firewall);
        assert_eq!(lab.netcord("reset").ok(), "", "there is nothing left");
        before.assert_same(&lab.snapshot(), "a second time");
    }
}

#[test]
fn what_no_record_tells_of_goes_by_its_marks() {
    for firewall in FIREWALLS {
        for damage in ["rm -r /run/netcord", "for f in /run/netcord/*/*.json; do echo x > $f; done"]
        {
            let lab = others();
            let before = lab.snapshot();
            // Of a name that is lost nothing tells whose it was.
            lab.sh(&format!(
                "netcord() {{ {NETCORD} --firewall {firewall} \"$@\"; }}
                 netcord bridge lab0 --subnet 10.7.0.0/24; netcord attach lab0 web -p 8080:80
                 netcord attach br0 db; netcord macvlan lan0 --parent eth0 --host-access
                 netcord attach lan0 web --ip 192.0.2.9"
            ))
            .ok();
            lab.sh(damage).ok();
            lab.netcord("reset").ok();
            before.assert_same(&lab.snapshot(), &format!("{firewall}, {damage}"));
        }
    }
}

#[test]
fn an_underlay_gives_its_parent_back() {
    let scenario = SCENARIOS.iter().find(|s| s.name == "underlay").unwrap();
    let stage = scenario.stage();
    let before = stage.lab.snapshot();
    stage.run().ok();
    stage.lab.netcord("attach mydr0 peer").ok();
    stage.lab.netcord("reset").ok();
    before.assert_same(&stage.lab.snapshot(), "after reset");
}
