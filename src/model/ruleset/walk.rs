//! Which chains a packet meets at a point of its way, in the kernel's order, and what they do.

use std::cmp::Reverse;

use serde::Serialize;

use super::{
    Base, Chain, Family, Hook, Packet, Rule, Ruleset, Surroundings, Table, Verdict,
    machine::{Effect, Is, Machine},
};

/// A rule, or a policy, that a packet met and that is for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Met {
    /// Its table.
    pub table: Table,
    /// Its chain.
    pub chain: String,
    /// The kernel's number of it in its table; `None`: the chain's policy.
    pub handle: Option<u64>,
    /// The rule.
    pub rule: String,
    /// What somebody wrote on it.
    pub comment: Option<String>,
    /// What it does with the packet.
    pub effect: String,
    /// Whether it is for this packet is known.
    pub certain: bool,
}

/// What a point of the way comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The packet goes on.
    Passes,
    /// The last rule met dropped it.
    Dropped,
    /// The last rule met dropped it, and its sender is told.
    Rejected,
}

// NF_IP_PRI_CONNTRACK, NF_IP_PRI_NAT_DST, NF_IP_PRI_NAT_SRC
const CONNTRACK: i32 = -200;
const TRANSLATE_DESTINATION: i32 = -100;
const TRANSLATE_SOURCE: i32 = 100;

impl Ruleset {
    /// Takes a packet, the first of its flow, through all chains of a point of its way.
    pub fn meet(
        &self,
        hook: Hook,
        packet: &mut Packet,
        around: &Surroundings<'_>,
    ) -> (Vec<Met>, Ending) {
        let mut walk = Walk { ruleset: self, around, met: Vec::new() };
        let translated = |packet: &Packet| match hook {
            Hook::Prerouting | Hook::Output => packet.destination_translated,
            _ => packet.source_translated,
        };
        let already = translated(packet);
        for (base, chain) in self.bases(hook, packet) {
            // A packet is translated once, by the first that says how.
            if base.translates && (around.settled || !already && translated(packet)) {
                continue;
            }
            let tracked =
                base.priority > CONNTRACK || !matches!(hook, Hook::Prerouting | Hook::Output);
            let ending = match walk.chain(chain, packet, tracked) {
                Flow::Goes | Flow::Back if base.drops => {
                    walk.policy(chain);
                    Ending::Dropped
                }
                Flow::Goes | Flow::Back | Flow::Accepted => continue,
                Flow::Dropped => Ending::Dropped,
                Flow::Rejected => Ending::Rejected,
            };
            return (walk.met, ending);
        }
        (walk.met, Ending::Passes)
    }

    /// The chains of a point, in their order: all that translate are called from one place.
    fn bases(&self, hook: Hook, packet: &Packet) -> Vec<(Base, &Chain)> {
        let is_of = |family| match family {
            Family::Inet => true,
            Family::Ip => packet.source.is_ipv4(),
            Family::Ip6 => packet.source.is_ipv6(),
        };
        let mut found: Vec<_> = self
            .chains
            .iter()
            .filter(|chain| is_of(chain.table.family))
            .filter_map(|chain| Some((chain.base.filter(|base| base.hook == hook)?, chain)))
            .collect();
        found.sort_by_key(|(base, chain)| {
            let place = match (base.translates, hook) {
                (true, Hook::Prerouting | Hook::Output) => TRANSLATE_DESTINATION,
                (true, _) => TRANSLATE_SOURCE,
                (false, _) => base.priority,
            };
            // Of those with the same priority, the newest comes first (`nf_hook_entries_grow`).
            (place, base.priority, Reverse(chain.age))
        });
        found
    }
}

/// How a chain ended.
enum Flow {
    Goes,
    Back,
    Accepted,
    Dropped,
    Rejected,
}

struct Walk<'a> {
    ruleset: &'a Ruleset,
    around: &'a Surroundings<'a>,
    met: Vec<Met>,
}

