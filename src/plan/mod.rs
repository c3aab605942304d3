//! Plans: a request as a list of changes, which is data. This layer is pure: a plan is a function
//! of the model, and printing it needs no kernel.
//!
//! A [`Plan`] is a list of [`Step`]s, a step is a reason and a [`Change`], a change creates or
//! deletes one [`Resource`]: one netlink message, one shell command. Resources refer to each other
//! by name, never by index or file descriptor. A removal is the plan of a creation, reversed, see
//! [`reverse`].

mod alias;
mod cable;
mod driver;
mod endpoint;
mod entry;
mod explain;
mod facts;
mod firewall;
mod flows;
mod forward_accept;
mod link_attrs;
mod moved;
mod netns;
mod publish;
mod resource;
mod reverse;
mod spoof_filter;
mod step;
mod sysctl;

pub use alias::Mark;
pub use driver::{
    ACCEPT_DAD, CarrierVeth, Switch, Takeover, Uplinks, changed, create, elsewhere, entry_changes,
    lacking, macvlan_of, own_part, stale, takeover, tunnels_of, way, without_carrier,
};
pub use endpoint::attach;
pub use entry::Entry;
pub use explain::{command, quote};
pub use facts::{Class, Element, Facts, LinkAt, Reversal};
pub use firewall::{
    Chain, Nft, Rule, Table, comes_first, nftables as nft, owner, port, shared, stale_network,
};
pub use flows::Flows;
pub use forward_accept::{install_accepts, jumps, remove_accepts};
pub use link_attrs::{LinkAttrs, LinkAttrsOf};
pub use moved::Moved;
pub use netns::{lo_up, name};
pub use publish::{BridgedFrames, publish};
pub use resource::{
    ALIAS_PREFIX, LINK_GROUP, LinkId, Macvlan, MacvlanId, Place, PortFlag, Record, Resource,
    SPOOF_FILTER, Tunnel, Veth,
};
pub use reverse::{once, reverse};
pub use spoof_filter::{Instruction, SpoofFilter};
pub use step::{Change, Plan, Scope, Step};
pub use sysctl::SysctlKey;
