//! Keeps the records, the kernel and the firewalls in agreement, before and after what a verb was
//! asked for.
//!
//! - `entry`: how every verb begins, with the housekeeping of all verbs; `need`: what it needs
//! - `adopt`: what carries our mark in the kernel and is on no record
//! - `rebuild`: parts of records from such marks
//! - `clean`: what died since the last command
//! - `aside`: networks that verbs go on without
//! - `firewall`: which of the kernel's firewalls, and what is missing there
//! - `forward_accepts`: what firewalls of others drop
//! - `endpoints`: endpoints that are opened, or taken away with their leases
//! - `leases`: DHCP leases, and the processes that renew them
//! - `link_attrs`: links whose attributes somebody changed
//! - `removal`: reverse plans, and what others still need
//! - `wiring`: plans of endpoints and ports, fitted to this host
//! - `default_routes`: default routes that took the place of others

pub(super) mod adopt;
mod aside;
pub(super) mod clean;
pub(super) mod default_routes;
pub(super) mod endpoints;
mod entry;
pub(super) mod firewall;
pub(super) mod forward_accepts;
pub(super) mod leases;
pub(super) mod link_attrs;
pub(super) mod need;
pub(super) mod rebuild;
pub(super) mod removal;
pub(super) mod wiring;
