//! `underlay`: a bridge that takes over a link of the host, without cutting the host off.
//!
//! Before the first change, a watchdog runs, and the link's configuration is on record; after the last
//! one, a check shows that everything has arrived. A move that is not finished, or not confirmed in
//! time, is undone: by the watchdog, or by the next command if the watchdog was killed too.
//!
//! - `request`, `make`: the verb; `preflight`, `outside`, `manager`: its checks and warnings before the
//!   move; `arrival`: its checks after the move
//! - `network`: the network, made from a request, rebuilt, and repaired
//! - `uplink`: the parent as the bridge's uplink
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
