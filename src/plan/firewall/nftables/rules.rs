//! The rules of each network and the elements of each published port.

use ipnetwork::IpNetwork;

use super::{
    Element, ElementData, Match, NetworkRules, Nft, PortElements, Rule, Value, Verdict,
    table::{FROM_OPEN, LOOPBACK, Maps},
};
use crate::{
    model::{Family, Flag, LinkName, Network, PortRange, Protocol, PublishedPort, Subnet},
    plan::{ALIAS_PREFIX, Plan, Resource, Scope, Step, firewall::source_nat},
};

/// Makes what all networks share.
pub(in crate::plan) fn shared() -> Plan {
    let why = "netcord's own nftables table: the rules of others stay as they are";
    vec![Step::create(why, Resource::Nft(Nft::Table)).until(Scope::Firewall)]
}

/// Makes the rules of a network of ours: which packets pass, and which are masqueraded.
pub(in crate::plan) fn network(network: &Network) -> Plan {
    let mut filter = Vec::new();
    let bridge = &network.name;
    let is_open = network.has(Flag::Open);
    let drop = |why, matches| Rule { matches, verdict: Verdict::Drop, why };
    for to in outside(network, |cluster| Match::Destination(cluster, false)) {
        if network.has(Flag::Internal) {
            let out = out_of(bridge).into_iter().chain(to).collect();
            filter.push(drop("an internal network sends nothing outside", out));
        }
    }
    for from in outside(network, |cluster| Match::Source(cluster, false)) {
        let mut entering: Vec<_> = into(bridge).into_iter().chain(from).collect();
        if network.has(Flag::Internal) {
            filter.push(drop("an internal network receives nothing from outside", entering));
        } else {
            entering.push(Match::Unasked);
            let why = "only replies and traffic to published ports may enter from outside";
            let verdict = if is_open { Verdict::Jump(FROM_OPEN) } else { Verdict::Drop };
            filter.push(Rule { matches: entering, verdict, why });
        }
    }
    if network.has(Flag::Isolate) {
        let mut across = vec![Match::In(bridge.clone(), true), Match::Out(bridge.clone(), true)];
        across.push(Match::Translated(false));
        filter.push(drop(
            "isolated endpoints do not reach each other through the host, except published ports",
            across,
        ));
    }
    let nat = of_subnets(network, |subnet| translation(network, subnet));
    let rules = NetworkRules { network: bridge.clone(), filter, nat, is_open };
    let mut plan = shared();
    plan.push(Step::create(
        "the network's filter rules, and its source NAT (masquerade)",
        Resource::Nft(Nft::Network(rules)),
    ));
    plan
}

/// Makes the rules that published ports need on a foreign bridge.
pub(in crate::plan) fn foreign(network: &Network) -> Plan {
    let nat = of_subnets(network, |subnet| vec![answer_by_the_host(&network.name, subnet)]);
    let rules =
        NetworkRules { network: network.name.clone(), filter: Vec::new(), nat, is_open: false };
    let why = "replies from published ports return through the host (masquerade)";
    let step = Step::create(why, Resource::Nft(Nft::Network(rules))).until(Scope::NetworkPorts);
    shared().into_iter().chain([step]).collect()
}

/// What makes a packet's other end one that is outside of the network: of an overlay, what is no
/// endpoint on another host, by IP version; of another network, everything.
fn outside(network: &Network, beyond: impl Fn(IpNetwork) -> Match) -> Vec<Option<Match>> {
    if !network.reaches_others_by_routes() {
        return vec![None];
    }
    let of = |family: Family| match network.cluster(family == Family::V4) {
        Some(cluster) => Some(beyond(cluster)),
        None => Some(Match::Family(family)),
    };
    [Family::V4, Family::V6].map(of).into()
}

fn into(bridge: &LinkName) -> Vec<Match> {
    vec![Match::In(bridge.clone(), false), Match::Out(bridge.clone(), true)]
}

fn out_of(bridge: &LinkName) -> Vec<Match> {
    vec![Match::In(bridge.clone(), true), Match::Out(bridge.clone(), false)]
}

