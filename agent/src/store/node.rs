//! Which host this is.

use std::{fs, io, os::unix::fs::MetadataExt};

use netcord::model::stable_hash;
use serde::{Deserialize, Serialize};

/// Tells two hosts with one address from one host in two lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Stays the same on a host, and differs from that of all others.
    pub id: String,
    /// What a person calls the host.
    pub name: String,
}

/// The inodes of the namespaces that a kernel makes when it starts are not above this one
/// (`PROC_DYNAMIC_FIRST`).
const FIRST_NAMESPACE: u64 = 0xf000_0000;

impl Node {
    /// Returns this host: the machine, or the network namespace if that is not the machine's own.
    ///
    /// # Errors
    /// The machine has no `/proc`.
    pub fn of_this_host() -> io::Result<Self> {
        let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned());
        // A machine without an ID is another one after each boot.
        let machine = read("/etc/machine-id").ok().filter(|id| id.len() > 16);
        let machine = machine.map_or_else(|| read("/proc/sys/kernel/random/boot_id"), Ok)?;
        let netns = fs::metadata("/proc/self/ns/net")?.ino();
        Ok(Self { id: id(&machine, netns), name: read("/proc/sys/kernel/hostname")? })
    }
}

/// The machine's ID is not for the network (machine-id(5)), but a hash of it is.
fn id(machine: &str, netns: u64) -> String {
    let netns = if netns > FIRST_NAMESPACE { netns } else { 0 };
    format!("{:016x}", stable_hash(&[b"netcord node", machine.as_bytes(), &netns.to_be_bytes()]))
}

#[cfg(test)]
mod tests {
    use super::{FIRST_NAMESPACE, Node, id};

    #[test]
    fn a_host_is_known_again_and_told_from_others() {
        let machine = "0123456789abcdef0123456789abcdef";
        let own = id(machine, FIRST_NAMESPACE);
        assert_eq!(own, id(machine, 0xefff_fff9), "newer kernels number their own otherwise");
        assert_ne!(own, id(machine, FIRST_NAMESPACE + 1), "a host in a namespace");
        assert_ne!(own, id("fedcba9876543210fedcba9876543210", FIRST_NAMESPACE));
        assert!(!own.contains(&machine[..8]));
    }

    #[test]
    fn this_host_has_an_id_and_a_name() {
        let node = Node::of_this_host().unwrap();
        assert_eq!(node, Node::of_this_host().unwrap());
        assert!(node.id.len() == 16 && !node.name.is_empty(), "{node:?}");
    }
}
