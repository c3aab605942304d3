//! Tests of the relay on a real kernel: hosts are network namespaces, the wire is a bridge.
//!
//! The program runs itself again in fresh user, network, mount and process namespaces.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::disallowed_types, reason = "tests run programs")]

/// Packets that somebody has forged, or that are broken.
mod attacks;
/// Packets that cannot go on.
mod errors;
/// Hosts, containers, relays.
mod lab;
/// Starts, ends, devices and peers that go.
mod life;
#[path = "../../../benches/support/one_packet.rs"]
mod one_packet;
/// Packets of tests.
mod packets;
/// Packets that arrive.
mod traffic;

use std::{
    env,
    process::{Command, ExitCode, Stdio},
};

use libtest_mimic::{Arguments, Trial};

const INSIDE: &str = "NETCORD_TEST_INSIDE";
/// The arguments of the relay that does as flannel's does, for [`lab::Lab::one_packet`].
const ONE_PACKET: &str = "NETCORD_TEST_ONE_PACKET";

fn main() -> ExitCode {
    if let Ok(words) = env::var(ONE_PACKET) {
        let words: Vec<_> = words.split(' ').collect();
        let (own, other): (u8, u8) = (words[0].parse().unwrap(), words[1].parse().unwrap());
        let routes = [([10, 5, other], lab::host(other))];
        panic!("{}", one_packet::one_packet(lab::TUN, (lab::host(own), lab::PORT), &routes));
    }
    if env::var_os(INSIDE).is_none() {
        return again();
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(4);
    let tests = [traffic::TESTS, errors::TESTS, attacks::TESTS, life::TESTS];
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
    const PREPARE: &str = "mount -t tmpfs tmpfs /run && mkdir /run/netns && exec \"$0\" \"$@\"";
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
