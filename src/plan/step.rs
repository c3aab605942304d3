//! What a plan is made of: steps, each a change and its reason.

use super::{
    LinkId, Resource,
    facts::{Facts, Reversal},
};

/// Steps, in the order in which they are done.
pub type Plan = Vec<Step>;

/// One change and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Why, in words a newcomer understands: one sentence, lower case, no full stop.
    pub why: &'static str,
    /// What.
    pub change: Change,
    /// For how long.
    pub scope: Scope,
}

/// How long a step's effect is wanted: it decides what a reverse plan leaves in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// As long as what the plan is for.
    Own,
    /// While the plan is carried out.
    Run,
    /// As long as the endpoint has a published port.
    EndpointPorts,
    /// As long as the network has a published port.
    NetworkPorts,
    /// As long as the network has a published port that is reached by way of 127.0.0.1.
    LoopbackPorts,
    /// As long as a network has this parent.
    Parent,
    /// As long as anything of netcord's on this host needs the firewall.
    Firewall,
    /// A switch of the whole host that others come to rely on: it stays.
    Host,
}

/// To create or to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Make it exist, as described.
    Create(Resource),
    /// Make it not exist. The description is what the kernel finds it by, and what brings it back.
    Delete(Resource),
    /// Make a link not exist, and everything on it. Its name is enough to find it, and not enough to
    /// bring it back: this cannot be undone.
    DeleteLink(LinkId),
}

impl Step {
    /// Makes something be there, for as long as what the plan is for.
    pub fn create(why: &'static str, resource: Resource) -> Self {
        Self { why, change: Change::Create(resource), scope: Scope::Own }
    }

    /// Makes something be gone, for as long as what the plan is for.
    pub fn delete(why: &'static str, resource: Resource) -> Self {
        Self { why, change: Change::delete(resource), scope: Scope::Own }
    }

    /// Deletes a link, and everything on it.
    pub fn delete_link(why: &'static str, link: LinkId) -> Self {
        Self { why, change: Change::DeleteLink(link), scope: Scope::Own }
    }

    pub(super) fn until(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }
}

impl Change {
    /// The change that deletes a resource.
    pub fn delete(resource: Resource) -> Self {
        match resource.link_id() {
            Some(link) => Self::DeleteLink(link),
            None => Self::Delete(resource),
        }
    }

    /// What it is about, unless that is only the name of a link.
    pub fn resource(&self) -> Option<&Resource> {
        match self {
            Self::Create(resource) | Self::Delete(resource) => Some(resource),
            Self::DeleteLink(_) => None,
        }
    }

    /// What kind of thing it is about.
    pub fn facts(&self) -> Facts<'_> {
        match self {
            Self::Create(resource) | Self::Delete(resource) => resource.facts(),
            Self::DeleteLink(link) => link.facts(),
        }
    }

    /// The change that takes this one back; `None` if there is none.
    #[must_use]
    pub fn reversed(self) -> Option<Self> {
        match (self.facts().reversal, self) {
            (Reversal::Again, change) => Some(change),
            (Reversal::Opposite, Self::Create(resource)) => Some(Self::delete(resource)),
            (Reversal::Opposite, Self::Delete(resource)) => Some(Self::Create(resource)),
            (Reversal::None, _) | (_, Self::DeleteLink(_)) => None,
        }
    }
}
