//! The driver of a network: how endpoints are connected, and what follows from that.
//!
//! Other code asks what a driver can do, not which one it is. So a new driver is added here, in
//! `plan/driver` and in `ops/driver`, and nowhere else. Matches name every driver, so the compiler
//! lists what a new one has to answer.
#![deny(clippy::wildcard_enum_match_arm)]

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Moving, Overlay};
use crate::model::{Invalid, LinkName};

/// How a network is built, and how its endpoints are connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// A Linux bridge with the gateway's address. This host routes.
    Bridge,
    /// A Linux bridge that another program made. netcord never changes or removes it.
    Foreign,
    /// A Linux bridge with the host's uplink as a port, so that endpoints are in the physical
    /// network.
    Underlay(Underlay),
    /// No bridge: each endpoint is a macvlan on a link of the host, which does not change.
    Macvlan(Macvlan),
    /// A Linux bridge with the gateway's address on it, whose endpoints reach those of other hosts.
    Overlay(Box<Overlay>),
}

/// The data of an underlay network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Underlay {
    /// The uplink.
    pub parent: Parent,
    /// Whether this host passes bridged frames to iptables (`br_netfilter`), where a policy could
    /// drop them, so that accept rules are needed.
    pub filtered: bool,
    /// The move of the uplink, until it is finished and confirmed.
    pub moving: Option<Box<Moving>>,
}

/// The data of a macvlan network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Macvlan {
    /// The link below the macvlans.
    pub parent: Parent,
    /// Which macvlans reach each other.
    pub mode: MacvlanMode,
    /// The host's own addresses, at most one of each family, that endpoints reach through a macvlan
    /// of the host. If empty, there is no such link, and host and endpoints do not reach each
    /// other.
    pub host_access: Vec<IpAddr>,
}

/// The link of the host by which endpoints reach the physical network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The link: `eth0`, or `eth0.100`.
    pub link: LinkName,
    /// The VLAN, if netcord made the link as one. It is deleted with the network.
    pub vlan: Option<Vlan>,
}

/// A VLAN of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vlan {
    /// The link that carries the tagged frames.
    pub trunk: LinkName,
    /// The VLAN ID (802.1Q), 1 to 4094.
    pub id: u16,
}

/// The macvlan mode (`IFLA_MACVLAN_MODE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    /// Endpoints reach each other directly.
    Bridge,
    /// Endpoints do not reach each other, not even through the switch.
    Private,
    /// Endpoints reach each other through a switch that reflects frames.
    Vepa,
    /// One endpoint uses the link exclusively, with the link's own MAC.
    Passthru,
}

impl MacvlanMode {
    /// All modes.
    pub const ALL: [Self; 4] = [Self::Bridge, Self::Private, Self::Vepa, Self::Passthru];

    /// Returns the word that `ip link` and docker use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Private => "private",
            Self::Vepa => "vepa",
            Self::Passthru => "passthru",
        }
    }
}

/// Who assigns the addresses of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Only netcord: an address that is not on record is free.
    Ours,
    /// Others too: an address is probed before it is assigned, and announced afterwards.
    Shared(Sharing),
}

/// Who shares the addresses of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Other programs of this host.
    Host,
    /// The operators of the physical network. `--ip-range` limits what netcord may assign.
    Physical,
}

/// The traffic of a network that has rules in the firewalls of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All traffic, and published ports.
    Traffic,
    /// Published ports only: the bridge's owner decides about the rest.
    Ports,
    /// Frames between ports of its bridge: they are accepted.
    Bridged,
    /// None.
    Nothing,
}

/// The link of the host that endpoints are attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LowerLink<'n> {
    /// The network's bridge: an endpoint has a host end, which is a port of it.
    Bridge(&'n LinkName),
    /// The network's parent: an endpoint has no link on the host.
    Parent(&'n Parent),
}

impl<'n> LowerLink<'n> {
    /// Returns the link's name.
    pub fn name(self) -> &'n LinkName {
        match self {
            Self::Bridge(bridge) => bridge,
            Self::Parent(parent) => &parent.link,
        }
    }
}

