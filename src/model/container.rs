//! The containers that endpoints belong to.

use serde::{Deserialize, Serialize};

use super::Engine;

/// The length of an ID as engines print it.
const SHORT_ID: usize = 12;

/// A container of an engine, whose endpoint outlives its network namespace: the engine can start it
/// again, in a new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineContainer {
    /// The engine that runs it.
    pub engine: Engine,
    /// The full ID.
    pub id: String,
    /// Its name when it was attached.
    pub name: String,
    /// Whether its namespace has ended, and what netcord had made for it on the host is removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
}

impl EngineContainer {
    /// Returns whether a user means it by this name, or by this much of its ID.
    pub fn is_called(&self, reference: &str) -> bool {
        self.name == reference || (reference.len() >= SHORT_ID && self.id.starts_with(reference))
    }

    /// Returns whether `other` is this container, or has its name, as one that was made in its place.
    pub fn is_or_follows(&self, other: &Self) -> bool {
        self.id == other.id || (self.engine == other.engine && self.name == other.name)
    }
}
