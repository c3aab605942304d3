//! What the rules of `nf_tables` in a namespace do with the first packet of a flow, and the rule that
//! lets it by.

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

/// A flow that begins.
#[derive(Clone, Copy)]
pub(super) struct Flow<'a> {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    /// To which port; `None`: an echo request.
    pub(super) port: Option<(u16, Protocol)>,
    /// The link that it comes by.
    pub(super) incoming: Option<&'a Link>,
    /// The link that it goes by.
    pub(super) outgoing: Option<&'a Link>,
}

impl Flow<'_> {
    /// The rule, or policy, that drops its first packet, if one surely does.
    pub(super) fn dropped(&self, ruleset: &Ruleset) -> Option<Met> {
        let hooks = match (self.incoming, self.outgoing) {
            (Some(_), None) => [Hook::Prerouting, Hook::Input],
            (Some(_), Some(_)) => [Hook::Prerouting, Hook::Forward],
            (None, _) => [Hook::Output, Hook::Postrouting],
        };
        let mut packet = self.packet();
        let side = |link: &Link| Side { name: link.name.clone(), index: link.index() };
        let local = [if self.outgoing.is_some() { self.from } else { self.to }];
        let to = packet.destination;
        for hook in hooks {
            // As it comes in nobody knows where it goes.
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
            // Somebody leads it elsewhere.
            if packet.destination != to {
                return None;
            }
        }
        None
    }

    fn packet(&self) -> Packet {
        let protocol = match self.port {
            Some((_, Protocol::Tcp)) => 6,
            Some((_, Protocol::Udp)) => 17,
            Some((_, Protocol::Sctp)) => 132,
            None if self.to.is_ipv4() => 1,
            None => 58,
        };
        Packet::first(self.from, self.to, protocol, self.port.map(|(port, _)| port))
    }

    /// What it is, in words.
    pub(super) fn words(&self) -> String {
        match self.port {
            Some((port, protocol)) => format!("{port}/{protocol}"),
            None => "echo requests (ping)".to_owned(),
        }
    }

    /// The command that lets it by, and the answers to what was asked from there: a rule at the
    /// beginning of the chain that dropped it.
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
        // Of what was sent nothing is asked but by which link.
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

/// Which of iptables' programs a chain is of.
fn program(met: &Met) -> Option<&'static str> {
    let is_one = matches!(met.table.name.as_str(), "filter" | "mangle" | "raw" | "security");
    match met.table.family {
        Family::Ip if is_one => Some("iptables"),
        Family::Ip6 if is_one => Some("ip6tables"),
        _ => None,
    }
}
