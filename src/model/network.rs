//! Networks, and what is kept of them.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Belongings, Endpoint, Firewall, Gate, LinkName, Mac, NetnsName, Subnet};

/// How a network is wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A Linux bridge with the gateway's address on it: a network of this host's own.
    Bridge,
    /// A Linux bridge that took over a link of the host's: endpoints are in the physical network.
    Underlay,
    /// No bridge: each endpoint is a macvlan of a link of the host's, which stays as it is.
    Macvlan,
}

impl Mode {
    /// The word for it, as users type and read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Underlay => "underlay",
            Self::Macvlan => "macvlan",
        }
    }
}

/// The host's link by which a network's endpoints reach the physical network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The link: `eth0`, or `eth0.100`.
    pub link: LinkName,
    /// The link is a VLAN that netcord made, and removes with the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<Vlan>,
    /// Of a macvlan network: how its endpoints hang on the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macvlan: Option<Macvlan>,
    /// Of an underlay network: bridged frames meet iptables on this host (`br_netfilter`), where a
    /// policy could drop them, so rules let them pass.
    #[serde(default)]
    pub filtered: bool,
    /// Of an underlay network: its move is not settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<Box<Moving>>,
}

/// How the endpoints of a macvlan network hang on its parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Macvlan {
    /// Who of them reaches whom.
    pub mode: MacvlanMode,
    /// The host's own addresses, at most one of each family, that a macvlan of the host's makes
    /// reachable; none: there is no such link, and host and endpoints do not reach each other.
    pub host_access: Vec<IpAddr>,
}

/// Who of a link's macvlans reaches whom (`IFLA_MACVLAN_MODE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    /// Each other, at once.
    Bridge,
    /// Not each other, not even by way of the switch.
    Private,
    /// Each other by way of a switch that sends frames back where they came from.
    Vepa,
    /// There is one only, and it has the link to itself, with the link's own MAC.
    Passthru,
}

impl MacvlanMode {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Bridge, Self::Private, Self::Vepa, Self::Passthru];

    /// The word for it, `ip link`'s and docker's.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Private => "private",
            Self::Vepa => "vepa",
            Self::Passthru => "passthru",
        }
    }
}

/// A link's belongings on their way to a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moving {
    /// What hung on the link before: the list by which the move is undone.
    pub belongings: Belongings,
    /// When it is undone unless it is confirmed: seconds since the host's start
    /// (`CLOCK_BOOTTIME`). `None`: it is being made.
    pub deadline: Option<u64>,
}

/// A VLAN of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vlan {
    /// The link that carries the tagged frames.
    pub trunk: LinkName,
    /// The tag (802.1Q), 1 to 4094.
    pub id: u16,
}

/// A network: the segment that endpoints are attached to. A bridge that is one has its name.
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
    /// Endpoints can send by no other MAC and address than their own.
    #[serde(default)]
    pub no_spoof: bool,
    /// Where its rules are, and those of its published ports.
    #[serde(default)]
    pub firewall: Firewall,
    /// Where firewalls of others let its traffic through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Gate>,
    /// Of an underlay and of a macvlan network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// The user's own, kept and shown.
    pub labels: BTreeMap<String, String>,
}

impl Network {
    /// The subnet of this address.
    pub fn subnet_of(&self, address: IpAddr) -> Option<&Subnet> {
        self.subnets.iter().find(|s| s.contains(address))
    }

    /// Whether it is a network of this host's own: its addresses are netcord's to give, its traffic
    /// passes the host's firewall, and its ports are published. Others share theirs with strangers.
    pub fn is_private(&self) -> bool {
        self.mode == Mode::Bridge && !self.foreign
    }

    /// How the endpoints of a macvlan network hang on its parent.
    pub fn macvlan(&self) -> Option<(&Parent, &Macvlan)> {
        let parent = self.parent.as_ref()?;
        Some((parent, parent.macvlan.as_ref()?))
    }

    /// Whether it is said which addresses of a physical network are netcord's to give. Where it is
    /// not, any may belong to somebody who is silent when the wire is asked.
    pub fn has_range(&self) -> bool {
        self.mode == Mode::Bridge || self.subnets.iter().any(|s| s.ip_range.is_some())
    }

    /// Whether addresses of this subnet are netcord's to give.
    pub fn may_choose_from(&self, subnet: &Subnet) -> bool {
        self.mode == Mode::Bridge || subnet.ip_range.is_some() || !self.has_range()
    }

    /// The move of an underlay network, if it is not settled.
    pub fn moving(&self) -> Option<&Moving> {
        self.parent.as_ref()?.moving.as_deref()
    }

    /// The same, with its move settled, or not.
    #[must_use]
    pub fn with_moving(&self, moving: Option<Moving>) -> Self {
        let mut network = self.clone();
        if let Some(parent) = &mut network.parent {
            parent.moving = moving.map(Box::new);
        }
        network
    }

    /// The same, with other gates.
    #[must_use]
    pub fn with_gates(&self, gates: Vec<Gate>) -> Self {
        Self { gates, ..self.clone() }
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