impl Walk<'_> {
    fn chain(&mut self, chain: &Chain, packet: &mut Packet, tracked: bool) -> Flow {
        for rule in &chain.rules {
            let set = |name: &str| self.ruleset.sets.get(&(chain.table.clone(), name.to_owned()));
            let machine = Machine { packet, around: self.around, tracked, set: &set };
            let answer = machine.run(rule);
            let is_known = !matches!(answer.effect, Effect::Unknown(_));
            if answer.is == Is::No {
                continue;
            }
            let certain = answer.is == Is::Yes && is_known;
            let goes_on = answer.effect == Effect::Decide(Verdict::Continue);
            if goes_on && (answer.is == Is::Maybe || answer.mark.is_none()) {
                continue;
            }
            self.meet(chain, rule, &answer.effect, certain);
            if !certain {
                continue;
            }
            packet.mark = answer.mark.unwrap_or(packet.mark);
            match answer.effect {
                Effect::To(address, port) => {
                    let before = (packet.destination, packet.port);
                    packet.destination = address.unwrap_or(packet.destination);
                    packet.port = port.unwrap_or(packet.port);
                    packet.destination_translated |= before != (packet.destination, packet.port);
                    return Flow::Accepted;
                }
                Effect::From(address) => {
                    let before = packet.source;
                    packet.source = address.unwrap_or(packet.source);
                    packet.source_translated |= before != packet.source;
                    return Flow::Accepted;
                }
                Effect::NoTrack => packet.untracked = true,
                Effect::Unknown(_) | Effect::Decide(Verdict::Continue) => {}
                Effect::Decide(Verdict::Accept) => return Flow::Accepted,
                Effect::Decide(Verdict::Drop) => return Flow::Dropped,
                Effect::Decide(Verdict::Reject) => return Flow::Rejected,
                Effect::Decide(Verdict::Return) => return Flow::Back,
                Effect::Decide(Verdict::Jump(ref name) | Verdict::Goto(ref name)) => {
                    let Some(next) = self.ruleset.chain(&chain.table, name) else { continue };
                    match self.chain(next, packet, tracked) {
                        Flow::Goes | Flow::Back
                            if matches!(answer.effect, Effect::Decide(Verdict::Jump(_))) => {}
                        flow => return flow,
                    }
                }
            }
        }
        Flow::Goes
    }

    fn meet(&mut self, chain: &Chain, rule: &Rule, effect: &Effect, certain: bool) {
        let effect = match effect {
            Effect::Decide(verdict) => word(verdict),
            Effect::To(address, port) => {
                let address = address.map(|a| a.to_string()).unwrap_or_default();
                let port = port.map(|p| format!(":{p}")).unwrap_or_default();
                format!("dnat to {address}{port}")
            }
            Effect::From(Some(address)) => format!("snat to {address}"),
            Effect::From(None) => "snat".to_owned(),
            Effect::NoTrack => "notrack".to_owned(),
            Effect::Unknown(name) => name.clone(),
        };
        self.met.push(Met {
            table: chain.table.clone(),
            chain: chain.name.clone(),
            handle: Some(rule.handle),
            rule: chain.text(rule, self.ruleset),
            comment: rule.comment.clone(),
            effect,
            certain,
        });
    }

    fn policy(&mut self, chain: &Chain) {
        self.met.push(Met {
            table: chain.table.clone(),
            chain: chain.name.clone(),
            handle: None,
            rule: "policy drop".to_owned(),
            comment: None,
            effect: "drop".to_owned(),
            certain: true,
        });
    }
}

/// A verdict, as `nft` writes it.
pub(super) fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Reject => "reject".to_owned(),
        Verdict::Continue => "continue".to_owned(),
        Verdict::Return => "return".to_owned(),
        Verdict::Jump(chain) => format!("jump {chain}"),
        Verdict::Goto(chain) => format!("goto {chain}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ruleset::{Comparison, Expression, Field, Header};

    fn chain(name: &str, age: u64, rules: Vec<Vec<Expression>>) -> Chain {
        let rule = |expressions| Rule { handle: 1, expressions, comment: None };
        Chain {
            table: Table { family: Family::Inet, name: "t".into() },
            name: name.into(),
            age: (age, 0),
            base: Some(Base { hook: Hook::Forward, priority: 0, translates: false, drops: false }),
            rules: rules.into_iter().map(rule).collect(),
        }
    }

    fn is(header: Header, offset: usize, byte: u8) -> [Expression; 2] {
        let load = Expression::Load(Field::Header(header, offset, 1), 16);
        [load, Expression::Compare(16, Comparison::Equal, vec![byte])]
    }

    fn meet(chains: Vec<Chain>) -> (Vec<Met>, Ending) {
        let ruleset = Ruleset { chains, ..Ruleset::default() };
        let mut packet = Packet {
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 2].into(),
            protocol: 6,
            source_port: None,
            port: 80,
            mark: 0,
            destination_translated: false,
            source_translated: false,
            untracked: false,
        };
        let around =
            Surroundings { incoming: None, outgoing: None, local: &[], own: None, settled: false };
        ruleset.meet(Hook::Forward, &mut packet, &around)
    }

    fn dropping(parts: [Expression; 2]) -> Vec<Expression> {
        parts.into_iter().chain([Expression::Decide(Verdict::Drop)]).collect()
    }

    #[test]
    fn what_is_not_known_does_not_decide_and_is_told() {
        // The time to live, and the source port.
        for unknown in [is(Header::Network, 8, 64), is(Header::Transport, 0, 1)] {
            let (met, ending) = meet(vec![chain("c", 1, vec![dropping(unknown)])]);
            assert_eq!(ending, Ending::Passes);
            assert!(met.len() == 1 && !met[0].certain, "{met:?}");
        }
        let other = is(Header::Transport, 3, 81);
        assert_eq!(meet(vec![chain("c", 1, vec![dropping(other)])]), (vec![], Ending::Passes));
        let this = is(Header::Transport, 3, 80);
        let (met, ending) = meet(vec![chain("c", 1, vec![dropping(this)])]);
        assert_eq!((ending, met[0].certain), (Ending::Dropped, true));
    }

    #[test]
    fn of_one_priority_the_newest_comes_first() {
        let drop = || vec![vec![Expression::Decide(Verdict::Drop)]];
        let (met, _) = meet(vec![chain("old", 1, drop()), chain("new", 2, drop())]);
        assert_eq!(met[0].chain, "new");
    }
}
