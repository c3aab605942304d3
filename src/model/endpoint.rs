//! Endpoints: one target's attachment to one network.

use std::{collections::BTreeSet, fmt, net::IpAddr, str::FromStr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::{
    EngineContainer, Family, Invalid, Lease, LinkName, Mac, NetnsName, Owner, PublishedPort, Route,
    stable_hash,
};

/// One target's attachment to one network.
///
/// Records have the fields in this order: those of [`EndpointSummary`] come first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The target as the user named it (a PID, a container's name, a namespace's name), or as its
    /// owner calls it.
    pub target: String,
    /// The target's name in `/run/netns`.
    pub netns: NetnsName,
    /// The namespace's cookie (`SO_NETNS_COOKIE`). Names, PIDs and inodes are reused, cookies are
    /// not.
    pub cookie: u64,
    /// The link inside the target.
    pub ifname: LinkName,
    /// How it is connected to its network. JSON has the name of the host end, if there is one.
    #[serde(rename = "host_ifname", default, skip_serializing_if = "Attachment::is_inside")]
    pub attachment: Attachment,
    /// The MAC of the link inside.
    pub mac: Mac,
    /// The MTU of the link inside and of the host end, in bytes.
    pub mtu: u32,
    /// Addresses with prefix lengths, IPv4 first. Ports are published to the first one of a family.
    pub addresses: Vec<IpNetwork>,
    /// The gateways of the default routes that come with this endpoint.
    pub gateways: Vec<IpAddr>,
    /// The metric of these default routes; 0: the kernel's default.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub metric: u32,
    /// Other routes that come with this endpoint.
    pub routes: Vec<Route>,
    /// Default routes that this endpoint's routes displaced. They return when it is detached.
    pub replaced: Vec<Route>,
    /// Whether the namespace's `lo` was down, and is up because of this endpoint.
    pub raises_lo: bool,
    /// The DHCP lease, if the IPv4 address is leased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Box<Lease>>,
    /// Whether its bridge port sends frames back where they came from (hairpin mode), also without
    /// published ports.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hairpin: bool,
    /// Whether another program made it: netcord only publishes its ports.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub foreign: bool,
    /// The container of the target, if an engine named it: then the endpoint outlives its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Box<EngineContainer>>,
    /// The engine that asked for it through a plugin interface, and takes it away again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Box<Owner>>,
    /// The name of the inner end on the host, from where its owner moves it into the namespace. The
    /// owner configures it there, too. The cookie is 0 until the move is noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handed_over: Option<LinkName>,
    /// The endpoint's published ports.
    #[serde(default)]
    pub ports: Vec<PublishedPort>,
}

/// How an endpoint is connected to its network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<LinkName>", into = "Option<LinkName>")]
pub enum Attachment {
    /// By a veth pair.
    Veth {
        /// The end on the host, which is a port of the network's bridge.
        host_ifname: LinkName,
    },
    /// By a macvlan on the network's parent. There is no link on the host.
    #[default]
    Macvlan,
}

impl Attachment {
    fn is_inside(&self) -> bool {
        match self {
            Self::Veth { .. } => false,
            Self::Macvlan => true,
        }
    }
}

impl From<Option<LinkName>> for Attachment {
    fn from(host_ifname: Option<LinkName>) -> Self {
        host_ifname.map_or(Self::Macvlan, |host_ifname| Self::Veth { host_ifname })
    }
}

impl From<Attachment> for Option<LinkName> {
    fn from(attachment: Attachment) -> Self {
        match attachment {
            Attachment::Veth { host_ifname } => Some(host_ifname),
            Attachment::Macvlan => None,
        }
    }
}

/// The identity of an endpoint within its network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointId {
    /// Its host end.
    HostEnd(LinkName),
    /// Its link inside, if it has no host end.
    Inside {
        /// The namespace's cookie.
        cookie: u64,
        /// The name that the link was created with.
        ifname: LinkName,
    },
}

/// `nc0123456789ab`, or `COOKIE/LINK`.
impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostEnd(name) => name.fmt(f),
            Self::Inside { cookie, ifname } => write!(f, "{cookie}/{ifname}"),
        }
    }
}

impl FromStr for EndpointId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // A link's name contains no slash.
        let Some((cookie, ifname)) = text.split_once('/') else {
            return text.parse().map(Self::HostEnd);
        };
        let cookie =
            cookie.parse().map_err(|_| Invalid::new(format!("`{cookie}` is no cookie")))?;
        Ok(Self::Inside { cookie, ifname: ifname.parse()? })
    }
}

