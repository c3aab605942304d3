//! A host's network: which links are connected to which. Pictures are drawn from it.
//!
//! Names of links and processes come from the kernel, and may contain any characters.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::Serialize;

use super::{EndpointState, Mac, MacvlanMode, PublishedPort};

/// A host, its links, and its segments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Graph {
    /// Whether the host forwards packets.
    pub forwarding: Forwarding,
    /// The host's own links, without `lo`, bridges and their ports.
    pub links: Vec<HostLink>,
    /// Networks, and bridges of other programs.
    pub segments: Vec<Segment>,
}

/// Whether the host forwards packets between its links, by family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forwarding {
    /// `net.ipv4.ip_forward`
    pub ipv4: bool,
    /// `net.ipv6.conf.all.forwarding`
    pub ipv6: bool,
}

/// A link of the host's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HostLink {
    /// Its name.
    pub name: String,
    /// The kind of link as `ip link` names it; empty for hardware.
    pub kind: String,
    /// Whether it is up and has carrier.
    pub up: bool,
    /// The MAC, if it is an Ethernet link.
    pub mac: Option<Mac>,
    /// Global addresses, IPv4 first.
    pub addresses: Vec<IpNetwork>,
    /// The gateways of default routes by this link.
    pub gateways: Vec<IpAddr>,
    /// The link below it, or the other end of a veth pair, if that is on the host too.
    pub lower: Option<String>,
    /// The link that it is enslaved to, such as a bond.
    pub master: Option<String>,
    /// Links in other namespaces: the other end of a veth pair, or links made on top of it.
    pub inside: Vec<Inside>,
}

/// A layer 2 segment: a bridge with its ports, or a link with its macvlans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Segment {
    /// The name of the network and of its bridge.
    pub name: String,
    /// The driver.
    pub mode: &'static str,
    /// Whether another program made it.
    pub foreign: bool,
    /// What docker or podman calls a bridge of theirs (`docker:shop_default`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_network: Option<String>,
    /// Whether the bridge or the parent is up. A bridge without ports is up without carrier.
    pub up: bool,
    /// The MAC of the host's link in it, if there is one.
    pub mac: Option<Mac>,
    /// The host's own addresses in it, IPv4 first.
    pub addresses: Vec<IpNetwork>,
    /// The gateways of the host's default routes through it.
    pub gateways: Vec<IpAddr>,
    /// The link of the host that connects it to the physical network.
    pub parent: Option<String>,
    /// The mode of a macvlan network.
    pub macvlan: Option<MacvlanMode>,
    /// Whether the host and the endpoints of a macvlan network reach each other.
    pub host_access: bool,
    /// Whether it is cut off from the outside.
    pub internal: bool,
    /// Whether endpoints are cut off from each other.
    pub isolate: bool,
    /// Whether endpoints can send only from their own MAC and addresses.
    pub no_spoof: bool,
    /// Whether endpoints and those of other open networks reach each other.
    pub open: bool,
    /// Whether packets that leave by another link get that link's address. Unknown for bridges of
    /// other programs.
    pub masquerade: bool,
    /// The links of the default routes, by which packets leave.
    pub masquerade_by: Vec<String>,
    /// The links that are in it.
    pub ports: Vec<Port>,
    /// The other hosts of an overlay network, by address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<OtherHost>,
}

/// Another host of an overlay network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OtherHost {
    /// Its address.
    pub host: IpAddr,
    /// The subnets of its endpoints.
    pub subnets: Vec<IpNetwork>,
    /// The links by which packets reach them: a VXLAN link, or the link to the other hosts.
    pub via: Vec<String>,
}

/// A port of a segment, and the link at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// The host's link; a macvlan has none.
    pub link: Option<String>,
    /// The state.
    pub state: EndpointState,
    /// The other side.
    pub end: End,
}

/// The other side of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum End {
    /// A link in a namespace.
    Inside(Inside),
    /// The other end of a veth pair, also on the host.
    Host {
        /// Its name.
        link: String,
    },
    /// Hardware, a tunnel or a program. What is behind it is unknown.
    Wire {
        /// The port's kind of link as `ip link` names it; empty for hardware.
        link_kind: String,
    },
}

/// A link in another namespace. If that namespace cannot be entered, little else is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inside {
    /// The owner of the namespace: a target, a name in `/run/netns`, a process.
    pub target: Option<String>,
    /// The namespace's cookie (`SO_NETNS_COOKIE`).
    pub cookie: Option<u64>,
    /// The host's number for the namespace (`ip netns list-id`).
    pub nsid: Option<i32>,
    /// Whether netcord attached it.
    pub attached: bool,
    /// The link's name.
    pub link: Option<String>,
    /// The link's MAC.
    pub mac: Option<Mac>,
    /// Global addresses, IPv4 first.
    pub addresses: Vec<IpNetwork>,
    /// The gateways of default routes by this link.
    pub gateways: Vec<IpAddr>,
    /// Its published ports.
    pub published: Vec<PublishedPort>,
}

impl Port {
    /// The link's other end, if it is in another namespace.
    pub fn inside(&self) -> Option<&Inside> {
        match &self.end {
            End::Inside(inside) => Some(inside),
            End::Host { .. } | End::Wire { .. } => None,
        }
    }
}

impl Graph {
    /// Returns all links that are in other namespaces.
    pub fn insides(&self) -> impl Iterator<Item = &Inside> {
        let ports = self.segments.iter().flat_map(|s| &s.ports).filter_map(Port::inside);
        ports.chain(self.links.iter().flat_map(|l| &l.inside))
    }

    /// Keeps these segments and targets only, and the links by which they reach others. Returns the
    /// first name that is unknown as an error.
    pub fn restricted_to(mut self, names: &[String]) -> Result<Self, String> {
        let is_meant = |name: &str| names.iter().any(|n| n == name);
        let is_target = |inside: &Inside| inside.target.as_deref().is_some_and(is_meant);
        let is_here = |name: &String| {
            self.segments.iter().any(|s| s.name == *name)
                || self.insides().any(|i| i.target.as_ref() == Some(name))
        };
        if let Some(unknown) = names.iter().find(|name| !is_here(name)) {
            return Err(unknown.clone());
        }
        self.segments.retain_mut(|segment| {
            if is_meant(&segment.name) {
                return true;
            }
            let has_target = segment.ports.iter().any(|p| p.inside().is_some_and(is_target));
            let is_way_out = |port: &Port| port.link.is_some() && port.link == segment.parent;
            segment.ports.retain(|port| is_way_out(port) || port.inside().is_some_and(is_target));
            segment.peers.clear();
            has_target
        });
        let mut below: Vec<_> = self.segments.iter().filter_map(|s| s.parent.clone()).collect();
        let others = self.segments.iter().flat_map(|segment| &segment.peers);
        below.extend(others.flat_map(|other| other.via.clone()));
        self.links.retain_mut(|link| {
            link.inside.retain(is_target);
            !link.gateways.is_empty() || !link.inside.is_empty() || below.contains(&link.name)
        });
        Ok(self)
    }
}
