//! Many at once: what one netcord decides, another one that runs at the same time respects.

use std::{
    collections::BTreeSet,
    fs,
    process::{Child, Stdio},
};

use serde_json::Value;

use crate::support::{Lab, NETCORD, Run};

/// Starts netcord and does not wait for it.
#[track_caller]
fn start(lab: &Lab, words: &str) -> (String, Child) {
    let mut command = lab.command(NETCORD);
    command.args(words.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
    (format!("netcord {words}"), command.spawn().unwrap())
}

/// Starts all before it waits for any. One that a busy machine kept from the lock for half a minute
/// says so, and is run again.
#[track_caller]
fn all_at_once(lab: &Lab, commands: &[String]) -> Vec<Run> {
    let started: Vec<_> = commands.iter().map(|words| start(lab, words)).collect();
    started
        .into_iter()
        .map(|(words, child)| Run::new(words, &child.wait_with_output().unwrap()))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|run| {
            if run.stderr.contains("the records have been locked by process") {
                lab.netcord(run.command.trim_start_matches("netcord "))
            } else {
                run
            }
        })
        .collect()
}

/// Makes `ns0`, `ns1` and so on.
fn namespaces(lab: &Lab, count: usize) {
    lab.sh(&format!("for i in $(seq 0 {}); do ip netns add ns$i; done", count - 1)).ok();
}

#[track_caller]
fn endpoints(lab: &Lab) -> Vec<Value> {
    serde_json::from_str(&lab.netcord("ps --format json").ok()).unwrap()
}

fn all_of(endpoints: &[Value], key: &str) -> BTreeSet<String> {
    endpoints.iter().map(|e| e[key].to_string()).collect()
}

/// A process that holds the lock until something is written to `/run/never`.
fn lock_holder(lab: &Lab) -> Child {
    let lock = "lock=$(echo /run/netcord/*/lock)";
    let holder =
        lab.start(&format!("{lock}; exec flock $lock -c 'touch /run/held; exec cat /run/never'"));
    lab.until("test -e /run/held");
    holder
}

#[test]
fn two_hundred_attaches_at_once_share_nothing() {
    let lab = Lab::new();
    namespaces(&lab, 200);
    lab.netcord("bridge lab0 --subnet 10.0.0.0/24").ok();
    let commands: Vec<_> = (0..200).map(|i| format!("attach lab0 ns{i}")).collect();
    let printed: BTreeSet<_> = all_at_once(&lab, &commands)
        .into_iter()
        .map(|run| {
            let run = run.exits(0);
            assert_eq!(run.stderr, "", "`{}`", run.command);
            run.stdout
        })
        .collect();
    assert_eq!(printed.len(), 200, "each prints an address of its own");
    let endpoints = endpoints(&lab);
    for key in ["addresses", "mac", "host_ifname", "cookie"] {
        assert_eq!(all_of(&endpoints, key).len(), 200, "each has a {key} of its own");
    }
    assert!(endpoints.iter().all(|e| e["state"] == "up"));
    assert_eq!(lab.sh("ip -o link show master lab0 | wc -l").ok(), "200");
}

#[test]
fn verbs_of_all_kinds_in_parallel_leave_what_they_should() {
    let lab = Lab::new();
    namespaces(&lab, 32);
    let before = lab.snapshot();
    lab.netcord("bridge lab0 --subnet 10.0.0.0/24").ok();
    let first: Vec<_> = (0..16).map(|i| format!("attach lab0 ns{i}")).collect();
    for run in all_at_once(&lab, &first) {
        run.ok();
    }
    // The first eight go, the next eight publish, sixteen come; others look and clean up.
    let mixed: Vec<_> = (0..8)
        .flat_map(|i| {
            [
                format!("detach lab0 ns{i}"),
                format!("publish ns{} {}:80", i + 8, 8000 + i),
                format!("attach lab0 ns{}", i + 16),
                format!("attach lab0 ns{} -p {}:80", i + 24, 8100 + i),
                "prune".to_owned(),
                "ls".to_owned(),
                "ps --format json".to_owned(),
                "inspect lab0".to_owned(),
            ]
        })
        .collect();
    assert_eq!(mixed.len(), 64);
    for run in all_at_once(&lab, &mixed) {
        assert_eq!(run.stderr, "", "`{}`", run.command);
        run.ok();
    }
    let there = endpoints(&lab);
    assert_eq!(all_of(&there, "target").len(), 24);
    assert_eq!(all_of(&there, "addresses").len(), 24);
    assert!(there.iter().all(|e| e["state"] == "up"));
    assert_eq!(lab.rules_of_ports().len(), 16, "each published port has its rule, once");
    let targets: Vec<_> = (8..32).map(|i| format!("ns{i}")).collect();
    lab.netcord(&format!("detach lab0 {}", targets.join(" "))).ok();
    lab.netcord("rm lab0").ok();
    before.assert_same(&lab.snapshot(), "after all of it");
}

