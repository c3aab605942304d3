//! The accept rules of a network, in the chains of other firewalls that drop forwarded packets.
//!
//! They are installed last and removed first: nothing is accepted before our own drops are in place.
//! Our own nftables table drops packets whatever another table accepts. With iptables, an accept in
//! another program's chain would skip our chain, so a jump leads to our chain, which drops first and
//! then accepts.

use super::{Plan, Resource, Rule, Scope, Step, Table, reverse};
use crate::model::{AcceptPoint, Family, Filter, Firewall, Flag, ForwardAccept, Network};

/// Installs the accept rules of a network.
pub fn install_accepts(network: &Network) -> Plan {
    network.forward_accepts.iter().flat_map(|accept| steps(network, accept)).collect()
}

/// Removes accept rules that a network had.
pub fn remove_accepts(network: &Network, forward_accepts: &[ForwardAccept]) -> Plan {
    reverse(&install_accepts(&network.with_forward_accepts(forward_accepts.to_vec())), |_| false)
}

/// Every jump from another program's chain to ours that may exist, for a family.
pub fn jumps(family: Family) -> Plan {
    let places = [AcceptPoint::DockerUser { family }, AcceptPoint::Forward { family }];
    places.into_iter().filter_map(|place| Position::of(&place.before(None))).map(jump).collect()
}

fn steps(network: &Network, accept: &ForwardAccept) -> Plan {
    match (Position::of(accept), network.firewall) {
        (Some(position), Firewall::Iptables) => vec![jump(position)],
        (Some(position), Firewall::Nftables) => accepts(network, position),
        (None, _) => std::iter::once(&network.name)
            .chain(network.tunnels())
            .map(|link| {
                let why = "firewalld rejects packets from links that are in no trusted zone";
                Step::create(why, Resource::Zone { link: link.clone() })
            })
            .collect(),
    }
}

/// A position in a chain of another program.
#[derive(Clone, Copy)]
struct Position {
    family: Family,
    chain: &'static str,
    before: Option<u32>,
}

impl Position {
    fn of(accept: &ForwardAccept) -> Option<Self> {
        let (chain, family) = match accept.place {
            AcceptPoint::DockerUser { family } => ("DOCKER-USER", family),
            AcceptPoint::Forward { family } => ("FORWARD", family),
            AcceptPoint::FirewalldZone => return None,
        };
        Some(Self { family, chain, before: accept.before })
    }

    fn rule(self, matches: &str, jump: &str, comment: String) -> Resource {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        Resource::Rule(Rule {
            family: self.family,
            table: Table::Filter,
            chain: self.chain,
            before: self.before,
            matches: words(matches),
            jump: words(jump),
            comment,
        })
    }
}

fn jump(position: Position) -> Step {
    let comment =
        format!("netcord: {} to NETCORD-FORWARD, before the rest is dropped", position.chain);
    let rule = position.rule("", "NETCORD-FORWARD", comment);
    Step::create("netcord's chain is evaluated before the drop at the end of the chain", rule)
        .until(Scope::Firewall)
}

fn accepts(network: &Network, position: Position) -> Plan {
    const ASKED_FOR: &str = "-m conntrack --ctstate RELATED,ESTABLISHED,DNAT";
    let name = &network.name;
    let accept = |why, what: &str, matches: String| {
        Step::create(why, position.rule(&matches, "ACCEPT", format!("netcord:{name} {what}")))
    };
    let others = network.cluster(position.family == Family::V4);
    let from_others = others.map(|cluster| {
        let why = "another firewall would drop what endpoints on other hosts send: accept it too";
        accept(why, "from other hosts", format!("-o {name} -s {cluster}"))
    });
    if network.has(Flag::Internal) || network.is_without_subnet() {
        let why = "other firewalls must accept frames that are only bridged (br_netfilter)";
        let bridged = accept(why, "bridged", format!("-i {name} -o {name}"));
        let to_others = others.map(|cluster| {
            let why = "another firewall would drop what is for endpoints on other hosts";
            accept(why, "to other hosts", format!("-i {name} -d {cluster}"))
        });
        return [Some(bridged), to_others, from_others].into_iter().flatten().collect();
    }
    let into = format!("-o {name} {ASKED_FOR}");
    if network.driver.filter() == Filter::Traffic {
        let out = "another firewall would drop what endpoints send: accept it there too";
        let answers = "accept replies and traffic to published ports there too";
        let both = [accept(out, "out", format!("-i {name}")), accept(answers, "in", into)];
        return both.into_iter().chain(from_others).collect();
    }
    let ports = "another firewall would drop traffic to published ports: accept it there too";
    let answers = "accept the replies there too";
    [accept(ports, "in", into), accept(answers, "out", format!("-i {name} {ASKED_FOR}"))]
        .map(|step| step.until(Scope::NetworkPorts))
        .into()
}
