//! Settings of the host that move from one link to another.

use crate::model::{Family, Hop, LinkName, Neighbour, PolicyRule, SavedAddress, SavedRoute};

/// A setting of the host that moves from one link to another: it is created on one and deleted on
/// the other. Adjacent changes of this kind travel in one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// A link as a port of a bridge.
    Port {
        /// The link.
        link: LinkName,
        /// The bridge.
        bridge: LinkName,
    },
    /// An address of a link.
    Address {
        /// The link.
        link: LinkName,
        /// The address.
        address: Box<SavedAddress>,
    },
    /// A route, which names its links itself.
    Route(Box<SavedRoute>),
    /// A policy rule, which names its links itself.
    Rule(Box<PolicyRule>),
    /// A neighbour on a link.
    Neighbour {
        /// The link.
        link: LinkName,
        /// The neighbour.
        neighbour: Neighbour,
    },
}

impl Moved {
    /// Returns the links that it needs.
    pub fn links(&self) -> impl Iterator<Item = &LinkName> {
        let (one, hops): (_, &[Hop]) = match self {
            Self::Port { link, bridge } => (vec![link, bridge], &[]),
            Self::Address { link, .. } | Self::Neighbour { link, .. } => (vec![link], &[]),
            Self::Route(route) => (Vec::new(), &route.hops),
            Self::Rule(_) => (Vec::new(), &[]),
        };
        one.into_iter().chain(hops.iter().map(|hop| &hop.link))
    }

    /// Returns the command that creates or deletes it.
    pub(super) fn command(&self, create: bool) -> String {
        match self {
            Self::Port { link, bridge } if create => {
                format!("ip link set dev {link} master {bridge}")
            }
            Self::Port { link, .. } => format!("ip link set dev {link} nomaster"),
            Self::Address { link, address } if create => add_address(link, address),
            Self::Address { link, address } => {
                format!("ip addr del {} dev {link}", place(address))
            }
            Self::Route(route) => {
                let family = if route.destination.is_ipv6() { " -6" } else { "" };
                let verb = if create { "add" } else { "del" };
                format!("ip{family} route {verb} {}", words(&route_words(route)))
            }
            Self::Rule(rule) => {
                let family = if rule.family == Family::V6 { " -6" } else { "" };
                let verb = if create { "add" } else { "del" };
                format!("ip{family} rule {verb} {}", words(&rule_words(rule)))
            }
            Self::Neighbour { link, neighbour } => {
                let Neighbour { address, mac, permanent } = neighbour;
                match mac {
                    None if create => format!("ip neigh replace proxy {address} dev {link}"),
                    None => format!("ip neigh del proxy {address} dev {link}"),
                    Some(mac) if create => {
                        let state = if *permanent { "permanent" } else { "stale" };
                        format!("ip neigh replace {address} lladdr {mac} nud {state} dev {link}")
                    }
                    // The kernel may have removed it meanwhile.
                    Some(_) => format!("ip neigh del {address} dev {link} 2>/dev/null || true"),
                }
            }
        }
    }
}

/// `IFA_F_`: the flags that can be set, with iproute2's words.
const NODAD: u32 = 0x02;
const ADDRESS_FLAGS: [(u32, &str); 5] = [
    (NODAD, "nodad"),
    (0x10, "home"),
    (0x100, "mngtmpaddr"),
    (0x200, "noprefixroute"),
    (0x400, "autojoin"),
];

/// `RTAX_`: a route's metrics, with iproute2's words.
const ROUTE_METRICS: [(u16, &str); 14] = [
    (2, "mtu"),
    (3, "window"),
    (4, "rtt"),
    (5, "rttvar"),
    (6, "ssthresh"),
    (7, "cwnd"),
    (8, "advmss"),
    (9, "reordering"),
    (10, "hoplimit"),
    (11, "initcwnd"),
    (12, "features"),
    (13, "rto_min"),
    (14, "initrwnd"),
    (15, "quickack"),
];

/// `RTN_`: the types of routes.
const ROUTE_KINDS: [(u8, &str); 4] =
    [(2, "local"), (3, "broadcast"), (4, "anycast"), (5, "multicast")];

const UNICAST: u8 = 1;

fn add_address(link: &LinkName, address: &SavedAddress) -> String {
    let text = |verb: &str, flags: u32| {
        let mut words = vec![format!("ip addr {verb} {}", place(address))];
        let mut more = |word: &str, value: Option<String>| {
            words.extend(value.map(|v| format!("{word} {v}")));
        };
        more("brd", address.broadcast.map(|b| b.to_string()));
        more("label", address.label.clone());
        more("scope", (address.scope != 0).then(|| address.scope.to_string()));
        more("metric", address.metric.map(|m| m.to_string()));
        more("valid_lft", address.lifetime.map(|l| seconds(l.valid)));
        more("preferred_lft", address.lifetime.map(|l| seconds(l.preferred)));
        more("proto", address.protocol.map(|p| p.to_string()));
        words.extend(
            ADDRESS_FLAGS.iter().filter(|(f, _)| flags & f != 0).map(|(_, w)| (*w).to_owned()),
        );
        words.push(format!("dev {link}"));
        words.join(" ")
    };
    if address.address.is_ipv4() || address.flags & NODAD != 0 {
        return text("add", address.flags);
    }
    format!("{} && {}", text("add", address.flags | NODAD), text("change", address.flags))
}

