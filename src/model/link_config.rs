//! The configuration of a link of the host: addresses, routes, policy rules, neighbours. netcord
//! did not make it, so it is read completely, and can be restored on another link.

use std::{
    collections::HashSet,
    hash::Hash,
    net::{IpAddr, Ipv4Addr},
};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::{Family, LinkName, Mac, family::is_ipv6, name::LINK_NAME_MAX};

/// The configuration of one link. Each list is in the kernel's order: of the addresses of one
/// subnet the first is primary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkConfig {
    /// Addresses of both families, without link-local ones that the kernel makes by itself.
    pub addresses: Vec<SavedAddress>,
    /// Routes of both families and all tables, without those that the kernel adds with an address.
    pub routes: Vec<SavedRoute>,
    /// IPv6 subnet routes that the kernel added with an address. If all addresses of the subnet
    /// have limited lifetimes, these routes stay until they expire too.
    pub subnet_routes: Vec<SavedRoute>,
    /// Policy rules that name the link.
    pub rules: Vec<PolicyRule>,
    /// Neighbour entries, permanent and learned.
    pub neighbours: Vec<Neighbour>,
}

/// An address of the host, with all its attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedAddress {
    /// The address with its prefix length.
    pub address: IpNetwork,
    /// The peer's address on a point-to-point link.
    pub peer: Option<IpAddr>,
    /// The broadcast address; IPv4 only.
    pub broadcast: Option<Ipv4Addr>,
    /// The label, if it is not the link's name; IPv4 only.
    pub label: Option<String>,
    /// `ifa_scope`: 0 global, 200 site, 253 link, 254 host.
    pub scope: u8,
    /// `IFA_FLAGS`: the flags that can be set.
    pub flags: u32,
    /// `IFA_RT_PRIORITY`: the metric of the subnet route.
    pub metric: Option<u32>,
    /// `None`: forever (`IFA_F_PERMANENT`).
    pub lifetime: Option<Lifetime>,
    /// `IFA_PROTO`: the origin of the address.
    pub protocol: Option<u8>,
}

/// The remaining lifetime of an address in seconds; all ones means forever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetime {
    /// Until the address is removed.
    pub valid: u32,
    /// Until the address is deprecated.
    pub preferred: u32,
}

/// A route of the host, with all its attributes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SavedRoute {
    /// The destination prefix.
    pub destination: IpNetwork,
    /// The source prefix; IPv6 only.
    pub source: Option<IpNetwork>,
    /// `rtm_tos`.
    pub tos: u8,
    /// `RTA_TABLE`.
    pub table: u32,
    /// `rtm_type`: 1 is unicast.
    pub kind: u8,
    /// `rtm_scope`: 0 global, 253 link.
    pub scope: u8,
    /// `rtm_protocol`: the origin of the route.
    pub protocol: u8,
    /// `RTA_PRIORITY`: the lowest wins.
    pub metric: u32,
    /// The preferred source address.
    pub preferred_source: Option<IpAddr>,
    /// The next hop, or the next hops of a multipath route.
    pub hops: Vec<Hop>,
    /// `RTA_METRICS`: `RTAX_` number and value.
    pub metrics: Vec<(u16, u32)>,
    /// `RTA_PREF`, from a router advertisement; IPv6 only.
    pub preference: Option<u8>,
    /// Seconds until it expires; IPv6 only.
    pub expires: Option<u32>,
}

/// A next hop of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hop {
    /// The gateway, perhaps of the other family; `None`: on-link.
    pub gateway: Option<IpAddr>,
    /// The outgoing link.
    pub link: LinkName,
    /// `rtnh_hops`: the weight minus one.
    pub weight: u8,
    /// Whether the gateway counts as on-link, whatever the addresses are.
    pub onlink: bool,
}

/// A policy rule, which selects a routing table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PolicyRule {
    /// Whether it is a rule of IPv6.
    #[serde(rename = "is_ipv6", with = "is_ipv6")]
    pub family: Family,
    /// `FRA_PRIORITY`: the position in the list.
    pub priority: u32,
    /// Whether it applies to packets that do not match.
    pub not: bool,
    /// The source prefix.
    pub source: Option<IpNetwork>,
    /// The destination prefix.
    pub destination: Option<IpNetwork>,
    /// `tos`
    pub tos: u8,
    /// The incoming link.
    pub iif: Option<LinkName>,
    /// The outgoing link.
    pub oif: Option<LinkName>,
    /// Mark and mask.
    pub mark: Option<(u32, u32)>,
    /// User IDs, first and last.
    pub users: Option<(u32, u32)>,
    /// IP protocol number.
    pub ip_protocol: Option<u8>,
    /// Source ports, first and last.
    pub source_ports: Option<(u16, u16)>,
    /// Destination ports, first and last.
    pub destination_ports: Option<(u16, u16)>,
    /// `FR_ACT_`: 1 looks up a table.
    pub action: u8,
    /// The table to look up.
    pub table: u32,
    /// `FRA_SUPPRESS_PREFIXLEN`
    pub suppress_prefix_length: Option<u32>,
    /// `rtm_protocol`: the origin of the rule.
    pub protocol: u8,
}

