//! Chains and rules of our own in the tables of iptables.
//!
//! Every rule carries a comment that names its owner and identifies it: no other rule of
//! netcord's in its chain has the same one, and the same comment means the same rule.
//!
//! ```text
//! raw    PREROUTING  -> NETCORD-PREROUTING   nobody reaches an endpoint past the host's ports
//! filter FORWARD     -> NETCORD-FORWARD      what may pass, after
//!                       -> NETCORD-ISOLATE   what may not, of all networks
//! both: what an open network receives -> NETCORD-FROM-OPEN  from other open networks only
//! nat    PREROUTING  -> NETCORD-DNAT         published ports, for packets to this host
//!        OUTPUT      -> NETCORD-DNAT
//!        POSTROUTING -> NETCORD-POSTROUTING  masquerade
//! ```

use std::net::IpAddr;

use super::source_nat;
use crate::{
    model::{Family, Flag, Network, PublishedPort, Subnet},
    plan::{Plan, Resource, Scope, Step},
};

/// A table. The order is that of changes: a restore is atomic within one table only, and drops come
/// before accepts and translations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Before connection tracking.
    Raw,
    /// Pass or drop.
    Filter,
    /// Address translation.
    Nat,
}

/// A chain of our own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Chain {
    /// The IP version.
    pub family: Family,
    /// The table.
    pub table: Table,
    /// Its name, at most 28 bytes.
    pub name: &'static str,
}

/// A rule of our own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The IP version.
    pub family: Family,
    /// The table.
    pub table: Table,
    /// One of our chains, or another program's for the jump to ours.
    pub chain: &'static str,
    /// The number of the rule to insert this one before; `None`: append it.
    pub before: Option<u32>,
    /// The arguments that match.
    pub matches: Vec<String>,
    /// The target of a match: the arguments after `-j`.
    pub jump: Vec<String>,
    /// The owner and the rule's purpose; at most 255 bytes.
    pub comment: String,
}

const PREROUTING: &str = "NETCORD-PREROUTING";
const FORWARD: &str = "NETCORD-FORWARD";
const ISOLATE: &str = "NETCORD-ISOLATE";
const DNAT: &str = "NETCORD-DNAT";
const POSTROUTING: &str = "NETCORD-POSTROUTING";
/// The chain for packets that an open network receives from other links.
const FROM_OPEN: &str = "NETCORD-FROM-OPEN";

/// Every chain that netcord makes, with its table.
const OWN_CHAINS: [(Table, &str); 7] = [
    (Table::Raw, PREROUTING),
    (Table::Raw, FROM_OPEN),
    (Table::Filter, FORWARD),
    (Table::Filter, ISOLATE),
    (Table::Filter, FROM_OPEN),
    (Table::Nat, DNAT),
    (Table::Nat, POSTROUTING),
];

/// The beginnings of the comments of rules that come before the others in their chain.
const FIRST: [&str; 4] =
    ["NETCORD-FORWARD to NETCORD-ISOLATE", "masquerade tcp ", "masquerade udp ", "open "];

/// Returns whether a rule of one of our chains, found by its comment, comes before the others:
/// drops before accepts, specific rules before general ones, and exceptions before a drop of the rest.
pub fn comes_first(comment: &str) -> bool {
    let what = comment.split_once(' ').map_or("", |(_, what)| what);
    FIRST.iter().any(|first| what.starts_with(first))
}

