//! Follows frames into VXLAN tunnels (RFC 7348), and out of them on another host.

use anyhow::Result;

use super::{At, Walk};
use crate::{
    kernel::Link,
    model::{
        ruleset::{Frame, Packet},
        trace_path::Stage,
    },
};

/// The protocol number of UDP.
const UDP: u8 = 17;

/// A packet that travels in another one.
pub(super) struct Inner {
    packet: Packet,
    vni: u32,
    /// The state that belongs to the packet, and not to the one that carries it.
    sender_is_set: bool,
    answers: Option<Packet>,
}

impl Inner {
    /// Returns the reply to it, in a frame back.
    fn answered(self) -> Self {
        let Frame { source, destination } = self.packet.frame;
        let mut packet = self.packet.answer();
        packet.frame = Frame { source: destination, destination: source };
        Self { packet, ..self }
    }
}

impl Walk<'_> {
    /// A VXLAN link sends a frame: in a UDP packet to the host that its forwarding table has for the
    /// MAC.
    pub(super) async fn encapsulate(&mut self, place: usize, link: &Link) -> Result<At> {
        let name = &link.name;
        let mac = self.packet.frame.destination;
        let (Some(attrs), Some(mac), false) = (&link.vxlan, mac, self.asks) else {
            let why = format!("by {name} for {}", self.next);
            return Ok(self.leaves(place, link.index(), why));
        };
        let host = self.world.places[place].host_of(link, mac).await?;
        let Some(host) = host else {
            let why = format!("the forwarding table (FDB) of {name} has no host for {mac}");
            return Ok(self.dies(place, Stage::Link, why));
        };
        let (vni, port) = (attrs.vni, attrs.port);
        let text = format!("{name}: in a UDP packet to {host}, port {port} (VXLAN, VNI {vni})");
        self.hop(place, Stage::Link, text);
        let source = attrs.host.unwrap_or_else(|| super::super::unspecified(host));
        let outer = Packet::first(source, host, UDP, Some(port));
        self.inner = Some(Box::new(Inner {
            packet: std::mem::replace(&mut self.packet, outer),
            vni,
            sender_is_set: std::mem::replace(&mut self.sender_is_set, attrs.host.is_some()),
            answers: self.answers.take(),
        }));
        Ok(At::Sent { place })
    }

    /// A UDP packet that carries a frame has arrived at a host.
    pub(super) fn decapsulate(&mut self, place: usize, inner: Inner) -> At {
        let (to, port) = (self.packet.destination, self.packet.port);
        let is_its = |link: &&Link| {
            link.vxlan.as_ref().is_some_and(|attrs| {
                attrs.vni == inner.vni
                    && Some(attrs.port) == port
                    && attrs.host.is_none_or(|host| host == to)
            })
        };
        let found = self.world.places[place].view.links.iter().find(is_its);
        let found = found.map(|link| (link.index(), link.name.clone()));
        let vni = inner.vni;
        self.packet = inner.packet;
        self.packet.forget();
        (self.sender_is_set, self.answers) = (inner.sender_is_set, inner.answers);
        let Some((link, name)) = found else {
            let who = self.name(place);
            let why = format!("{who} has no VXLAN link with VNI {vni} for this port and address");
            return self.dies(place, Stage::Socket, why);
        };
        self.next = self.packet.destination;
        self.hop(place, Stage::Link, format!("{name} takes the frame out of it (VNI {vni})"));
        At::Came { place, link }
    }

    /// The host at the other end of the tunnel replies: by a packet that carries the reply.
    pub(super) fn answer_in_tunnel(&mut self, inner: Inner, outer: &Packet) {
        let mut inner = inner.answered();
        inner.answers = self.answers.take();
        inner.sender_is_set = true;
        self.packet = Packet::first(outer.destination, outer.source, UDP, outer.port);
        self.inner = Some(Box::new(inner));
    }
}
