//! Walks the chains of a hook in the kernel's order, and returns their verdict on a packet.

use std::cmp::Reverse;

use serde::Serialize;

use super::{
    Base, Chain, Family, Hook, Layer, Packet, Point, Rule, Ruleset, Surroundings, Table, Tracking,
    Verdict,
    machine::{Effect, Is, Machine},
};

/// A rule, or a policy, that matches a packet, or may match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Met {
    /// Its table.
    pub table: Table,
    /// Its chain.
    pub chain: String,
    /// The rule's handle in its table; `None`: the chain's policy.
    pub handle: Option<u64>,
    /// The rule.
    pub rule: String,
    /// The rule's comment.
    pub comment: Option<String>,
    /// Its effect on the packet.
    pub effect: String,
    /// Whether it is certain that it matches.
    pub certain: bool,
}

/// The result of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The packet passes.
    Passes,
    /// The last rule met dropped it.
    Dropped,
    /// The last rule met dropped it, and its sender gets an ICMP error or a TCP reset.
    Rejected,
}

/// The verdict of a hook's rules on a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The rules that match, or may match.
    pub met: Vec<Met>,
    /// The result.
    pub ending: Ending,
    /// A rule that may match and would change the result.
    pub doubt: Option<Met>,
}

// NF_IP_PRI_CONNTRACK, NF_IP_PRI_NAT_DST, NF_IP_PRI_NAT_SRC
const CONNTRACK: i32 = -200;
const TRANSLATE_DESTINATION: i32 = -100;
const TRANSLATE_SOURCE: i32 = 100;

/// A step at a hook: a chain, or a function of the kernel itself.
enum Step<'a> {
    Chain(&'a Base, &'a Chain),
    /// Connection tracking.
    Track,
    /// The translation of a later packet of a connection, or of a reply.
    Translate,
}

impl Ruleset {
    /// Takes a packet through all chains of a hook.
    pub fn meet(&self, point: Point, packet: &mut Packet, around: &Surroundings<'_>) -> Judged {
        let mut walk = Walk::new(self, around);
        let translated = |packet: &Packet| match point.hook {
            Hook::Prerouting | Hook::Output => packet.is_destination_translated(),
            _ => packet.is_source_translated(),
        };
        let already = translated(packet);
        for step in self.steps(point, packet, around) {
            let (base, chain) = match step {
                Step::Track => {
                    packet.tracking = Tracking::seen(packet, around.connections);
                    if let Tracking::Of(connection, _) = &packet.tracking {
                        packet.connection_mark = connection.mark();
                    }
                    continue;
                }
                Step::Translate => {
                    if let Tracking::Of(connection, direction) = packet.tracking.clone() {
                        match point.hook {
                            Hook::Prerouting | Hook::Output => {
                                connection.translate_destination(direction, packet);
                            }
                            _ => connection.translate_source(direction, packet),
                        }
                    }
                    continue;
                }
                Step::Chain(base, chain) => (base, chain),
            };
            // Only the first packet of a connection meets NAT rules, and only the first that
            // translates it counts.
            let is_first = matches!(packet.tracking, Tracking::New(_));
            if base.translates && (!is_first || around.settled || !already && translated(packet)) {
                continue;
            }
            let flow = walk.run(vec![(chain, 0)], packet);
            walk.doubt_of(flow, base.drops);
            let ending = match flow {
                Flow::Ends if base.drops => {
                    walk.policy(chain);
                    Ending::Dropped
                }
                Flow::Ends | Flow::Accepted | Flow::Diverted => continue,
                Flow::Dropped => Ending::Dropped,
                Flow::Rejected => Ending::Rejected,
            };
            return walk.judged(ending);
        }
        walk.judged(Ending::Passes)
    }

