//! The path of a packet, hop by hop, and its end.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Invalid, Protocol, Target, ruleset::Met};

/// One end of a way, as typed: a target, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TraceEnd {
    /// The owner of an address.
    Address(IpAddr),
    /// A target: something with a network namespace.
    Target(Target),
}

/// Where to, as typed: `TO[:PORT[/PROTO]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceTarget {
    /// To whom.
    pub party: TraceEnd,
    /// To which port; `None`: an ICMP echo.
    pub port: Option<(u16, Protocol)>,
}

/// What happens to a packet at one point of its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// In whose namespace.
    pub place: String,
    /// What kind of point.
    pub stage: Stage,
    /// What happens there, in words.
    pub what: String,
    /// The rules that it meets there.
    pub rules: Vec<Met>,
}

/// A point of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Which link, and which gateway.
    Route,
    /// What looks at all that a link receives: rules, filters of `tc`, XDP.
    Ingress,
    /// What looks at all that a link sends.
    Egress,
    /// The rules for what a socket sends.
    Output,
    /// The rules for what goes out.
    Postrouting,
    /// Whose MAC it is sent to.
    Neighbour,
    /// From link to link.
    Link,
    /// By which port of a bridge.
    Bridge,
    /// The rules for what comes in.
    Prerouting,
    /// The rules for what is passed on.
    Forward,
    /// The rules for what is for a socket.
    Input,
    /// The socket.
    Socket,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// How it ends.
    pub outcome: Outcome,
    /// In whose namespace.
    pub place: String,
    /// At which point.
    pub stage: Stage,
    /// The rule that decided it.
    pub rule: Option<Met>,
    /// All of it in words.
    pub text: String,
}

/// How a way ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Somebody takes it.
    Arrives,
    /// It leaves the machine, or what can be seen of it.
    Leaves,
    /// It is there, and nobody listens.
    Refused,
    /// It is gone, or what answers it is.
    Dies,
    /// It passes something that was not judged, or a rule may drop it.
    Unknown,
}

/// Something on the way of which is not said what it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unjudged {
    /// In whose namespace.
    pub place: String,
    /// At which point.
    pub stage: Stage,
    /// What it is.
    pub what: String,
}

/// A whole way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    /// In their order.
    pub hops: Vec<Hop>,
    /// Those of what answers it.
    pub answer: Vec<Hop>,
    /// What was not judged, there or back.
    pub unjudged: Vec<Unjudged>,
    /// What becomes of it.
    pub verdict: Verdict,
}

impl Way {
    /// The rules of which it is not known whether they are for the packet.
    pub fn doubts(&self) -> impl Iterator<Item = (&Hop, &Met)> {
        self.hops
            .iter()
            .chain(&self.answer)
            .flat_map(|hop| hop.rules.iter().map(move |met| (hop, met)))
            .filter(|(_, met)| !met.certain)
    }
}

impl Outcome {
    /// Whether the packet gets as far as can be told.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Arrives | Self::Leaves)
    }

    /// The exit code that tells it: 0 is yes, 1 is no, 9 is "cannot say".
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
    /// As people know it: iptables' names for rules, small words for the rest.
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
        // What is whole as it is: an IPv6 address, and `pid:80`, `docker:80`.
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
