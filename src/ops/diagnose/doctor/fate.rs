//! What becomes of a packet in iptables' chain FORWARD, as far as its listed rules tell.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;

use crate::model::overlap;

/// A kind of packets that are passed on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    /// The link that they come in by; none: any other than those that rules name.
    pub(super) from: Option<&'a str>,
    /// The link that they go out by.
    pub(super) to: Option<&'a str>,
    /// What connection tracking says of them.
    pub(super) state: &'a str,
    pub(super) source: Option<IpNetwork>,
    pub(super) destination: Option<IpNetwork>,
}

/// The rules of a table, by chain.
#[derive(Debug, Default)]
pub(super) struct Rules<'a> {
    policy: Option<&'a str>,
    rules: BTreeMap<&'a str, Vec<&'a str>>,
}

/// More jumps than this in a row are a circle.
const DEPTH: u32 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applies {
    Always,
    /// To some of these packets.
    Partly,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate<'a> {
    Accepted,
    /// By this rule.
    Dropped(&'a str),
    /// No rule said.
    Open,
}

impl<'a> Rules<'a> {
    /// Reads what `iptables -S` lists.
    pub(super) fn parse(text: &'a str) -> Self {
        let mut rules = Self::default();
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            match (words.next(), words.next()) {
                (Some("-P"), Some("FORWARD")) => rules.policy = Some(line),
                (Some("-N"), Some(chain)) => {
                    rules.rules.entry(chain).or_default();
                }
                (Some("-A"), Some(chain)) => rules.rules.entry(chain).or_default().push(line),
                _ => {}
            }
        }
        rules
    }

    /// Whether there is a chain whose name begins so.
    pub(super) fn has_chain(&self, prefix: &str) -> bool {
        self.rules.keys().any(|chain| chain.starts_with(prefix))
    }

    /// The rule, or the policy, by which all of these packets are dropped.
    pub(super) fn dropped_by(&self, packet: Packet<'_>) -> Option<&'a str> {
        match self.walk("FORWARD", packet, DEPTH) {
            Fate::Accepted => None,
            Fate::Dropped(rule) => Some(rule),
            Fate::Open => self.policy.filter(|policy| policy.ends_with(" DROP")),
        }
    }

    fn walk(&self, chain: &str, packet: Packet<'_>, depth: u32) -> Fate<'a> {
        for rule in self.rules.get(chain).into_iter().flatten() {
            let Some(Rule { applies, target, names_it }) = Rule::of(rule, packet) else {
                continue;
            };
            match (target, applies) {
                (_, Applies::Never) => {}
                ("ACCEPT", Applies::Always) => return Fate::Accepted,
                // Somebody thought of it, and let by what they wanted to.
                ("ACCEPT", Applies::Partly) if names_it => return Fate::Accepted,
                ("DROP" | "REJECT", Applies::Always) => return Fate::Dropped(rule),
                ("RETURN", Applies::Always) => return Fate::Open,
                (next, _) if depth > 0 => match self.walk(next, packet, depth - 1) {
                    Fate::Accepted => return Fate::Accepted,
                    Fate::Dropped(rule) if applies == Applies::Always => {
                        return Fate::Dropped(rule);
                    }
                    Fate::Dropped(_) | Fate::Open => {}
                },
                _ => {}
            }
        }
        Fate::Open
    }
}

struct Rule<'a> {
    applies: Applies,
    target: &'a str,
    /// It names a link of the packet's, or its addresses.
    names_it: bool,
}

impl<'a> Rule<'a> {
    /// A rule as listed, `-A CHAIN ...`; none without a target.
    fn of(rule: &'a str, packet: Packet<'_>) -> Option<Self> {
        let mut words = words(rule).into_iter().skip(2);
        let (mut is_partial, mut is_never, mut names_it, mut negated) =
            (false, false, false, false);
        while let Some(word) = words.next() {
            let applies = match word {
                "!" => {
                    negated = true;
                    continue;
                }
                "-j" | "-g" => {
                    let applies = match (is_never, is_partial) {
                        (true, _) => Applies::Never,
                        (false, true) => Applies::Partly,
                        (false, false) => Applies::Always,
                    };
                    return Some(Self { applies, target: words.next()?, names_it });
                }
                "-m" | "--comment" => {
                    words.next()?;
                    continue;
                }
                "-i" => link(words.next()?, packet.from, &mut names_it),
                "-o" => link(words.next()?, packet.to, &mut names_it),
                "-s" => address(words.next()?, packet.source, &mut names_it),
                "-d" => address(words.next()?, packet.destination, &mut names_it),
                "--ctstate" | "--state" => {
                    let is_one = words.next()?.split(',').any(|state| state == packet.state);
                    if is_one { Applies::Always } else { Applies::Never }
                }
                // Whatever else a rule asks for.
                _ => Applies::Partly,
            };
            match (applies, negated) {
                (Applies::Partly, _) => is_partial = true,
                (Applies::Never, false) | (Applies::Always, true) => is_never = true,
                (Applies::Never, true) | (Applies::Always, false) => {}
            }
            negated = false;
        }
        None
    }
}

fn link(pattern: &str, link: Option<&str>, names_it: &mut bool) -> Applies {
    // Which one it is, is not known: a rule for another link may be for it, or not.
    let Some(link) = link else { return Applies::Partly };
    let is_it = match pattern.strip_suffix('+') {
        Some(prefix) => link.starts_with(prefix),
        None => link == pattern,
    };
    *names_it |= is_it;
    if is_it { Applies::Always } else { Applies::Never }
}

fn address(pattern: &str, subnet: Option<IpNetwork>, names_it: &mut bool) -> Applies {
    let (Some(subnet), Ok(pattern)) = (subnet, pattern.parse::<IpNetwork>()) else {
        return Applies::Partly;
    };
    if !overlap(pattern, subnet) {
        return Applies::Never;
    }
    *names_it = true;
    if pattern.prefix() <= subnet.prefix() { Applies::Always } else { Applies::Partly }
}

/// The words of a listed rule; what is quoted is one.
pub(super) fn words(rule: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = rule.trim();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word);
        rest = after.trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn out(listing: &str) -> Option<&str> {
        Rules::parse(listing).dropped_by(Packet {
            from: Some("lab0"),
            to: None,
            state: "NEW",
            source: Some("10.1.0.0/24".parse().unwrap()),
            destination: None,
        })
    }

    #[test]
    fn a_policy_drops_what_no_rule_accepts() {
        assert_eq!(out(""), None);
        assert_eq!(out("-P FORWARD ACCEPT"), None);
        let policy = "-P FORWARD DROP";
        for rules in [
            "",
            "-A FORWARD -i docker0 -j ACCEPT",
            "-A FORWARD ! -i lab0 -j ACCEPT",
            "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A FORWARD -p tcp -j ACCEPT",
            "-A FORWARD -s 192.0.2.0/24 -j ACCEPT",
            "-N mine\n-A FORWARD -j mine\n-A mine -i lab0 -j RETURN\n-A mine -j ACCEPT",
            "-A FORWARD -j a\n-A a -j a",
        ] {
            let listing = format!("{policy}\n{rules}");
            assert_eq!(out(&listing), Some(policy), "{rules}");
        }
        for rules in [
            "-A FORWARD -j ACCEPT",
            "-A FORWARD -i lab0 -j ACCEPT",
            "-A FORWARD -i lab+ -j ACCEPT",
            "-A FORWARD ! -i eth0 -j ACCEPT",
            "-A FORWARD -s 10.0.0.0/8 -m comment --comment \"-j DROP\" -j ACCEPT",
            "-A FORWARD -i lab0 ! -o lab0 -p tcp -j ACCEPT",
            "-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -i lab0 -j ACCEPT",
        ] {
            assert_eq!(out(&format!("{policy}\n{rules}")), None, "{rules}");
        }
    }

    #[test]
    fn the_rule_that_drops_everything_is_named() {
        let reject = "-A FORWARD -j REJECT --reject-with icmp-port-unreachable";
        assert_eq!(out(&format!("-A FORWARD -i lo -j ACCEPT\n{reject}")), Some(reject));
        assert_eq!(out(&format!("-A FORWARD -i lab0 -j ACCEPT\n{reject}")), None);
        assert_eq!(out("-A FORWARD -p udp -j DROP"), None);
        let inside = "-A mine -j DROP";
        assert_eq!(out(&format!("-A FORWARD -j mine\n{inside}")), Some(inside));
        assert_eq!(out(&format!("-A FORWARD -p tcp -j mine\n{inside}")), None);
    }
}