/// The state of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointState {
    /// Both ends are up.
    Up,
    /// One end is down, or the host end is not a port of the bridge.
    Down,
    /// The link is gone, and its namespace with it.
    Dead,
    /// The same, and an engine can start its container again.
    Stopped,
    /// Unknown: its only link is in a namespace that we may not enter.
    Unknown,
}

impl EndpointState {
    /// Returns the word that users read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Dead => "dead",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
        }
    }
}

/// The part of an endpoint that matters to others: its identity, and the names and addresses that
/// it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointSummary<'a> {
    /// See [`Endpoint::target`].
    pub target: &'a str,
    /// See [`Endpoint::netns`].
    pub netns: &'a str,
    /// See [`Endpoint::cookie`].
    pub cookie: u64,
    /// See [`Endpoint::ifname`].
    pub ifname: &'a str,
    /// See [`Attachment::Veth`].
    pub host_ifname: Option<&'a str>,
    /// See [`Endpoint::mac`].
    pub mac: Mac,
    /// See [`Endpoint::addresses`].
    pub addresses: &'a [IpNetwork],
}

impl<'a> EndpointSummary<'a> {
    /// Returns the summary of an endpoint.
    pub fn of(endpoint: &'a Endpoint) -> Self {
        Self {
            target: &endpoint.target,
            netns: endpoint.netns.as_str(),
            cookie: endpoint.cookie,
            ifname: endpoint.ifname.as_str(),
            host_ifname: endpoint.host_ifname().map(LinkName::as_str),
            mac: endpoint.mac,
            addresses: &endpoint.addresses,
        }
    }

    /// Returns whether it is the endpoint with this identity.
    pub fn is(&self, id: &EndpointId) -> bool {
        match (id, self.host_ifname) {
            (EndpointId::HostEnd(name), Some(own)) => name.as_str() == own,
            (EndpointId::Inside { cookie, ifname }, None) => {
                *cookie == self.cookie && ifname.as_str() == self.ifname
            }
            (EndpointId::HostEnd(_) | EndpointId::Inside { .. }, _) => false,
        }
    }
}

impl Endpoint {
    /// The most addresses that it can have: the filter against spoofing (`--no-spoof`) checks each, and
    /// the kernel takes programs of up to 4096 instructions (`BPF_MAXINSNS`).
    pub const MAX_ADDRESSES: usize = 64;

    /// Returns its link on the host, if it has one: a port of the network's bridge.
    pub fn host_ifname(&self) -> Option<&LinkName> {
        match &self.attachment {
            Attachment::Veth { host_ifname } => Some(host_ifname),
            Attachment::Macvlan => None,
        }
    }

    /// Returns whether this link of the host is its host end.
    pub fn has_host_end(&self, link: &str) -> bool {
        self.host_ifname().is_some_and(|name| name.as_str() == link)
    }

    /// Returns whether its inner end waits on the host for its owner to move it.
    pub fn is_unmoved(&self) -> bool {
        self.handed_over.is_some() && self.cookie == 0
    }

    /// Returns the namespace of the inner end, `None` for the host, and its name there.
    pub fn inner_end(&self) -> (Option<&NetnsName>, &LinkName) {
        match &self.handed_over {
            Some(link) if self.is_unmoved() => (None, link),
            Some(_) | None => (Some(&self.netns), &self.ifname),
        }
    }

    /// Returns its identity.
    pub fn id(&self) -> EndpointId {
        match &self.attachment {
            Attachment::Veth { host_ifname } => EndpointId::HostEnd(host_ifname.clone()),
            Attachment::Macvlan => {
                EndpointId::Inside { cookie: self.cookie, ifname: self.ifname.clone() }
            }
        }
    }

    /// Returns whether it is the endpoint with this identity.
    pub fn is(&self, id: &EndpointId) -> bool {
        EndpointSummary::of(self).is(id)
    }

    /// Returns whether its container has stopped, and nothing of it is left but its record.
    pub fn is_stopped(&self) -> bool {
        self.container.as_ref().is_some_and(|container| container.stopped)
    }

    /// Returns its record once its container has stopped, without its ports, which are records of
    /// their own; `None` if it is of no container.
    pub fn stopped(&self) -> Option<Self> {
        let container =
            Box::new(EngineContainer { stopped: true, ..self.container.as_deref()?.clone() });
        let lease = self.lease.clone().map(|lease| Box::new(Lease { renewer: None, ..*lease }));
        Some(Self { container: Some(container), lease, ports: Vec::new(), ..self.clone() })
    }

