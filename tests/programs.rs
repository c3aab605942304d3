//! Programs of eBPF, which netcord cannot read: `trace` and `doctor` name them, and nothing is said
//! to arrive behind one. In a user namespace none can be loaded, so these tests need root.

use std::fs;

use crate::support::{Lab, NETCORD};

/// Loads a program that returns a number.
const LOAD: &str = include_str!("support/bpf.pl");

/// A host where `web` serves and `db` calls, with a program of each kind that drops all, and one
/// that lets all by: `xdp-drop`, `xdp-pass`, `tc-drop`, `tc-pass` in `/run/bpf`.
fn host() -> Lab {
    let lab = Lab::as_root();
    lab.netns(&["web", "db"]);
    lab.netcord("bridge lab0 --subnet 10.1.0.0/24 --subnet fd00:1::/64").ok();
    lab.netcord("attach lab0 web --host-ifname webport").ok();
    lab.netcord("attach lab0 db --host-ifname dbport").ok();
    lab.serve("web", 80);
    fs::write(lab.path("/run/bpf.pl"), LOAD).unwrap();
    lab.sh("mkdir /run/bpf; mount -t bpf bpf /run/bpf").ok();
    // XDP_DROP, XDP_PASS; TC_ACT_SHOT, TC_ACT_OK
    for (kind, drop, pass) in [("xdp", 1, 2), ("tc", 2, 0)] {
        for (name, number) in [("drop", drop), ("pass", pass)] {
            lab.sh(&format!("perl /run/bpf.pl {kind} {number} /run/bpf/{kind}-{name}")).ok();
        }
    }
    lab
}

/// Attaches a program, and takes it away again; and how `trace` names it.
fn programs() -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for (ip, link, mode) in [
        ("ip", "dbport", "xdp"),
        ("ip", "webport", "xdpgeneric"),
        ("ip -n web", "eth0", "xdpgeneric"),
    ] {
        let set = format!("{ip} link set {link} {mode}");
        all.push((
            format!("{set} pinned /run/bpf/xdp-WHAT"),
            format!("{set} off"),
            format!("XDP program at {link}"),
        ));
    }
    for (link, side) in [("dbport", "ingress"), ("webport", "egress")] {
        all.push((
            format!(
                "tc qdisc add dev {link} clsact; tc filter add dev {link} {side} bpf \
                 direct-action object-pinned /run/bpf/tc-WHAT"
            ),
            format!("tc qdisc del dev {link} clsact"),
            format!("tc filter (bpf) at {link}"),
        ));
    }
    all
}

/// Without the ends of lines.
fn said(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn one_that_may_drop_is_named_by_trace_and_doctor() {
    let lab = host();
    for (attach, detach, name) in programs() {
        for (what, passes) in [("drop", false), ("pass", true)] {
            let attach = attach.replace("WHAT", what);
            lab.sh(&format!("{attach}; ip neigh flush all; ip -n db neigh flush all")).ok();
            assert_eq!(lab.call("db", "tcp 10.1.0.2", 1).is_some(), passes, "{attach}");
            for to in ["10.1.0.2:80", "[fd00:1::2]:80"] {
                let worked_out = said(&lab.netcord(&format!("trace db {to}")).exits(9).stdout);
                assert!(worked_out.contains("not judged: "), "{attach}: {worked_out}");
                assert!(worked_out.contains(&name), "{attach}: {worked_out}");
            }
            // A real packet tells.
            let live = lab.netcord("--format json trace --live --timeout 1 db 10.1.0.2:80");
            let live = live.exits(i32::from(!passes)).stdout;
            let ends = if passes { "\"outcome\":\"arrives\"" } else { "\"outcome\":\"dies\"" };
            assert!(live.contains(ends), "{attach}: {live}");
            if name.starts_with("XDP") {
                let run = lab.netcord("doctor");
                let said = format!("warning: not looked at: the {name}");
                assert!(run.stderr.contains(&said), "{attach}: {}", run.stderr);
                run.exits(0);
            }
            lab.sh(&detach).ok();
        }
        let run = lab.sh(&format!("{NETCORD} doctor 2>&1; {NETCORD} trace db 10.1.0.2:80")).ok();
        assert!(!run.contains("not judged") && !run.contains("not looked at"), "{run}");
    }
}
