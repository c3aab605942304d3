//! Networks, and what is kept of them.

mod driver;
mod flags;

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use self::driver::{DriverData, DriverForm};
use super::{
    Endpoint, Firewall, ForwardAccept, Invalid, LinkConfig, LinkName, Mac, NetnsName, Subnet,
};

pub use driver::{
    Addresses, Driver, Filter, LowerLink, Macvlan, MacvlanMode, Parent, Sharing, Underlay, Vlan,
};
pub use flags::{Flag, Flags};

/// A link's configuration on its way to a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moving {
    /// What hung on the link before: the list by which the move is undone.
    #[serde(rename = "belongings")]
    pub link_config: LinkConfig,
    /// When it is undone unless it is confirmed: seconds since the host's start
    /// (`CLOCK_BOOTTIME`). `None`: it is being made.
    pub deadline: Option<u64>,
}

/// A network: the segment that endpoints are attached to. A bridge that is one has its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Network {
    /// The network's name, and the bridge's.
    pub name: LinkName,
    /// How it is made, and how endpoints are connected.
    pub driver: Driver,
    /// The bridge's own address, fixed when it is made: the address of a bridge that has none of
    /// its own changes with its ports.
    pub mac: Mac,
    /// Of the bridge, and of every endpoint that asks for no other. Bytes.
    pub mtu: u32,
    /// At most one of each family, IPv4 first.
    pub subnets: Vec<Subnet>,
    /// What was set at its creation.
    pub flags: Flags,
    /// Where its rules are, and those of its published ports.
    pub firewall: Firewall,
    /// Where firewalls of others let its traffic through.
    pub forward_accepts: Vec<ForwardAccept>,
    /// The user's own, kept and shown.
    pub labels: BTreeMap<String, String>,
}

impl Network {
    /// The subnet of this address.
    pub fn subnet_of(&self, address: IpAddr) -> Option<&Subnet> {
        self.subnets.iter().find(|s| s.contains(address))
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: Flag) -> bool {
        self.flags.has(flag)
    }

    /// Whether others than netcord assign addresses of it, too.
    pub fn is_shared(&self) -> bool {
        self.driver.addresses() != Addresses::Ours
    }

    /// Whether what leaves by another link gets that link's address.
    pub fn masquerades(&self) -> bool {
        self.driver.filter() == Filter::Traffic && !self.has(Flag::NoMasquerade)
    }

    /// The host's link that endpoints are attached to.
    pub fn lower_link(&self) -> LowerLink<'_> {
        self.driver.lower_link(&self.name)
    }

    /// Its bridge, whose ports are the host ends of its endpoints.
    pub fn bridge(&self) -> Option<&LinkName> {
        match self.lower_link() {
            LowerLink::Bridge(bridge) => Some(bridge),
            LowerLink::Parent(_) => None,
        }
    }

    /// Whether it is said which addresses of a physical network are netcord's to give. Where it is
    /// not, any may belong to somebody who is silent when the wire is asked.
    pub fn has_range(&self) -> bool {
        match self.driver.addresses() {
            Addresses::Ours | Addresses::Shared(Sharing::Host) => true,
            Addresses::Shared(Sharing::Physical) => {
                self.subnets.iter().any(|s| s.ip_range.is_some())
            }
        }
    }

    /// Whether addresses of this subnet are netcord's to give.
    pub fn may_choose_from(&self, subnet: &Subnet) -> bool {
        match self.driver.addresses() {
            Addresses::Ours | Addresses::Shared(Sharing::Host) => true,
            Addresses::Shared(Sharing::Physical) => subnet.ip_range.is_some() || !self.has_range(),
        }
    }

    /// The same, with its move settled, or not.
    #[must_use]
    pub fn with_moving(&self, moving: Option<Moving>) -> Self {
        let network = self.clone();
        Self { driver: network.driver.with_moving(moving), ..network }
    }

    /// The same, with other accept rules.
    #[must_use]
    pub fn with_forward_accepts(&self, forward_accepts: Vec<ForwardAccept>) -> Self {
        Self { forward_accepts, ..self.clone() }
    }

    /// Whether it has a subnet of this family.
    pub fn has_ipv6(&self) -> bool {
        self.subnets.iter().any(|s| s.cidr.is_ipv6())
    }
}

