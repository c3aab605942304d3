//! The request and the outcome of `underlay`.

use std::{net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{Cidr, Flag, Flags, LinkName, Network};

/// A network that bridges the host's uplink.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Underlay {
    /// The network's name, and the bridge's.
    pub name: LinkName,
    /// The host's link that becomes a port of the bridge.
    pub parent: LinkName,
    /// The ranges from which addresses are assigned; by default every free address.
    pub ip_range: Vec<Cidr>,
    /// The endpoints' gateways; by default the host's on that link.
    pub gateway: Vec<IpAddr>,
    /// Allow a link that the host is reached through, or that has its default route.
    pub takeover: bool,
    /// Undo the move unless it is confirmed within this many seconds.
    pub confirm_within: Option<u32>,
    /// The terminal on which the watchdog reports that it undid the move.
    pub terminal: Option<PathBuf>,
    /// The flags, of those that an underlay supports: see [`Underlay::FLAGS`].
    pub flags: Flags,
    /// Metadata to store with the network: keys and values.
    pub label: Vec<(String, String)>,
}

impl Underlay {
    /// The flags that an underlay network supports.
    pub const FLAGS: [Flag; 2] = [Flag::Isolate, Flag::NoSpoof];
}

/// The network that exists now.
#[derive(Debug, Serialize)]
pub struct Made {
    /// The network.
    pub network: Network,
    /// The number of seconds within which it must be confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm_within: Option<u32>,
}
