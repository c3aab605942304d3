//! Finds what a request names, and what is around it. Nothing here changes anything.
//!
//! - `find`: a network by name, ours or a foreign bridge
//! - `resolve`: a target as typed, found and opened
//! - `plug`: the bridge or the parent that a network's endpoints hang on
//! - `endpoints`: the endpoints of a target
//! - `inside`: macvlans of ours inside targets
//! - `liveness`: whether an endpoint without a host end lives
//! - `namespaces`: what has a network namespace on this machine
//! - `managers`: who else manages a link
//! - `resolver`: where programs ask for names
//! - `ssh`: the connections that a command was typed by, and which link they need

pub(super) mod endpoints;
pub(super) mod find;
pub(super) mod inside;
pub(super) mod liveness;
pub(super) mod managers;
pub(super) mod namespaces;
pub(super) mod plug;
pub(super) mod resolve;
pub(super) mod resolver;
pub(super) mod ssh;