/// A network in JSON, in records and as it is printed.
#[derive(Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
struct Form {
    name: LinkName,
    #[serde(flatten)]
    driver: DriverForm,
    mac: Mac,
    mtu: u32,
    subnets: Vec<Subnet>,
    internal: bool,
    isolate: bool,
    masquerade: bool,
    #[serde(default)]
    no_spoof: bool,
    #[serde(default)]
    firewall: Firewall,
    #[serde(rename = "gates", default, skip_serializing_if = "Vec::is_empty")]
    forward_accepts: Vec<ForwardAccept>,
    #[serde(flatten)]
    data: DriverData,
    labels: BTreeMap<String, String>,
}

impl From<Network> for Form {
    fn from(network: Network) -> Self {
        let masquerade = network.masquerades();
        let Network { name, driver, mac, mtu, subnets, flags, firewall, forward_accepts, labels } =
            network;
        let (driver, data) = driver.into();
        Self {
            name,
            driver,
            mac,
            mtu,
            subnets,
            internal: flags.has(Flag::Internal),
            isolate: flags.has(Flag::Isolate),
            masquerade,
            no_spoof: flags.has(Flag::NoSpoof),
            firewall,
            forward_accepts,
            data,
            labels,
        }
    }
}

impl TryFrom<Form> for Network {
    type Error = Invalid;

    fn try_from(form: Form) -> Result<Self, Invalid> {
        let driver = Driver::try_from((form.driver, form.data))?;
        let could_masquerade = driver.filter() == Filter::Traffic;
        let flags = Flags::of(|flag| match flag {
            Flag::Internal => form.internal,
            Flag::Isolate => form.isolate,
            Flag::NoMasquerade => could_masquerade && !form.masquerade,
            Flag::NoSpoof => form.no_spoof,
        });
        let Form { name, mac, mtu, subnets, firewall, forward_accepts, labels, .. } = form;
        Ok(Self { name, driver, mac, mtu, subnets, flags, firewall, forward_accepts, labels })
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

/// Networks on record, by name.
pub type Records = BTreeMap<LinkName, NetworkRecord>;

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

#[cfg(test)]
mod tests {
    use super::*;

    /// Each driver as it is in records and in what is printed; keys are a contract.
    const DRIVERS: [&str; 5] = [
        r#"{"name":"lab0","mode":"bridge","foreign":false,"mac":"02:42:ac:12:00:01","mtu":1500,"subnets":[],"internal":true,"isolate":false,"masquerade":false,"no_spoof":true,"firewall":"nftables","labels":{}}"#,
        r#"{"name":"lab0","mode":"bridge","foreign":false,"mac":"02:42:ac:12:00:01","mtu":1500,"subnets":[],"internal":false,"isolate":true,"masquerade":true,"no_spoof":false,"firewall":"iptables","labels":{"a":"b"}}"#,
        r#"{"name":"br0","mode":"bridge","foreign":true,"mac":"02:42:ac:12:00:01","mtu":1500,"subnets":[],"internal":false,"isolate":false,"masquerade":false,"no_spoof":false,"firewall":"nftables","labels":{}}"#,
        r#"{"name":"mydr0","mode":"underlay","foreign":false,"mac":"02:42:ac:12:00:01","mtu":1500,"subnets":[],"internal":false,"isolate":false,"masquerade":false,"no_spoof":false,"firewall":"iptables","parent":{"link":"eth0","filtered":true},"labels":{}}"#,
        r#"{"name":"lan0","mode":"macvlan","foreign":false,"mac":"02:42:ac:12:00:01","mtu":1500,"subnets":[],"internal":false,"isolate":false,"masquerade":false,"no_spoof":false,"firewall":"nftables","parent":{"link":"eth0.100","vlan":{"trunk":"eth0","id":100},"macvlan":{"mode":"private","host_access":["192.0.2.1"]},"filtered":false},"labels":{}}"#,
    ];

    #[test]
    fn json_has_its_keys_in_their_order() {
        for text in DRIVERS {
            let network: Network = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&network).unwrap(), text);
        }
    }

    #[test]
    fn a_driver_without_what_it_needs_is_refused() {
        let [.., underlay, macvlan] = DRIVERS;
        let no_parent = underlay.replace(r#""parent":{"link":"eth0","filtered":true},"#, "");
        let no_mode =
            macvlan.replace(r#""macvlan":{"mode":"private","host_access":["192.0.2.1"]},"#, "");
        for wrong in [no_parent, no_mode] {
            let error = serde_json::from_str::<Network>(&wrong).unwrap_err().to_string();
            assert!(error.contains("the network's driver needs"), "{error}");
        }
    }
}
