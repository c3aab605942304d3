//! `wait`: each condition, what comes while it is waited for, and what does not come.

use crate::support::{Lab, NETCORD};

/// A script with `netcord` as a command.
fn with_netcord(script: &str) -> String {
    format!("netcord() {{ {NETCORD} \"$@\"; }}\n{script}")
}

#[test]
fn each_condition_says_what_is_missing() {
    let lab = Lab::new();
    lab.netns(&["web", "db"]);
    let wait = |condition: &str| lab.netcord(&format!("wait web --for {condition} --timeout 0"));
    let missing = |condition: &str, what: &str| {
        let run = wait(condition).fails(7, &["target `web` was not ready in 0 seconds", what]);
        assert!(run.stderr.contains("netcord container web -- ip addr"), "{}", run.stderr);
    };
    missing("up", "it has no link besides lo");
    lab.sh("ip -n web link add eth0 type veth peer name eth0 netns db").ok();
    missing("up", "`eth0` is down");
    lab.sh("ip -n web link set eth0 up").ok();
    assert_eq!(wait("up").ok(), "eth0");
    missing("carrier", "`eth0` has no carrier");
    lab.sh("ip -n db link set eth0 up").ok();
    assert_eq!(lab.netcord("wait web --for carrier").ok(), "eth0");
    missing("addr", "`eth0` has no address that can be used");
    lab.sh("ip -n web addr add 10.9.0.2/24 dev eth0").ok();
    assert_eq!(wait("addr").ok(), "10.9.0.2");
    missing("route", "`eth0` has no default route");
    lab.sh("ip -n web route add default via 10.9.0.1").ok();
    assert_eq!(wait("route").ok(), "10.9.0.2");
    assert_eq!(lab.netcord("wait web").ok(), "10.9.0.2", "addr is the default");
    let json: serde_json::Value =
        serde_json::from_str(&lab.netcord("--format json wait web").ok()).unwrap();
    assert_eq!((&json["link"], &json["addresses"][0]), (&"eth0".into(), &"10.9.0.2".into()));
}

#[test]
fn what_comes_while_it_is_waited_for_is_heard_of() {
    let lab = Lab::new();
    lab.netns(&["db"]);
    let script = "
        netcord wait web --for route > /run/heard & waiter=$!
        ip netns add web
        ip -n web link add eth0 type veth peer name eth0 netns db
        ip -n web link set eth0 up; ip -n db link set eth0 up
        ip -n web addr add 10.9.0.2/24 dev eth0
        kill -0 $waiter
        ip -n web route add default via 10.9.0.1
        wait $waiter; cat /run/heard";
    assert_eq!(lab.sh(&with_netcord(script)).ok(), "10.9.0.2");
}

#[test]
fn an_ipv6_address_counts_once_it_is_known_to_be_nobody_elses() {
    let lab = Lab::new();
    lab.netns(&["web", "db"]);
    lab.sh("ip -n web link add eth0 type veth peer name eth0 netns db
            ip -n web link set eth0 up; ip -n db link set eth0 up
            ip -n web addr add 2001:db8::2/64 dev eth0
            ip -n web -6 addr show tentative | grep -q 2001:db8::2")
        .ok();
    assert_eq!(lab.netcord("wait web").ok(), "2001:db8::2");
    lab.sh("! ip -n web -6 addr show tentative | grep -q 2001:db8::2").ok();
}

#[test]
fn a_target_that_ends_or_never_comes_is_an_error() {
    let lab = Lab::new();
    lab.netcord("wait nosuch --timeout 0").fails(7, &["target `nosuch` did not appear in time"]);
    lab.netcord("wait nosuch --timeout x").exits(2);
    let pid = lab.null_mode_process();
    let script = format!(
        "{NETCORD} wait {pid} 2> /run/said & waiter=$!
         until ls -l /proc/$waiter/fd | grep -q pidfd; do sleep 0.02; done
         kill -9 {pid}; code=0; wait $waiter || code=$?; cat /run/said >&2; exit $code"
    );
    lab.sh(&with_netcord(&script)).fails(3, &[&format!("target `{pid}` ended")]);
}

#[test]
fn the_host_itself_can_be_waited_for() {
    let lab = Lab::new();
    lab.netcord("wait host --timeout 0").fails(7, &["it has no link besides lo"]);
    lab.neighbour("outside");
    assert_eq!(lab.netcord("wait host --for route").ok(), "192.0.2.1\n2001:db8::1");
}
