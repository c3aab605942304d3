//! Evaluates the rules of `nf_tables` in a namespace for the first packet of a connection, and
//! proposes a rule that accepts it.

use std::{fmt::Write, net::IpAddr};

use crate::{
    kernel::Link,
    model::{
        Protocol,
        ruleset::{
            Ending, Family, Hook, Judged, Layer, Met, Packet, Point, Ruleset, Side, Surroundings,
        },
    },
};

/// A new connection.
#[derive(Clone, Copy)]
pub(super) struct Flow<'a> {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    /// The destination port; `None`: an ICMP echo request.
    pub(super) port: Option<(u16, Protocol)>,
    /// The incoming link.
    pub(super) incoming: Option<&'a Link>,
    /// The outgoing link.
    pub(super) outgoing: Option<&'a Link>,
}

impl Flow<'_> {
    /// Returns the rule, or policy, that certainly drops its first packet.
    pub(super) fn dropped(&self, ruleset: &Ruleset) -> Option<Met> {
        let hooks = match (self.incoming, self.outgoing) {
            (Some(_), None) => [Hook::Prerouting, Hook::Input],
            (Some(_), Some(_)) => [Hook::Prerouting, Hook::Forward],
            (None, _) => [Hook::Output, Hook::Postrouting],
        };
        let mut packet = Packet::to(self.from, self.to, self.port);
        let side = |link: &Link| Side { name: link.name.clone(), index: link.index() };
        let local = [if self.outgoing.is_some() { self.from } else { self.to }];
        let to = packet.destination;
        for hook in hooks {
            // At prerouting, the outgoing link is unknown.
            let outgoing = self.outgoing.filter(|_| hook != Hook::Prerouting);
            let around = Surroundings {
                incoming: self.incoming.map(side),
                outgoing: outgoing.map(side),
                is_partial: false,
                local: &local,
                own: None,
                settled: false,
                bridge: None,
                connections: &[],
                reverse: self.incoming.map(Link::index),
            };
            let point = Point { layer: Layer::Ip, hook };
            let Judged { met, ending, .. } = ruleset.meet(point, &mut packet, &around);
            if ending != Ending::Passes {
                return met.into_iter().next_back().filter(|met| met.certain);
            }
            // A rule translates the destination.
            if packet.destination != to {
                return None;
            }
        }
        None
    }

    /// Describes the connection.
    pub(super) fn words(&self) -> String {
        match self.port {
            Some((port, protocol)) => format!("{port}/{protocol}"),
            None => "echo requests (ping)".to_owned(),
        }
    }

    /// Returns the command that accepts its packets and the replies: a rule at the beginning of the
    /// chain that dropped it.
    pub(super) fn let_by(&self, enter: &str, met: &Met) -> String {
        let mut accepts = vec![self.accept(met, false)];
        if self.outgoing.is_none() {
            accepts.push(self.accept(met, true));
        }
        let enter = if enter.is_empty() { String::new() } else { format!("{enter} ") };
        accepts.iter().map(|rule| format!("{enter}{rule}")).collect::<Vec<_>>().join(" && ")
    }

    fn accept(&self, met: &Met, answers: bool) -> String {
        match program(met) {
            Some(program) => self.accept_of_iptables(program, met, answers),
            None => self.accept_of_nftables(met, answers),
        }
    }

    fn accept_of_iptables(&self, program: &str, met: &Met, answers: bool) -> String {
        let mut rule = format!("{program} -t {} -I {}", met.table.name, met.chain);
        if let Some(link) = self.incoming {
            let _ = write!(rule, " -i {}", link.name);
        }
        // For outgoing packets, only the outgoing link matters.
        if let Some(link) = self.outgoing {
            let _ = write!(rule, " -o {}", link.name);
        } else if answers {
            rule.push_str(" -m conntrack --ctstate ESTABLISHED,RELATED");
        } else {
            let _ = match self.port {
                Some((port, protocol)) => write!(rule, " -p {protocol} --dport {port}"),
                None if self.to.is_ipv4() => write!(rule, " -p icmp"),
                None => write!(rule, " -p icmpv6"),
            };
        }
        rule + " -j ACCEPT"
    }

    fn accept_of_nftables(&self, met: &Met, answers: bool) -> String {
        let mut rule = format!("nft insert rule {} {}", met.table, met.chain);
        if let Some(link) = self.incoming {
            let _ = write!(rule, " iifname {}", link.name);
        }
        if let Some(link) = self.outgoing {
            let _ = write!(rule, " oifname {}", link.name);
        } else if answers {
            rule.push_str(" ct state established,related");
        } else {
            let _ = match self.port {
                Some((port, protocol)) => write!(rule, " {protocol} dport {port}"),
                None if self.to.is_ipv4() => write!(rule, " meta l4proto icmp"),
                None => write!(rule, " meta l4proto ipv6-icmp"),
            };
        }
        rule + " accept"
    }
}

/// Returns the program of iptables that a chain belongs to.
fn program(met: &Met) -> Option<&'static str> {
    let is_one = matches!(met.table.name.as_str(), "filter" | "mangle" | "raw" | "security");
    match met.table.family {
        Family::Ip if is_one => Some("iptables"),
        Family::Ip6 if is_one => Some("ip6tables"),
        _ => None,
    }
}
