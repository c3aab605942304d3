//! Networks, and their records.

mod driver;
mod flags;
mod flat;
mod overlay;
mod store;

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use self::driver::{DriverData, DriverForm};
use super::{
    Endpoint, Family, Firewall, ForwardAccept, Invalid, LinkConfig, LinkName, Mac, NetnsName,
    Route, Subnet,
};

pub use driver::{
    Addresses, Driver, Filter, LowerLink, Macvlan, MacvlanMode, Parent, Sharing, Underlay, Vlan,
};
pub use flags::{Flag, Flags};
pub use flat::{Elsewhere, Flat, Remote};
pub use overlay::{AgentTask, Backend, BackendKind, Overlay, Peer, Udp, Vtep, Vxlan};
pub use store::{Identity, Store, User};

/// The move of a link's configuration to a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moving {
    /// The link's former configuration, which undoing the move restores.
    #[serde(rename = "belongings")]
    pub link_config: LinkConfig,
    /// The deadline of the confirmation, in seconds since boot (`CLOCK_BOOTTIME`). `None`: the move
    /// is not finished.
    pub deadline: Option<u64>,
}

/// A network: the segment that endpoints are attached to. Its bridge, if it has one, has the
/// network's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Network {
    /// The name of the network and of its bridge.
    pub name: LinkName,
    /// How it is built, and how endpoints are connected.
    pub driver: Driver,
    /// The bridge's MAC, fixed at creation: otherwise it would change with the bridge's ports.
    pub mac: Mac,
    /// The MTU of the bridge, and the default of its endpoints, in bytes.
    pub mtu: u32,
    /// IPv4 first. Only a bridge network has more than one of a family.
    pub subnets: Vec<Subnet>,
    /// The flags set at creation.
    pub flags: Flags,
    /// The firewall that holds the rules of the network and its published ports.
    pub firewall: Firewall,
    /// Its accept rules in other firewalls.
    pub forward_accepts: Vec<ForwardAccept>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
}

impl Network {
    /// Returns the subnet of this address.
    pub fn subnet_of(&self, address: IpAddr) -> Option<&Subnet> {
        self.subnets.iter().find(|s| s.contains(address))
    }

    /// Returns the gateway of the default route of a family for an endpoint with these addresses: that of
    /// the first subnet that has one of them.
    pub fn gateway_for(&self, addresses: &[IpNetwork], family: Family) -> Option<IpAddr> {
        let mut subnets = self.subnets_of(family);
        let own = subnets.find(|s| addresses.iter().any(|address| s.contains(address.ip())));
        own?.gateway
    }

    /// Returns whether a flag is set.
    pub fn has(&self, flag: Flag) -> bool {
        self.flags.has(flag)
    }

    /// Returns whether others than netcord assign its addresses, too.
    pub fn is_shared(&self) -> bool {
        self.driver.addresses() != Addresses::Ours
    }

    /// Returns whether packets that leave by another link get that link's address.
    pub fn masquerades(&self) -> bool {
        self.driver.filter() == Filter::Traffic && !self.has(Flag::NoMasquerade)
    }

    /// Returns whether the host routes packets of its endpoints: to other hosts at least.
    pub fn is_routed(&self) -> bool {
        self.reaches_others_by_routes() || !(self.has(Flag::Internal) || self.is_without_subnet())
    }

    /// Returns whether its endpoints reach those of other hosts through this host's routes.
    pub fn reaches_others_by_routes(&self) -> bool {
        self.driver.overlay().is_some_and(|overlay| overlay.flat.is_none())
    }

    /// Returns whether it is an overlay network of one subnet over all hosts.
    pub fn is_flat(&self) -> bool {
        self.driver.overlay().is_some_and(|overlay| overlay.flat.is_some())
    }

    /// Returns whether it only switches frames: netcord assigns no addresses there, and has no rules.
    pub fn is_without_subnet(&self) -> bool {
        self.driver.makes_bridge() && self.subnets.is_empty()
    }

    /// Returns whether its bridge has no address in its subnets, which makes the host no part of it.
    pub fn is_without_gateway(&self) -> bool {
        self.driver.makes_bridge()
            && !self.subnets.is_empty()
            && self.subnets.iter().all(|subnet| subnet.gateway.is_none())
    }

