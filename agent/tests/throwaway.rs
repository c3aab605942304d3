//! Runs a program of tests in fresh user, network, mount and process namespaces.

use std::{
    env,
    process::{Command, ExitCode, Stdio},
};

use libtest_mimic::{Arguments, Trial};

const INSIDE: &str = "NETCORD_TEST_INSIDE";

/// The tests of one file, by their names.
pub(crate) type Tests = &'static [(&'static str, fn())];

/// Runs this program again in namespaces of its own, after the script `prepare`. There, it runs the
/// tests, `threads` at a time unless the command line says otherwise.
pub(crate) fn run(prepare: &str, threads: usize, tests: &[Tests]) -> ExitCode {
    if env::var_os(INSIDE).is_none() {
        return again(prepare);
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(threads);
    let trial = |(name, test): &(&str, fn())| {
        let test = *test;
        Trial::test(*name, move || {
            test();
            Ok(())
        })
    };
    let trials = tests.iter().copied().flatten().map(trial).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn again(prepare: &str) -> ExitCode {
    let script = format!("mount -t tmpfs tmpfs /run && {prepare} && exec \"$0\" \"$@\"");
    let mut unshare = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork"])
        .args(["--kill-child", "--mount-proc", "sh", "-euc", &script])
        .arg(env::current_exe().unwrap())
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .spawn()
        .expect("unshare (util-linux) runs");
    let status = unshare.wait().unwrap();
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
