//! Networks, and what is kept of them.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Endpoint, LinkName, Mac, NetnsName, Subnet};

/// How a network is wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A Linux bridge with the gateway's address on it.
    Bridge,
}

/// A network: the segment that endpoints are attached to, known by its bridge's link name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Network {
    /// The network's name, and the bridge's.
    pub name: LinkName,
    /// How it is wired.
    pub mode: Mode,
    /// Somebody else made the bridge: it is used as it is, never changed, never removed.
    pub foreign: bool,
    /// The bridge's own address, fixed when it is made: the address of a bridge that has none of
    /// its own changes with its ports.
    pub mac: Mac,
    /// Of the bridge, and of every endpoint that asks for no other. Bytes.
    pub mtu: u32,
    /// At most one of each family, IPv4 first.
    pub subnets: Vec<Subnet>,
    /// Reaches nothing outside.
    pub internal: bool,
    /// Endpoints do not reach each other.
    pub isolate: bool,
    /// What leaves by another link gets that link's address.
    pub masquerade: bool,
    /// The user's own, kept and shown.
    pub labels: BTreeMap<String, String>,
}

impl Network {
    /// The subnet of this address.
    pub fn subnet_of(&self, address: IpAddr) -> Option<&Subnet> {
        self.subnets.iter().find(|s| s.contains(address))
    }

    /// Whether it has a subnet of this family.
    pub fn has_ipv6(&self) -> bool {
        self.subnets.iter().any(|s| s.cidr.is_ipv6())
    }
}

/// The record of one network: what was asked for, and who is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// The network.
    #[serde(flatten)]
    pub network: Network,
    /// Its endpoints, in the order in which they were attached.
    pub endpoints: Vec<Endpoint>,
}

/// A name in `/run/netns` that netcord put there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedNetns {
    /// The name.
    pub name: NetnsName,
    /// Which namespace it stands for (`SO_NETNS_COOKIE`). 0 until the namespace is made.
    pub cookie: u64,
    /// Where the namespace is.
    pub source: Source,
    /// It was asked for by itself (`none`, `container`): it stays when the last endpoint goes.
    pub kept: bool,
}

/// What a name in `/run/netns` is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A namespace of its own, held by the mount on its name, as `ip netns add` makes it.
    Made,
    /// A symlink to the namespace file of what lives in it, as the notes make it. It dangles
    /// when that dies: unlike a mount it keeps nothing alive.
    Link(PathBuf),
}