#[test]
fn networks_of_one_name_made_at_once_are_one_network() {
    let lab = Lab::new();
    let before = lab.snapshot();
    for _ in 0..5 {
        let both = vec!["bridge lab0".to_owned(); 2];
        for run in all_at_once(&lab, &both) {
            run.ok();
        }
        assert_eq!(lab.netcord("ls -q").ok(), "lab0");
        lab.netcord("rm lab0").ok();
    }
    before.assert_same(&lab.snapshot(), "after rm");
}

#[test]
fn networks_made_at_once_have_subnets_of_their_own() {
    let lab = Lab::new();
    let commands: Vec<_> = (0..8).map(|i| format!("bridge lab{i}")).collect();
    for run in all_at_once(&lab, &commands) {
        run.ok();
    }
    let networks: Vec<Value> = serde_json::from_str(&lab.netcord("ls --format json").ok()).unwrap();
    assert_eq!(all_of(&networks, "subnets").len(), 8);
}

#[test]
fn of_two_who_want_one_port_of_the_host_one_wins() {
    let lab = Lab::new();
    namespaces(&lab, 2);
    lab.netcord("bridge lab0").ok();
    lab.netcord("attach lab0 ns0 ns1").ok();
    for _ in 0..5 {
        let both = ["publish ns0 8080:80".to_owned(), "publish ns1 8080:80".to_owned()];
        let mut runs = all_at_once(&lab, &both);
        runs.sort_by_key(|run| run.code);
        let [winner, loser] = runs.try_into().unwrap();
        winner.ok();
        loser.fails(4, &["8080/tcp of the host is taken by `ns", "hint: "]);
        assert_eq!(lab.rules_of_ports().len(), 1);
        lab.netcord("unpublish ns0 8080:80").ok();
        lab.netcord("unpublish ns1 8080:80").ok();
    }
}

#[test]
fn who_finds_the_lock_taken_waits_and_then_works() {
    let lab = Lab::new();
    lab.netcord("bridge lab0").ok();
    lab.sh("mkfifo /run/never").ok();
    let mut holder = lock_holder(&lab);
    let (words, waiting) = start(&lab, "bridge lab1");
    lab.until("grep -q -- '-> FLOCK' /proc/locks");
    lab.netcord("ls -q").ok();
    lab.netcord("ps").ok();
    assert_eq!(lab.netcord("ls -q").ok(), "lab0", "it waits; who only looks does not");
    lab.sh(": > /run/never").ok();
    Run::new(words, &waiting.wait_with_output().unwrap()).ok();
    holder.wait().unwrap();
    assert_eq!(lab.netcord("ls -q").ok(), "lab0\nlab1");
}

#[test]
fn a_stopped_netcord_goes_on_and_a_killed_one_frees_the_lock() {
    let lab = Lab::new();
    namespaces(&lab, 2);
    lab.netcord("bridge lab0").ok();
    for signal in ["CONT", "KILL"] {
        // It is stopped as soon as it has the lock.
        let traced = "strace -f -o /dev/null -e trace=flock -e inject=flock:signal=SIGSTOP:when=1";
        let stopped = lab.start(&format!("{traced} {NETCORD} attach lab0 ns0"));
        // Under strace it stands still at every call: that it has the lock is what says it.
        lab.until("pid=$(pgrep -x netcord) && grep -q \"FLOCK .* $pid \" /proc/locks");
        let (words, waiting) = start(&lab, "attach lab0 ns1");
        lab.until("grep -q -- '-> FLOCK' /proc/locks");
        lab.sh(&format!(
            "for pid in $(pgrep -x netcord); do grep -q '^State:.[Tt]' /proc/$pid/status && kill -{signal} $pid; done; true"
        ))
        .ok();
        Run::new(words, &waiting.wait_with_output().unwrap()).ok();
        let mut stopped = stopped;
        stopped.wait().unwrap();
        lab.netcord("attach lab0 ns0").ok();
        assert_eq!(endpoints(&lab).len(), 2, "after SIG{signal}");
        lab.netcord("detach lab0 ns0 ns1").ok();
    }
}

#[test]
fn who_only_looks_never_fails_while_others_change_things() {
    let lab = Lab::new();
    namespaces(&lab, 4);
    lab.netcord("bridge lab0").ok();
    let churn = lab.start(&format!(
        "while ! test -e /run/enough; do
             {NETCORD} attach lab0 ns0 ns1 -q; {NETCORD} publish ns0 8080:80; {NETCORD} bridge lab1
             {NETCORD} detach lab0 ns0 ns1; {NETCORD} rm lab1
         done"
    ));
    let mut churn = churn;
    for _ in 0..15 {
        let looks = ["ls", "ps", "inspect", "ls --format json", "ps lab0", "inspect lab0"];
        let looks: Vec<_> = looks.iter().map(|w| (*w).to_owned()).collect();
        for run in all_at_once(&lab, &looks) {
            let run = run.exits(0);
            assert_eq!(run.stderr, "", "`{}`", run.command);
        }
    }
    fs::write(lab.path("/run/enough"), "").unwrap();
    assert!(churn.wait().unwrap().success());
}
