//! The parts of a plan: steps, each a change and its reason.

use super::{
    LinkId, Resource,
    facts::{Facts, Reversal},
};

/// Steps, in the order in which they are carried out.
pub type Plan = Vec<Step>;

/// One change and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Why, in words a newcomer understands: one sentence, lower case, no full stop.
    pub why: &'static str,
    /// The change.
    pub change: Change,
    /// How long its effect is needed.
    pub scope: Scope,
}

/// How long a step's effect is needed. A reverse plan leaves the longer ones in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// As long as the network or endpoint of the plan exists.
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
    /// As long as any network of this host needs the firewall.
    Firewall,
    /// Forever: a setting of the whole host, which other programs may rely on by then.
    Host,
}

/// A creation or a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Create the resource.
    Create(Resource),
    /// Delete the resource. The description identifies it, and restores it in a rollback.
    Delete(Resource),
    /// Delete a link, with everything on it. The identity is enough to find it, but not to restore
    /// it, so there is no rollback of this.
    DeleteLink(LinkId),
}

impl Step {
    /// A step that creates a resource, needed as long as the plan's network or endpoint.
    pub fn create(why: &'static str, resource: Resource) -> Self {
        Self { why, change: Change::Create(resource), scope: Scope::Own }
    }

    /// A step that deletes a resource, needed as long as the plan's network or endpoint.
    pub fn delete(why: &'static str, resource: Resource) -> Self {
        Self { why, change: Change::delete(resource), scope: Scope::Own }
    }

    /// A step that deletes a link, with everything on it.
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

    /// Returns the resource; `None` where only a link's identity is known.
    pub fn resource(&self) -> Option<&Resource> {
        match self {
            Self::Create(resource) | Self::Delete(resource) => Some(resource),
            Self::DeleteLink(_) => None,
        }
    }

    /// Returns the properties of the resource.
    pub fn facts(&self) -> Facts<'_> {
        match self {
            Self::Create(resource) | Self::Delete(resource) => resource.facts(),
            Self::DeleteLink(link) => link.facts(),
        }
    }

    /// Returns the change that undoes this one; `None` if there is none.
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