    /// Returns the steps of a hook in order. NAT chains are called from one place.
    fn steps<'a>(
        &'a self,
        point: Point,
        packet: &Packet,
        around: &Surroundings<'_>,
    ) -> Vec<Step<'a>> {
        let is_of = |family| match family {
            Family::Ip => packet.source.is_ipv4(),
            Family::Ip6 => packet.source.is_ipv6(),
            Family::Inet => !packet.is_arp(),
            Family::Bridge | Family::Arp | Family::Netdev => true,
        };
        let is_there = |base: &Base| match point.hook {
            Hook::Ingress => around.incoming.as_ref().is_some_and(|side| base.is_at(&side.name)),
            Hook::Egress => around.outgoing.as_ref().is_some_and(|side| base.is_at(&side.name)),
            _ => true,
        };
        let mut found: Vec<_> = self
            .chains
            .iter()
            .filter(|chain| is_of(chain.table.family) && chain.point() == Some(point))
            .filter_map(|chain| Some((chain.base.as_ref().filter(|b| is_there(b))?, chain)))
            .map(|(base, chain)| {
                let place = match (base.translates, point.hook) {
                    (true, Hook::Prerouting | Hook::Output) => TRANSLATE_DESTINATION,
                    (true, _) => TRANSLATE_SOURCE,
                    (false, _) => base.priority,
                };
                // Of those with the same priority, the newest comes first (`nf_hook_entries_grow`).
                let order = (place, 1, base.priority, Reverse(chain.age));
                (order, Step::Chain(base, chain))
            })
            .collect();
        let own = |priority, step| ((priority, 0, i32::MIN, Reverse((0, 0))), step);
        match (point.layer, point.hook) {
            (Layer::Ip, Hook::Prerouting | Hook::Output) => {
                found.push(own(CONNTRACK, Step::Track));
                found.push(own(TRANSLATE_DESTINATION, Step::Translate));
            }
            (Layer::Ip, Hook::Input | Hook::Postrouting) => {
                found.push(own(TRANSLATE_SOURCE, Step::Translate));
            }
            _ => {}
        }
        found.sort_by_key(|(order, _)| *order);
        found.into_iter().map(|(_, step)| step).collect()
    }
}

impl Base {
    /// Returns whether it is called for packets of this link.
    fn is_at(&self, link: &str) -> bool {
        self.devices.iter().any(|device| match device.strip_suffix('*') {
            Some(beginning) => link.starts_with(beginning),
            None => device == link,
        })
    }
}

/// The limit of nested jumps (`NFT_JUMP_STACK_SIZE`). The kernel refuses loops too.
const JUMPS: usize = 16;

/// How a base chain, with everything that it jumps to, ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// At its end: the policy decides.
    Ends,
    Accepted,
    Dropped,
    Rejected,
    /// Diverted to an unknown place.
    Diverted,
}

impl Flow {
    /// Returns whether the packet is dropped.
    pub(super) fn drops(self, policy_drops: bool) -> bool {
        match self {
            Self::Ends => policy_drops,
            Self::Accepted | Self::Diverted => false,
            Self::Dropped | Self::Rejected => true,
        }
    }
}

/// The call stack: chains, each with the index of its next rule. The last chain is being run.
type Stack<'a> = Vec<(&'a Chain, usize)>;

pub(super) struct Walk<'a> {
    ruleset: &'a Ruleset,
    around: &'a Surroundings<'a>,
    met: Vec<Met>,
    /// For each rule that may match: the end of the base chain if it does.
    otherwise: Vec<Otherwise>,
    doubt: Option<Met>,
    /// Whether this run only follows rules that surely match.
    is_supposed: bool,
    /// The number of the first chain's rule that ended the run, or that jumped to the one that did.
    pub(super) number: Option<u32>,
    /// Whether the last rule that matched names the packet's link or addresses.
    names: bool,
}

struct Otherwise {
    /// The rule's index in `met`.
    at: usize,
    flow: Flow,
    /// Whether it, or the rule that would end the run, names the packet's link or addresses.
    names: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(ruleset: &'a Ruleset, around: &'a Surroundings<'a>) -> Self {
        Self {
            ruleset,
            around,
            met: Vec::new(),
            otherwise: Vec::new(),
            doubt: None,
            is_supposed: false,
            number: None,
            names: false,
        }
    }

