//! The path of a packet, hop by hop, and its end.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Invalid, Protocol, Target, ruleset::Met};

/// An end of a path as typed: a target, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TraceEnd {
    /// The owner of an address.
    Address(IpAddr),
    /// A target: something with a network namespace.
    Target(Target),
}

/// The destination as typed: `TO[:PORT[/PROTO]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceTarget {
    /// The receiver.
    pub party: TraceEnd,
    /// The port; `None`: an ICMP echo request.
    pub port: Option<(u16, Protocol)>,
}

/// What happens to a packet at one stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// The host or target whose namespace it is in.
    pub place: String,
    /// The stage.
    pub stage: Stage,
    /// A description of what happens.
    pub what: String,
    /// The rules that match here, or may match.
    pub rules: Vec<Met>,
}

/// A stage of a packet's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The routing decision: link and gateway.
    Route,
    /// Filters on what a link receives: rules, `tc`, XDP.
    Ingress,
    /// Filters on what a link sends: rules, `tc`.
    Egress,
    /// The rules at the hook output.
    Output,
    /// The rules at the hook postrouting.
    Postrouting,
    /// The neighbour entry: the destination MAC.
    Neighbour,
    /// From a link to the other end of a veth pair, or to a link on top.
    Link,
    /// The port of a bridge by which the frame leaves.
    Bridge,
    /// The rules at the hook prerouting.
    Prerouting,
    /// The rules at the hook forward.
    Forward,
    /// The rules at the hook input.
    Input,
    /// The socket.
    Socket,
}

/// The result of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// How the path ends.
    pub outcome: Outcome,
    /// The host or target where it ends.
    pub place: String,
    /// The stage at which it ends.
    pub stage: Stage,
    /// The rule that decided.
    pub rule: Option<Met>,
    /// The result in words.
    pub text: String,
}

/// The end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// A socket, or the network stack, receives it.
    Arrives,
    /// It leaves this machine, or the part of it that we can see.
    Leaves,
    /// It is rejected, since no socket listens on the port.
    Refused,
    /// It, or its reply, is dropped.
    Dies,
    /// Unknown: it passes something that was not judged, or a rule may drop it.
    Unknown,
}

/// Something on the path whose effect is unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unjudged {
    /// The host or target whose namespace it is in.
    pub place: String,
    /// The stage.
    pub stage: Stage,
    /// A description.
    pub what: String,
}

/// A whole path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    /// The hops of the packet, in order.
    pub hops: Vec<Hop>,
    /// The hops of the reply.
    pub answer: Vec<Hop>,
    /// What was not judged, in either direction.
    pub unjudged: Vec<Unjudged>,
    /// The result.
    pub verdict: Verdict,
}

impl Way {
    /// Returns the rules that may match, but need not.
    pub fn doubts(&self) -> impl Iterator<Item = (&Hop, &Met)> {
        self.hops
            .iter()
            .chain(&self.answer)
            .flat_map(|hop| hop.rules.iter().map(move |met| (hop, met)))
            .filter(|(_, met)| !met.certain)
    }
}

impl Outcome {
    /// Returns whether the packet gets through, as far as can be told.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Arrives | Self::Leaves)
    }

    /// Returns the exit code: 0 for yes, 1 for no, 9 for unknown.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Arrives | Self::Leaves => 0,
            Self::Refused | Self::Dies => 1,
            Self::Unknown => 9,
        }
    }
}

impl fmt::Display for Unjudged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} of {}", self.what, self.stage, self.place)
    }
}

impl Stage {
    /// Returns its name for users: iptables' names for hooks, plain words for the rest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::Output => "OUTPUT",
            Self::Postrouting => "POSTROUTING",
            Self::Neighbour => "neighbour",
            Self::Link => "link",
            Self::Bridge => "bridge",
            Self::Prerouting => "PREROUTING",
            Self::Forward => "FORWARD",
            Self::Input => "INPUT",
            Self::Socket => "socket",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for TraceEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Target(target) => target.fmt(f),
        }
    }
}

impl fmt::Display for TraceTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.party, self.port) {
            (TraceEnd::Address(IpAddr::V6(v6)), Some((port, protocol))) => {
                write!(f, "[{v6}]:{port}/{protocol}")
            }
            (party, Some((port, protocol))) => write!(f, "{party}:{port}/{protocol}"),
            (party, None) => party.fmt(f),
        }
    }
}

impl FromStr for TraceEnd {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        match bare.parse() {
            Ok(address) => Ok(Self::Address(address)),
            Err(_) => text.parse().map(Self::Target),
        }
    }
}

impl FromStr for TraceTarget {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let alone = |text: &str| Ok(Self { party: text.parse()?, port: None });
        // Not an address with a port: an IPv6 address, and `pid:80`, `docker:80`.
        let schemes = ["pid:", "netns:", "docker:", "podman:", "path:"];
        let is_target = schemes
            .iter()
            .any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.contains(':')));
        if is_target || text.parse::<IpAddr>().is_ok() {
            return alone(text);
        }
        let Some((party, port)) = text.rsplit_once(':') else { return alone(text) };
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return alone(text);
        }
        match number.parse() {
            Ok(number @ 1..) => {
                Ok(Self { party: party.parse()?, port: Some((number, protocol.parse()?)) })
            }
            _ => Err(Invalid::new(format!("`{number}` is not a port: 1 to 65535"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_targets_or_addresses_with_or_without_a_port() {
        for (text, party, port) in [
            ("web", "web", None),
            ("web:80", "web", Some((80, Protocol::Tcp))),
            ("web:53/udp", "web", Some((53, Protocol::Udp))),
            ("docker:web:80", "docker:web", Some((80, Protocol::Tcp))),
            ("pid:80", "80", None),
            ("1310:80", "1310", Some((80, Protocol::Tcp))),
            ("/proc/1310/ns/net:80", "/proc/1310/ns/net", Some((80, Protocol::Tcp))),
            ("/proc/1310/ns/net", "/proc/1310/ns/net", None),
            ("10.0.0.1:80", "10.0.0.1", Some((80, Protocol::Tcp))),
            ("fd00::80", "fd00::80", None),
            ("[fd00::1]:80", "fd00::1", Some((80, Protocol::Tcp))),
        ] {
            let goal: TraceTarget = text.parse().unwrap();
            assert_eq!((goal.party.to_string().as_str(), goal.port), (party, port), "{text}");
        }
        for bad in ["", "web:0", "web:65536", "web:80/icmp", "a b", "web:"] {
            assert!(bad.parse::<TraceTarget>().is_err(), "{bad:?}");
        }
    }
}