    /// Returns the block of an IP family that the endpoints of all hosts have their addresses from.
    pub fn cluster(&self, is_ipv4: bool) -> Option<IpNetwork> {
        self.driver.overlay()?.cluster_of(is_ipv4)
    }

    /// Returns the routes by which its endpoints reach those of other hosts, one per IP family.
    pub fn routes_to_others(&self, ifname: &LinkName) -> impl Iterator<Item = Route> {
        self.subnets.iter().filter_map(|subnet| {
            let cluster = self.cluster(subnet.cidr.is_ipv4())?;
            let gateway = Some(subnet.gateway?);
            Some(Route { gateway, ..Route::on(ifname.clone(), cluster) })
        })
    }

    /// Returns the blocks of addresses that it has for itself.
    pub fn blocks(&self) -> Vec<IpNetwork> {
        match self.driver.overlay() {
            Some(overlay) if overlay.flat.is_none() => overlay.cluster.clone(),
            Some(_) | None => self.subnets.iter().map(|subnet| subnet.cidr).collect(),
        }
    }

    /// Returns the links of its tunnels to other hosts.
    pub fn tunnels(&self) -> impl Iterator<Item = &LinkName> {
        self.driver.overlay().into_iter().flat_map(Overlay::tunnels)
    }

    /// Returns the link of the host that endpoints are attached to.
    pub fn lower_link(&self) -> LowerLink<'_> {
        self.driver.lower_link(&self.name)
    }

    /// Returns its bridge, whose ports are the host ends of its endpoints.
    pub fn bridge(&self) -> Option<&LinkName> {
        match self.lower_link() {
            LowerLink::Bridge(bridge) => Some(bridge),
            LowerLink::Parent(_) => None,
        }
    }

    /// Returns whether a range of a physical network's addresses is reserved for netcord. Without
    /// one, any address may belong to a host that does not answer ARP probes.
    pub fn has_range(&self) -> bool {
        match self.driver.addresses() {
            Addresses::Ours | Addresses::Shared(Sharing::Host) => true,
            Addresses::Shared(Sharing::Physical) => {
                self.subnets.iter().any(|s| s.ip_range.is_some())
            }
        }
    }

    /// Returns whether netcord may choose addresses from this subnet.
    pub fn may_choose_from(&self, subnet: &Subnet) -> bool {
        match self.driver.addresses() {
            Addresses::Ours | Addresses::Shared(Sharing::Host) => true,
            Addresses::Shared(Sharing::Physical) => subnet.ip_range.is_some() || !self.has_range(),
        }
    }

    /// Returns the same network with another state of its move.
    #[must_use]
    pub fn with_moving(&self, moving: Option<Moving>) -> Self {
        let network = self.clone();
        Self { driver: network.driver.with_moving(moving), ..network }
    }

    /// Returns the same network with other accept rules.
    #[must_use]
    pub fn with_forward_accepts(&self, forward_accepts: Vec<ForwardAccept>) -> Self {
        Self { forward_accepts, ..self.clone() }
    }

    /// Returns the IP families of its subnets.
    pub fn families(&self) -> impl Iterator<Item = Family> {
        Family::BOTH.into_iter().filter(|family| self.subnets_of(*family).next().is_some())
    }

    /// Returns its subnets of an IP family.
    pub fn subnets_of(&self, family: Family) -> impl Iterator<Item = &Subnet> {
        self.subnets.iter().filter(move |subnet| Family::of(subnet.cidr.ip()) == family)
    }

    /// Returns whether it has a subnet of IPv6.
    pub fn has_ipv6(&self) -> bool {
        self.subnets.iter().any(|s| s.cidr.is_ipv6())
    }
}

/// A network in JSON, in records and in output.
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
    open: bool,
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
            open: flags.has(Flag::Open),
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
            Flag::Open => form.open,
        });
        let Form { name, mac, mtu, subnets, firewall, forward_accepts, labels, .. } = form;
        Ok(Self { name, driver, mac, mtu, subnets, flags, firewall, forward_accepts, labels })
    }
}

/// The record of one network: what was asked for, and its endpoints.
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