fn place(address: &SavedAddress) -> String {
    match address.peer {
        Some(peer) => format!("{} peer {peer}/{}", address.address.ip(), address.address.prefix()),
        None => address.address.to_string(),
    }
}

fn seconds(seconds: u32) -> String {
    if seconds == u32::MAX { "forever".into() } else { seconds.to_string() }
}

fn words(words: &[String]) -> String {
    words.join(" ")
}

fn route_words(route: &SavedRoute) -> Vec<String> {
    let mut words = Vec::new();
    words.extend(
        ROUTE_KINDS.iter().find(|(kind, _)| *kind == route.kind).map(|(_, w)| (*w).to_owned()),
    );
    words.push(match route.destination.prefix() {
        0 => "default".to_owned(),
        _ => route.destination.to_string(),
    });
    let mut more = |word: &str, value: Option<String>| {
        words.extend(value.map(|v| format!("{word} {v}")));
    };
    more("from", route.source.map(|s| s.to_string()));
    more("tos", (route.tos != 0).then(|| format!("{:#x}", route.tos)));
    let hop = |hop: &Hop| {
        let gateway = hop.gateway.map(|gateway| {
            let other_family = gateway.is_ipv6() && route.destination.is_ipv4();
            format!("via {}{gateway} ", if other_family { "inet6 " } else { "" })
        });
        let onlink = if hop.onlink { " onlink" } else { "" };
        (format!("{}dev {}", gateway.unwrap_or_default(), hop.link), onlink)
    };
    if let [one] = route.hops.as_slice() {
        let (way, onlink) = hop(one);
        more("", Some(format!("{way}{onlink}")));
    }
    more("table", Some(route.table.to_string()));
    more("proto", Some(route.protocol.to_string()));
    // IPv6 routes have no scope, and the kernel derives the scope of a route by a gateway.
    let scoped = route.destination.is_ipv4() && (route.kind != UNICAST || route.scope != 0);
    more("scope", scoped.then(|| route.scope.to_string()));
    more("metric", (route.metric != 0).then(|| route.metric.to_string()));
    more("src", route.preferred_source.map(|s| s.to_string()));
    // Metric 1 is a bit mask of the other metrics that path MTU discovery must not change.
    let locked = route.metrics.iter().find(|(kind, _)| *kind == 1).map_or(0, |(_, bits)| *bits);
    for (kind, word) in ROUTE_METRICS {
        let value = route.metrics.iter().find(|(k, _)| *k == kind).map(|(_, value)| value);
        let lock = if locked & (1 << kind) != 0 { "lock " } else { "" };
        more(word, value.map(|value| format!("{lock}{}", metric_value(kind, *value))));
    }
    more("pref", route.preference.map(|p| (if p == 1 { "high" } else { "low" }).to_owned()));
    more("expires", route.expires.map(|e| e.to_string()));
    if route.hops.len() > 1 {
        for one in &route.hops {
            let (way, onlink) = hop(one);
            more("nexthop", Some(format!("{way} weight {}{onlink}", u16::from(one.weight) + 1)));
        }
    }
    words.iter().map(|w| w.trim().to_owned()).collect()
}

/// The kernel counts in eighths and quarters of a millisecond, iproute2 in milliseconds.
fn metric_value(kind: u16, value: u32) -> String {
    match kind {
        4 => format!("{}ms", value / 8),
        5 => format!("{}ms", value / 4),
        12 if value == 1 => "ecn".to_owned(),
        13 => format!("{value}ms"),
        _ => value.to_string(),
    }
}

fn rule_words(rule: &PolicyRule) -> Vec<String> {
    let mut words = Vec::new();
    if rule.not {
        words.push("not".to_owned());
    }
    let mut more = |word: &str, value: Option<String>| {
        words.extend(value.map(|v| format!("{word} {v}")));
    };
    more("from", Some(rule.source.map_or("all".to_owned(), |s| s.to_string())));
    more("to", rule.destination.map(|d| d.to_string()));
    more("tos", (rule.tos != 0).then(|| format!("{:#x}", rule.tos)));
    more("iif", rule.iif.as_ref().map(ToString::to_string));
    more("oif", rule.oif.as_ref().map(ToString::to_string));
    more("fwmark", rule.mark.map(|(mark, mask)| format!("{mark:#x}/{mask:#x}")));
    more("uidrange", rule.users.map(|(first, last)| format!("{first}-{last}")));
    more("ipproto", rule.ip_protocol.map(|p| p.to_string()));
    let range = |(first, last): (u16, u16)| format!("{first}-{last}");
    more("sport", rule.source_ports.map(range));
    more("dport", rule.destination_ports.map(range));
    more("pref", Some(rule.priority.to_string()));
    more("protocol", Some(rule.protocol.to_string()));
    let action = match rule.action {
        6 => "blackhole".to_owned(),
        7 => "unreachable".to_owned(),
        8 => "prohibit".to_owned(),
        _ => format!("lookup {}", rule.table),
    };
    more("", Some(action));
    more("suppress_prefixlength", rule.suppress_prefix_length.map(|l| l.to_string()));
    words.iter().map(|w| w.trim().to_owned()).collect()
}
