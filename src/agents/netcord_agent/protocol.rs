//! The messages between netcord and netcord-agent: lines of JSON, one request and one answer each.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    model::{BackendKind, Cidr, LinkName, PeerSpec, Store},
};

/// The name of the agent's socket, in the directory of the host's records.
pub const SOCKET: &str = "agent.sock";

/// The name of the file that an agent locks while it runs, so that there is one for each host.
pub const LOCK: &str = "agent.lock";

/// A line to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The version of the sender. It must be the agent's, since both belong to one package.
    pub version: String,
    /// The request.
    pub request: Request,
}

/// A request to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Get a subnet for this host from the network's store, and the other hosts. If the agent does
    /// not follow the network yet, this lasts as long as the connection.
    Join(Box<Join>),
    /// Keep the subnet, and make the kernel follow the store, from now on.
    Follow {
        /// The network.
        network: LinkName,
    },
    /// Give the subnet back.
    Leave(Box<Leave>),
    /// Start the relay of a network on record, if it does not run, and keep it running from now on.
    Relay {
        /// The network.
        network: LinkName,
    },
    /// Report the networks that the agent follows, and the relays that it has started.
    Status,
}

/// An answer of the agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Request::Join`].
    Offer(Box<Offer>),
    /// To [`Request::Follow`], [`Request::Leave`] and [`Request::Relay`].
    Done,
    /// To [`Request::Status`].
    Status(Status),
    /// A failure.
    Failed(Error),
}

/// The request to join a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// The network.
    pub network: LinkName,
    /// Its store.
    pub store: Store,
    /// This host's addresses: the first of its tunnel, and perhaps one of the other family.
    pub hosts: Vec<IpAddr>,
    /// The network's settings that the user gave.
    pub shape: Shape,
    /// The time to wait for the store, in seconds.
    pub wait: u32,
    /// Read the store, and write nothing.
    pub dry_run: bool,
}

/// The settings of a network. The first host's become the store's; those of others must agree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// The subnets of the whole network, at most one of each family.
    pub subnets: Vec<Cidr>,
    /// The prefix lengths of a host's subnets: that of IPv4 and that of IPv6.
    pub lengths: [Option<u8>; 2],
    /// The first and the last IPv4 subnet that a host can get.
    pub bounds: [Option<IpAddr>; 2],
    /// How packets reach other hosts.
    pub backend: Option<BackendKind>,
    /// The VXLAN network identifier.
    pub vni: Option<u32>,
    /// The UDP port.
    pub port: Option<u16>,
    /// Whether hosts that can be the next hop are reached without a tunnel.
    pub direct_routing: bool,
}

/// The network, as the store describes it, and this host's part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The subnets of the whole network, IPv4 first.
    pub cluster: Vec<IpNetwork>,
    /// This host's subnets, IPv4 first.
    pub subnets: Vec<IpNetwork>,
    /// How packets reach other hosts.
    pub backend: BackendKind,
    /// The VXLAN network identifier.
    pub vni: u32,
    /// The UDP port.
    pub port: u16,
    /// Whether hosts that can be the next hop are reached without a tunnel.
    pub direct_routing: bool,
    /// The MTU of the links between the hosts, if it is not that of this host's parent.
    pub parent_mtu: Option<u32>,
    /// The other hosts.
    pub peers: Vec<PeerSpec>,
    /// The parts of the store that were skipped, with the reasons.
    pub skipped: Vec<String>,
}

/// The request to leave a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    /// The network.
    pub network: LinkName,
    /// Its store.
    pub store: Store,
    /// This host's first address.
    pub host: IpAddr,
}

/// What the agent does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The networks that it follows.
    pub members: Vec<Member>,
    /// The relays that it has started.
    pub relays: Vec<Relay>,
}

/// A relay, and the offloads that it uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// The network.
    pub network: LinkName,
    /// Its process; `None` if it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// What it uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<RelayUse>,
    /// Its last words, if it ended or uses less than before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The offloads of the kernel that a relay uses: the line that it prints when it is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayUse {
    /// What the TUN link gives to it in large packets: TCP (`tso`), UDP, too (`tso,uso`), or nothing (`off`).
    pub tun: String,
    /// How it sends: `segments` (many packets in a system call) or `datagrams`.
    pub send: String,
    /// How it receives: `gro` (many packets in a system call) or `datagrams`.
    pub receive: String,
}

impl RelayUse {
    /// Describes what the kernel lacks that would make the relay faster; `None` if nothing.
    pub fn lacks(&self) -> Option<String> {
        let lacking: Vec<_> = [
            (self.tun == "off", "no segmentation offload on the TUN link"),
            (self.send == "datagrams", "no segmentation of what is sent (UDP_SEGMENT)"),
            (self.receive == "datagrams", "no merging of what is received (UDP_GRO)"),
        ]
        .into_iter()
        .filter_map(|(is_lacking, what)| is_lacking.then_some(what))
        .collect();
        (!lacking.is_empty()).then(|| format!("slow, {}", lacking.join(", ")))
    }
}

/// A network that the agent follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The network.
    pub network: LinkName,
    /// The rest of the time for which this host's subnet is its own without a sign of life, in
    /// seconds; `None` while the agent has no lease.
    pub lease: Option<u64>,
    /// Whether the subnet is this host's without a time limit (a reservation in the store).
    pub reserved: bool,
    /// Why the subnet is not this host's any more: another host has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// Why the store does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away: Option<String>,
    /// All problems that the agent has with the store at the moment, these two among them.
    pub problems: Vec<String>,
    /// The parts of the store that were skipped, with the reasons.
    pub skipped: Vec<String>,
}
