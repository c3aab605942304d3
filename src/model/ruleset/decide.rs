//! Evaluates one chain for packets of which only some properties are known.

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use super::{
    Chain, Kind, Met, Packet, Ruleset, Side, Surroundings, Tracking,
    walk::{Flow, Walk},
};
use crate::model;

/// The properties of forwarded packets; `None` is unknown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passing<'a> {
    /// The incoming link.
    pub incoming: Option<&'a str>,
    /// The outgoing link.
    pub outgoing: Option<&'a str>,
    /// Whether they begin connections, or are replies.
    pub kind: Option<Kind>,
    /// The subnet of their source.
    pub source: Option<IpNetwork>,
    /// The subnet of their destination.
    pub destination: Option<IpNetwork>,
}

/// The decision of a chain, with those that it jumps to, on such packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it drops them, as far as is known.
    pub drops: bool,
    /// The rule that accepts or drops them; `None`: the policy, or the calling chain.
    pub by: Option<Met>,
    /// The number, from 1, of the chain's own rule after which no other is evaluated.
    pub number: Option<u32>,
    /// Whether it drops them, except for some that a rule for their link or addresses accepts.
    pub is_thought_of: bool,
}

impl Ruleset {
    /// Returns the decision of a chain on such packets.
    pub fn decide(&self, chain: &Chain, family: model::Family, passing: &Passing<'_>) -> Decision {
        let mut packet = passing.packet(family);
        let side = |name: &str| Side { name: name.to_owned(), index: 0 };
        let around = Surroundings {
            incoming: passing.incoming.map(side),
            outgoing: passing.outgoing.map(side),
            is_partial: true,
            local: &[],
            own: None,
            settled: false,
            bridge: None,
            connections: &[],
            reverse: None,
        };
        let walk = Walk::new(self, &around);
        // If nothing is known about the packets, no rule names them.
        let mut walk = if passing.is_known() { walk } else { walk.without_doubts() };
        let flow = walk.run(vec![(chain, 0)], &mut packet);
        let policy = chain.base.as_ref().is_some_and(|base| base.drops);
        let drops = flow.drops(policy);
        Decision {
            drops,
            number: walk.number,
            is_thought_of: drops && walk.is_thought_of(policy),
            by: walk.last().filter(|_| !matches!(flow, Flow::Ends | Flow::Diverted)),
        }
    }
}

impl Passing<'_> {
    fn is_known(&self) -> bool {
        let Self { incoming, outgoing, kind, source, destination } = self;
        incoming.is_some()
            || outgoing.is_some()
            || kind.is_some()
            || source.is_some()
            || destination.is_some()
    }

    fn packet(&self, family: model::Family) -> Packet {
        let any = match family {
            model::Family::V4 => Ipv4Network::new([0; 4].into(), 0).map(IpNetwork::V4),
            model::Family::V6 => Ipv6Network::new([0; 16].into(), 0).map(IpNetwork::V6),
        };
        let any = any.ok();
        let (source, destination) = (self.source.or(any), self.destination.or(any));
        let ip = |network: Option<IpNetwork>| {
            network.map_or_else(|| family.unspecified(), |network| network.ip())
        };
        let packet = Packet {
            source_in: source,
            destination_in: destination,
            ..Packet::first(ip(source), ip(destination), 0, None)
        };
        let tracking = match self.kind {
            None => Tracking::Unknown,
            Some(Kind::Answer) => Tracking::answer(&packet),
            Some(_) => Tracking::begun(&packet),
        };
        Packet { kind: self.kind.unwrap_or(Kind::First), tracking, ..packet }
    }
}