    /// Leaves out how the chain would end if uncertain rules matched.
    pub(super) fn without_doubts(self) -> Self {
        Self { is_supposed: true, ..self }
    }

    /// Returns the last rule that was met.
    pub(super) fn last(mut self) -> Option<Met> {
        self.met.pop()
    }

    /// Returns whether an uncertain rule that names the packet's link or addresses lets it pass.
    pub(super) fn is_thought_of(&self, policy_drops: bool) -> bool {
        self.otherwise.iter().any(|other| other.names && !other.flow.drops(policy_drops))
    }

    fn judged(self, ending: Ending) -> Judged {
        Judged { met: self.met, ending, doubt: self.doubt }
    }

    /// Finds the first uncertain rule that would change a pass to a drop, or a drop to a pass.
    fn doubt_of(&mut self, flow: Flow, policy_drops: bool) {
        let drops = |flow: Flow| flow.drops(policy_drops);
        let differs = |other| other == Flow::Diverted || drops(other) != drops(flow);
        let found = self.otherwise.drain(..).find(|other| differs(other.flow));
        if let (None, Some(other)) = (&self.doubt, found) {
            self.doubt = self.met.get(other.at).cloned();
        }
    }

    pub(super) fn run(&mut self, mut stack: Stack<'a>, packet: &mut Packet) -> Flow {
        let first = stack.first().map(|(chain, _)| *chain);
        let is_first = |chain: &Chain| first.is_some_and(|first| std::ptr::eq(first, chain));
        while let Some((chain, at)) = stack.pop() {
            let Some(rule) = chain.rules.get(at) else {
                if is_first(chain) {
                    self.number = None;
                }
                continue;
            };
            stack.push((chain, at + 1));
            let set = |name: &str| self.ruleset.set(&chain.table, name);
            let family = chain.table.family;
            let answer = Machine { packet, around: self.around, family, set: &set }.run(rule);
            let goes_on = answer.effect == Effect::Decide(Verdict::Continue);
            if answer.is == Is::No || goes_on && !answer.sets() {
                continue;
            }
            let is_known = !matches!(answer.effect, Effect::Unknown(_));
            let certain = answer.is == Is::Yes && is_known;
            if !certain && self.is_supposed {
                continue;
            }
            self.meet(chain, rule, &answer.effect, certain);
            if certain {
                self.names = answer.names;
                if is_first(chain) {
                    self.number = u32::try_from(at + 1).ok();
                }
                packet.mark = answer.mark.unwrap_or(packet.mark);
                packet.connection_mark = answer.connection_mark.unwrap_or(packet.connection_mark);
                match self.act(&answer.effect, &mut stack, packet) {
                    Some(flow) => return flow,
                    None => continue,
                }
            }
            let (flow, names) = self.suppose(&answer.effect, stack.clone(), packet.clone());
            let at = self.met.len() - 1;
            self.otherwise.push(Otherwise { at, flow, names: answer.names || names });
        }
        Flow::Ends
    }

    /// Carries out the effect of a rule; returns `Some` when the base chain ends.
    fn act(&mut self, effect: &Effect, stack: &mut Stack<'a>, packet: &mut Packet) -> Option<Flow> {
        match *effect {
            Effect::To(address, port) => {
                packet.destination = address.unwrap_or(packet.destination);
                packet.port = port.or(packet.port);
                return Some(Flow::Accepted);
            }
            Effect::From(address) => {
                packet.source = address.unwrap_or(packet.source);
                return Some(Flow::Accepted);
            }
            // A packet that is tracked already stays so (`nft_notrack_eval`).
            Effect::NoTrack if packet.tracking == Tracking::Unseen => {
                packet.tracking = Tracking::Untracked;
            }
            Effect::Zone(zones) if packet.tracking == Tracking::Unseen => packet.zones = zones,
            Effect::NoTrack | Effect::Zone(_) | Effect::Decide(Verdict::Continue) => {}
            Effect::Unknown(_) => return Some(Flow::Diverted),
            Effect::Decide(Verdict::Accept) => return Some(Flow::Accepted),
            Effect::Decide(Verdict::Drop) => return Some(Flow::Dropped),
            Effect::Decide(Verdict::Reject) => return Some(Flow::Rejected),
            Effect::Decide(Verdict::Return) => drop(stack.pop()),
            Effect::Decide(ref verdict @ (Verdict::Jump(ref name) | Verdict::Goto(ref name))) => {
                let (chain, _) = stack.last()?;
                let next = self.ruleset.chain(&chain.table, name);
                if let Some(next) = next.filter(|_| stack.len() < JUMPS) {
                    if matches!(verdict, Verdict::Goto(_)) {
                        stack.pop();
                    }
                    stack.push((next, 0));
                }
            }
        }
        None
    }

