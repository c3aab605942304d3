//! flannel's formats: what hosts of an overlay network write into etcd for each other.
//!
//! This module is pure: no I/O, no clock, no randomness. Its values are flannel's byte for byte, so
//! that hosts with flanneld and hosts with netcord can be in one network.

pub mod choose;
pub mod config;
mod json;
pub mod key;
pub mod lease;

pub use choose::{Choice, OutOfSubnets, Taken, choose};
pub use config::{Backend, Config, Pool, Vxlan};
pub use key::Subnets;
pub use lease::{Lease, Tunnel};