impl Driver {
    /// Returns the word that users type and read.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Bridge | Self::Foreign => "bridge",
            Self::Underlay(_) => "underlay",
            Self::Macvlan(_) => "macvlan",
            Self::Overlay(_) => "overlay",
        }
    }

    /// Returns whether another program made the network, and removes it.
    pub fn is_foreign(&self) -> bool {
        match self {
            Self::Foreign => true,
            Self::Bridge | Self::Underlay(_) | Self::Macvlan(_) | Self::Overlay(_) => false,
        }
    }

    /// Returns who assigns addresses.
    pub fn addresses(&self) -> Addresses {
        match self {
            Self::Bridge | Self::Overlay(_) => Addresses::Ours,
            Self::Foreign => Addresses::Shared(Sharing::Host),
            Self::Underlay(_) | Self::Macvlan(_) => Addresses::Shared(Sharing::Physical),
        }
    }

    /// Returns whether the host routes between the network and the rest of the world, so that ports
    /// can be published, in the firewall that the network's record names.
    pub fn forwards(&self) -> bool {
        match self {
            Self::Bridge | Self::Foreign | Self::Overlay(_) => true,
            Self::Underlay(_) | Self::Macvlan(_) => false,
        }
    }

    /// Returns whether it is a bridge of netcord's on this host alone.
    pub fn makes_bridge(&self) -> bool {
        match self {
            Self::Bridge => true,
            Self::Foreign | Self::Underlay(_) | Self::Macvlan(_) | Self::Overlay(_) => false,
        }
    }

    /// Returns whether netcord's bridge is the gateway of the endpoints, with an address of each
    /// subnet.
    pub fn is_gateway(&self) -> bool {
        match self {
            Self::Bridge | Self::Overlay(_) => true,
            Self::Foreign | Self::Underlay(_) | Self::Macvlan(_) => false,
        }
    }

    /// Returns the traffic that has rules in the firewalls of this host.
    pub fn filter(&self) -> Filter {
        match self {
            Self::Bridge | Self::Overlay(_) => Filter::Traffic,
            Self::Foreign => Filter::Ports,
            Self::Underlay(underlay) if underlay.filtered => Filter::Bridged,
            Self::Underlay(_) | Self::Macvlan(_) => Filter::Nothing,
        }
    }

    /// Returns the link that endpoints are attached to. `name` is the name of the network and of
    /// its bridge.
    pub(super) fn lower_link<'n>(&'n self, name: &'n LinkName) -> LowerLink<'n> {
        match self {
            Self::Bridge | Self::Foreign | Self::Underlay(_) | Self::Overlay(_) => {
                LowerLink::Bridge(name)
            }
            Self::Macvlan(macvlan) => LowerLink::Parent(&macvlan.parent),
        }
    }

    /// Returns whether netcord makes the link that endpoints are attached to.
    pub fn makes_lower_link(&self) -> bool {
        match self {
            Self::Bridge | Self::Underlay(_) | Self::Overlay(_) => true,
            Self::Foreign => false,
            Self::Macvlan(macvlan) => macvlan.parent.vlan.is_some(),
        }
    }

    /// Returns the link of the host by which endpoints are in the physical network.
    pub fn parent(&self) -> Option<&Parent> {
        match self {
            Self::Bridge | Self::Foreign | Self::Overlay(_) => None,
            Self::Underlay(underlay) => Some(&underlay.parent),
            Self::Macvlan(macvlan) => Some(&macvlan.parent),
        }
    }

    /// Returns the same link, if netcord made it a port of the network's bridge.
    pub fn uplink(&self) -> Option<&Parent> {
        match self {
            Self::Underlay(underlay) => Some(&underlay.parent),
            Self::Bridge | Self::Foreign | Self::Macvlan(_) | Self::Overlay(_) => None,
        }
    }

    /// Returns the move of the uplink, if it is not finished and confirmed.
    pub fn moving(&self) -> Option<&Moving> {
        match self {
            Self::Underlay(underlay) => underlay.moving.as_deref(),
            Self::Bridge | Self::Foreign | Self::Macvlan(_) | Self::Overlay(_) => None,
        }
    }

    /// Returns the data of an underlay network.
    pub fn underlay(&self) -> Option<&Underlay> {
        match self {
            Self::Underlay(underlay) => Some(underlay),
            Self::Bridge | Self::Foreign | Self::Macvlan(_) | Self::Overlay(_) => None,
        }
    }

    /// Returns the data of a macvlan network.
    pub fn macvlan(&self) -> Option<&Macvlan> {
        match self {
            Self::Macvlan(macvlan) => Some(macvlan),
            Self::Bridge | Self::Foreign | Self::Underlay(_) | Self::Overlay(_) => None,
        }
    }

    /// What an overlay network has.
    pub fn overlay(&self) -> Option<&Overlay> {
        match self {
            Self::Overlay(overlay) => Some(overlay),
            Self::Bridge | Self::Foreign | Self::Underlay(_) | Self::Macvlan(_) => None,
        }
    }

    /// Returns whether one endpoint uses the parent exclusively, with the parent's MAC.
    pub fn is_passthru(&self) -> bool {
        self.macvlan().is_some_and(|macvlan| macvlan.mode == MacvlanMode::Passthru)
    }

    /// Returns the same driver with another state of its move.
    pub(super) fn with_moving(self, moving: Option<Moving>) -> Self {
        match self {
            Self::Underlay(underlay) => {
                Self::Underlay(Underlay { moving: moving.map(Box::new), ..underlay })
            }
            Self::Bridge | Self::Foreign | Self::Macvlan(_) | Self::Overlay(_) => self,
        }
    }
}

