//! Who takes part: each has a host of its own with a network `lab0`, and does the same work on it.

mod cni;
mod docker;
mod floor;
mod netavark;
mod netcord;
mod script;

use anyhow::Result;

pub(crate) use self::{
    cni::{Cni, NetcordCni},
    docker::Docker,
    floor::Floor,
    netavark::Netavark,
    netcord::Netcord,
    script::Script,
};
use crate::{
    host::{GATEWAY, Host, NETWORK, PREFIX, Target, add_targets},
    netns, raw,
};

/// What is measured, as one whole operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A running target gets a link, an address and a default route.
    Attach,
    /// It loses them.
    Detach,
    /// The same as attach, with a port of the host that leads to it.
    AttachPublish,
    /// It loses all of that.
    DetachPublished,
}

impl Operation {
    /// All of them, in the order of the tables.
    pub(crate) const ALL: [Self; 4] =
        [Self::Attach, Self::Detach, Self::AttachPublish, Self::DetachPublished];

    /// Its word in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Attach => "attach",
            Self::Detach => "detach",
            Self::AttachPublish => "attach + publish",
            Self::DetachPublished => "detach, published",
        }
    }
}

/// Whether a contender has an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// It does: one sentence on what that consists of.
    Is(&'static str),
    /// It does not: why.
    No(&'static str),
}

/// The published port of [`Operation::AttachPublish`].
pub(crate) const PORT: u16 = 8080;
/// The port of the target that every published port of a measured target leads to.
pub(crate) const TARGET_PORT: u16 = 80;

/// Somebody who attaches targets.
pub(crate) trait Contender {
    /// Its word in tables.
    fn name(&self) -> &'static str;

    /// Its host. The network is there.
    fn host(&self) -> &Host;

    /// What an operation consists of.
    fn work(&self, operation: Operation) -> Work;

    /// Does it, on its host.
    fn perform(&self, operation: Operation, target: &Target) -> Result<()>;

    /// Whether its links start with IPv6: the floor and the script find it off, as they leave links
    /// alone, and all others decide for themselves.
    fn starts_with_ipv6(&self) -> bool {
        true
    }

    /// Whether its links end without IPv6, as endpoints of an IPv4-only network should.
    fn ends_without_ipv6(&self) -> bool {
        false
    }

    /// So many fresh targets, from this number on.
    fn targets(&self, first: u16, count: u16) -> Result<Vec<Target>> {
        let targets: Vec<_> = (first..first + count).map(Target::number).collect();
        add_targets(&targets, self.starts_with_ipv6())?;
        Ok(targets)
    }

    /// Brings the host to where it would be after attaching these: by its own means, or by cheaper
    /// ones that leave the same behind.
    fn crowd(&self, targets: &[Target]) -> Result<()> {
        crowd_of_links(targets)
    }
}

/// Somebody who also publishes ports of a target that is attached.
pub(crate) trait Publisher: Contender {
    /// Its word in the tables of published ports.
    fn publisher(&self) -> &'static str {
        self.name()
    }

    /// One sentence on what it does for one port.
    fn publish_is(&self) -> &'static str;

    /// Leads a port of the host to [`TARGET_PORT`] of an attached target.
    fn publish(&self, target: &Target, port: u16) -> Result<()>;

    /// Takes it back.
    fn unpublish(&self, target: &Target, port: u16) -> Result<()>;

    /// Brings the host to where it would be after leading these ports to the same ports of an
    /// attached target.
    fn fill(&self, target: &Target, ports: &[u16]) -> Result<()>;
}

/// Attaches targets by the shortest way. Their links have no IPv6, which spares a crowd's bridge its
/// chatter, for everybody alike.
fn crowd_of_links(targets: &[Target]) -> Result<()> {
    for target in targets {
        netns::within(&target.name, crate::host::new_links_have_no_ipv6)?;
        netns::and_back(|| raw::attach(NETWORK, &target.name, (target.address, PREFIX), GATEWAY))?;
    }
    Ok(())
}
