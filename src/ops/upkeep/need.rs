//! What a verb needs of the host before it decides anything.

use crate::{
    model::{EndpointSummary, LinkName},
    state::Load,
};

/// What a verb does, and so what is done before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) enum Need {
    /// It reads: nothing is locked or written. Lost records are rebuilt in memory, with a warning.
    Looks,
    /// It changes something: under the lock, and in a host that is tidy.
    Changes,
    /// It removes something, perhaps what is dead: under the lock. The host is not tidied before.
    Removes,
}

/// How far a verb looks.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Extent<'s> {
    /// The endpoints whose records are read whole.
    pub(in crate::ops) load: Load<'s>,
    /// Where objects without a record are searched for.
    pub(in crate::ops) depth: Depth,
    /// The network that the verb concerns: the verb fails if that was set aside.
    pub(in crate::ops) network: Option<&'s LinkName>,
    /// If that network has its links inside its targets only, they are searched for there.
    pub(in crate::ops) inside: bool,
    /// The endpoints that would be in the way: of those whose namespace has gone, the end is waited
    /// for.
    pub(in crate::ops) in_the_way: Option<&'s dyn Fn(&EndpointSummary<'_>) -> bool>,
}

/// Where objects of netcord's that have no record are searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::ops) enum Depth {
    /// Among the host's links.
    Links,
    /// Also among the published ports of iptables, which would take one twice; nftables does not.
    Ports,
    /// Among the host's links, and inside the names in `/run/netns` that no known endpoint uses.
    Unattached,
    /// Inside all names, and among published ports: before something is tidied, all of it is known.
    Names,
}

impl Extent<'_> {
    /// All records, and what has none to this depth.
    pub(in crate::ops) fn to(depth: Depth) -> Self {
        Self { load: Load::All, depth, network: None, inside: false, in_the_way: None }
    }
}

impl<'s> Extent<'s> {
    /// All records, for a verb that concerns this network, or none in particular.
    pub(in crate::ops) fn of(network: impl Into<Option<&'s LinkName>>) -> Self {
        Self { network: network.into(), ..Self::to(Depth::Links) }
    }

    /// The same, for a verb that has to know all endpoints of that network.
    pub(in crate::ops) fn inside(self) -> Self {
        Self { inside: true, ..self }
    }
}
