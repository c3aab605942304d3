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

#[path = "../throwaway.rs"]
mod throwaway;

use std::{io::Read, process::ExitCode};

fn main() -> ExitCode {
    let tests = [outage::TESTS, access::TESTS, config::TESTS, lease::TESTS, follow::TESTS];
    // They wait most of their time.
    throwaway::run("ip link set lo up", 12, &tests)
}

/// Reads all that a program prints.
fn output(mut from: impl Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    text
}
