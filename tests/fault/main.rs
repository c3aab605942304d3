//! Faults at every point at which they can strike: whatever fails, whatever is killed, the host is
//! as before, or whole by doing the same again, or as before by taking it back.
//!
//! - `watched`: netcord runs in this very program, which fails, kills itself or signals itself at
//!   each step of a plan
//! - `traced`: netcord runs under strace, which kills it before each system call that changes
//!   something, or makes that call fail
//! - `vanished`: something that netcord works on is taken away before each step of a plan
//! - `helper`: iptables-restore dies before, or after, it did its work
//! - `many`: some of these where there is a lot to do
//! - `cni`: netcord is killed while a container runtime attaches or detaches a container
//! - `docker`: the same while docker calls, and each call fails
//! - `podman`: netcord is killed in netavark's place, while podman sets a container up or tears it down
//! - `store`: netcord is killed while it joins or leaves a network that is in etcd
//!
//! Calls that change something are found by a run that is only watched; killing before one that
//! only reads would be the same as before the next that changes. Each is a point of its own, with
//! no sampling; of the errors that a call can return, each point gets one in turn (`FULL=1`: all). Only
//! `podman` takes a few of its points, since their changes are those of `attach` (`FULL=1`: all).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    env,
    io::{self, Write},
    num::NonZero,
    process::ExitCode,
    sync::atomic::Ordering,
    thread,
};

use libtest_mimic::{Arguments, Trial};

#[path = "../support/mod.rs"]
mod support;

mod cni;
mod docker;
mod helper;
mod large;
mod many;
mod podman;
mod store;
mod traced;
mod vanished;
mod watched;

use large::LARGE;
use support::{SCENARIOS, Scenario};

fn main() -> ExitCode {
    if support::plays_a_role() {
        return ExitCode::SUCCESS;
    }
    let mut arguments = env::args();
    match arguments.nth(1).as_deref() {
        Some(watched::AS_NETCORD) => return watched::netcord(arguments),
        // netcord starts itself, which is this program.
        Some(watched::WATCHDOG) => return watched::watchdog(arguments),
        _ => {}
    }
    let mut arguments = Arguments::from_args();
    // A trial waits most of its time: for strace, and for the kernel's grace periods.
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    arguments.test_threads.get_or_insert(2 * cores);
    let conclusion = libtest_mimic::run(&arguments, trials());
    let points = traced::KILL_POINTS.load(Ordering::Relaxed);
    // The summary of the runner has been printed: this is one line more.
    drop(writeln!(io::stdout(), "killed at {points} system calls"));
    conclusion.exit_code()
}

/// All trials, the longest first, so that no core is idle at the end.
fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("store::joining", store::killed_while_joining),
        trial("store::leaving", store::killed_while_leaving),
        trial("vanished::attach", vanished::while_attaching),
        trial("vanished::detach", vanished::while_detaching),
    ];
    for (name, command, inverse) in cni::TRIALS {
        trials.push(trial(name, move || cni::killed(command, inverse)));
    }
    for (name, command, inverse) in podman::TRIALS {
        trials.push(trial(name, move || podman::killed(command, inverse)));
    }
    for one in &docker::TRIALS {
        trials.push(trial(one.name, || one.struck()));
    }
    for (name, firewall, command, ports) in many::TRIALS {
        trials.push(trial(name, move || many::struck(firewall, command, ports)));
    }
    for scenario in LARGE {
        for (kind, test) in KINDS_OF_LARGE {
            trials.push(trial(format!("{kind}::{}", scenario.name), move || test(scenario)));
        }
    }
    for scenario in SCENARIOS.iter().filter(|s| !COVERED.contains(&s.name)) {
        for (kind, test) in KINDS {
            if kind == "helper" && !scenario.starts_a_program() {
                continue;
            }
            trials.push(trial(format!("{kind}::{}", scenario.name), move || test(scenario)));
        }
    }
    trials
}

fn trial(name: impl Into<String>, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

/// Scenarios whose steps are those of others: `overlay_dual` and `overlay_host_gw` together have the
/// steps of each backend, and the rules are those of a bridge network, internal or beside another
/// firewall. Another address is another step of the same kind, the rule for another source address
/// is in the place of masquerade's, and an open network has more rules of the same kinds.
const COVERED: [&str; 9] = [
    "overlay",
    "overlay_direct",
    "overlay_internal_iptables",
    "overlay_forward_accept",
    "attach_addresses",
    "bridge_outbound_addr",
    "bridge_outbound_addr_iptables",
    "bridge_open",
    "bridge_open_iptables",
];

type Test = fn(&Scenario);

const KINDS: [(&str, Test); 7] = [
    ("rollback", watched::rollback),
    ("interrupted", watched::interrupted),
    ("terminated", watched::terminated),
    ("killed_at_step", watched::killed),
    ("killed_at_call", traced::killed),
    ("failing_call", traced::failing),
    ("helper", helper::dies),
];

/// Where much hangs on a link, only what depends on how much that is.
const KINDS_OF_LARGE: [(&str, Test); 2] =
    [("killed_around_moves", watched::killed_around_moves), ("sends_little", traced::sends_little)];
