//! The state of connection tracking for a packet: whether its connection is new, and how the
//! connection's first packet was translated, which is reversed for replies.

use std::net::IpAddr;

use super::{Direction, Packet};

/// The conntrack zones of the two directions of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zones {
    /// The zone of the original direction.
    pub original: u16,
    /// The zone of the reply direction.
    pub reply: u16,
}

/// The source and destination of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    source_port: Option<u16>,
    port: Option<u16>,
}

/// A tracked connection of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    zones: Zones,
    original: Tuple,
    reply: Tuple,
    mark: u32,
}

/// The conntrack state of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tracking {
    /// The packet has not reached connection tracking.
    #[default]
    Unseen,
    /// Untracked: by a rule, or because packets of its kind never are.
    Untracked,
    /// Nothing is known about it.
    Unknown,
    /// Invalid: it belongs to no connection, and cannot begin one.
    Invalid,
    /// New: it begins a connection, with this original tuple.
    New(Tuple),
    /// It belongs to a tracked connection, in this direction.
    Of(Connection, Direction),
}

impl Zones {
    /// Returns the zones with another one for one direction or both.
    pub(super) fn with(self, zone: u16, direction: Option<Direction>) -> Self {
        match direction {
            Some(Direction::Original) => Self { original: zone, ..self },
            Some(Direction::Reply) => Self { reply: zone, ..self },
            None => Self { original: zone, reply: zone },
        }
    }
}

impl Tuple {
    fn of(packet: &Packet) -> Self {
        let Packet { source, destination, protocol, source_port, port, .. } = *packet;
        Self { source, destination, protocol, source_port, port }
    }

    fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            protocol: self.protocol,
            source_port: self.port,
            port: self.source_port,
        }
    }
}

impl Tracking {
    /// That of a packet that begins a connection.
    pub(super) fn begun(packet: &Packet) -> Self {
        Self::New(Tuple::of(packet))
    }

    /// That of a packet that answers.
    pub(super) fn answer(packet: &Packet) -> Self {
        let reply = Tuple::of(packet);
        let original = reply.reversed();
        let connection = Connection { zones: Zones::default(), original, reply, mark: 0 };
        Self::Of(connection, Direction::Reply)
    }

    /// Returns the state when the packet enters connection tracking (`nf_conntrack_in`). A packet
    /// that was tracked at output is not looked up again.
    pub(super) fn seen(packet: &Packet, connections: &[Connection]) -> Self {
        if packet.tracking != Self::Unseen {
            return packet.tracking.clone();
        }
        // Neighbour discovery is never tracked (`nf_conntrack_icmpv6_error`).
        if packet.kind.is_of_neighbours() {
            return Self::Untracked;
        }
        let (tuple, zone) = (Tuple::of(packet), packet.zones);
        for connection in connections {
            if connection.reply == tuple && connection.zones.reply == zone.reply {
                return Self::Of(connection.clone(), Direction::Reply);
            }
            if connection.original == tuple && connection.zones.original == zone.original {
                return Self::Of(connection.clone(), Direction::Original);
            }
        }
        // A reply without a connection: for TCP and ICMP it is invalid, for UDP it begins a
        // connection.
        if packet.kind.is_answer() && packet.protocol != super::packet::UDP {
            return Self::Invalid;
        }
        Self::New(tuple)
    }
}

impl Connection {
    /// Returns the connection of a packet that has passed all rules (`nf_conntrack_confirm`).
    pub fn confirmed(packet: &Packet) -> Option<Self> {
        let Tracking::New(original) = packet.tracking else { return None };
        let reply = Tuple::of(packet).reversed();
        Some(Self { zones: packet.zones, original, reply, mark: packet.connection_mark })
    }

    /// Returns its mark.
    pub(super) fn mark(&self) -> u32 {
        self.mark
    }

    /// Returns whether its source was translated.
    pub(super) fn translates_source(&self) -> bool {
        let before = (self.original.source, self.original.source_port);
        before != (self.reply.destination, self.reply.port)
    }

    /// Returns whether its destination was translated.
    pub(super) fn translates_destination(&self) -> bool {
        let before = (self.original.destination, self.original.port);
        before != (self.reply.source, self.reply.source_port)
    }

    /// Translates the destination of a later packet as that of the first.
    pub(super) fn translate_destination(&self, direction: Direction, packet: &mut Packet) {
        let to = self.wanted(direction);
        (packet.destination, packet.port) = (to.destination, to.port);
    }

    /// Translates the source of a later packet as that of the first.
    pub(super) fn translate_source(&self, direction: Direction, packet: &mut Packet) {
        let to = self.wanted(direction);
        (packet.source, packet.source_port) = (to.source, to.source_port);
    }

    /// Returns the tuple of its packets after translation: that of the other direction, reversed.
    fn wanted(&self, direction: Direction) -> Tuple {
        match direction {
            Direction::Original => self.reply.reversed(),
            Direction::Reply => self.original.reversed(),
        }
    }
}

impl Packet {
    /// Returns whether its destination was translated since the connection began.
    pub(super) fn is_destination_translated(&self) -> bool {
        match &self.tracking {
            Tracking::New(first) => {
                (first.destination, first.port) != (self.destination, self.port)
            }
            Tracking::Of(connection, _) => connection.translates_destination(),
            Tracking::Unseen | Tracking::Untracked | Tracking::Unknown | Tracking::Invalid => false,
        }
    }

    /// Returns whether its source was translated since the connection began.
    pub(super) fn is_source_translated(&self) -> bool {
        match &self.tracking {
            Tracking::New(first) => {
                (first.source, first.source_port) != (self.source, self.source_port)
            }
            Tracking::Of(connection, _) => connection.translates_source(),
            Tracking::Unseen | Tracking::Untracked | Tracking::Unknown | Tracking::Invalid => false,
        }
    }
}
