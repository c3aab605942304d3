//! Underlay: the host's own network, without losing it. The physical network is a switch with the
//! host, a router and another host on it, each a namespace.

#![expect(
    clippy::disallowed_types,
    clippy::zombie_processes,
    reason = "tests run programs, which end with their host"
)]

use std::process::{Command, Stdio};

use crate::support::{Lab, NETCORD, Run};

const UNDERLAY: &str = "underlay mydr0 --parent eth0 --ip-range 192.0.2.64/27 --takeover";

/// The host's `eth0` is 192.0.2.1 and `2001:db8::1`; `router` is .254 and `fe80::fe`, `other` .2.
/// Behind the router are 203.0.113.1 and `2001:db8:99::1`.
fn physical() -> Lab {
    let lab = Lab::new();
    lab.sh("ip netns add switch; ip -n switch link add sw type bridge; ip -n switch link set sw up
            plug() { ip -n switch link set $1 master sw up; }
            for name in router other; do
                ip netns add $name; ip -n $name link set lo up
                ip link add port-$name netns switch type veth peer name eth0 netns $name
                ip -n $name link set eth0 addrgenmode none; plug port-$name
            done
            ip link add eth0 type veth peer name port-host netns switch
            ip link set eth0 addrgenmode none; plug port-host
            ip -n router addr add 192.0.2.254/24 dev eth0; ip -n router addr add fe80::fe/64 nodad dev eth0
            ip -n router addr add 2001:db8::fe/64 nodad dev eth0; ip -n router link set eth0 up
            ip -n router addr add 203.0.113.1/32 dev lo; ip -n router addr add 2001:db8:99::1/128 dev lo
            ip -n other addr add 192.0.2.2/24 dev eth0; ip -n other addr add 2001:db8::2/64 nodad dev eth0
            ip -n other addr add fe80::2/64 nodad dev eth0; ip -n other link set eth0 up
            ip addr add 192.0.2.1/24 brd + dev eth0; ip addr add 2001:db8::1/64 nodad dev eth0
            ip addr add fe80::1/64 nodad dev eth0; ip link set eth0 up
            ip route add default via 192.0.2.254 metric 100; ip -6 route add default via fe80::fe dev eth0")
        .ok();
    for address in ["192.0.2.2", "203.0.113.1", "2001:db8::2", "2001:db8:99::1"] {
        lab.until(&format!("ping -qc1 -W1 {address}"));
    }
    lab
}

fn reaches_everybody(lab: &Lab, from: &str) {
    for address in ["192.0.2.2", "203.0.113.1", "2001:db8::2", "2001:db8:99::1"] {
        lab.until_within(from, &format!("ping -qc1 -W1 {address}"));
    }
}

/// Waits until the network is gone, by whomever.
fn until_undone(lab: &Lab) {
    lab.until("test ! -e /sys/class/net/mydr0");
    lab.until("test -z \"$(find /run/netcord -name 'network-mydr0.json')\"");
}

#[test]
fn connections_live_through_the_move_and_back() {
    let lab = physical();
    lab.echo("router", "[::]:7");
    lab.echo("host", "[::]:9");
    let streams = || {
        [
            ("out, IPv4", lab.stream("host", "203.0.113.1:7")),
            ("out, IPv6", lab.stream("host", "[2001:db8:99::1]:7")),
            ("in, IPv4", lab.stream("router", "192.0.2.1:9")),
            ("in, IPv6", lab.stream("router", "[2001:db8::1]:9")),
        ]
    };
    let before = lab.snapshot();
    let through_both = streams();
    lab.netcord(UNDERLAY).ok();
    for (what, stream) in streams() {
        stream.lives(&format!("{what}, made after the move"));
    }
    lab.netcord("rm mydr0").ok();
    for (what, stream) in through_both {
        stream.lives(what);
    }
    before.assert_same(&lab.snapshot(), "given back");
}

#[test]
fn endpoints_are_in_the_physical_network_and_leave_no_trace_in_it() {
    let lab = physical();
    lab.netns(&["web", "db"]);
    let before = lab.snapshot();
    lab.netcord(UNDERLAY).ok();
    let given = lab.netcord("attach mydr0 web").ok();
    assert_eq!(given, "192.0.2.64", "the first of the range");
    assert_eq!(
        lab.netcord("attach mydr0 db --ip 192.0.2.70 --ip 2001:db8::70").ok(),
        "192.0.2.70\n2001:db8::70"
    );
    reaches_everybody(&lab, "db");
    lab.until_within("web", "ping -qc1 -W1 203.0.113.1");
    for from in ["host", "router", "other", "web"] {
        lab.until_within(from, "ping -qc1 -W1 192.0.2.70");
    }
    lab.until_within("other", "ping -qc1 -W1 2001:db8::70");
    lab.netcord("rm mydr0").fails(4, &["has endpoints: web, db", "netcord detach mydr0 web db"]);
    lab.netcord("publish web 8080:80").fails(4, &["is the physical one", "own address"]);
    lab.netcord("detach mydr0 web db").ok();
    lab.netcord("rm mydr0").ok();
    before.assert_same(&lab.snapshot(), "given back after containers came and went");
}

#[test]
fn an_address_that_somebody_answers_for_is_not_given() {
    let lab = physical();
    lab.netns(&["web"]);
    lab.netcord("underlay mydr0 --parent eth0 --takeover").ok();
    // Nothing was said of which are ours: one that is silent, and a word about it.
    let run = lab.netcord("attach mydr0 web").exits(0);
    assert_eq!(run.stdout, "192.0.2.3\n2001:db8::3\n", "past those that answer");
    assert!(run.stderr.contains("--ip-range"), "{}", run.stderr);
    lab.netcord("detach mydr0 web").ok();
    lab.netcord("attach mydr0 web --ip 192.0.2.2").fails(4, &["address 192.0.2.2 is taken by"]);
    lab.netcord("attach mydr0 web --ip 192.0.2.1").fails(4, &["is taken by bridge `mydr0`"]);
    lab.netcord("attach mydr0 web --ip 192.0.2.254").fails(4, &["is taken by"]);
    assert_eq!(lab.netcord("attach mydr0 web --ip 192.0.2.9").ok(), "192.0.2.9");
}

#[test]
fn a_link_without_addresses_can_be_taken_over_too() {
    let lab = physical();
    lab.netns(&["web"]);
    lab.sh("ip -6 route del default; ip addr flush dev eth0 scope global; ip addr del fe80::1/64 dev eth0").ok();
    let before = lab.snapshot();
    lab.netcord("underlay mydr0 --parent eth0").ok();
    lab.netcord("attach mydr0 web").fails(2, &["no subnet to choose an address from", "--ip"]);
    lab.netcord("attach mydr0 web --ip 192.0.2.9/24 --gateway 192.0.2.254").ok();
    lab.until_within("web", "ping -qc1 -W1 203.0.113.1");
    lab.netcord("detach mydr0 web").ok();
    lab.netcord("rm mydr0").ok();
    before.assert_same(&lab.snapshot(), "given back");
}

#[test]
fn bridged_frames_pass_where_the_policy_is_drop() {
    let lab = physical();
    lab.netns(&["web"]);
    lab.sh("iptables -P FORWARD DROP; ip6tables -P FORWARD DROP").ok();
    for switch in [0, 1] {
        lab.sh(&format!(
            "for f in iptables ip6tables arptables; do
                 sysctl -qw net.bridge.bridge-nf-call-$f={switch}
             done"
        ))
        .ok();
        lab.netcord(UNDERLAY).ok();
        lab.netcord("attach mydr0 web --ip 192.0.2.70 --ip 2001:db8::70").ok();
        reaches_everybody(&lab, "web");
        lab.until_within("other", "ping -qc1 -W1 192.0.2.70");
        lab.netcord("detach mydr0 web").ok();
        lab.netcord("rm mydr0").ok();
        let rules = lab.sh("iptables -S; ip6tables -S").ok();
        assert!(!rules.contains("NETCORD"), "{rules}");
    }
}

#[test]
fn without_a_confirmation_it_is_undone() {
    let lab = physical();
    let before = lab.snapshot();
    let run = lab.netcord(&format!("{UNDERLAY} --confirm 1")).exits(0);
    assert!(run.stderr.contains("netcord confirm mydr0"), "{}", run.stderr);
    until_undone(&lab);
    before.assert_same(&lab.snapshot(), "undone");
    reaches_everybody(&lab, "host");
    lab.netcord("confirm").fails(3, &["no underlay network waits", "the move was undone"]);
    lab.netcord("confirm mydr0").fails(3, &["no network `mydr0`"]);
}

#[test]
fn endpoints_that_came_meanwhile_are_detached_when_it_is_undone() {
    let lab = physical();
    lab.netns(&["web"]);
    let before = lab.snapshot();
    lab.before_it_is_undone(UNDERLAY, || lab.netcord("attach mydr0 web").code == 0);
    until_undone(&lab);
    before.assert_same(&lab.snapshot(), "undone, with its endpoints");
}

#[test]
fn the_watchdog_outlives_the_shell_and_its_hangup() {
    let lab = physical();
    let before = lab.snapshot();
    // The shell, its children and its whole process group get what a lost connection brings.
    let script = format!("{NETCORD} {UNDERLAY} --confirm 1; kill -HUP 0; kill -KILL 0");
    let run = lab.command("setsid").args(["--wait", "sh", "-c", &script]).output().unwrap();
    assert!(!run.status.success(), "the shell was killed");
    until_undone(&lab);
    before.assert_same(&lab.snapshot(), "undone");
}

#[test]
fn what_is_confirmed_stays() {
    let lab = physical();
    let seconds =
        lab.before_it_is_undone(UNDERLAY, || lab.netcord("confirm").stdout.trim() == "mydr0");
    lab.until("! pgrep -f '[n]etcord watchdog'");
    let now: u64 = lab.sh("cut -d. -f1 /proc/uptime").ok().parse().unwrap();
    lab.until(&format!("test $(cut -d. -f1 /proc/uptime) -gt {}", now + seconds + 1));
    lab.sh("ip link show mydr0; ip addr show dev mydr0 | grep -q 192.0.2.1/24").ok();
    // Again is success.
    lab.netcord("confirm mydr0").ok();
    assert!(lab.netcord("--format json confirm").ok().contains("\"changed\":false"));
}

#[test]
fn a_killed_watchdog_is_replaced_by_the_next_command() {
    let lab = physical();
    let before = lab.snapshot();
    let seconds = lab.before_it_is_undone(UNDERLAY, || {
        lab.sh("pkill -KILL -f '[n]etcord watchdog' && [ -e /sys/class/net/mydr0 ]").code == 0
    });
    let now: u64 = lab.sh("cut -d. -f1 /proc/uptime").ok().parse().unwrap();
    lab.until(&format!("test $(cut -d. -f1 /proc/uptime) -gt {}", now + seconds));
    let run = lab.netcord("prune").exits(0);
    assert!(run.stderr.contains("not confirmed in time"), "{}", run.stderr);
    before.assert_same(&lab.snapshot(), "undone");
}

#[test]
fn a_killed_run_is_undone_by_its_watchdog() {
    let lab = physical();
    let before = lab.snapshot();
    // All has moved, and that it stays is about to be written down.
    let trace = "strace -qq -o /dev/null -e trace=rename -e inject=rename:signal=SIGKILL:when=2";
    lab.sh(&format!("{trace} {NETCORD} {UNDERLAY} || true")).ok();
    until_undone(&lab);
    lab.until("! pgrep -f '[n]etcord watchdog'");
    before.assert_same(&lab.snapshot(), "undone");
    reaches_everybody(&lab, "host");
}

#[test]
fn on_a_terminal_it_asks_for_a_confirmation() {
    let lab = physical();
    let on_terminal = |words: &str| -> Run {
        let script = format!("script -qec '{NETCORD} {words}' /dev/null </dev/null");
        lab.sh(&script).exits(0)
    };
    let said = on_terminal(&format!("{UNDERLAY} --no-confirm")).stdout;
    assert!(!said.contains("netcord confirm"), "{said}");
    lab.netcord("rm mydr0").ok();
    let said = on_terminal(UNDERLAY).stdout;
    assert!(said.contains("it is undone in 60 seconds"), "{said}");
    lab.sh("pgrep -f '[n]etcord watchdog'").ok();
    lab.netcord("confirm mydr0").ok();
    lab.netcord("rm mydr0").ok();
    // A user on a terminal learns when it is undone.
    let told =
        "until grep -q 'network .mydr0. w[a]s not confirmed' /run/typescript; do sleep 0.02; done";
    lab.sh(&format!(
        "script -qefc \"{NETCORD} {UNDERLAY} --confirm 1; {told}\" /run/typescript </dev/null"
    ))
    .ok();
}

#[test]
fn who_could_be_cut_off_must_want_it() {
    let lab = physical();
    let before = lab.snapshot();
    lab.netcord("underlay mydr0 --parent eth0")
        .fails(4, &["`eth0` carries the host's default route (via 192.0.2.254)", "--takeover"]);
    lab.sh("ip route del default; ip -6 route del default").ok();
    // In the environment, or, as sudo takes it away, in that of who started it.
    for script in [
        format!(
            "SSH_CONNECTION='192.0.2.2 4711 192.0.2.1 22' {NETCORD} underlay mydr0 --parent eth0"
        ),
        format!(
            "SSH_CONNECTION='192.0.2.2 4711 192.0.2.1 22' sh -c 'env -u SSH_CONNECTION {NETCORD} \
             underlay mydr0 --parent eth0; exit $?'"
        ),
    ] {
        lab.sh(&script).fails(4, &["your SSH connection from 192.0.2.2 comes by `eth0`"]);
    }
    // By another link nobody is cut off.
    let elsewhere = "SSH_CONNECTION='127.0.0.1 4711 127.0.0.1 22'";
    lab.sh(&format!("{elsewhere} {NETCORD} underlay mydr0 --parent eth0")).ok();
    lab.netcord("rm mydr0").ok();
    lab.sh("ip route add default via 192.0.2.254 metric 100; ip -6 route add default via fe80::fe dev eth0")
        .ok();
    before.assert_same(&lab.snapshot(), "given back");
}

/// What is refused without `--takeover` is refused for this reason.
#[track_caller]
fn refused(lab: &Lab, connection: &str, why: &str) {
    lab.sh(&format!("{connection} {NETCORD} --dry-run underlay mydr0 --parent eth0"))
        .fails(4, &[why, "--takeover"]);
}

#[test]
fn a_connection_by_the_parent_is_known_in_each_form() {
    let lab = physical();
    lab.sh("ip route del default; ip -6 route del default
            ip link add eth1 type veth peer name far1; ip link set eth1 up; ip link set far1 up
            ip addr add 203.0.113.9/24 dev eth1; ip addr add 192.0.2.200/32 dev lo
            ip route add 198.51.100.0/24 dev eth1")
        .ok();
    let before = lab.snapshot();
    let comes = |peer: &str| format!("your SSH connection from {peer} comes by `eth0`");
    for (text, peer) in [
        // IPv4-mapped, as a server that listens on [::] says it.
        ("::ffff:192.0.2.2 4711 ::ffff:192.0.2.1 22", "192.0.2.2"),
        ("fe80::2%eth0 4711 fe80::1%eth0 22", "fe80::2"),
        ("fe80::2 4711 fe80::1 22", "fe80::2"),
        ("2001:db8::2 4711 2001:db8::1 22", "2001:db8::2"),
        // The server's address is on the parent, wherever answers go.
        ("198.51.100.7 4711 192.0.2.1 22", "198.51.100.7"),
        // And the other way round: an address of another link, and answers by the parent.
        ("192.0.2.2 4711 192.0.2.200 22", "192.0.2.2"),
    ] {
        refused(&lab, &format!("SSH_CONNECTION='{text}'"), &comes(peer));
    }
    refused(&lab, "SSH_CLIENT='192.0.2.2 4711 22'", &comes("192.0.2.2"));
    // In the farthest ancestor, behind a nearer one that came by another link.
    lab.sh(&format!(
        "SSH_CONNECTION='192.0.2.2 1 192.0.2.1 22' sh -c 'SSH_CONNECTION=\"127.0.0.1 2 127.0.0.1 22\" \
         sh -c \"env -u SSH_CONNECTION {NETCORD} --dry-run underlay mydr0 --parent eth0; exit \\$?\"; exit $?'"
    ))
    .fails(4, &[&comes("192.0.2.2")]);
    // By another link, nobody is cut off.
    for text in
        ["198.51.100.7 4711 203.0.113.9 22", "fe80::7%eth1 4711 fe80::9%eth1 22", "", "UNKNOWN"]
    {
        let script =
            format!("SSH_CONNECTION='{text}' {NETCORD} --dry-run underlay mydr0 --parent eth0");
        lab.sh(&script).ok();
    }
    before.assert_same(&lab.snapshot(), "a dry run changes nothing");
    // Where a rule sends what comes from the server's address.
    let by_rule = "SSH_CONNECTION='198.51.100.7 4711 203.0.113.9 22'";
    for rule in ["from 203.0.113.9", "ipproto tcp sport 22", "fwmark 7"] {
        lab.sh(&format!(
            "ip rule add {rule} lookup 100 pref 100
             ip route add 198.51.100.0/24 via 192.0.2.254 dev eth0 table 100"
        ))
        .ok();
        refused(&lab, by_rule, &comes("198.51.100.7"));
        lab.sh("ip rule del pref 100; ip route flush table 100").ok();
    }
}

#[test]
fn the_way_out_is_known_in_each_form() {
    let lab = physical();
    lab.sh("ip route del default; ip -6 route del default
            ip link add eth1 type veth peer name far1; ip link set eth1 up; ip link set far1 up
            ip addr add 203.0.113.9/24 dev eth1")
        .ok();
    lab.netcord("--dry-run underlay mydr0 --parent eth0").ok();
    for (routes, why) in [
        (
            "ip route add 0.0.0.0/1 via 192.0.2.254; ip route add 128.0.0.0/1 via 192.0.2.254",
            "`eth0` carries the host's routes to most addresses (0.0.0.0/1 and others)",
        ),
        ("ip -6 route add 2000::/3 via fe80::fe dev eth0", "`eth0` carries the host's routes"),
        ("ip -6 route add default via fe80::fe dev eth0", "`eth0` carries the host's default"),
        (
            "ip route add default nexthop via 203.0.113.1 nexthop via 192.0.2.254",
            "`eth0` carries the host's default route (via 192.0.2.254)",
        ),
        ("ip route add default via 192.0.2.254 table 77", "`eth0` carries the host's default"),
        (
            "ip route add default via 203.0.113.1 src 192.0.2.1",
            "`eth0` has the address that the host's default route is from",
        ),
    ] {
        lab.sh(routes).ok();
        refused(&lab, "", why);
        lab.sh("for f in -4 -6; do ip $f route flush proto boot table all; done").ok();
    }
    lab.netcord("--dry-run underlay mydr0 --parent eth0").ok();
}

#[test]
fn a_move_of_thousands_that_was_killed_before_it_is_undone() {
    let lab = physical();
    lab.sh("for i in $(seq 0 3999); do
                echo addr add 10.$((i / 250)).$((i % 250)).1/32 dev eth0
                echo route add 172.$((16 + i / 250)).$((i % 250)).0/24 via 192.0.2.254
            done | ip -batch -
            for i in $(seq 1 300); do
                echo addr add 2001:db8:a$i::1/128 dev eth0 nodad
                echo neigh add 192.0.2.$((i % 200 + 20)) lladdr 02:00:00:00:00:09 dev eth0 nud reachable
            done | ip -force -batch - 2>/dev/null || true")
        .ok();
    let shown = "{ ip -o addr show scope global; ip route; ip -6 route; ip rule; } |
                 sed 's/^[0-9]*: //' | sort";
    let before = lab.sh(shown).ok();
    // Before the second message: the first brings IPv6 to the bridge, the second is the move.
    let trace =
        "strace -qq -o /dev/null -e trace=sendmmsg -e inject=sendmmsg:signal=SIGKILL:when=2";
    lab.sh(&format!("{trace} {NETCORD} {UNDERLAY} || true")).ok();
    until_undone(&lab);
    assert!(lab.sh(shown).ok() == before, "undone by its watchdog");
    lab.netcord(&format!("{UNDERLAY} --confirm 40")).ok();
    assert_eq!(lab.sh("ip -4 -o addr show dev eth0 | wc -l").ok(), "0", "all have moved");
    assert_eq!(lab.netcord("confirm").ok(), "mydr0");
    lab.netcord("rm mydr0").ok();
    assert!(lab.sh(shown).ok() == before, "given back");
}

#[test]
fn a_parent_that_left_its_bridge_is_seen_and_put_back() {
    let lab = physical();
    lab.netns(&["web"]);
    lab.netcord(UNDERLAY).ok();
    lab.netcord("attach mydr0 web").ok();
    let state = || lab.sh(&format!("{NETCORD} ps | awk 'NR == 2 {{ print $NF }}'")).ok();
    assert_eq!(state(), "up");
    lab.netcord("doctor").ok();
    lab.netcord("repair --check").ok();
    for (damage, evidence, drift) in [
        ("ip link set eth0 nomaster", "eth0: no master", "ip link set dev eth0 master mydr0"),
        // As a driver that was loaded anew brings it: another link of the same name, and down.
        (
            "ip link del eth0; ip link add eth0 type veth peer name port-host netns switch
             ip link set eth0 addrgenmode none; ip -n switch link set port-host master sw up",
            "eth0: no master",
            "ip link set dev eth0 master mydr0",
        ),
        ("ip link set eth0 down", "eth0: state DOWN", "ip link set dev eth0 up"),
    ] {
        lab.sh(damage).ok();
        assert_eq!(state(), "down", "{damage}");
        let said = lab.netcord("doctor").exits(1).stdout;
        assert!(said.contains(evidence), "{damage}: {said}");
        let check = lab.netcord("repair --check");
        assert!(check.code == 1 && check.stdout.contains(drift), "{damage}: {}", check.stdout);
        lab.netcord("repair").ok();
        lab.netcord("repair --check").ok();
        assert_eq!(state(), "up", "{damage}");
        lab.netcord("doctor").ok();
        reaches_everybody(&lab, "host");
        lab.until_within("web", "ping -qc1 -W1 203.0.113.1");
    }
    // A manager has given it an address meanwhile: that is moved as at first, if it is wanted.
    lab.sh("ip link set eth0 nomaster; ip addr add 192.0.2.30/24 dev eth0").ok();
    let again = "netcord underlay mydr0 --parent eth0 --takeover";
    let said = lab.netcord("doctor").stdout;
    assert!(said.contains(again), "{said}");
    let check = lab.netcord("repair --check");
    assert!(check.code == 1 && check.stdout.contains(again), "{}", check.stdout);
    lab.netcord("repair").fails(4, &["out of the bridge", again]);
    lab.sh("ip addr show dev eth0 | grep -q 192.0.2.30").ok();
    lab.netcord("underlay mydr0 --parent eth0 --takeover").ok();
    lab.sh("ip addr show dev mydr0 | grep -q 192.0.2.30").ok();
    lab.netcord("repair --check").ok();
    reaches_everybody(&lab, "host");
    // In another bridge: somebody wanted that.
    lab.sh("ip link add br9 type bridge; ip link set br9 up; ip link set eth0 master br9").ok();
    assert_eq!(state(), "down");
    let said = lab.netcord("doctor").stdout;
    assert!(said.contains("eth0: master br9") && said.contains("ip link set eth0 master mydr0"));
    lab.netcord("repair").fails(4, &["a port of something else", "ip link set eth0 master mydr0"]);
    lab.sh("ip link set eth0 master mydr0; ip link del br9").ok();
    // Renamed, it works on, and is given back under its new name.
    lab.sh("ip link set eth0 down; ip link set eth0 name lan0; ip link set lan0 up").ok();
    assert_eq!(state(), "up");
    let said = lab.netcord("doctor").stdout;
    assert!(
        said.contains("another name now: `lan0`") && said.contains("ip link set lan0 name eth0"),
        "{said}"
    );
    assert_eq!(lab.netcord("repair --check").code, 1);
    lab.netcord("detach mydr0 web").ok();
    lab.netcord("rm mydr0").ok();
    lab.sh("for a in 192.0.2.1 192.0.2.30 2001:db8::1; do ip addr show dev lan0 | grep -q \" $a/\"; done
            ip route show default | grep -q 'dev lan0'")
        .ok();
}

#[test]
fn a_parent_that_is_gone_is_told_of() {
    let lab = physical();
    lab.netns(&["web"]);
    lab.netcord(UNDERLAY).ok();
    lab.netcord("attach mydr0 web").ok();
    lab.sh("ip link del eth0").ok();
    let said = lab.netcord("doctor").exits(1).stdout;
    assert!(said.contains("[parent-missing]"), "{said}");
    assert!(said.contains("Device \"eth0\" does not exist."), "{said}");
    assert!(lab.netcord("ps").ok().contains("down"));
    let check = lab.netcord("repair --check");
    assert!(check.code == 1 && check.stdout.contains("is gone"), "{}", check.stdout);
    lab.netcord("repair").fails(4, &["network `mydr0`", "is gone", "netcord doctor mydr0"]);
}

#[test]
fn a_link_that_cannot_be_taken_over_is_left_alone() {
    let lab = physical();
    lab.sh("ip link add br0 type bridge; ip link add p0 type veth peer name p1
            ip link set p0 master br0 up; ip link set p1 up
            ip link add down0 type veth peer name down1
            ip link add base0 type veth peer name base1; ip link set base0 up; ip link set base1 up
            ip link add upper0 link base0 type macvlan
            ip tuntap add tun0 mode tun; ip link set tun0 up")
        .ok();
    let before = lab.snapshot();
    for (parent, code, words) in [
        ("lo", 2, "keeps for itself"),
        ("eht0", 3, "did you mean `eth0`?"),
        ("br0", 4, "a bridge itself"),
        ("p0", 4, "a port of `br0`"),
        ("down0", 4, "down, or has no carrier"),
        ("base0", 4, "`upper0` is on top of it"),
        ("tun0", 4, "no Ethernet"),
        ("eth0.100", 6, "modprobe 8021q"),
    ] {
        lab.netcord(&format!("underlay mydr0 --parent {parent} --takeover")).fails(code, &[words]);
    }
    lab.netcord("underlay br0 --parent eth0 --takeover").fails(4, &["is not netcord's"]);
    lab.netcord("underlay mydr0 --parent eth0 --takeover --ip-range 198.51.100.0/27")
        .fails(2, &["ip-range 198.51.100.0/27 is not inside subnet 192.0.2.0/24"]);
    before.assert_same(&lab.snapshot(), "refusals change nothing");
}

#[test]
fn what_could_not_be_given_back_is_not_moved() {
    let lab = physical();
    lab.sh("ip nexthop add id 7 via 192.0.2.2 dev eth0; ip route add 198.51.100.0/24 nhid 7").ok();
    let before = lab.snapshot();
    lab.netcord(UNDERLAY).fails(4, &["the route to 198.51.100.0/24", "netcord does not know"]);
    before.assert_same(&lab.snapshot(), "a refusal changes nothing");
}

#[test]
fn a_gateway_that_falls_silent_undoes_it() {
    let lab = physical();
    // Something that the link did not meet, and the bridge does.
    lab.sh("nft add table bridge wall; nft 'add chain bridge wall in { type filter hook prerouting priority 0; }'
            nft add rule bridge wall in arp operation reply drop")
        .ok();
    let before = lab.snapshot();
    lab.netcord(UNDERLAY)
        .fails(1, &["gateway 192.0.2.254 does not answer `mydr0`", "as it was before"]);
    before.assert_same(&lab.snapshot(), "undone at once");
    reaches_everybody(&lab, "host");
    // One that was silent before tells nothing.
    lab.sh("nft delete table bridge wall; ip route add 198.51.100.0/24 via 192.0.2.250").ok();
    lab.netcord(UNDERLAY).ok();
}

#[test]
fn it_must_be_as_was_asked_for() {
    let lab = physical();
    lab.netcord(UNDERLAY).ok();
    let json = lab.netcord(&format!("--format json {UNDERLAY}")).ok();
    assert!(json.contains("\"changed\":false"), "{json}");
    lab.netcord("underlay mydr0 --parent eth0 --ip-range 192.0.2.128/27")
        .fails(4, &["ip-range is 192.0.2.64/27, not 192.0.2.128/27"]);
    lab.netcord("underlay mydr0 --parent eth0 --isolate").fails(4, &["isolate is false, not true"]);
    lab.netcord("bridge mydr0").fails(4, &["mydr0"]);
    lab.netcord("create -d underlay mydr0 --parent eth0 --takeover").ok();
}

#[test]
fn what_was_changed_since_goes_back_too() {
    let lab = physical();
    lab.netcord(UNDERLAY).ok();
    // An address that came, a route that went, and one that somebody put back on the link.
    lab.sh("ip addr add 192.0.2.20/24 dev mydr0; ip addr add 2001:db8::20/64 nodad dev mydr0
            ip route add 198.51.100.0/24 via 192.0.2.2; ip -6 route del default
            ip addr add 192.0.2.30/24 dev eth0")
        .ok();
    let again = lab.netcord(&format!("--format json {UNDERLAY}")).ok();
    assert!(again.contains("\"changed\":true"), "{again}");
    lab.sh(
        "ip addr show dev mydr0 | grep -q 192.0.2.30; ! ip addr show dev eth0 | grep -q 192.0.2.30",
    )
    .ok();
    lab.netcord("rm mydr0").ok();
    lab.sh("for a in 192.0.2.1 192.0.2.20 192.0.2.30 2001:db8::20; do
                ip addr show dev eth0 | grep -q \" $a/\"
            done
            ip route show 198.51.100.0/24 | grep -q 'dev eth0'; test -z \"$(ip -6 route show default)\"")
        .ok();
}

#[test]
fn lost_records_do_not_keep_the_link() {
    let lab = physical();
    let before = lab.snapshot();
    lab.netcord(&format!("{UNDERLAY} --isolate --no-spoof")).ok();
    lab.sh("rm -r /run/netcord").ok();
    let shown = lab.netcord("inspect mydr0").ok();
    for part in
        ["\"mode\": \"underlay\"", "\"link\": \"eth0\"", "\"isolate\": true", "\"no_spoof\": true"]
    {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    lab.netcord("rm mydr0").ok();
    before.assert_same(&lab.snapshot(), "given back without a record");
}

#[test]
fn limited_lifetimes_stay_limited() {
    let lab = physical();
    lab.sh("ip addr add 192.0.2.40/24 dev eth0 valid_lft 900 preferred_lft 400
            ip addr add 2001:db8:4::40/64 dev eth0 valid_lft 900 preferred_lft 400 nodad")
        .ok();
    let before = lab.snapshot();
    let lifetimes = |link: &str| {
        let script = format!(
            "ip addr show dev {link} | grep -A1 -E ' (192.0.2.40|2001:db8:4::40)/' | grep valid_lft"
        );
        let text = lab.sh(&script).ok();
        let seconds: Vec<u32> = text
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect();
        assert_eq!(seconds.len(), 4, "{text}");
        for (left, of) in seconds.iter().zip([900, 400, 900, 400]) {
            assert!((of - 60..=of).contains(left), "{text}");
        }
    };
    lab.netcord(UNDERLAY).ok();
    lifetimes("mydr0");
    lab.netcord("rm mydr0").ok();
    lifetimes("eth0");
    before.assert_same(&lab.snapshot(), "given back");
}

#[test]
fn the_router_goes_on_being_heard_and_an_endpoint_is_not() {
    let lab = physical();
    lab.netns(&["web"]);
    lab.sh("ip -6 route del default; sysctl -qw net.ipv6.conf.eth0.accept_ra=1").ok();
    lab.start(
        "ip netns exec router sh -c 'sysctl -qw net.ipv6.conf.all.forwarding=1
         exec dnsmasq --no-daemon --conf-file=/dev/null --port=0 --interface=eth0 --pid-file= \
             --enable-ra --dhcp-range=2001:db8:7::,ra-only,64,5m --ra-param=eth0,4,60 --leasefile-ro'",
    );
    lab.sh("ip -n router addr add 2001:db8:7::1/64 nodad dev eth0").ok();
    let learned = |link: &str| {
        format!(
            "ip -6 route show default proto ra | grep -q 'dev {link}' && \
             ip -6 addr show dev {link} | grep -q '2001:db8:7:.*dynamic'"
        )
    };
    lab.until(&learned("eth0"));
    lab.netcord(UNDERLAY).ok();
    lab.sh(&learned("mydr0")).ok();
    // It is refreshed, so it is heard by the bridge: what was learned anew lives longer than that.
    let life =
        "ip -6 route show default dev mydr0 proto ra | grep -o 'expires [0-9]*' | cut -d' ' -f2";
    let before: u32 = lab.sh(life).ok().parse().unwrap();
    lab.until(&format!("test \"$({life})\" -lt {before}"));
    lab.until(&format!("test \"$({life})\" -ge {before}"));
    // The same program inside an endpoint is heard by nobody.
    lab.netcord("attach mydr0 web --ip 192.0.2.70 --ip 2001:db8:7::70").ok();
    lab.start(
        "ip netns exec web sh -c 'sysctl -qw net.ipv6.conf.all.forwarding=1; ip addr add 2001:db8:666::1/64 nodad dev eth0
         exec dnsmasq --no-daemon --conf-file=/dev/null --port=0 --interface=eth0 --pid-file= \
             --enable-ra --dhcp-range=2001:db8:666::,ra-only,64,5m --ra-param=eth0,high,4,60 --leasefile-ro'",
    );
    lab.sh("sysctl -qw net.ipv6.conf.mydr0.accept_ra=2").ok();
    // Until the honest router has spoken three times more.
    for _ in 0..3 {
        let now: u32 = lab.sh(life).ok().parse().unwrap();
        lab.until(&format!("test \"$({life})\" -lt {now}"));
        lab.until(&format!("test \"$({life})\" -ge {now}"));
    }
    let routes = lab.sh("ip -6 route show default; ip -6 addr show dev mydr0").ok();
    assert!(!routes.contains("2001:db8:666:"), "{routes}");
}

#[test]
fn the_server_of_the_physical_network_gives_addresses() {
    let lab = physical();
    lab.netns(&["web"]);
    lab.start(
        "ip netns exec router dnsmasq --no-daemon --conf-file=/dev/null --port=0 --interface=eth0 --no-ping \
         --pid-file= --dhcp-range=192.0.2.100,192.0.2.120,2m --dhcp-leasefile=/run/leases \
         --dhcp-option=option:router,192.0.2.254",
    );
    lab.until_within("router", "ss -Hlun sport = :67 | grep -q .");
    let before = lab.snapshot();
    lab.netcord(UNDERLAY).ok();
    let address = lab.netcord("attach mydr0 web --dhcp").ok();
    assert!(address.starts_with("192.0.2.1"), "{address}");
    lab.until_within("web", "ping -qc1 -W1 203.0.113.1");
    assert!(lab.netcord("ps").ok().contains("(dhcp)"));
    lab.sh(&format!("grep -q ' {address} ' /run/leases")).ok();
    lab.netcord("detach mydr0 web").ok();
    lab.until(&format!("! grep -q ' {address} ' /run/leases"));
    lab.netcord("rm mydr0").ok();
    before.assert_same(&lab.snapshot(), "given back");
}

#[test]
fn who_manages_the_link_is_named_with_what_it_will_do() {
    let lab = physical();
    // A real client that keeps a lease.
    lab.start(
        "ip netns exec router dnsmasq --no-daemon --conf-file=/dev/null --port=0 --interface=eth0 \
         --no-ping --pid-file= --dhcp-range=192.0.2.100,192.0.2.120,2m --leasefile-ro",
    );
    lab.until_within("router", "ss -Hlun sport = :67 | grep -q .");
    lab.start("exec busybox udhcpc -f -i eth0 -s /bin/true");
    lab.until("pgrep -f '[u]dhcpc -f -i eth0'");
    let index = lab.sh("cat /sys/class/net/eth0/ifindex").ok();
    let warned = |words: &[&str]| {
        let run = lab.netcord(&format!("--dry-run {UNDERLAY}")).exits(0);
        for part in words {
            assert!(run.stderr.contains(part), "`{part}` in: {}", run.stderr);
        }
    };
    warned(&["udhcpc (process ", "keeps the lease of `eth0`", "run `udhcpc mydr0`"]);
    lab.sh("pkill -f '[u]dhcpc -f'").ok();
    // Those that cannot be run here are known by the files that they document.
    lab.sh(&format!(
        "mkdir -p /run/NetworkManager/devices; printf '[device]\\nmanaged=true\\n' > /run/NetworkManager/devices/{index}"
    ))
    .ok();
    warned(&[
        "NetworkManager manages `eth0`",
        "nmcli device set eth0 managed no",
        "type bridge ifname mydr0",
    ]);
    lab.sh("rm -r /run/NetworkManager").ok();
    lab.sh(&format!(
        "mkdir -p /run/systemd/netif/links
         printf 'ADMIN_STATE=configured\\nNETWORK_FILE=/etc/systemd/network/lan.network\\n' > /run/systemd/netif/links/{index}"
    ))
    .ok();
    warned(&[
        "systemd-networkd manages `eth0`",
        "removes routes that it did not make",
        "/etc/systemd/network/lan.network",
    ]);
    lab.sh(&format!("echo ADMIN_STATE=unmanaged > /run/systemd/netif/links/{index}")).ok();
    let run = lab.netcord(&format!("--dry-run {UNDERLAY}")).exits(0);
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    lab.sh("mkdir -p /run/network; echo eth0=eth0 > /run/network/ifstate").ok();
    warned(&["ifupdown manages `eth0`", "bridge_ports eth0"]);
}

#[test]
fn its_own_flags_are_of_its_driver_only() {
    let lab = physical();
    lab.netcord("create mydr0 --takeover").fails(2, &["driver bridge does not support --takeover"]);
    lab.netcord("create -d underlay mydr0").fails(2, &["--parent"]);
    lab.netcord("create -d underlay mydr0 --parent eth0 --internal").fails(2, &["--internal"]);
    lab.netcord(&format!("{UNDERLAY} --confirm 5 --no-confirm")).exits(2);
    let output = Command::new(NETCORD).args(["watchdog"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(2),
        "users do not run it, and cannot break anything with it"
    );
}
