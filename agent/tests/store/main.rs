//! Tests of the store against a real etcd.
//!
//! The program runs itself again in fresh user, network, mount and process namespaces: etcd listens
//! on a loopback that nobody else sees, keeps its data in memory, and ends with the tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::disallowed_types, reason = "tests run programs")]

/// Certificates, users, and endpoints that are wrong.
mod access;
/// The configuration, which the first host makes.
mod config;
/// The picture of the other hosts.
mod follow;
/// This host's subnets.
mod lease;
/// Stores that break.
mod outage;
/// etcd, and a wire to it that can be cut.
mod support;

use std::{
    env,
    io::Read,
    process::{Command, ExitCode, Stdio},
};

use libtest_mimic::{Arguments, Trial};

const INSIDE: &str = "NETCORD_TEST_INSIDE";

fn main() -> ExitCode {
    if env::var_os(INSIDE).is_none() {
        return again();
    }
    let mut arguments = Arguments::from_args();
    // They wait most of their time.
    arguments.test_threads.get_or_insert(12);
    let tests = [outage::TESTS, access::TESTS, config::TESTS, lease::TESTS, follow::TESTS];
    let trial = |(name, test): &(&str, fn())| {
        let test = *test;
        Trial::test(*name, move || {
            test();
            Ok(())
        })
    };
    let trials = tests.into_iter().flatten().map(trial).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs the program again in namespaces of its own, and ends as that does.
fn again() -> ExitCode {
    const PREPARE: &str = "mount -t tmpfs tmpfs /run && ip link set lo up && exec \"$0\" \"$@\"";
    let mut unshare = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork"])
        .args(["--kill-child", "--mount-proc", "sh", "-euc", PREPARE])
        .arg(env::current_exe().unwrap())
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .spawn()
        .expect("unshare (util-linux) runs");
    let status = unshare.wait().unwrap();
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Reads all that a program prints.
fn output(mut from: impl Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    text
}
