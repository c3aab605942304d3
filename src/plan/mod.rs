//! Plans: what to do about a request, as data. Pure: a plan is a function of the model and prints
//! without a kernel.
//!
//! A [`Plan`] is a list of [`Step`]s, a step is a reason and a [`Change`], a change creates or
//! deletes one [`Resource`]: one netlink message, one shell command. Resources name each other,
//! never by index or file descriptor. Removal has no plans of its own, see [`reverse`].

mod alias;
mod cable;
mod driver;
mod endpoint;
mod explain;
mod facts;
mod firewall;
mod flows;
mod gate;
mod guard;
mod moved;
mod netns;
mod publish;
mod resource;
mod reverse;
mod shape;
mod step;
mod sysctl;

pub use alias::Mark;
pub use driver::{
    ACCEPT_DAD, Carrier, Switch, Takeover, Uplinks, create, macvlan_of, takeover, without_carrier,
};
pub use endpoint::attach;
pub use explain::{command, quote};
pub use facts::{Class, Element, Facts, LinkAt, Reversal};
pub use firewall::{
    Chain, Family, Nft, Rule, Table, comes_first, nftables as nft, owner, port, shared,
    stale_network,
};
pub use flows::Flows;
pub use gate::{close, jumps, open};
pub use guard::{Guard, Instruction};
pub use moved::Moved;
pub use netns::{lo_up, name};
pub use publish::publish;
pub use resource::{
    ALIAS_PREFIX, GUARD, LINK_GROUP, LinkId, Macvlan, MacvlanId, Place, PortFlag, Record, Resource,
    Veth,
};
pub use reverse::{once, reverse};
pub use shape::{Shape, ShapeOf};
pub use step::{Change, Plan, Scope, Step};
pub use sysctl::SysctlKey;
