//! Parses the output of `iptables -S` into rules that can be evaluated. The rules of
//! iptables-legacy cannot be read in another way.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;

use super::{
    Base, Chain, Comparison, Decision, Expression, Family, Field, Hook, Passing, Rule, Ruleset,
    Table, Verdict, xtables,
};
use crate::model;

/// The listed rules of a table.
#[derive(Debug)]
pub struct Listing<'a> {
    family: model::Family,
    /// The line of FORWARD's policy.
    policy: Option<&'a str>,
    lines: BTreeMap<&'a str, Vec<&'a str>>,
    ruleset: Ruleset,
}

impl<'a> Listing<'a> {
    /// Parses the output of `iptables -S`.
    pub fn parse(family: model::Family, text: &'a str) -> Self {
        let mut lines = BTreeMap::<_, Vec<_>>::new();
        lines.insert("FORWARD", Vec::new());
        let mut policy = None;
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            match (words.next(), words.next()) {
                (Some("-P"), Some("FORWARD")) => policy = Some(line),
                (Some("-N"), Some(chain)) => drop(lines.entry(chain).or_default()),
                (Some("-A"), Some(chain)) => lines.entry(chain).or_default().push(line),
                _ => {}
            }
        }
        let is_chain = |name: &str| lines.contains_key(name);
        let rules = |lines: &Vec<&str>| -> Vec<Rule> {
            let expressions = lines.iter().map(|line| expressions(line, &is_chain));
            (1..)
                .zip(expressions)
                .map(|(handle, expressions)| Rule { handle, expressions, comment: None })
                .collect()
        };
        let chain = |(name, lines): (&&str, &Vec<&str>)| Chain {
            table: table(family),
            name: (*name).to_owned(),
            age: (0, 0),
            base: (*name == "FORWARD").then(|| forward(policy)),
            rules: rules(lines),
        };
        let chains = lines.iter().map(chain).collect();
        Self { family, policy, lines, ruleset: Ruleset { chains, ..Ruleset::default() } }
    }

    /// Returns whether the policy of FORWARD is to drop.
    pub fn drops(&self) -> bool {
        self.forward().and_then(|chain| chain.base.as_ref()).is_some_and(|base| base.drops)
    }

    fn forward(&self) -> Option<&Chain> {
        self.ruleset.chain(&table(self.family), "FORWARD")
    }

    /// Returns whether there is a chain with this prefix.
    pub fn has_chain(&self, prefix: &str) -> bool {
        self.lines.keys().any(|chain| chain.starts_with(prefix))
    }

    /// Returns the rules of a chain, with their numbers.
    pub fn rules(&self, chain: &str) -> impl Iterator<Item = (u32, &'a str)> {
        (1..).zip(self.lines.get(chain).into_iter().flatten().copied())
    }

    /// Returns the number of the first rule of a chain that sends every packet to another chain.
    pub fn jump(&self, chain: &str, to: &str) -> Option<u32> {
        let rules =
            self.ruleset.chain(&table(self.family), chain).into_iter().flat_map(|c| &c.rules);
        let jumps = |rule: &Rule| match rule.expressions.as_slice() {
            [Expression::Decide(Verdict::Jump(name) | Verdict::Goto(name))] => name == to,
            _ => false,
        };
        (1..).zip(rules).find(|(_, rule)| jumps(rule)).map(|(number, _)| number)
    }

    /// Returns the decision of a chain on packets of which nothing is known.
    pub fn of_all(&self, chain: &str) -> Decision {
        let Some(chain) = self.ruleset.chain(&table(self.family), chain) else {
            return Decision::default();
        };
        self.ruleset.decide(chain, self.family, &Passing::default())
    }

    /// Returns the rule, or the policy, that drops such forwarded packets. Returns nothing if a
    /// rule for their link or addresses accepts some of them: then the drop is intended.
    pub fn dropped_by(&self, passing: &Passing<'_>) -> Option<&'a str> {
        let decision = self.ruleset.decide(self.forward()?, self.family, passing);
        if !decision.drops || decision.is_thought_of {
            return None;
        }
        let Some(met) = decision.by else { return self.policy };
        let number = usize::try_from(met.handle?).ok()?;
        self.lines.get(met.chain.as_str())?.get(number.checked_sub(1)?).copied()
    }
}

fn forward(policy: Option<&str>) -> Base {
    Base {
        hook: Hook::Forward,
        devices: Vec::new(),
        priority: 0,
        translates: false,
        drops: policy.is_some_and(|policy| policy.ends_with(" DROP")),
    }
}

fn table(family: model::Family) -> Table {
    let family = match family {
        model::Family::V4 => Family::Ip,
        model::Family::V6 => Family::Ip6,
    };
    Table { family, name: "filter".to_owned() }
}

/// Returns the expressions of a listed rule, `-A CHAIN ...`. An unknown match may match, or not.
fn expressions(line: &str, is_chain: &dyn Fn(&str) -> bool) -> Vec<Expression> {
    let mut found = Vec::new();
    let mut words = words(line).into_iter().skip(2);
    let mut not = false;
    while let Some(word) = words.next() {
        if word == "!" {
            not = true;
            continue;
        }
        match word {
            "-j" | "-g" => {
                found.extend(words.next().map(|target| effect(word, target, is_chain)));
                break;
            }
            "-i" => found.extend(link(Field::InName, words.next().unwrap_or_default(), not)),
            "-o" => found.extend(link(Field::OutName, words.next().unwrap_or_default(), not)),
            "-s" | "-d" => found.push(address(word == "-s", words.next().unwrap_or_default(), not)),
            "--ctstate" | "--state" => {
                found.push(xtables::by_states(words.next().unwrap_or_default(), not));
            }
            // These add nothing, or the next word does.
            "-m" => found.extend(
                words
                    .next()
                    .filter(|name| !matches!(*name, "comment" | "conntrack" | "state"))
                    .map(|name| Expression::Unknown(name.to_owned())),
            ),
            "--comment" => drop(words.next()),
            _ => found.push(Expression::Unknown(word.to_owned())),
        }
        not = false;
    }
    found
}

