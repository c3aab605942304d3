//! What hangs on a link of the host's: addresses, routes, policy rules, neighbours. It is not
//! netcord's, so it is taken as the kernel tells it, whole, and can be made again on another link.

use std::{
    collections::HashSet,
    hash::Hash,
    net::{IpAddr, Ipv4Addr},
};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::{Family, LinkName, Mac, family::is_ipv6, name::LINK_NAME_MAX};

/// Everything that hangs on one link, each list in the order in which the kernel tells it: of
/// addresses of one subnet the first is the primary one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkConfig {
    /// Addresses of both families; link-local ones that the kernel makes by itself are left out.
    pub addresses: Vec<SavedAddress>,
    /// Routes of both families and all tables; those that come with an address are left out.
    pub routes: Vec<SavedRoute>,
    /// IPv6: routes to a subnet that come with an address. They stay behind where all addresses in
    /// the subnet have a limited life, until theirs is over too.
    pub subnet_routes: Vec<SavedRoute>,
    /// Policy rules that name the link.
    pub rules: Vec<PolicyRule>,
    /// Neighbours, set by hand and learned.
    pub neighbours: Vec<Neighbour>,
}

/// An address of the host's own, with everything that can be said of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedAddress {
    /// With its subnet's length.
    pub address: IpNetwork,
    /// The other side's, on a point-to-point link.
    pub peer: Option<IpAddr>,
    /// IPv4.
    pub broadcast: Option<Ipv4Addr>,
    /// IPv4: a name for it, if not the link's own.
    pub label: Option<String>,
    /// `ifa_scope`: 0 global, 200 site, 253 link, 254 host.
    pub scope: u8,
    /// `IFA_FLAGS`, those that can be set.
    pub flags: u32,
    /// `IFA_RT_PRIORITY`: of the route that comes with it.
    pub metric: Option<u32>,
    /// `None`: it was given for ever (`IFA_F_PERMANENT`).
    pub lifetime: Option<Lifetime>,
    /// `IFA_PROTO`: who made it.
    pub protocol: Option<u8>,
}

/// For how much longer an address is valid, in seconds; all ones is without an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetime {
    /// Until it is removed.
    pub valid: u32,
    /// Until it is no longer chosen.
    pub preferred: u32,
}

/// A route of the host's own, with everything that can be said of one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SavedRoute {
    /// Where to, without host bits.
    pub destination: IpNetwork,
    /// IPv6: where from.
    pub source: Option<IpNetwork>,
    /// `rtm_tos`.
    pub tos: u8,
    /// `RTA_TABLE`.
    pub table: u32,
    /// `rtm_type`: 1 is unicast.
    pub kind: u8,
    /// `rtm_scope`: 0 global, 253 link.
    pub scope: u8,
    /// `rtm_protocol`: who made it.
    pub protocol: u8,
    /// `RTA_PRIORITY`, lower wins.
    pub metric: u32,
    /// Which address the host calls from.
    pub preferred_source: Option<IpAddr>,
    /// One, or the paths of a multipath route.
    pub hops: Vec<Hop>,
    /// `RTA_METRICS`: `RTAX_` number and value.
    pub metrics: Vec<(u16, u32)>,
    /// IPv6: `RTA_PREF`, as a router's advertisement says it.
    pub preference: Option<u8>,
    /// IPv6: seconds until it is removed.
    pub expires: Option<u32>,
}

/// One way of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hop {
    /// The next hop, perhaps of the other family. `None`: on the link.
    pub gateway: Option<IpAddr>,
    /// By which link.
    pub link: LinkName,
    /// `rtnh_hops`: its weight less one.
    pub weight: u8,
    /// The gateway counts as reachable, whatever the addresses say.
    pub onlink: bool,
}

/// A rule that says which table is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PolicyRule {
    /// Of which IP version.
    #[serde(rename = "is_ipv6", with = "is_ipv6")]
    pub family: Family,
    /// `FRA_PRIORITY`: where in the list.
    pub priority: u32,
    /// It holds for all that does not match.
    pub not: bool,
    /// Where from.
    pub source: Option<IpNetwork>,
    /// Where to.
    pub destination: Option<IpNetwork>,
    /// `tos`
    pub tos: u8,
    /// Came in by.
    pub iif: Option<LinkName>,
    /// Goes out by.
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
    /// `FR_ACT_`: 1 is to ask the table.
    pub action: u8,
    /// The table, where the action is to ask one.
    pub table: u32,
    /// `FRA_SUPPRESS_PREFIXLEN`
    pub suppress_prefix_length: Option<u32>,
    /// `rtm_protocol`: who made it.
    pub protocol: u8,
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its address.
    pub address: IpAddr,
    /// `None`: the host answers for it (proxy).
    pub mac: Option<Mac>,
    /// Set by hand; else learned, and asked again before it is believed for long.
    pub permanent: bool,
}

impl SavedAddress {
    /// The same, on another link.
    #[must_use]
    pub fn moved(&self, from: &LinkName, to: &LinkName) -> Self {
        let label = self.label.as_ref().map(|label| {
            let renamed =
                label.strip_prefix(&format!("{from}:")).map(|rest| format!("{to}:{rest}"));
            // A label is no longer than a link's name.
            renamed.filter(|l| l.len() <= LINK_NAME_MAX).unwrap_or_else(|| label.clone())
        });
        Self { label, ..self.clone() }
    }
}

impl SavedRoute {
    /// The same, by another link.
    #[must_use]
    pub fn moved(&self, from: &LinkName, to: &LinkName) -> Self {
        let mut moved = self.clone();
        for hop in moved.hops.iter_mut().filter(|hop| hop.link == *from) {
            hop.link = to.clone();
        }
        moved
    }

    /// The same, without what only runs out.
    #[must_use]
    pub fn timeless(&self) -> Self {
        Self { expires: None, ..self.clone() }
    }

    /// Whether its first way needs another route to be there.
    pub fn has_gateway(&self) -> bool {
        self.hops.iter().any(|hop| hop.gateway.is_some())
    }
}

impl PolicyRule {
    /// The same, for another link.
    #[must_use]
    pub fn moved(&self, from: &LinkName, to: &LinkName) -> Self {
        let swap = |link: &Option<LinkName>| {
            link.as_ref().map(|l| if l == from { to.clone() } else { l.clone() })
        };
        Self { iif: swap(&self.iif), oif: swap(&self.oif), ..self.clone() }
    }
}

impl LinkConfig {
    /// What is here or there: after a move that stopped half-way both links have a part.
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

    /// Subnet routes that stay behind when the addresses go.
    pub fn left_behind(&self) -> impl Iterator<Item = &SavedRoute> {
        let lasts = |a: &&SavedAddress, route: &SavedRoute| {
            a.lifetime.is_none() && route.destination.contains(a.address.ip())
        };
        self.subnet_routes
            .iter()
            .filter(move |route| !self.addresses.iter().any(|a| lasts(&a, route)))
    }

    /// Whether nothing hangs there that has to move. Neighbours that were learned are learned again.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
            && self.routes.is_empty()
            && self.rules.is_empty()
            && !self.neighbours.iter().any(|n| n.permanent)
    }

    /// The first thing of these that is not among others, in words. What only runs out is the same.
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

    /// The same, on another link.
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