/// Makes rules of each subnet, and for IPv4 the one of the loopback.
fn of_subnets(network: &Network, rules: impl Fn(&Subnet) -> Vec<Rule>) -> Vec<Rule> {
    let of_family = |family| {
        let loopback = (family == Family::V4).then(|| answers_to_loopback(&network.name));
        network.subnets_of(family).flat_map(&rules).chain(loopback).collect::<Vec<_>>()
    };
    network.families().flat_map(of_family).collect()
}

fn translation(network: &Network, subnet: &Subnet) -> Vec<Rule> {
    let mut rules = Vec::new();
    if network.masquerades() && !network.has(Flag::Internal) {
        let leaving = || {
            let from = Match::Source(subnet.cidr, true);
            let out = Match::Out(network.name.clone(), false);
            let to_others = network.cluster(subnet.cidr.is_ipv4());
            let to_others = to_others.map(|cluster| Match::Destination(cluster, false));
            [from, out].into_iter().chain(to_others).collect::<Vec<_>>()
        };
        let translate = |high_ports| match subnet.outbound {
            Some(to) => Verdict::Snat { to, high_ports },
            None => Verdict::Masquerade { high_ports },
        };
        // Never from a privileged port: services trust those (CVE-2010-2242).
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let mut matches = leaving();
            matches.push(Match::Protocol(protocol));
            rules.push(Rule { matches, verdict: translate(true), why: source_nat(subnet, true) });
        }
        rules.push(Rule {
            matches: leaving(),
            verdict: translate(false),
            why: source_nat(subnet, false),
        });
    }
    rules.push(answer_by_the_host(&network.name, subnet));
    rules
}

/// Masquerades connections whose replies would otherwise bypass the host, and its translation.
fn answer_by_the_host(bridge: &LinkName, subnet: &Subnet) -> Rule {
    let to_bridge = Match::Out(bridge.clone(), true);
    Rule {
        matches: vec![Match::Source(subnet.cidr, true), to_bridge, Match::Translated(true)],
        verdict: Verdict::Masquerade { high_ports: false },
        why: "hairpin: replies to an endpoint that uses a published port must return through the host",
    }
}

fn answers_to_loopback(bridge: &LinkName) -> Rule {
    Rule {
        matches: vec![Match::Source(LOOPBACK, true), Match::Out(bridge.clone(), true)],
        verdict: Verdict::Masquerade { high_ports: false },
        why: "an endpoint cannot reply to 127.0.0.1: masquerade as the host's address on the bridge",
    }
}

/// Makes the elements of a published port. A range that keeps its numbers is one interval.
/// Otherwise each port is an element, since nftables does not shift ports.
pub(in crate::plan) fn port(owner: &str, port: &PublishedPort) -> PortElements {
    let maps = Maps::of(Family::of(port.host_ip));
    let is_interval = port.host.count() > 1 && port.host == port.container;
    let set = match (is_interval, port.host_ip.is_unspecified()) {
        (false, false) => &maps.ports_at,
        (false, true) => &maps.ports,
        (true, false) => &maps.ranges_at,
        (true, true) => &maps.ranges,
    };
    let address = Value::Address(port.address);
    let element = |on_host: PortRange, data| {
        let at = (!port.host_ip.is_unspecified()).then_some(Value::Address(port.host_ip));
        let key = at.into_iter().chain([Value::Protocol(port.protocol), Value::Ports(on_host)]);
        Element { key: key.collect(), data: ElementData::Values(data) }
    };
    let elements = if is_interval {
        vec![element(port.host, vec![address])]
    } else {
        let pairs = port.host.ports().zip(port.container.ports());
        let single = PortRange::single;
        pairs
            .map(|(outside, inside)| {
                element(single(outside), vec![address.clone(), Value::Ports(single(inside))])
            })
            .collect()
    };
    let mut comment = format!("{ALIAS_PREFIX}{owner}");
    if elements.len() > 1 {
        comment = format!("{comment} {}", port.host);
    }
    PortElements { set, elements, comment }
}

/// The chains that a network may have. A deletion needs only their names.
pub(in crate::plan) fn any_rules(network: LinkName, is_open: bool) -> NetworkRules {
    let rules = answers_to_loopback(&network);
    NetworkRules { network, filter: vec![rules.clone()], nat: vec![rules], is_open }
}
