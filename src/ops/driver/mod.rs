//! What a network's driver decides for the verbs, a file each: how a network is asked for, made,
//! found again by its marks in the kernel when its record is lost, repaired and removed.
//!
//! - `dispatch`: the questions that each driver answers, for verbs that work on any network
//! - `marks`: what the alias of a link says of its network
//! - `parent`: a link of the host that networks are built on
//! - `used`: the addresses that this host has in use

pub mod bridge;
mod dispatch;
pub(super) mod foreign;
pub mod macvlan;
mod marks;
pub mod overlay;
mod parent;
pub mod underlay;
mod used;

pub(super) use self::dispatch::{again, command, commands, of_bridge, of_inside, removal, repair};