/// A name in `/run/netns` that netcord made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedNetns {
    /// The name.
    pub name: NetnsName,
    /// The namespace's cookie (`SO_NETNS_COOKIE`); 0 until the namespace exists.
    pub cookie: u64,
    /// The kind of name.
    pub source: Source,
    /// Whether a user asked for the name itself (`none`, `container`), so that it stays when the
    /// last endpoint is detached.
    pub kept: bool,
}

/// The kind of a name in `/run/netns`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A namespace of its own, which the mount on its name keeps alive, as with `ip netns add`.
    Made,
    /// A symlink to a process's namespace file, as in the notes. It dangles when the process ends;
    /// unlike a mount, it keeps nothing alive.
    Link(PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each driver in records and output. The keys are a contract.
    const DRIVERS: [&str; 7] = [
        r#"{"name":"lab0","mode":"bridge","foreign":false,"mac":"02:42:ac:12:00:01","mtu":1500,"subnets":[],"internal":true,"isolate":false,"masquerade":false,"no_spoof":true,"open":false,"firewall":"nftables","labels":{}}"#,
        r#"{"name":"lab0","mode":"bridge","foreign":false,"mac":"02:42:ac:12:00:01","mtu":1500,"subnets":[],"internal":false,"isolate":true,"masquerade":true,"no_spoof":false,"open":true,"firewall":"iptables","labels":{"a":"b"}}"#,
        r#"{"name":"br0","mode":"bridge","foreign":true,"mac":"02:42:ac:12:00:01","mtu":1500,"subnets":[],"internal":false,"isolate":false,"masquerade":false,"no_spoof":false,"open":false,"firewall":"nftables","labels":{}}"#,
        r#"{"name":"mydr0","mode":"underlay","foreign":false,"mac":"02:42:ac:12:00:01","mtu":1500,"subnets":[],"internal":false,"isolate":false,"masquerade":false,"no_spoof":false,"open":false,"firewall":"iptables","parent":{"link":"eth0","filtered":true},"labels":{}}"#,
        r#"{"name":"lan0","mode":"macvlan","foreign":false,"mac":"02:42:ac:12:00:01","mtu":1500,"subnets":[],"internal":false,"isolate":false,"masquerade":false,"no_spoof":false,"open":false,"firewall":"nftables","parent":{"link":"eth0.100","vlan":{"trunk":"eth0","id":100},"macvlan":{"mode":"private","host_access":["192.0.2.1"]},"filtered":false},"labels":{}}"#,
        r#"{"name":"pods","mode":"overlay","foreign":false,"mac":"02:42:ac:12:00:01","mtu":1450,"subnets":[],"internal":false,"isolate":false,"masquerade":true,"no_spoof":false,"open":false,"firewall":"nftables","overlay":{"backend":"vxlan","cluster":["10.5.0.0/16"],"parent":"eth0","host":"192.0.2.1","vxlan":{"device":"vx-pods","vni":1,"port":8472,"direct_routing":false},"peers":[{"host":"192.0.2.2","subnets":["10.5.2.0/24"],"next_hops":[]}]},"labels":{}}"#,
        r#"{"name":"pods","mode":"overlay","foreign":false,"mac":"02:42:ac:12:00:01","mtu":1500,"subnets":[],"internal":false,"isolate":false,"masquerade":true,"no_spoof":false,"open":false,"firewall":"nftables","overlay":{"backend":"host-gw","cluster":["10.5.0.0/16","fd00:5::/48"],"parent":"eth0","host":"192.0.2.1","peers":[{"host":"192.0.2.2","second":"2001:db8::2","subnets":["10.5.2.0/24","fd00:5:0:2::/64"],"next_hops":["192.0.2.2","2001:db8::2"]}]},"labels":{}}"#,
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
        let [.., underlay, macvlan, _, host_gw] = DRIVERS;
        let no_parent = underlay.replace(r#""parent":{"link":"eth0","filtered":true},"#, "");
        let no_mode =
            macvlan.replace(r#""macvlan":{"mode":"private","host_access":["192.0.2.1"]},"#, "");
        let no_overlay = macvlan.replace("macvlan", "overlay");
        let no_tunnel = host_gw.replace("host-gw", "vxlan");
        for wrong in [no_parent, no_mode, no_overlay, no_tunnel] {
            let error = serde_json::from_str::<Network>(&wrong).unwrap_err().to_string();
            assert!(error.contains("the network's driver needs"), "{error}");
        }
    }
}