fn effect(how: &str, target: &str, is_chain: &dyn Fn(&str) -> bool) -> Expression {
    Expression::Decide(match target {
        "ACCEPT" => Verdict::Accept,
        "DROP" => Verdict::Drop,
        "REJECT" => Verdict::Reject,
        "RETURN" => Verdict::Return,
        "NFQUEUE" | "QUEUE" => return Expression::Diverts(target.to_owned()),
        chain if is_chain(chain) && how == "-g" => Verdict::Goto(chain.to_owned()),
        chain if is_chain(chain) => Verdict::Jump(chain.to_owned()),
        _ => return Expression::Aside(target.to_owned()),
    })
}

/// A name that ends in `+` is a prefix.
fn link(field: Field, pattern: &str, not: bool) -> [Expression; 2] {
    let mut name = pattern.trim_end_matches('+').as_bytes().to_vec();
    if !pattern.ends_with('+') {
        name.resize(16, 0);
    }
    let how = if not { Comparison::NotEqual } else { Comparison::Equal };
    [Expression::Load(field, 16), Expression::Compare(16, how, name)]
}

fn address(source: bool, network: &str, not: bool) -> Expression {
    match network.parse::<IpNetwork>() {
        Ok(network) => Expression::Within { source, network, not },
        Err(_) => Expression::Unknown(network.to_owned()),
    }
}

/// Returns the words of a listed rule; a quoted text is one word.
pub fn words(rule: &str) -> Vec<&str> {
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
    use crate::model::ruleset::Kind;

    #[track_caller]
    fn out(listing: &str) -> Option<&str> {
        Listing::parse(model::Family::V4, listing).dropped_by(&Passing {
            incoming: Some("lab0"),
            kind: Some(Kind::First),
            source: Some("10.1.0.0/24".parse().unwrap()),
            ..Passing::default()
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
            "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT",
            "-A FORWARD -p tcp -j ACCEPT",
            "-A FORWARD -m socket -j ACCEPT",
            "-A FORWARD -i lab0 -p tcp -j DROP",
            "-A FORWARD -s 192.0.2.0/24 -j ACCEPT",
            "-A FORWARD -j LOG --log-prefix x",
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
            "-A FORWARD -m state ! --state INVALID -j ACCEPT",
            "-A FORWARD -s 10.0.0.0/8 -m comment --comment \"-j DROP\" -j ACCEPT",
            "-A FORWARD -s 10.1.0.0/20 -j ACCEPT",
            "-A FORWARD -i lab0 ! -o lab0 -p tcp -j ACCEPT",
            "-A FORWARD -s 10.1.0.64/26 -j ACCEPT",
            "-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -i lab0 -j ACCEPT",
            "-A FORWARD -p tcp -j mine\n-A mine -i lab0 -j ACCEPT",
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

    // Cases in which the three former interpreters disagreed.

    #[test]
    fn a_jump_for_some_accepts_no_more_than_a_rule_for_some() {
        let policy = "-P FORWARD DROP";
        let listing = format!("{policy}\n-A FORWARD -p tcp -j mine\n-A mine -j ACCEPT");
        assert_eq!(out(&listing), Some(policy));
    }

    #[test]
    fn what_goes_to_another_chain_does_not_come_back() {
        let policy = "-P FORWARD DROP";
        let rules = "-A FORWARD -g mine\n-A FORWARD -j ACCEPT\n-N mine\n-A mine -i eth0 -j ACCEPT";
        let listing = format!("{policy}\n{rules}");
        assert_eq!(out(&listing), Some(policy));
        let listing = Listing::parse(model::Family::V4, &listing);
        assert_eq!(listing.of_all("FORWARD").number, Some(1));
    }

    #[test]
    fn a_return_for_some_that_names_the_link_is_somebody_s_thought() {
        let rules = "-A FORWARD -j mine\n-A mine -i lab0 -p tcp -j RETURN\n-A mine -j DROP";
        assert_eq!(out(rules), None);
        let others = rules.replace("lab0", "eth0");
        assert_eq!(out(&others), Some("-A mine -j DROP"));
    }

    #[test]
    fn a_rule_that_returns_from_the_first_chain_leaves_it_to_the_policy() {
        let rules = "-A FORWARD -j RETURN\n-A FORWARD -i lab0 -j ACCEPT";
        assert_eq!(out(&format!("-P FORWARD DROP\n{rules}")), Some("-P FORWARD DROP"));
        let decision = Listing::parse(model::Family::V4, rules).of_all("FORWARD");
        assert_eq!((decision.by, decision.number), (None, Some(1)));
    }

    #[test]
    fn of_what_is_not_known_nothing_is_negated() {
        for rule in ["! -i eth0", "! -s 192.0.2.0/24", "-m conntrack ! --ctstate DNAT", "-p tcp"] {
            let listing = format!("-A FORWARD {rule} -j DROP");
            let decision = Listing::parse(model::Family::V4, &listing).of_all("FORWARD");
            assert!(!decision.drops, "{rule}");
        }
    }
}
