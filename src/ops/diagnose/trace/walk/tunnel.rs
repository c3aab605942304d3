//! Follows frames into VXLAN tunnels (RFC 7348), and packets into those of netcord's relay (flannel's UDP
//! backend); and out of them on another host.

use std::net::IpAddr;

use anyhow::Result;

use super::{At, Walk};
use crate::{
    kernel::{Link, LinkKind},
    model::{
        ruleset::{Frame, Packet},
        trace_path::Stage,
    },
    plan::Mark,
};

/// The protocol number of UDP.
const UDP: u8 = 17;

/// A packet that travels in another one.
pub(super) struct Inner {
    packet: Packet,
    tunnel: Tunnel,
    /// The state that belongs to the packet, and not to the one that carries it.
    sender_is_set: bool,
    answers: Option<Packet>,
}

/// What the receiver of the outer packet needs to know of the inner one.
#[derive(Clone, Copy)]
enum Tunnel {
    /// A frame, in the VXLAN segment with this identifier.
    Vxlan(u32),
    /// An IPv4 packet.
    Udp,
}

impl Tunnel {
    /// Returns whether a link is the end of this tunnel for packets to an address and a port.
    fn ends_at(self, link: &Link, to: IpAddr, port: Option<u16>) -> bool {
        match self {
            Self::Vxlan(vni) => link.vxlan.as_ref().is_some_and(|attrs| {
                attrs.vni == vni
                    && Some(attrs.port) == port
                    && attrs.host.is_none_or(|host| host == to)
            }),
            Self::Udp => Tun::of(link).is_some_and(|tun| (tun.host, Some(tun.port)) == (to, port)),
        }
    }
}

/// A TUN link of netcord, whose packets its relay carries.
pub(super) struct Tun {
    host: IpAddr,
    port: u16,
}

impl Tun {
    /// Reads the link's mark.
    pub(super) fn of(link: &Link) -> Option<Self> {
        if link.kind != LinkKind::Tun {
            return None;
        }
        let mark = link.alias.as_deref().and_then(Mark::read)?;
        Some(Self { host: mark.value("host")?, port: mark.value("port")? })
    }
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
        if self.asks && link.vxlan.as_ref().is_some_and(|attrs| attrs.answers) {
            return self.answered_by(place, link).await;
        }
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
        let is_set = attrs.host.is_some();
        Ok(self.wrap(
            place,
            Tunnel::Vxlan(vni),
            Packet::first(source, host, UDP, Some(port)),
            is_set,
        ))
    }

    /// A VXLAN link answers a request for a MAC from its neighbour entries (`arp_reduce`, `neigh_reduce`),
    /// and lets no request pass.
    async fn answered_by(&mut self, place: usize, link: &Link) -> Result<At> {
        let (name, next) = (&link.name, self.next);
        let known = self.world.places[place].mac_of(link, next).await?;
        if let Some((mac, "permanent" | "reachable")) = known {
            return Ok(At::Answered { mac });
        }
        let why = format!(
            "{name} knows no endpoint of another host with {next}, and lets no request pass"
        );
        Ok(self.dies(place, Stage::Neighbour, why))
    }

    /// A TUN link gives a packet to the relay, which sends it to the host that the route names.
    pub(super) fn relay(&mut self, place: usize, link: &Link) -> At {
        let (name, host) = (&link.name, self.next);
        let Some(tun) = Tun::of(link) else {
            return self.leaves(place, link.index(), format!("by {name} for {host}"));
        };
        if !link.carrier {
            return self.dies(place, Stage::Link, no_relay(name));
        }
        let port = tun.port;
        let text = format!("{name}: the relay sends it in a UDP packet to {host}, port {port}");
        self.hop(place, Stage::Link, text);
        self.wrap(place, Tunnel::Udp, Packet::first(tun.host, host, UDP, Some(port)), true)
    }

    /// From here on, the packet travels in another one.
    fn wrap(&mut self, place: usize, tunnel: Tunnel, outer: Packet, sender_is_set: bool) -> At {
        self.inner = Some(Box::new(Inner {
            packet: std::mem::replace(&mut self.packet, outer),
            tunnel,
            sender_is_set: std::mem::replace(&mut self.sender_is_set, sender_is_set),
            answers: self.answers.take(),
        }));
        At::Sent { place }
    }

    /// A UDP packet that carries another packet has arrived at a host.
    pub(super) fn decapsulate(&mut self, place: usize, inner: Inner) -> At {
        let (to, port) = (self.packet.destination, self.packet.port);
        let tunnel = inner.tunnel;
        let links = &self.world.places[place].view.links;
        let found = links.iter().find(|link| tunnel.ends_at(link, to, port));
        let found = found.map(|link| (link.index(), link.name.clone(), link.carrier));
        self.packet = inner.packet;
        self.packet.forget();
        (self.sender_is_set, self.answers) = (inner.sender_is_set, inner.answers);
        let who = self.name(place);
        let (link, name) = match (tunnel, found) {
            (Tunnel::Vxlan(vni), None) => {
                let why =
                    format!("{who} has no VXLAN link with VNI {vni} for this port and address");
                return self.dies(place, Stage::Socket, why);
            }
            (Tunnel::Udp, None) => {
                let why = format!("{who} has no TUN link of netcord for this port and address");
                return self.dies(place, Stage::Socket, why);
            }
            (Tunnel::Udp, Some((_, name, false))) => {
                return self.dies(place, Stage::Socket, no_relay(&name));
            }
            (_, Some((link, name, _))) => (link, name),
        };
        self.next = self.packet.destination;
        let text = match tunnel {
            Tunnel::Vxlan(vni) => format!("{name} takes the frame out of it (VNI {vni})"),
            Tunnel::Udp => format!("the relay takes the packet out of it, and writes it to {name}"),
        };
        self.hop(place, Stage::Link, text);
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

/// Why a packet does not get beyond a TUN link.
fn no_relay(name: &str) -> String {
    format!("no process has {name} open: the network's relay does not run")
}
