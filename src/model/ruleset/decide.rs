//! What one chain does with packets of a kind, of which only a part is known.

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use super::{
    Chain, Kind, Met, Packet, Ruleset, Side, Surroundings, Tracking,
    walk::{Flow, Walk},
};
use crate::model;

/// A kind of packets that the host passes on; what is `None` is not known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passing<'a> {
    /// The link that they come in by.
    pub incoming: Option<&'a str>,
    /// The link that they go out by.
    pub outgoing: Option<&'a str>,
    /// Whether they begin flows, or answer.
    pub kind: Option<Kind>,
    /// In which subnet they begin.
    pub source: Option<IpNetwork>,
    /// In which subnet they end.
    pub destination: Option<IpNetwork>,
}

/// What a chain, with those that it leads to, does with packets of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// It drops them, as far as is known.
    pub drops: bool,
    /// The rule that accepts or drops them; `None`: the policy, or whoever led them here.
    pub by: Option<Met>,
    /// The number, from 1, of the chain's own rule behind which no other is met.
    pub number: Option<u32>,
    /// It drops them, but for some that a rule lets by which names their link or their addresses.
    pub is_thought_of: bool,
}

impl Ruleset {
    /// What a chain does with packets of a kind.
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
        // Where nothing is known of packets, no rule names them.
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
