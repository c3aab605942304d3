//! Tests of the whole program against a real kernel. One binary, a module for each concern; a file
//! that is not listed here fails `every_file_is_listed`.
//!
//! Every test has a fresh host of its own, a [`support::Lab`], and never touches the machine's own
//! network.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

/// What cannot be tidied up.
mod addresses;
mod aside;
/// What must not.
mod attacks;
/// The contract with users and scripts.
mod cli;
/// Called by container runtimes.
mod cni;
/// Firewalls of others.
mod coexist;
/// Many at once.
mod concurrency;
/// What each verb costs.
mod counts;
/// What outlives a process, and what was written on a bad day.
mod death;
/// Addresses that a server gives.
mod dhcp;
/// What breaks, and who names it.
mod diagnosis;
/// Why packets do not flow.
mod doctor;
/// With real engines, docker and podman, as root.
mod engines;
/// What the documents show.
mod examples;
/// The plan that is printed, word for word.
mod explain;
/// A host as commands.
mod export;
/// What is in the firewall.
mod firewall;
/// Bridges of others.
mod foreign;
/// No space for records.
mod full;
/// Committed files that the program makes.
mod generated;
/// Pictures of a host.
mod graph;
/// Names that would steer a terminal.
mod hostile;
/// Bad input.
mod input;
/// What the lab itself promises.
mod lab;
/// Who may import whom.
mod layers;
/// What a host has of a lesson.
mod lessons;
/// Limits of the kernel.
mod limits;
/// Endpoints on the wire of the host's own link.
mod macvlan;
/// Targets that fight back.
mod malice;
/// Random sequences of verbs against a model.
mod model;
/// Networks of several hosts.
mod no_subnet;
mod outbound;
mod overlay;
mod overlay_faults;
mod overlay_flat;
mod overlay_store;
mod overlay_udp;
/// Programs of eBPF, as root.
mod podman;
mod programs;
/// What somebody at a terminal sees of a command that takes its time.
mod progress;
/// Records that are lost, torn, swapped or never were.
mod records;
/// Made again what the records say.
mod repair;
/// Nothing of ours is left.
mod reset;
/// A command that is attached, and nothing left of it.
mod routes;
mod run;
/// What is printed does the same as what is done.
mod same_as_shell;
/// Who speaks in another's name.
mod spoof;
/// The words of the documents.
mod style;
/// The sessions that the documents show.
mod tour;
/// The path of a packet.
mod trace;
/// What flows.
mod traffic;
/// Doing it again is success.
mod twice;
/// The host's own link in a bridge.
mod underlay;
/// Undone already.
mod undo;
/// Bridges and parents that are gone.
mod unplugged;
/// Veth pairs that no verb makes yet.
mod veth;
/// Until it can be used.
mod wait;
/// Containers that are started again, and who sees it.
mod watch;
/// Who else is on the wire.
mod wire;
/// Words of docker, and wrong ones.
mod words;

#[test]
fn every_file_is_listed() {
    let main = include_str!("main.rs");
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(module) = name.strip_suffix(".rs").filter(|m| *m != "main") {
            assert!(main.contains(&format!("mod {module};")), "tests/{name} is not listed");
        }
    }
}
