//! Finds the objects that a request names, and related ones. It changes nothing.
//!
//! - `find`: a network by name, ours or a foreign bridge
//! - `engine_network`: the bridge of a container engine's network
//! - `foreign`: the endpoint that another program made for a target
//! - `resolve`: a target as typed, found and opened
//! - `plug`: the bridge or the parent that a network's endpoints need
//! - `endpoints`: the endpoints of a target
//! - `inside`: macvlans of ours inside targets
//! - `liveness`: whether an endpoint without a host end lives
//! - `namespaces`: the network namespaces of this machine
//! - `managers`: other programs that manage a link
//! - `resolver`: the configuration of the DNS resolver
//! - `ssh`: the connections through which a command was typed, and the links that they need

pub(super) mod endpoints;
pub(super) mod engine_network;
pub(super) mod find;
pub(super) mod foreign;
pub(super) mod inside;
pub(super) mod liveness;
pub(super) mod managers;
pub(super) mod namespaces;
pub(super) mod plug;
pub(super) mod resolve;
pub(super) mod resolver;
pub(super) mod ssh;