    /// Returns how the base chain would end if a rule matched, and whether the rule that ends it names
    /// the packet's link or addresses.
    fn suppose(&self, effect: &Effect, mut stack: Stack<'a>, mut packet: Packet) -> (Flow, bool) {
        // Unknown for rules that change the packet's address.
        if !matches!(effect, Effect::Decide(_)) {
            return (Flow::Diverted, false);
        }
        let mut walk = Self::new(self.ruleset, self.around).without_doubts();
        let ended = walk.act(effect, &mut stack, &mut packet);
        let flow = ended.unwrap_or_else(|| walk.run(stack, &mut packet));
        (flow, walk.names && flow != Flow::Ends)
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
            Effect::Zone(zones) => format!("ct zone {}", zones.original),
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

/// Returns a verdict in the syntax of `nft`.
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
    use crate::model::ruleset::{Comparison, Connection, Expression, Field, Header, Translation};

    fn chain(name: &str, age: u64, rules: Vec<Vec<Expression>>) -> Chain {
        let rule = |expressions| Rule { handle: 1, expressions, comment: None };
        Chain {
            table: Table { family: Family::Inet, name: "t".into() },
            name: name.into(),
            age: (age, 0),
            base: Some(Base {
                hook: Hook::Forward,
                devices: Vec::new(),
                priority: 0,
                translates: false,
                drops: false,
            }),
            rules: rules.into_iter().map(rule).collect(),
        }
    }

    fn is(header: Header, offset: usize, byte: u8) -> [Expression; 2] {
        let load = Expression::Load(Field::Header(header, offset, 1), 16);
        [load, Expression::Compare(16, Comparison::Equal, vec![byte])]
    }

    fn packet() -> Packet {
        Packet::first([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 6, Some(80))
    }

    fn around(connections: &[Connection]) -> Surroundings<'_> {
        Surroundings {
            incoming: None,
            outgoing: None,
            is_partial: false,
            local: &[],
            own: None,
            settled: false,
            bridge: None,
            connections,
            reverse: None,
        }
    }

    fn judge(chains: Vec<Chain>) -> Judged {
        let ruleset = Ruleset { chains, ..Ruleset::default() };
        ruleset.meet(Point::ip(Hook::Forward), &mut packet(), &around(&[]))
    }

    fn meet(chains: Vec<Chain>) -> (Vec<Met>, Ending) {
        let judged = judge(chains);
        (judged.met, judged.ending)
    }

    fn dropping(parts: [Expression; 2]) -> Vec<Expression> {
        parts.into_iter().chain([Expression::Decide(Verdict::Drop)]).collect()
    }

    #[test]
    fn what_is_not_known_does_not_decide_and_is_told() {
        // The TTL, and the source port.
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

    #[test]
    fn a_rule_that_may_be_for_it_makes_a_doubt_where_it_would_end_otherwise() {
        let unknown = || is(Header::Network, 8, 64);
        let deciding = |verdict| {
            let decide = Expression::Decide(verdict);
            unknown().into_iter().chain([decide]).collect::<Vec<_>>()
        };
        let always = |verdict| vec![Expression::Decide(verdict)];
        for (rules, is_in_doubt) in [
            (vec![deciding(Verdict::Drop)], true),
            (vec![deciding(Verdict::Accept)], false),
            (vec![deciding(Verdict::Accept), always(Verdict::Drop)], true),
            (vec![deciding(Verdict::Return), always(Verdict::Drop)], true),
            (vec![deciding(Verdict::Drop), always(Verdict::Drop)], false),
            (vec![always(Verdict::Accept), deciding(Verdict::Drop)], false),
            (vec![deciding(Verdict::Jump("empty".into()))], false),
        ] {
            let told = format!("{rules:?}");
            let judged = judge(vec![chain("c", 1, rules)]);
            assert_eq!(judged.doubt.is_some(), is_in_doubt, "{told}");
        }
        let empty = Chain { base: None, ..chain("empty", 1, Vec::new()) };
        let full = Chain { base: None, ..chain("full", 1, vec![always(Verdict::Drop)]) };
        for (to, is_in_doubt) in [("empty", false), ("full", true)] {
            let jump = deciding(Verdict::Jump(to.into()));
            let judged = judge(vec![empty.clone(), full.clone(), chain("c", 1, vec![jump])]);
            assert_eq!(judged.doubt.is_some(), is_in_doubt, "{to}");
        }
    }

    /// A chain at another hook.
    fn at(hook: Hook, priority: i32, translates: bool, rules: Vec<Vec<Expression>>) -> Chain {
        let base = Base { hook, devices: Vec::new(), priority, translates, drops: false };
        Chain { base: Some(base), ..chain("c", 1, rules) }
    }

    /// DNAT to 10.0.0.9, port 8080.
    fn translating() -> Vec<Vec<Expression>> {
        vec![vec![
            Expression::Immediate(vec![10, 0, 0, 9], 16),
            Expression::Immediate(vec![31, 144], 32),
            Expression::Translate(Translation::Destination { address: Some(16), port: Some(32) }),
        ]]
    }

    #[test]
    fn what_was_translated_is_translated_back_in_its_zone_alone() {
        let zone = |number: u16| {
            let load = Expression::Immediate(number.to_ne_bytes().to_vec(), 16);
            at(Hook::Prerouting, -300, false, vec![vec![load, Expression::SetZone(16, None)]])
        };
        let prerouting = Point::ip(Hook::Prerouting);
        let there = |chains: Vec<Chain>| {
            let mut first = packet();
            let ruleset = Ruleset { chains, ..Ruleset::default() };
            ruleset.meet(prerouting, &mut first, &around(&[]));
            first
        };
        let first = there(vec![zone(7), at(Hook::Prerouting, -100, true, translating())]);
        assert_eq!((first.destination, first.port), ([10, 0, 0, 9].into(), Some(8080)));
        let known = [Connection::confirmed(&first).unwrap()];
        let answered = |number: u16| {
            let mut answer = first.answer();
            let ruleset = Ruleset { chains: vec![zone(number)], ..Ruleset::default() };
            ruleset.meet(prerouting, &mut answer, &around(&known));
            Ruleset::default().meet(Point::ip(Hook::Postrouting), &mut answer, &around(&known));
            answer
        };
        let back = answered(7);
        assert_eq!((back.source, back.source_port), ([10, 0, 0, 2].into(), Some(80)));
        let lost = answered(8);
        assert_eq!((lost.source, lost.tracking), ([10, 0, 0, 9].into(), Tracking::Invalid));
    }

    #[test]
    fn what_is_not_tracked_is_not_translated() {
        let not_tracked = at(Hook::Prerouting, -300, false, vec![vec![Expression::NoTrack]]);
        let translating = at(Hook::Prerouting, -100, true, translating());
        let ruleset = Ruleset { chains: vec![not_tracked, translating], ..Ruleset::default() };
        let mut first = packet();
        ruleset.meet(Point::ip(Hook::Prerouting), &mut first, &around(&[]));
        assert_eq!(first.destination, packet().destination);
        assert_eq!(Connection::confirmed(&first), None);
    }
}
