//! A request: its parts, how an existing object differs from it, and the command that makes it.
//!
//! - `subnets`: the subnets of a network, with their gateways and ranges
//! - `differences`: how an existing network or endpoint differs from the request
//! - `words`: a netcord command, word by word

pub(super) mod differences;
pub(super) mod subnets;
pub(super) mod words;
