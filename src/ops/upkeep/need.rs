//! The needs of a verb before it decides anything.

use crate::{
    model::{EndpointSummary, LinkName, PortSpec},
    state::Load,
};

/// What a verb does, which decides on the housekeeping before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) enum Need {
    /// It reads: nothing is locked or written. Lost records are rebuilt in memory, with a warning.
    Looks,
    /// It changes something: under the lock, after the housekeeping.
    Changes,
    /// It removes something, perhaps dead endpoints: under the lock, without removing them before.
    Removes,
}

/// The part of the host that a verb needs to know.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Extent<'s> {
    /// The endpoints to read in full.
    pub(in crate::ops) load: Load<'s>,
    /// Where to search for objects without a record.
    pub(in crate::ops) depth: Depth,
    /// The network that the verb concerns: the verb fails if that was set aside.
    pub(in crate::ops) network: Option<&'s LinkName>,
    /// Whether to search inside targets, if that network's links are there only.
    pub(in crate::ops) inside: bool,
    /// Whether the verb reads all rules of nftables. Published ports are among them, and need not be
    /// read twice.
    pub(in crate::ops) rules: bool,
    /// The endpoints that would be in the way: if their namespace is gone, wait for their end.
    pub(in crate::ops) in_the_way: Option<&'s dyn Fn(&EndpointSummary<'_>) -> bool>,
    /// The ports of the host that the verb wants: who has one would be in the way, too.
    pub(in crate::ops) ports: &'s [PortSpec],
}

/// Where to search for objects of netcord's without a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::ops) enum Depth {
    /// Among the host's links.
    Links,
    /// Also among the published ports of iptables, which would accept a port twice; nftables would
    /// not.
    Ports,
    /// Among the host's links, and inside the names in `/run/netns` that no known endpoint uses.
    Unattached,
    /// Inside all names, and among published ports: needed before anything is tidied.
    Names,
}

impl Extent<'_> {
    /// All records, and objects without a record to this depth.
    pub(in crate::ops) fn to(depth: Depth) -> Self {
        Self {
            load: Load::All,
            depth,
            network: None,
            inside: false,
            rules: false,
            in_the_way: None,
            ports: &[],
        }
    }
}

impl<'s> Extent<'s> {
    /// All records, for a verb that concerns this network, or none in particular.
    pub(in crate::ops) fn of(network: impl Into<Option<&'s LinkName>>) -> Self {
        Self { network: network.into(), ..Self::to(Depth::Links) }
    }

    /// The same, for a verb that wants these ports of the host.
    pub(in crate::ops) fn publishing(self, ports: &'s [PortSpec]) -> Self {
        Self { ports, ..self }
    }

    /// The same, for a verb that has to know all endpoints of that network.
    pub(in crate::ops) fn inside(self) -> Self {
        Self { inside: true, ..self }
    }
}
