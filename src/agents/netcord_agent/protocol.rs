//! The messages between netcord and netcord-agent: lines of JSON, one request and one answer each.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    model::{
        AddressRange, BackendKind, Cidr, Elsewhere, Flat, LinkName, Mac, PeerSpec, Store, Subnet,
    },
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
    /// Get addresses of a flat network for an endpoint from the network's store. Unless the endpoint is on
    /// record when the connection ends, they are given back.
    Claim(Box<Claim>),
    /// Make the store of a flat network agree with the record of this host's endpoints: give back the
    /// addresses of those that are gone.
    Settle {
        /// The network.
        network: LinkName,
    },
    /// Report the hosts and the endpoints of a flat network that are on other hosts.
    Elsewhere {
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
    /// To [`Request::Claim`]: the addresses that were asked for, then one of each open subnet.
    Claimed {
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
    /// To [`Request::Elsewhere`].
    Elsewhere(Elsewhere),
    /// To [`Request::Follow`], [`Request::Leave`], [`Request::Relay`] and [`Request::Settle`].
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

/// The request for addresses of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The network.
    pub network: LinkName,
    /// The endpoint's target, which the other hosts show.
    pub name: String,
    /// The endpoint's MAC; `None`: the one that is derived from its first address.
    pub mac: Option<Mac>,
    /// The addresses that it must have.
    pub fixed: Vec<IpAddr>,
    /// The subnets from which it gets the lowest free address.
    pub open: Vec<Subnet>,
    /// The ranges of these subnets from which to choose; by default the subnets' own.
    pub ranges: Vec<AddressRange>,
    /// Take the fixed addresses from hosts that have them.
    pub takeover: bool,
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
    /// The settings of a flat network, if that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flat: Option<Flat>,
    /// The gateways of a flat network; by default the first addresses of its subnets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
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
    /// The other hosts. Of a flat network, none.
    pub peers: Vec<PeerSpec>,
    /// The settings of a flat network; `None`: each host has subnets of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flat: Option<Flat>,
    /// The gateways of a flat network, the same on all hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
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
