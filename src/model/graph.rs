//! A host's network as it is: who is wired to whom. What pictures are drawn of.
//!
//! Names of links and processes are as the kernel has them, and may be of any characters.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::Serialize;

use super::{EndpointState, Mac, MacvlanMode, PublishedPort};

/// A host, its links, and the segments that hang on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Graph {
    /// Which packets the host passes on.
    pub forwarding: Forwarding,
    /// The host's own links, less `lo`, bridges and their ports.
    pub links: Vec<HostLink>,
    /// Networks, and the bridges of others.
    pub segments: Vec<Segment>,
}

/// Whether the host passes packets on between its links, by family.
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
    /// `ip link`'s word for what it is; empty for hardware.
    pub kind: String,
    /// It is up, and carries.
    pub up: bool,
    /// Its MAC, if it is of Ethernet's kind.
    pub mac: Option<Mac>,
    /// Global ones, IPv4 first.
    pub addresses: Vec<IpNetwork>,
    /// Of the default routes that lead by it.
    pub gateways: Vec<IpAddr>,
    /// The link below it, or the other end of a veth pair, where that is the host's too.
    pub lower: Option<String>,
    /// The link that it is a part of, such as a bond.
    pub master: Option<String>,
    /// The other end of a veth pair, or links made on it, where these are in other namespaces.
    pub inside: Vec<Inside>,
}

/// What frames reach at once: a bridge with its ports, or a link with its macvlans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Segment {
    /// The network's name, and the bridge's.
    pub name: String,
    /// The word for its driver.
    pub mode: &'static str,
    /// Somebody else made it.
    pub foreign: bool,
    /// The bridge, or the parent, is up. A bridge without ports carries nothing, and is up.
    pub up: bool,
    /// Of the host's link in it, if there is one.
    pub mac: Option<Mac>,
    /// The host's own in it, IPv4 first.
    pub addresses: Vec<IpNetwork>,
    /// Of the host's default routes that lead by it.
    pub gateways: Vec<IpAddr>,
    /// The host's link by which it is in the physical network.
    pub parent: Option<String>,
    /// Of a macvlan network: who reaches whom.
    pub macvlan: Option<MacvlanMode>,
    /// Of a macvlan network: host and endpoints reach each other.
    pub host_access: bool,
    /// Reaches nothing outside.
    pub internal: bool,
    /// Endpoints do not reach each other.
    pub isolate: bool,
    /// Endpoints can send by no other MAC and address than their own.
    pub no_spoof: bool,
    /// Whether what leaves by another link gets that link's address. Of the bridges of others it is
    /// not told.
    pub masquerade: bool,
    /// The links that it leaves by: those of the default routes.
    pub masquerade_by: Vec<String>,
    /// The links that are in it.
    pub ports: Vec<Port>,
}

/// A port of a segment, and the link at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// The host's link; a macvlan has none.
    pub link: Option<String>,
    /// How it is.
    pub state: EndpointState,
    /// What it leads to.
    pub end: End,
}

/// What a port leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum End {
    /// A link in a namespace.
    Inside(Inside),
    /// Another link of the host's: the other end of a veth pair.
    Host {
        /// Its name.
        link: String,
    },
    /// A wire, a tunnel, a program: what is behind it is not told.
    Wire {
        /// `ip link`'s word for what the port is; empty for hardware.
        link_kind: String,
    },
}

/// A link in another namespace. Of one that cannot be entered, the host tells no more than that it
/// is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inside {
    /// The owner of the namespace: a target, a name in `/run/netns`, a process.
    pub target: Option<String>,
    /// Which namespace (`SO_NETNS_COOKIE`).
    pub cookie: Option<u64>,
    /// The number that the host has for it (`ip netns list-id`).
    pub nsid: Option<i32>,
    /// netcord attached it.
    pub attached: bool,
    /// The link's name.
    pub link: Option<String>,
    /// The link's MAC.
    pub mac: Option<Mac>,
    /// Global ones, IPv4 first.
    pub addresses: Vec<IpNetwork>,
    /// Of the default routes that lead by it.
    pub gateways: Vec<IpAddr>,
    /// What is published of it.
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
    /// Everything that is in a namespace.
    pub fn insides(&self) -> impl Iterator<Item = &Inside> {
        let ports = self.segments.iter().flat_map(|s| &s.ports).filter_map(Port::inside);
        ports.chain(self.links.iter().flat_map(|l| &l.inside))
    }

    /// Only these segments and targets, and the links by which they reach others; `Err` with the
    /// name that means nothing here.
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
            has_target
        });
        let below: Vec<_> = self.segments.iter().filter_map(|s| s.parent.clone()).collect();
        self.links.retain_mut(|link| {
            link.inside.retain(is_target);
            !link.gateways.is_empty() || !link.inside.is_empty() || below.contains(&link.name)
        });
        Ok(self)
    }
}
