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

#[path = "../throwaway.rs"]
mod throwaway;

use std::{env, process::ExitCode};

/// The arguments of the relay that does as flannel's does, for [`lab::Lab::one_packet`].
const ONE_PACKET: &str = "NETCORD_TEST_ONE_PACKET";

fn main() -> ExitCode {
    if let Ok(words) = env::var(ONE_PACKET) {
        let words: Vec<_> = words.split(' ').collect();
        let (own, other): (u8, u8) = (words[0].parse().unwrap(), words[1].parse().unwrap());
        let routes = [([10, 5, other], lab::host(other))];
        panic!("{}", one_packet::one_packet(lab::TUN, (lab::host(own), lab::PORT), &routes));
    }
    let tests = [traffic::TESTS, errors::TESTS, attacks::TESTS, life::TESTS];
    throwaway::run("mkdir /run/netns", 4, &tests)
}
