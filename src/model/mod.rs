//! The user's terms: networks, endpoints, targets, published ports. This layer is pure: no I/O, no
//! clock, no randomness.

mod activity;
pub mod bpf;
mod container;
mod endpoint;
mod family;
mod finding;
mod firewall;
mod forward_accept;
pub mod graph;
mod lease;
pub mod lesson;
mod link_config;
mod mac;
mod name;
mod network;
mod order;
mod owner;
mod port;
mod request;
mod route;
pub mod ruleset;
mod subnet;
mod target;
pub mod trace_path;
mod visible;

use std::fmt;

pub use activity::Activity;
pub use container::EngineContainer;
pub use endpoint::{
    Attachment, Endpoint, EndpointId, EndpointState, EndpointSummary, client_mac, host_name,
    next_ifname, waiting_name,
};
pub use family::Family;
pub use finding::{Finding, Severity};
pub use firewall::Firewall;
pub use forward_accept::{AcceptPoint, ForwardAccept};
pub use lease::{AgentProcess, Lease};
pub use link_config::{Hop, Lifetime, LinkConfig, Neighbour, PolicyRule, SavedAddress, SavedRoute};
pub use mac::Mac;
pub use name::{LinkName, NetnsName};
pub use network::{
    Addresses, AgentTask, Backend, BackendKind, Driver, Elsewhere, Filter, Flag, Flags, Flat,
    Identity, LowerLink, Macvlan, MacvlanMode, Moving, NamedNetns, Network, NetworkRecord, Overlay,
    Parent, Peer, Records, Remote, Sharing, Source, Store, Udp, Underlay, User, Vlan, Vtep, Vxlan,
};
pub use order::natural_order;
pub use owner::{Interface, Owner};
pub use port::{HostPorts, PortRange, PortSpec, Protocol, PublishedPort};
pub use request::{
    Address, Cidr, Condition, Gateway, InnerPort, NetworkRef, PeerSpec, Removable, RunNetwork,
};
pub use route::{Route, RouteKind, RouteSpec, kernel_metric};
pub use subnet::{AddressRange, Subnet, overlap, pools, unique_local_prefix};
pub(crate) use subnet::{is_link_local, network_of, set_outbound};
pub use target::{Engine, Target};
pub use visible::{steers, visible, visible_lines};

/// Returns whether a value is its type's default, which records leave out.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// An invalid value: the reason, and perhaps a valid one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The reason, lower case, with the value in backticks.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Invalid {
    /// Makes one from its reason.
    pub fn new(message: impl Into<String>) -> Self {
        // The message contains what the user typed, and clap does not escape it.
        Self { message: visible(&message.into()).into_owned(), hint: None }
    }

    /// Adds what to write instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(visible(&hint.into()).into_owned());
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Invalid {}

/// Returns a stable 64-bit hash (FNV-1a), from which names are derived: the same request makes the
/// same plan in every version of netcord.
pub fn stable_hash(parts: &[&[u8]]) -> u64 {
    // http://www.isthe.com/chongo/tech/comp/fnv/
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    hash
}
