//! Addresses in a network that others share: the wire is asked before one is given out, and told
//! afterwards. The network is a foreign bridge, whose owner keeps no record that we could read.

use crate::support::{Lab, frames::shown};

/// A bridge `br0`, 10.7.0.1/16 and `fd00:7::1`/64, and a stranger on it, `hand`, wired by hand.
fn host_with_a_stranger() -> Lab {
    let lab = Lab::new();
    lab.netns(&["hand", "web", "db", "cache"]);
    lab.sh("ip link add br0 type bridge; ip link set br0 addrgenmode none
            ip addr add 10.7.0.1/16 dev br0; ip addr add fd00:7::1/64 nodad dev br0
            ip link set br0 up
            ip link add cable type veth peer name eth0 netns hand; ip link set cable addrgenmode none
            ip link set cable master br0 up
            ip -n hand addr add 10.7.0.2/16 dev eth0; ip -n hand addr add fd00:7::2/64 nodad dev eth0
            ip -n hand link set lo up; ip -n hand link set eth0 up")
        .ok();
    lab.until("ping -qc1 -W1 10.7.0.2");
    lab.until("ping -qc1 -W1 fd00:7::2");
    lab
}

/// Nothing on the host remembers who is there.
fn forget(lab: &Lab) {
    lab.sh("ip neigh flush dev br0; ip link set cable nomaster; ip link set cable master br0").ok();
    lab.until("test \"$(cat /sys/class/net/cable/brport/state)\" = 3");
}

fn neighbour(lab: &Lab, address: &str) -> String {
    lab.sh(&format!("ip -n hand neigh show {address} dev eth0")).ok()
}

#[test]
fn an_address_that_answers_is_refused_and_its_owner_named() {
    let lab = host_with_a_stranger();
    let mac = shown(lab.mac("hand", "eth0"));
    for address in ["10.7.0.2", "fd00:7::2"] {
        forget(&lab);
        let before = lab.snapshot();
        lab.netcord(&format!("attach br0 web --ip {address}"))
            .fails(4, &[&format!("address {address} is taken by {mac}"), "hint: "]);
        before.assert_same(&lab.snapshot(), "a refusal changes nothing");
    }
}

#[test]
fn a_free_one_is_chosen_past_those_that_only_the_wire_knows() {
    let lab = host_with_a_stranger();
    // More than are asked about at once; in each family another number.
    for i in 3..=12 {
        lab.sh(&format!("ip -n hand addr add 10.7.0.{i}/16 dev eth0")).ok();
    }
    for i in 3..=5 {
        lab.sh(&format!("ip -n hand addr add fd00:7::{i}/64 nodad dev eth0")).ok();
    }
    forget(&lab);
    assert_eq!(lab.netcord("attach br0 web").ok(), "10.7.0.13\nfd00:7::6");
    // Asking left nothing behind in anybody's cache.
    for address in ["10.7.0.14", "10.7.0.5"] {
        assert_eq!(neighbour(&lab, address), "");
        assert_eq!(lab.sh(&format!("ip neigh show {address}")).ok(), "");
    }
    assert_eq!(neighbour(&lab, "0.0.0.0"), "");
    // What is known to be free is not asked about again for each of many.
    let given = lab.netcord("attach br0 db cache").ok();
    assert_eq!(given, "10.7.0.14\nfd00:7::7\n10.7.0.15\nfd00:7::8");
    for to in ["10.7.0.2", "fd00:7::2", "10.7.0.13", "fd00:7::6"] {
        lab.reaches("cache", &format!("ping {to}"), "");
    }
}

#[test]
fn a_range_that_is_all_taken_is_given_up_in_time() {
    let lab = host_with_a_stranger();
    lab.sh("ip -n hand route add local 10.7.0.0/16 dev lo").ok();
    forget(&lab);
    lab.netcord("attach br0 web --ip fd00:7::9").fails(4, &["have an owner on the wire", "--ip"]);
    assert!(!lab.sh("ip -n web link").ok().contains("eth0"));
}

#[test]
fn a_bridge_without_carrier_has_nobody_to_ask() {
    let lab = Lab::new();
    lab.netns(&["web"]);
    lab.sh("ip link add br0 type bridge; ip addr add 10.7.0.1/24 dev br0; ip link set br0 up").ok();
    assert_eq!(lab.netcord("attach br0 web").ok(), "10.7.0.2");
}

#[test]
fn who_remembers_a_former_owner_learns_of_the_new_one_unasked() {
    const ADDRESSES: [&str; 2] = ["10.7.0.9", "fd00:7::9"];
    let lab = host_with_a_stranger();
    let flags = "--ip 10.7.0.9 --ip fd00:7::9";
    lab.netcord(&format!("attach br0 web {flags}")).ok();
    let former = shown(lab.mac("web", "eth0"));
    for address in ADDRESSES {
        lab.until_within("hand", &format!("ping -qc1 -W1 {address}"));
        assert!(neighbour(&lab, address).contains(&former));
    }
    lab.netcord("detach br0 web").ok();
    // A host that comes up and sends nothing stays unknown.
    lab.sh("ip link add mute master br0 up type veth peer name eth0 netns db
            ip -n db link set eth0 addrgenmode none
            ip -n db addr add 10.7.0.9/16 dev eth0; ip -n db addr add fd00:7::9/64 nodad dev eth0
            ip -n db link set eth0 up; sleep 0.5")
        .ok();
    for address in ADDRESSES {
        assert!(neighbour(&lab, address).contains(&former));
    }
    lab.sh("ip link del mute").ok();
    lab.netcord(&format!("attach br0 db {flags} --mac 02:00:00:00:00:77")).ok();
    for address in ADDRESSES {
        let knows = format!("ip -n hand neigh show {address} | grep -q 02:00:00:00:00:77");
        lab.until(&knows);
    }
}
