//! The work of netcord's agents ([`crate::agents`]): processes in the background that stay when the
//! command that started them has ended.
//!
//! - `lease_renewer`: renews a DHCP lease
//! - `run_supervisor`: cleans up after a `run` that was killed
//! - `watchdog`: rolls back an underlay move that is not confirmed

pub mod lease_renewer;
pub mod run_supervisor;
pub mod watchdog;
