//! Faults at system calls, from outside: netcord's program, under strace.

use std::{
    collections::BTreeMap,
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::{
    support::{Run, SCENARIOS, Scenario, Stage, program},
    watched::States,
};

/// How many system calls were killed at, in all.
pub(crate) static KILL_POINTS: AtomicUsize = AtomicUsize::new(0);

const CALLS: &str = "sendto,sendmsg,sendmmsg,openat,write,rename,unlink,unlinkat,symlink,symlinkat,mkdir,\
                     mount,umount2,setns,unshare,clone3";

/// Requests that only read (`rtnetlink.h`), by name and, where strace cannot tell whose socket it
/// is, by number.
const READS: [&str; 10] = [
    "RTM_GETLINK",
    "RTM_GETADDR",
    "RTM_GETROUTE",
    "RTM_GETNEIGH",
    "RTM_GETNSID",
    "nlmsg_type=0x12 ",
    "nlmsg_type=0x16 ",
    "nlmsg_type=0x1a ",
    "nlmsg_type=0x1e ",
    "nlmsg_type=0x5a ",
];

/// One system call of a run: the how many-th of its name.
pub(crate) type Call = (String, usize);

fn traced(stage: &Stage, inject: Option<&str>) -> Run {
    let (trace, inject_it) =
        (format!("trace={CALLS}"), inject.map(|call| format!("inject={call}")));
    let mut under = vec!["strace", "-qq", "-o", "/run/trace", "-e", &trace];
    under.extend(inject_it.iter().flat_map(|inject| ["-e", inject.as_str()]));
    let program = program(&stage.command, &under);
    let mut command = stage.lab.command(&program[0]);
    command.args(&program[1..]);
    let when = format!("{} with {}", stage.command, inject.unwrap_or("nothing"));
    Run::new(when, &command.output().unwrap())
}

/// The calls of an undisturbed run that change something.
pub(crate) fn changing_calls(stage: &Stage) -> Vec<Call> {
    traced(stage, None).ok();
    stage.run_inverse().ok();
    let trace = fs::read_to_string(stage.lab.path("/run/trace")).unwrap();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((name, arguments)) = line.split_once('(') else { continue };
        if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            continue;
        }
        let count = counts.entry(name).or_default();
        *count += 1;
        let changes = match name {
            "openat" => arguments.contains("O_WRONLY") || arguments.contains("O_CREAT"),
            "write" => !arguments.starts_with("1,") && !arguments.starts_with("2,"),
            "sendto" | "sendmsg" | "sendmmsg" => !READS.iter().any(|read| arguments.contains(read)),
            _ => true,
        };
        if changes {
            calls.push((name.to_owned(), *count));
        }
    }
    calls
}

/// SIGKILL before each call.
pub(crate) fn killed(scenario: &Scenario) {
    let stage = scenario.stage();
    let states = States::of(&stage);
    let calls = changing_calls(&stage);
    killed_at(&stage, &states, &calls);
}

/// SIGKILL before one call.
pub(crate) fn kill(stage: &Stage, (name, count): &Call) -> Run {
    traced(stage, Some(&format!("{name}:signal=SIGKILL:when={count}")))
}

/// SIGKILL before each of these calls.
pub(crate) fn killed_at(stage: &Stage, states: &States, calls: &[Call]) {
    for call in calls {
        let kill = || kill(stage, call);
        let run = kill();
        if run.code == 0 {
            // The runtime's own calls (it wakes itself by one) are not the same in number each time.
            states.after.assert_same(&stage.lab.snapshot(), &run.command);
            stage.run_inverse().ok();
            continue;
        }
        states.recovers(stage, &run.command, || drop(kill()));
    }
    KILL_POINTS.fetch_add(calls.len(), Ordering::Relaxed);
}

/// Whether the fault met what netcord says, when all is done, or how the runtime wakes itself, which
/// it cannot live without. That is a write that is not always there, so the how many-th write is not
/// always the same one.
fn injected_elsewhere(stage: &Stage) -> bool {
    const WAKE: &str = r#", "\1\0\0\0\0\0\0\0", 8)"#;
    let trace = fs::read_to_string(stage.lab.path("/run/trace")).unwrap();
    let injected = trace.lines().find(|line| line.contains("(INJECTED)"));
    injected.is_some_and(|line| {
        line.starts_with("write(1,") || line.starts_with("write(2,") || line.contains(WAKE)
    })
}

/// Each call fails once.
pub(crate) fn failing(scenario: &Scenario) {
    let stage = scenario.stage();
    let states = States::of(&stage);
    let calls = changing_calls(&stage);
    failing_at(&stage, &states, scenario.is_removal(), &calls);
}

/// Each of these calls fails once.
pub(crate) fn failing_at(stage: &Stage, states: &States, is_removal: bool, calls: &[Call]) {
    let full = std::env::var_os("FULL").is_some();
    for (k, (name, count)) in calls.iter().enumerate() {
        // What these fail of is covered by kills; a failing one leaves netcord no way back.
        if matches!(name.as_str(), "setns" | "unshare" | "clone3") {
            continue;
        }
        let errors: &[&str] = match name.as_str() {
            "sendto" | "sendmsg" | "sendmmsg" => &["EPERM", "ENOBUFS", "EINTR", "EBUSY"],
            _ => &["ENOSPC", "EIO", "EPERM", "EINTR"],
        };
        let turn = if full { errors } else { &errors[k % errors.len()..][..1] };
        for error in turn {
            let run = traced(stage, Some(&format!("{name}:error={error}:when={count}")));
            let when = run.command.clone();
            if injected_elsewhere(stage) {
                stage.run_inverse();
                continue;
            }
            let now = stage.lab.snapshot();
            if run.code == 0 {
                states.after.assert_same(&now, &when);
                stage.run_inverse().ok();
            } else if now != states.before && is_removal {
                // Once the link is gone there is no way back: doing it again finishes it.
                let again = stage.run();
                assert!(matches!(again.code, 0 | 3), "{when}, again: {}", again.stderr);
                states.after.assert_same(&stage.lab.snapshot(), &format!("{when}, again"));
                stage.run_inverse().ok();
            } else {
                assert!(run.stderr.contains("error: "), "{when}: {} {}", run.code, run.stderr);
                assert!(!run.stderr.contains("panicked"), "{when}: {}", run.stderr);
            }
            states.before.assert_same(&stage.lab.snapshot(), &when);
            let half = stage.lab.sh("find /run -name '*.new'").ok();
            assert_eq!(half, "", "{when}: no half record");
        }
    }
}

/// What a parent has on it costs no requests one by one: so many more datagrams than an empty one
/// are sent, however much it is.
const SENDS_MORE: usize = 60;

/// A move of much is as many datagrams as a move of little.
pub(crate) fn sends_little(scenario: &Scenario) {
    let sends = |scenario: &Scenario| {
        let stage = scenario.stage();
        traced(&stage, None).ok();
        let trace = fs::read_to_string(stage.lab.path("/run/trace")).unwrap();
        trace.lines().filter(|line| line.starts_with("send")).count()
    };
    let little = SCENARIOS.iter().find(|s| scenario.name == format!("{}_large", s.name)).unwrap();
    let (few, many) = (sends(little), sends(scenario));
    assert!(many <= few + SENDS_MORE, "{many} sends, and {few} where little hangs on the link");
}
