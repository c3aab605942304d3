//! Keeps the records, the kernel and the firewalls in agreement, before and after a verb's own work.
//!
//! - `entry`: the beginning of every verb, with the housekeeping; `need`: what a verb needs
//! - `adopt`: adopts objects with our mark that are on no record
//! - `rebuild`: rebuilds parts of records from such marks
//! - `clean`: removes what died since the last command
//! - `containers`: endpoints whose containers have stopped
//! - `aside`: networks for which the housekeeping failed
//! - `firewall`: chooses the firewall, and restores rules
//! - `forward_accepts`: accept rules in other firewalls
//! - `endpoints`: opens endpoints, and removes them with their leases
//! - `handed_over`: finds where engines have moved inner ends
//! - `leases`: DHCP leases, and the processes that renew them
//! - `link_attrs`: restores attributes of links that were changed
//! - `removal`: reverse plans, without what others still need
//! - `reservation`: ports that an engine holds for its container
//! - `wiring`: plans of endpoints and ports that depend on this host
//! - `default_routes`: default routes that displaced others

pub(super) mod adopt;
mod aside;
pub(super) mod clean;
pub(super) mod containers;
pub(super) mod default_routes;
pub(super) mod endpoints;
pub(in crate::ops) mod entry;
pub(super) mod firewall;
pub(super) mod forward_accepts;
pub(in crate::ops) mod handed_over;
pub(super) mod leases;
pub(super) mod link_attrs;
pub(super) mod need;
pub(super) mod rebuild;
pub(super) mod removal;
pub(super) mod reservation;
pub(super) mod wiring;
