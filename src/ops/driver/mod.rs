//! The parts of verbs that depend on a network's driver, a file each: how a network is requested,
//! made, rebuilt from its marks in the kernel, repaired and removed.
//!
//! - `dispatch`: calls the driver's function, for verbs that work on any network
//! - `marks`: reads a network's settings from the alias of a link
//! - `parent`: finds the link of the host that a network is built on
//! - `used`: reads the prefixes that are in use on this host

pub mod bridge;
mod dispatch;
pub(super) mod foreign;
pub mod macvlan;
mod marks;
pub mod overlay;
mod parent;
pub mod underlay;
mod used;

pub(super) use self::dispatch::{
    again, command, commands, left, of_bridge, of_inside, removal, repair,
};
pub use self::used::free_subnet;