impl Table {
    /// Returns the argument of `-t`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}

/// Our chains and the jumps to them: shared by all networks of a family.
///
/// Jumps are appended, never inserted before another program's.
pub(super) fn base(family: Family) -> Plan {
    let chain = |(table, name)| Resource::Chain(Chain { family, table, name });
    let jump = |table, from: &'static str, to: &'static str, matches: &str| {
        let comment = format!("netcord: {from} to {to}");
        Resource::Rule(Rule {
            family,
            table,
            chain: from,
            before: comes_first(&comment).then_some(1),
            matches: words(matches),
            jump: words(to),
            comment,
        })
    };
    // Packets from outside must not reach 127.0.0.1, not even where route_localnet is on.
    let local = "-m addrtype --dst-type LOCAL";
    let local_from_outside = match family {
        Family::V4 => "! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL",
        Family::V6 => local,
    };
    let drop_rest = |table| {
        Resource::Rule(Rule {
            family,
            table,
            chain: FROM_OPEN,
            before: None,
            matches: Vec::new(),
            jump: words("DROP"),
            comment: format!("netcord: {FROM_OPEN} of {} drops the rest", Table::name(table)),
        })
    };
    OWN_CHAINS
        .into_iter()
        .map(chain)
        .chain([
            drop_rest(Table::Raw),
            drop_rest(Table::Filter),
            jump(Table::Raw, "PREROUTING", PREROUTING, ""),
            jump(Table::Filter, FORWARD, ISOLATE, ""),
            jump(Table::Filter, "FORWARD", FORWARD, ""),
            jump(Table::Nat, "PREROUTING", DNAT, local_from_outside),
            jump(Table::Nat, "OUTPUT", DNAT, local),
            jump(Table::Nat, "POSTROUTING", POSTROUTING, ""),
        ])
        .map(|resource| {
            Step::create("netcord's own chains, called after the rules of others", resource)
                .until(Scope::Firewall)
        })
        .collect()
}

/// Makes the filter rules of a network of ours.
pub(super) fn network(network: &Network) -> Plan {
    let of_family = |family| {
        let rules = network.subnets_of(family).flat_map(|subnet| subnet_rules(network, subnet));
        base(family).into_iter().chain(rules)
    };
    network.families().flat_map(of_family).collect()
}

fn subnet_rules(network: &Network, subnet: &Subnet) -> Plan {
    let (name, cidr) = (&network.name, &subnet.cidr);
    let rules = RuleMaker { network, subnet };
    let mut plan = Vec::new();
    // Endpoints on other hosts are not outside.
    let cluster = network.cluster(cidr.is_ipv4());
    let from_outside = cluster.map(|c| format!(" ! -s {c}")).unwrap_or_default();
    let to_outside = cluster.map(|c| format!(" ! -d {c}")).unwrap_or_default();
    let is_open = network.has(Flag::Open);
    let closed = if is_open { FROM_OPEN } else { "DROP" };

    if network.masquerades() || network.has(Flag::Internal) {
        plan.push(rules.step(
            "drop packets routed directly to endpoint addresses: only published ports are open",
            (Table::Raw, PREROUTING, "direct"),
            &format!("-d {cidr}{from_outside} ! -i {name}"),
            closed,
        ));
    }
    if cidr.is_ipv4() {
        plan.push(rules.step(
            "endpoints must not reach the host's 127.0.0.1",
            (Table::Raw, PREROUTING, "loopback"),
            &format!("-d 127.0.0.0/8 -i {name}"),
            "DROP",
        ));
    }
    if network.has(Flag::Internal) {
        plan.push(rules.step(
            "an internal network sends nothing outside",
            (Table::Filter, ISOLATE, "internal out"),
            &format!("-i {name} ! -o {name}{to_outside}"),
            "DROP",
        ));
    }
    if network.has(Flag::Isolate) {
        plan.push(rules.step(
            "isolated endpoints do not reach each other through the host, except published ports",
            (Table::Filter, ISOLATE, "isolate"),
            &format!("-i {name} -o {name} -m conntrack ! --ctstate DNAT"),
            "DROP",
        ));
    }
    plan.push(rules.step(
        "only replies and traffic to published ports may enter from outside",
        (Table::Filter, ISOLATE, "unpublished"),
        &if network.has(Flag::Internal) {
            format!("! -i {name} -o {name}{from_outside}")
        } else {
            format!("! -i {name} -o {name}{from_outside} -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT")
        },
        closed,
    ));
    if is_open {
        plan.extend(open(&rules));
    }
    plan.push(rules.step(
        "endpoints may send, even if the FORWARD policy is DROP",
        (Table::Filter, FORWARD, "out"),
        &format!("-i {name}"),
        "ACCEPT",
    ));
    plan.push(rules.step(
        "replies are accepted, even if the FORWARD policy is DROP",
        (Table::Filter, FORWARD, "in"),
        &format!("-o {name} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT"),
        "ACCEPT",
    ));
    if let Some(cluster) = cluster {
        plan.push(rules.step(
            "endpoints on other hosts are accepted, even if the FORWARD policy is DROP",
            (Table::Filter, FORWARD, "from other hosts"),
            &format!("-o {name} -s {cluster}"),
            "ACCEPT",
        ));
    }
    if network.masquerades() && !network.has(Flag::Internal) {
        plan.extend(masquerade(&rules, &to_outside));
    }
    plan.extend(answer_by_the_host(&rules));
    plan
}

/// Lets packets of an open network into the others.
fn open(rules: &RuleMaker<'_>) -> Plan {
    [(Table::Raw, "open direct"), (Table::Filter, "open")]
        .map(|(table, what)| {
            rules.step(
                "open networks reach each other",
                (table, FROM_OPEN, what),
                &format!("-i {}", rules.network.name),
                "RETURN",
            )
        })
        .into()
}

/// Translates the source of packets that leave the network.
fn masquerade(rules: &RuleMaker<'_>, to_outside: &str) -> Plan {
    let RuleMaker { network: Network { name, .. }, subnet } = rules;
    let cidr = &subnet.cidr;
    let mut plan = Vec::new();
    let (with_ports, without) = match subnet.outbound {
        Some(IpAddr::V6(to)) => {
            (format!("SNAT --to-source [{to}]:1024-65535"), format!("SNAT --to-source {to}"))
        }
        Some(to) => (format!("SNAT --to-source {to}:1024-65535"), format!("SNAT --to-source {to}")),
        None => ("MASQUERADE --to-ports 1024-65535".to_owned(), "MASQUERADE".to_owned()),
    };
    // Never from a privileged port: services trust those (CVE-2010-2242).
    for protocol in ["tcp", "udp"] {
        plan.push(rules.step(
            source_nat(subnet, true),
            (Table::Nat, POSTROUTING, &format!("masquerade {protocol}")),
            &format!("-s {cidr}{to_outside} ! -o {name} -p {protocol}"),
            &with_ports,
        ));
    }
    plan.push(rules.step(
        source_nat(subnet, false),
        (Table::Nat, POSTROUTING, "masquerade"),
        &format!("-s {cidr}{to_outside} ! -o {name}"),
        &without,
    ));
    plan
}

/// Makes the rules that a published port needs on a foreign bridge, whose owner drops new
/// connections.
pub(super) fn foreign(network: &Network, port: &PublishedPort) -> Plan {
    let mut plan = base(Family::of(port.host_ip));
    let subnet = network.subnet_of(port.address);
    plan.extend(subnet.map(|subnet| foreign_rules(network, subnet)).into_iter().flatten());
    plan
}

fn foreign_rules(network: &Network, subnet: &Subnet) -> Plan {
    let rules = RuleMaker { network, subnet };
    let mut plan = vec![rules.step(
        "traffic to published ports is accepted, even if the FORWARD policy is DROP",
        (Table::Filter, FORWARD, "in"),
        &format!("-o {} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT", network.name),
        "ACCEPT",
    )];
    plan.push(rules.step(
        "replies are accepted, even if the FORWARD policy is DROP",
        (Table::Filter, FORWARD, "out"),
        &format!("-i {} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT", network.name),
        "ACCEPT",
    ));
    plan.extend(answer_by_the_host(&rules));
    plan.into_iter().map(|step| step.until(Scope::NetworkPorts)).collect()
}

/// Makes the rules of an underlay network: accept frames that only cross its bridge.
pub(super) fn underlay(network: &Network) -> Plan {
    let is_of_filter = |step: &Step| match step.change.resource() {
        Some(Resource::Chain(chain)) => chain.table == Table::Filter,
        Some(Resource::Rule(rule)) => rule.table == Table::Filter,
        _ => false,
    };
    let of_family = |family| {
        let mut plan: Plan = base(family).into_iter().filter(is_of_filter).collect();
        plan.push(bridged(network, family));
        plan
    };
    [Family::V4, Family::V6].into_iter().flat_map(of_family).collect()
}

/// Makes the rules of a network without a subnet: the same, with the chains of all networks, which show which
/// firewall has its rules.
pub(super) fn switch(network: &Network) -> Plan {
    let of_family = |family| base(family).into_iter().chain([bridged(network, family)]);
    [Family::V4, Family::V6].into_iter().flat_map(of_family).collect()
}

fn bridged(network: &Network, family: Family) -> Step {
    let name = &network.name;
    let rule = Rule {
        family,
        table: Table::Filter,
        chain: FORWARD,
        before: None,
        matches: words(&format!("-i {name} -o {name}")),
        jump: words("ACCEPT"),
        comment: format!("netcord:{name} bridged"),
    };
    Step::create(
        "bridged frames are accepted (br_netfilter), even if the FORWARD policy is DROP",
        Resource::Rule(rule),
    )
}

/// Masquerades connections whose replies would otherwise bypass the host, and its translation.
fn answer_by_the_host(rules: &RuleMaker<'_>) -> Plan {
    let (name, cidr) = (&rules.network.name, &rules.subnet.cidr);
    let mut plan = vec![rules.step(
        "hairpin: replies to an endpoint that uses a published port must return through the host",
        (Table::Nat, POSTROUTING, "hairpin"),
        &format!("-s {cidr} -o {name} -m conntrack --ctstate DNAT"),
        "MASQUERADE",
    )];
    if cidr.is_ipv4() {
        plan.push(rules.step(
            "an endpoint cannot reply to 127.0.0.1: masquerade as the host's address on the bridge",
            (Table::Nat, POSTROUTING, "from loopback"),
            &format!("-s 127.0.0.0/8 -o {name}"),
            "MASQUERADE",
        ));
    }
    plan
}

/// Makes the DNAT rule of a published port.
pub(super) fn dnat(owner: &str, port: &PublishedPort) -> Rule {
    let mut matches = Vec::new();
    if !port.host_ip.is_unspecified() {
        matches.extend(["-d".into(), port.host_ip.to_string()]);
    }
    let protocol = port.protocol.to_string();
    let dport = match (port.host.first, port.host.last) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}:{last}"),
    };
    matches.extend(["-p".into(), protocol, "--dport".into(), dport]);
    Rule {
        family: Family::of(port.host_ip),
        table: Table::Nat,
        chain: DNAT,
        before: None,
        matches,
        jump: vec!["DNAT".into(), "--to-destination".into(), destination(port)],
        comment: format!("netcord:{owner} publish {port}"),
    }
}