/// A driver in JSON, in records and in output: part of the network's object.
#[derive(Serialize, Deserialize)]
pub(super) struct DriverForm {
    mode: Word,
    foreign: bool,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Bridge,
    Underlay,
    Macvlan,
    Overlay,
}

/// The driver's data, after the fields that all networks have.
#[derive(Serialize, Deserialize)]
pub(super) struct DriverData {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<ParentForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    overlay: Option<Overlay>,
}

#[derive(Serialize, Deserialize)]
struct ParentForm {
    link: LinkName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vlan: Option<Vlan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    macvlan: Option<MacvlanForm>,
    #[serde(default)]
    filtered: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moving: Option<Box<Moving>>,
}

#[derive(Serialize, Deserialize)]
struct MacvlanForm {
    mode: MacvlanMode,
    host_access: Vec<IpAddr>,
}

impl From<Driver> for (DriverForm, DriverData) {
    fn from(driver: Driver) -> Self {
        let form = |mode, foreign, parent| {
            (DriverForm { mode, foreign }, DriverData { parent, overlay: None })
        };
        match driver {
            Driver::Bridge => form(Word::Bridge, false, None),
            Driver::Foreign => form(Word::Bridge, true, None),
            Driver::Underlay(Underlay { parent: Parent { link, vlan }, filtered, moving }) => {
                let parent = ParentForm { link, vlan, macvlan: None, filtered, moving };
                form(Word::Underlay, false, Some(parent))
            }
            Driver::Macvlan(Macvlan { parent: Parent { link, vlan }, mode, host_access }) => {
                let macvlan = Some(MacvlanForm { mode, host_access });
                let parent = ParentForm { link, vlan, macvlan, filtered: false, moving: None };
                form(Word::Macvlan, false, Some(parent))
            }
            Driver::Overlay(overlay) => {
                let form = DriverForm { mode: Word::Overlay, foreign: false };
                (form, DriverData { parent: None, overlay: Some(*overlay) })
            }
        }
    }
}

impl TryFrom<(DriverForm, DriverData)> for Driver {
    type Error = Invalid;

    fn try_from((form, data): (DriverForm, DriverData)) -> Result<Self, Invalid> {
        let lacks = |what| Invalid::new(format!("the network's driver needs {what}"));
        let parent = || data.parent.ok_or_else(|| lacks("a parent"));
        Ok(match form.mode {
            Word::Bridge if form.foreign => Self::Foreign,
            Word::Bridge => Self::Bridge,
            Word::Underlay => {
                let ParentForm { link, vlan, filtered, moving, .. } = parent()?;
                Self::Underlay(Underlay { parent: Parent { link, vlan }, filtered, moving })
            }
            Word::Macvlan => {
                let ParentForm { link, vlan, macvlan, .. } = parent()?;
                let MacvlanForm { mode, host_access } =
                    macvlan.ok_or_else(|| lacks("a macvlan mode"))?;
                Self::Macvlan(Macvlan { parent: Parent { link, vlan }, mode, host_access })
            }
            Word::Overlay => {
                let overlay = data.overlay.ok_or_else(|| lacks("what an overlay has"))?;
                Self::Overlay(Box::new(overlay))
            }
        })
    }
}