/// A neighbour entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Neighbour {
    /// The neighbour's address.
    pub address: IpAddr,
    /// The MAC; `None`: the host answers for the address (proxy).
    pub mac: Option<Mac>,
    /// Whether it is permanent. Otherwise it was learned, and is verified before it is used for
    /// long.
    pub permanent: bool,
}

impl SavedAddress {
    /// Returns the same address on another link.
    #[must_use]
    pub fn moved(&self, from: &LinkName, to: &LinkName) -> Self {
        let label = self.label.as_ref().map(|label| {
            let renamed =
                label.strip_prefix(&format!("{from}:")).map(|rest| format!("{to}:{rest}"));
            // A label cannot be longer than a link's name.
            renamed.filter(|l| l.len() <= LINK_NAME_MAX).unwrap_or_else(|| label.clone())
        });
        Self { label, ..self.clone() }
    }
}

impl SavedRoute {
    /// Returns the same route by another link.
    #[must_use]
    pub fn moved(&self, from: &LinkName, to: &LinkName) -> Self {
        let mut moved = self.clone();
        for hop in moved.hops.iter_mut().filter(|hop| hop.link == *from) {
            hop.link = to.clone();
        }
        moved
    }

    /// Returns the same without remaining lifetimes.
    #[must_use]
    pub fn timeless(&self) -> Self {
        Self { expires: None, ..self.clone() }
    }

    /// Returns whether any next hop has a gateway, so that another route must exist first.
    pub fn has_gateway(&self) -> bool {
        self.hops.iter().any(|hop| hop.gateway.is_some())
    }
}

impl PolicyRule {
    /// Returns the same rule for another link.
    #[must_use]
    pub fn moved(&self, from: &LinkName, to: &LinkName) -> Self {
        let swap = |link: &Option<LinkName>| {
            link.as_ref().map(|l| if l == from { to.clone() } else { l.clone() })
        };
        Self { iif: swap(&self.iif), oif: swap(&self.oif), ..self.clone() }
    }
}

impl LinkConfig {
    /// Merges two configurations: after an interrupted move each link has a part.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        fn add<T, K: Hash + Eq>(into: &mut Vec<T>, more: Vec<T>, key: impl Fn(&T) -> K) {
            let mut known: HashSet<_> = into.iter().map(&key).collect();
            into.extend(more.into_iter().filter(|one| known.insert(key(one))));
        }
        add(&mut self.addresses, other.addresses, |a| a.address);
        add(&mut self.routes, other.routes, |r| {
            (r.destination, r.table, r.metric, r.tos, r.hops.clone())
        });
        add(&mut self.subnet_routes, other.subnet_routes, SavedRoute::clone);
        add(&mut self.rules, other.rules, PolicyRule::clone);
        add(&mut self.neighbours, other.neighbours, |n| n.address);
        self
    }

    /// Returns the subnet routes that stay when the addresses are deleted.
    pub fn left_behind(&self) -> impl Iterator<Item = &SavedRoute> {
        let lasts = |a: &&SavedAddress, route: &SavedRoute| {
            a.lifetime.is_none() && route.destination.contains(a.address.ip())
        };
        self.subnet_routes
            .iter()
            .filter(move |route| !self.addresses.iter().any(|a| lasts(&a, route)))
    }

    /// Returns whether there is nothing to move. Learned neighbours do not count.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
            && self.routes.is_empty()
            && self.rules.is_empty()
            && !self.neighbours.iter().any(|n| n.permanent)
    }

    /// Returns a description of the first item that `found` lacks. Remaining lifetimes are ignored.
    pub fn lacking_in(&self, found: &Self) -> Option<String> {
        let there: HashSet<_> = found.addresses.iter().map(|a| a.address).collect();
        let address = |a: &&SavedAddress| !there.contains(&a.address);
        let by_now: HashSet<_> = found.routes.iter().map(SavedRoute::timeless).collect();
        let route = |r: &&SavedRoute| !by_now.contains(&r.timeless());
        let rule = |r: &&PolicyRule| !found.rules.contains(r);
        let neighbour = |n: &&Neighbour| n.permanent && !found.neighbours.contains(n);
        let addresses =
            self.addresses.iter().find(address).map(|a| format!("address {}", a.address));
        let routes = || {
            let lacking = self.routes.iter().find(route);
            lacking.map(|r| format!("the route to {} (table {})", r.destination, r.table))
        };
        let rules = || self.rules.iter().find(rule).map(|r| format!("policy rule {}", r.priority));
        let neighbours =
            || self.neighbours.iter().find(neighbour).map(|n| format!("neighbour {}", n.address));
        addresses.or_else(routes).or_else(rules).or_else(neighbours)
    }

    /// Returns the same configuration on another link.
    #[must_use]
    pub fn moved(&self, from: &LinkName, to: &LinkName) -> Self {
        Self {
            addresses: self.addresses.iter().map(|a| a.moved(from, to)).collect(),
            routes: self.routes.iter().map(|r| r.moved(from, to)).collect(),
            subnet_routes: self.subnet_routes.iter().map(|r| r.moved(from, to)).collect(),
            rules: self.rules.iter().map(|r| r.moved(from, to)).collect(),
            neighbours: self.neighbours.clone(),
        }
    }
}
