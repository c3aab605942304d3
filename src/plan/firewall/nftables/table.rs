//! What all networks share: the maps, and the chains that look packets up in them.

use std::{borrow::Cow, net::Ipv4Addr};

use ipnetwork::{IpNetwork, Ipv4Network};

use super::{Chain, Field, Hook, Match, Point, Rule, Verdict};
use crate::model::Family;

/// The table's name, of the family `inet`.
pub const TABLE: &str = "netcord";

/// A set, or a map.
#[derive(Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: &'static str,
    /// The fields of a key.
    pub key: &'static [Field],
    /// The data of an element.
    pub data: DataType,
    /// Whether keys are intervals. The cost of a lookup and of a change grows with their number.
    pub interval: bool,
}

/// The type of a set's data.
#[derive(Debug, PartialEq, Eq)]
pub enum DataType {
    /// Nothing: it is a set.
    None,
    /// A verdict.
    Verdict,
    /// Values.
    Fields(&'static [Field]),
}

const V4: Field = Field::Address(Family::V4);
const V6: Field = Field::Address(Family::V6);

/// The bridges of our own networks.
pub static BRIDGES: Set = links("bridges", DataType::None);
/// The filter chain of each bridge.
pub static FILTER: Set = links("filter", DataType::Verdict);
/// The translation chain of each bridge.
pub static NAT: Set = links("nat", DataType::Verdict);

/// The bridges of open networks.
pub static OPEN: Set = links("open", DataType::None);

const fn links(name: &'static str, data: DataType) -> Set {
    Set { name, key: &[Field::Link], data, interval: false }
}

/// The maps of published ports of one IP version.
#[derive(Debug)]
pub(super) struct Maps {
    /// Ports of one of the host's addresses.
    pub(super) ports_at: Set,
    /// Ports of all of the host's addresses.
    pub(super) ports: Set,
    /// Ranges that keep their numbers, of one of the host's addresses.
    pub(super) ranges_at: Set,
    /// Ranges that keep their numbers, of all of the host's addresses.
    pub(super) ranges: Set,
}

const fn map(
    name: &'static str,
    key: &'static [Field],
    data: &'static [Field],
    interval: bool,
) -> Set {
    Set { name, key, data: DataType::Fields(data), interval }
}

static MAPS4: Maps = Maps {
    ports_at: map("ports4-at", &[V4, Field::Protocol, Field::Port], &[V4, Field::Port], false),
    ports: map("ports4", &[Field::Protocol, Field::Port], &[V4, Field::Port], false),
    ranges_at: map("ranges4-at", &[V4, Field::Protocol, Field::Port], &[V4], true),
    ranges: map("ranges4", &[Field::Protocol, Field::Port], &[V4], true),
};

static MAPS6: Maps = Maps {
    ports_at: map("ports6-at", &[V6, Field::Protocol, Field::Port], &[V6, Field::Port], false),
    ports: map("ports6", &[Field::Protocol, Field::Port], &[V6, Field::Port], false),
    ranges_at: map("ranges6-at", &[V6, Field::Protocol, Field::Port], &[V6], true),
    ranges: map("ranges6", &[Field::Protocol, Field::Port], &[V6], true),
};

impl Maps {
    pub(super) fn of(family: Family) -> &'static Self {
        match family {
            Family::V4 => &MAPS4,
            Family::V6 => &MAPS6,
        }
    }

    /// Returns the maps in the order of lookup.
    fn all(&'static self) -> [&'static Set; 4] {
        [&self.ports_at, &self.ports, &self.ranges_at, &self.ranges]
    }
}

/// All sets and maps.
pub fn sets() -> impl Iterator<Item = &'static Set> {
    [&BRIDGES, &FILTER, &NAT, &OPEN].into_iter().chain(MAPS4.all()).chain(MAPS6.all())
}

/// The maps of published ports.
pub fn port_maps() -> impl Iterator<Item = &'static Set> {
    MAPS4.all().into_iter().chain(MAPS6.all())
}

// <linux/netfilter_ipv4.h>
const RAW: i32 = -300;
const DNAT: i32 = -100;
const FILTERING: i32 = 0;
const SNAT: i32 = 100;

const PUBLISHED: &str = "published";
/// The chain for packets that an open network receives from other links.
pub const FROM_OPEN: &str = "from-open";

/// The host's loopback network.
pub(super) const LOOPBACK: IpNetwork =
    match Ipv4Network::new_checked(Ipv4Addr::new(127, 0, 0, 0), 8) {
        Some(network) => IpNetwork::V4(network),
        None => panic!("8 is a length"),
    };

/// Returns the base chains, and the one that looks up published ports. A chain comes before those
/// that jump to it.
pub fn chains() -> Vec<Chain> {
    let base = |name, kind, point, priority, rules| Chain {
        name: Cow::Borrowed(name),
        hook: Some(Hook { kind, point, priority }),
        rules,
    };
    vec![
        Chain { name: Cow::Borrowed(PUBLISHED), hook: None, rules: published() },
        Chain { name: Cow::Borrowed(FROM_OPEN), hook: None, rules: from_open() },
        base("raw", "filter", Point::Prerouting, RAW, vec![no_loopback_from_bridges()]),
        base("forward", "filter", Point::Forward, FILTERING, by_link(&FILTER)),
        // Only this host may reach ports of 127.0.0.1, even where route_localnet is on.
        base("prerouting", "nat", Point::Prerouting, DNAT + 1, vec![not_loopback(), to_host()]),
        base("output", "nat", Point::Output, DNAT + 1, vec![to_host()]),
        base("postrouting", "nat", Point::Postrouting, SNAT + 1, by_link(&NAT)),
    ]
}

fn published() -> Vec<Rule> {
    let look = |family, maps: &'static Maps| {
        maps.all().map(|map| Rule {
            matches: vec![Match::Family(family)],
            verdict: Verdict::Translate(map),
            why: "DNAT to the endpoint of a published port",
        })
    };
    let (v4, v6) = (look(Family::V4, &MAPS4), look(Family::V6, &MAPS6));
    v4.into_iter().chain(v6).collect()
}

fn from_open() -> Vec<Rule> {
    vec![
        Rule {
            matches: vec![Match::InOneOf(&OPEN)],
            verdict: Verdict::Return,
            why: "open networks reach each other",
        },
        Rule {
            matches: Vec::new(),
            verdict: Verdict::Drop,
            why: "only replies and traffic to published ports may enter from elsewhere",
        },
    ]
}

fn by_link(map: &'static Set) -> Vec<Rule> {
    let why = "continue in the chain of the netcord network";
    let by = |verdict| Rule { matches: Vec::new(), verdict, why };
    vec![by(Verdict::ByIncomingLink(map)), by(Verdict::ByOutgoingLink(map))]
}

fn no_loopback_from_bridges() -> Rule {
    Rule {
        matches: vec![Match::Destination(LOOPBACK, true), Match::InOneOf(&BRIDGES)],
        verdict: Verdict::Drop,
        why: "endpoints must not reach the host's 127.0.0.1",
    }
}

fn not_loopback() -> Rule {
    Rule {
        matches: vec![Match::Destination(LOOPBACK, true)],
        verdict: Verdict::Return,
        why: "packets from outside to 127.0.0.1 reach no published port",
    }
}

fn to_host() -> Rule {
    Rule {
        matches: vec![Match::ToThisHost],
        verdict: Verdict::Jump(PUBLISHED),
        why: "look up the published ports",
    }
}