    /// Returns the state of an endpoint whose link is gone.
    pub fn state_without_link(&self) -> EndpointState {
        if self.container.is_some() { EndpointState::Stopped } else { EndpointState::Dead }
    }

    /// Returns whether it has an IPv6 address.
    pub fn has_ipv6(&self) -> bool {
        self.addresses.iter().any(IpNetwork::is_ipv6)
    }

    /// The MAC of the host end, which encodes the address. A leased address may change.
    pub fn host_mac(&self) -> Mac {
        match self.addresses.first() {
            Some(address) if self.lease.is_none() => Mac::of_host_end(address.ip()),
            Some(_) | None => self.mac.beside(),
        }
    }

    /// Returns the default routes that come with it.
    pub fn default_routes(&self) -> impl Iterator<Item = Route> {
        let by = |gateway: &IpAddr| Route::default_by(*gateway, self.ifname.clone());
        self.gateways.iter().map(by).map(|route| route.with_metric(self.metric))
    }

    /// Returns its first address of a family.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses_of(family).next()
    }

    /// Returns its addresses of a family.
    pub fn addresses_of(&self, family: Family) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().map(IpNetwork::ip).filter(move |a| Family::of(*a) == family)
    }
}

/// Returns the name of the host end. It is derived, so that the same request makes the same plan.
/// `attempt` is increased if another program's link has the name.
pub fn host_name(network: &LinkName, cookie: u64, ifname: &LinkName, attempt: u8) -> LinkName {
    let hash = endpoint_hash(network, cookie, ifname, attempt);
    // 2 + 12 bytes, always a valid link name.
    LinkName::derived(format!("nc{:012x}", hash & 0xffff_ffff_ffff))
}

/// Returns the name of an inner end on the host, from where its owner moves it. It differs from that
/// of the host end.
pub fn waiting_name(host_end: &LinkName) -> LinkName {
    let hash = stable_hash(&[host_end.as_str().as_bytes()]);
    LinkName::derived(format!("nc{:012x}", hash & 0xffff_ffff_ffff))
}

/// Returns the MAC of an endpoint that requests an address by DHCP. It is derived, so that the
/// server recognizes the endpoint.
pub fn client_mac(network: &LinkName, cookie: u64, ifname: &LinkName) -> Mac {
    Mac::of_client(endpoint_hash(network, cookie, ifname, 0))
}

fn endpoint_hash(network: &LinkName, cookie: u64, ifname: &LinkName, attempt: u8) -> u64 {
    stable_hash(&[
        network.as_str().as_bytes(),
        &cookie.to_be_bytes(),
        ifname.as_str().as_bytes(),
        &[attempt],
    ])
}

/// Returns the lowest free `ethN`.
pub fn next_ifname(taken: &BTreeSet<String>) -> LinkName {
    // Not all of one more number than there are names can be taken.
    let free = (0..=taken.len()).map(|n| format!("eth{n}")).find(|name| !taken.contains(name));
    LinkName::derived(free.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_names_fit_and_differ() {
        let (lab, eth0) = ("lab0".parse().unwrap(), "eth0".parse().unwrap());
        let name = host_name(&lab, 4101, &eth0, 0);
        assert_eq!(name.as_str().parse::<LinkName>().unwrap(), name);
        assert_eq!(name, host_name(&lab, 4101, &eth0, 0));
        assert_ne!(name, host_name(&lab, 4102, &eth0, 0));
        assert_ne!(name, host_name(&lab, 4101, &eth0, 1));
    }

    #[test]
    fn an_identity_is_read_as_it_is_written() {
        for text in ["nc0123456789ab", "4101/eth0"] {
            assert_eq!(text.parse::<EndpointId>().unwrap().to_string(), text);
        }
        for wrong in ["", "x/eth0", "4101/", "4101/eth0/eth1"] {
            assert!(wrong.parse::<EndpointId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_client_has_a_mac_of_its_own() {
        let (lab, eth0) = ("lab0".parse().unwrap(), "eth0".parse().unwrap());
        let mac = client_mac(&lab, 4101, &eth0);
        assert_eq!(mac.to_string().parse::<Mac>(), Ok(mac));
        assert_eq!(mac, client_mac(&lab, 4101, &eth0));
        assert_ne!(mac, client_mac(&lab, 4102, &eth0));
        assert_eq!(mac.derived_from(), None);
        assert_ne!(mac.beside(), mac);
    }

    #[test]
    fn gaps_in_ethn_are_filled() {
        let taken = ["lo", "eth0", "eth2"].map(String::from).into();
        assert_eq!(next_ifname(&taken).as_str(), "eth1");
    }
}
