//! What cannot be tidied up keeps nobody waiting but who asks for it.

use crate::support::{Lab, NETCORD};

/// An underlay network whose time is over, and that cannot be undone: its bridge has a route that
/// cannot be given back exactly.
fn stuck() -> Lab {
    let lab = Lab::new();
    lab.neighbour("outside").netns(&["web", "db"]);
    lab.netcord("bridge lab0 --subnet 10.7.0.0/24").ok();
    lab.netcord("attach lab0 web").ok();
    let route = "ip nexthop add id 1 via 192.0.2.2 dev lan0 && ip route add 10.99.0.0/16 nhid 1";
    lab.before_it_is_undone("underlay lan0 --parent eth0 --takeover", || lab.sh(route).code == 0);
    lab.until(&format!("{NETCORD} none made 2>&1 >/dev/null | grep -q 'could not be undone'"));
    lab
}

const REASON: [&str; 2] = ["could not be undone: the route to 10.99.0.0/16", "`netcord rm lan0`"];

#[test]
fn a_network_that_cannot_be_undone_blocks_no_other() {
    let lab = stuck();
    for words in [
        "attach lab0 db",
        "publish web 8080:80",
        "unpublish web 8080:80",
        "detach lab0 db",
        "bridge lab1",
        "rm lab1",
        "prune",
        "rm made",
    ] {
        let run = lab.netcord(words).exits(0);
        for part in REASON {
            assert!(run.stderr.contains(part), "{words}: {}", run.stderr);
        }
        assert_eq!(run.stderr.matches("warning: ").count(), 1, "{words}: {}", run.stderr);
    }
    for words in ["ls", "ps", "inspect", "doctor lab0"] {
        assert_eq!(lab.netcord(words).exits(0).stderr, "", "{words}");
    }
    let before = lab.snapshot();
    for words in [
        "attach lan0 db --ip 192.0.2.9",
        "confirm lan0",
        "confirm",
        "rm lan0",
        "repair",
        "underlay lan0 --parent eth0",
    ] {
        let run = lab.netcord(words).fails(4, &REASON);
        assert!(!run.stderr.contains("warning: "), "{words}: {}", run.stderr);
        before.assert_same(&lab.snapshot(), words);
    }
}

#[test]
fn reset_does_the_rest() {
    let lab = stuck();
    let run = lab.netcord("reset").fails(4, &REASON);
    assert_eq!(run.stdout, "endpoint lab0/web\nnetwork lab0\nname made\n");
    lab.sh("ip -4 addr show dev lan0 | grep -q 192.0.2.1/24; ! ip link show lab0").ok();
    lab.sh("ip route del 10.99.0.0/16 nhid 1").ok();
    let run = lab.netcord("reset").exits(0);
    assert!(run.stderr.contains("the host is as it was before"), "{}", run.stderr);
    lab.sh("ip -4 addr show dev eth0 | grep -q 192.0.2.1/24; ! ip link show lan0").ok();
}

#[test]
fn the_dead_of_one_network_keep_no_other_waiting() {
    let lab = Lab::with_firewall("iptables");
    lab.netns(&["web", "db"]);
    lab.netcord("bridge lab0").ok();
    lab.netcord("bridge lab1").ok();
    let pid = lab.null_mode_process();
    lab.netcord(&format!("attach lab0 {pid} -p 8080:80")).ok();
    lab.netcord("attach lab1 db").ok();
    lab.sh(&format!("kill -9 {pid}")).ok();
    lab.until("[ $(ip -br link show type veth | wc -l) = 1 ]");
    // A firewall that refuses: what changes its rules fails.
    lab.sh("mkdir /run/real /run/sbin; mount --bind /usr/sbin /run/real; ln -s /run/real/* /run/sbin/
            rm /run/sbin/iptables-restore; printf '#!/bin/sh\\nexit 4\\n' >/run/sbin/iptables-restore
            chmod +x /run/sbin/iptables-restore; mount --bind /run/sbin /usr/sbin")
        .ok();
    for words in ["attach lab1 web", "detach lab1 web", "none made"] {
        let run = lab.netcord(words).exits(0);
        assert!(
            run.stderr.contains("warning: network `lab0` has dead endpoints"),
            "{}",
            run.stderr
        );
        assert!(run.stderr.contains("`netcord prune`"), "{}", run.stderr);
    }
    lab.netcord("attach lab0 web").fails(1, &["network `lab0` has dead endpoints"]);
    lab.netcord("prune").fails(1, &["network `lab0` has dead endpoints"]);
    lab.sh("umount /usr/sbin").ok();
    assert!(lab.netcord("prune").ok().contains("endpoint lab0/"));
    assert_eq!(lab.netcord("attach lab0 web").exits(0).stderr, "");
}