/// Returns `ADDRESS:PORT`, or for a range `ADDRESS:FIRST-LAST/FIRST-ON-THE-HOST`, which maps port
/// by port (without the last part the kernel would choose any port of the range).
fn destination(port: &PublishedPort) -> String {
    let address = match port.address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    let (host, inside) = (port.host, port.container);
    if host.count() == 1 {
        format!("{address}:{}", inside.first)
    } else if host == inside {
        port.address.to_string()
    } else {
        format!("{address}:{}-{}/{}", inside.first, inside.last, host.first)
    }
}

impl Rule {
    /// Returns whether this is the rule of a published port.
    pub(in crate::plan) fn is_port(&self) -> bool {
        self.chain == DNAT && self.jump.first().is_some_and(|jump| jump == "DNAT")
    }
}

/// Makes the rules of one subnet of one network.
struct RuleMaker<'a> {
    network: &'a Network,
    subnet: &'a Subnet,
}

type Place<'a> = (Table, &'static str, &'a str);

impl RuleMaker<'_> {
    fn step(&self, why: &'static str, place: Place<'_>, matches: &str, jump: &str) -> Step {
        Step::create(why, Resource::Rule(self.rule(place, matches, jump)))
    }

    fn rule(&self, (table, chain, what): Place<'_>, matches: &str, jump: &str) -> Rule {
        let comment = format!("netcord:{} {what} {}", self.network.name, self.subnet.cidr);
        Rule {
            family: Family::of(self.subnet.cidr.network()),
            table,
            chain,
            before: comes_first(&comment).then_some(1),
            matches: words(matches),
            jump: words(jump),
            comment,
        }
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
