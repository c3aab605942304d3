//! `underlay`: a bridge that takes over a link of the host's, safely.
//!
//! Before the first change a watchdog is armed and the list of what hangs on the link is on disk;
//! after the last one it is checked that all of it has arrived. What is not confirmed in time, or
//! was not finished, is undone: by the watchdog, or by the next command if that was killed too.
//!
//! - `request`, `make`: the verb; `preflight`, `outside`, `manager`: what it checks and warns of before;
//!   `arrival`: what it checks after
//! - `network`: the network as it is asked for, found, and repaired
//! - `uplink`: the parent as the bridge's way out
//! - `undo`: the way back

mod arrival;
mod make;
mod manager;
mod network;
mod outside;
mod preflight;
mod request;
mod undo;
mod uplink;

pub(in crate::ops) use self::{
    make::settled,
    undo::{overdue, undo},
    uplink::{Lost, Uplink, again, gone},
};
pub use self::{
    make::underlay,
    request::{Made, Underlay},
};
pub(super) use self::{
    network::{command, rebuilt, repair},
    undo::{commands, removal},
    uplink::up,
};
