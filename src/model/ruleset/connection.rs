//! What connection tracking knows of a packet: whether its flow is new, and what translation did to
//! the flow's first packet, which is undone for the answers.

use std::net::IpAddr;

use super::{Direction, Packet};

/// The zones that the two directions of a connection are looked for in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zones {
    /// That of its first packet.
    pub original: u16,
    /// That of the answers.
    pub reply: u16,
}

/// Between whom a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    source_port: Option<u16>,
    port: Option<u16>,
}

/// A connection that a namespace knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    zones: Zones,
    original: Tuple,
    reply: Tuple,
    mark: u32,
}

/// What connection tracking calls a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tracking {
    /// It has not come there yet.
    #[default]
    Unseen,
    /// A rule said that it is not tracked, or it is of a kind that never is.
    Untracked,
    /// Nothing is known about it.
    Unknown,
    /// It belongs to no connection, and may not begin one.
    Invalid,
    /// It begins a connection; who it was between at first.
    New(Tuple),
    /// It is of a connection that is known, in this direction.
    Of(Connection, Direction),
}

impl Zones {
    /// With another zone, of one direction or of both.
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

    /// The packet comes to connection tracking (`nf_conntrack_in`). What was seen as it was sent is
    /// not looked up again.
    pub(super) fn seen(packet: &Packet, connections: &[Connection]) -> Self {
        if packet.tracking != Self::Unseen {
            return packet.tracking.clone();
        }
        // Questions for a neighbour are never tracked (`nf_conntrack_icmpv6_error`).
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
        // An answer to nothing: of TCP and ICMP it is invalid, of UDP it is like a first packet.
        if packet.kind.is_answer() && packet.protocol != super::packet::UDP {
            return Self::Invalid;
        }
        Self::New(tuple)
    }
}

impl Connection {
    /// What is known of a packet's connection once it has passed all rules (`nf_conntrack_confirm`).
    pub fn confirmed(packet: &Packet) -> Option<Self> {
        let Tracking::New(original) = packet.tracking else { return None };
        let reply = Tuple::of(packet).reversed();
        Some(Self { zones: packet.zones, original, reply, mark: packet.connection_mark })
    }

    /// Its mark.
    pub(super) fn mark(&self) -> u32 {
        self.mark
    }

    /// Whether its source was translated.
    pub(super) fn translates_source(&self) -> bool {
        let before = (self.original.source, self.original.source_port);
        before != (self.reply.destination, self.reply.port)
    }

    /// Whether its destination was translated.
    pub(super) fn translates_destination(&self) -> bool {
        let before = (self.original.destination, self.original.port);
        before != (self.reply.source, self.reply.source_port)
    }

    /// Translates where a later packet of it goes to, as the first one was translated.
    pub(super) fn translate_destination(&self, direction: Direction, packet: &mut Packet) {
        let to = self.wanted(direction);
        (packet.destination, packet.port) = (to.destination, to.port);
    }

    /// The same of where it comes from.
    pub(super) fn translate_source(&self, direction: Direction, packet: &mut Packet) {
        let to = self.wanted(direction);
        (packet.source, packet.source_port) = (to.source, to.source_port);
    }

    /// How a packet of it is after translation: as the other direction, turned round.
    fn wanted(&self, direction: Direction) -> Tuple {
        match direction {
            Direction::Original => self.reply.reversed(),
            Direction::Reply => self.original.reversed(),
        }
    }
}

impl Packet {
    /// Whether its destination was translated since its flow began.
    pub(super) fn is_destination_translated(&self) -> bool {
        match &self.tracking {
            Tracking::New(first) => {
                (first.destination, first.port) != (self.destination, self.port)
            }
            Tracking::Of(connection, _) => connection.translates_destination(),
            Tracking::Unseen | Tracking::Untracked | Tracking::Unknown | Tracking::Invalid => false,
        }
    }

    /// Whether its source was translated since its flow began.
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
