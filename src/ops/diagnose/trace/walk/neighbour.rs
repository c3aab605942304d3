//! Finds the destination MAC of a packet: from the neighbour table, or by following a request and
//! its reply (ARP, RFC 826; neighbour discovery, RFC 4861).

use std::{collections::HashMap, net::IpAddr};

use anyhow::Result;

use super::{
    super::world::{HOST, LinkAt},
    At, Start, Walk,
};
use crate::{
    kernel::{
        Link,
        route::{Query, Way as Route},
    },
    model::{
        Mac,
        ruleset::{Frame, Hook, Layer, Packet, Point},
        trace_path::{Outcome, Stage},
    },
};

/// A question for a neighbour's MAC: who started the path, who asks by which link and address, and
/// whom.
pub(in crate::ops::diagnose::trace) type Question = (Start, usize, u32, IpAddr, IpAddr);

/// A neighbour that answered, for later packets of the same sender.
pub(in crate::ops::diagnose::trace) struct Neighbour {
    /// `None`: it is outside of this machine.
    mac: Option<Mac>,
    /// The ports by which bridges have learned MACs then.
    learned: HashMap<(LinkAt, Mac), u32>,
}

/// What a sender learns about a neighbour.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Known {
    Mac(Mac),
    /// The neighbour is outside of this machine.
    Outside,
    Nobody(At),
}

impl Walk<'_> {
    /// A link sends a packet to a neighbour.
    pub(super) async fn frame(&mut self, place: usize, index: u32, next: IpAddr) -> Result<At> {
        let Some(link) = self.link(place, index).cloned() else {
            return Ok(self.dies(place, Stage::Link, "the link is gone"));
        };
        let name = &link.name;
        if name == "lo" {
            return Ok(At::In { place, link: index, looped: true });
        }
        if !link.up {
            return Ok(self.dies(place, Stage::Link, format!("{name} is down")));
        }
        self.packet.frame = Frame::default();
        if self.answers.is_some()
            && self.inner.is_none()
            && self.start == Start::Link(index)
            && place == HOST
        {
            // The sender of the first packet is outside, behind this link.
            let end = self.leaving(place, &link).await?;
            let why = format!("by {name} for {next}, as the first packet came");
            return Ok(end.unwrap_or_else(|| self.leaves(place, index, why)));
        }
        if link.mac.is_some() {
            let known = self.world.places[place].mac_of(&link, next).await?;
            let how = known.map_or("", |(_, how)| how);
            self.sender = (place, how.to_owned());
            let mac = match known {
                Some((mac, _)) => {
                    self.hop(place, Stage::Neighbour, format!("{next} is {mac} on {name}"));
                    Some(mac)
                }
                None => match self.ask(place, &link, next).await? {
                    Known::Mac(mac) => Some(mac),
                    Known::Outside => None,
                    Known::Nobody(end) => return Ok(end),
                },
            };
            (self.packet.frame.source, self.packet.frame.destination) = (link.mac, mac);
        }
        self.next = next;
        self.carry(place, &link).await
    }

    /// Follows a request for a MAC, and the reply.
    async fn ask(&mut self, place: usize, link: &Link, next: IpAddr) -> Result<Known> {
        self.hop(place, Stage::Neighbour, format!("{next} is asked for on {}", link.name));
        if !link.asks {
            let why =
                format!("{} asks for no neighbour (NOARP), and knows none for {next}", link.name);
            return Ok(Known::Nobody(self.dies(place, Stage::Neighbour, why)));
        }
        let from = self.asker(place, link, next);
        let question = (self.start, place, link.index(), from, next);
        if let Some(known) = self.world.neighbours.get(&question) {
            self.learned.extend(known.learned.iter().map(|(at, port)| (*at, *port)));
            return Ok(known.mac.map_or(Known::Outside, Known::Mac));
        }
        let hops = self.hops.len();
        let (packet, end) = (self.packet.clone(), self.end);
        self.asks = true;
        self.packet = Packet::question(from, next);
        self.packet.frame.source = link.mac;
        self.next = next;
        let known = self.question(place, link, next).await?;
        (self.asks, self.packet, self.end) = (false, packet, end);
        // Of the request, only its end is shown, and none of the rules that match it.
        let mut asked = self.hops.split_off(hops);
        if let Known::Nobody(At::End(verdict)) = &known {
            if verdict.stage == Stage::Neighbour {
                asked.drain(..asked.len().saturating_sub(1));
            }
            self.hops.extend(asked.into_iter().filter(|hop| hop.rules.is_empty()));
        }
        let mac = match known {
            Known::Mac(mac) => Some(mac),
            Known::Outside => None,
            Known::Nobody(_) => return Ok(known),
        };
        self.neighbours.push((question, Neighbour { mac, learned: self.learned.clone() }));
        Ok(known)
    }

    /// Returns the source address of a request: the packet's own, or one of the link.
    fn asker(&self, place: usize, link: &Link, next: IpAddr) -> IpAddr {
        let here = &self.world.places[place];
        let source = self.packet.source;
        if here.local.contains(&source) && source.is_ipv4() {
            return source;
        }
        let own = || here.addresses_of(link.index()).filter(|a| a.is_ipv4() == next.is_ipv4());
        if own().any(|a| a.ip() == source) {
            return source;
        }
        let near = own().find(|address| address.contains(next));
        near.or_else(|| own().next()).map_or(source, |address| address.ip())
    }

    async fn question(&mut self, place: usize, link: &Link, next: IpAddr) -> Result<Known> {
        if let Some(end) = self.neighbour_sends(place, link.index()).await? {
            return Ok(Known::Nobody(end));
        }
        let at = self.carry(place, link).await?;
        let (there, by) = match Self::arrived(at) {
            Ok(at) => at,
            Err(known) => return Ok(*known),
        };
        if let Some(end) = self.neighbour_receives(there, by).await? {
            return Ok(Known::Nobody(end));
        }
        if let Some(why) = self.is_silent(there, by, next).await? {
            let colon = if why.is_empty() { "" } else { ": " };
            let why = format!("nobody answers for {next}{colon}{why}");
            return Ok(Known::Nobody(self.dies(place, Stage::Neighbour, why)));
        }
        let mac = self.link(there, by).and_then(|link| link.mac);
        let Some((mac, answering)) = mac.zip(self.link(there, by).cloned()) else {
            return Ok(Known::Outside);
        };
        self.packet = self.packet.advertisement(next, Some(mac));
        let asker = self.packet.destination;
        // The receiver learns from a solicitation, unless it has a permanent entry.
        let written = self.world.places[there].mac_of(&answering, asker).await?;
        let written = written.filter(|(_, how)| asker.is_ipv6() && *how == "permanent");
        let to = written.map(|(mac, _)| mac).or(link.mac);
        (self.packet.frame.source, self.packet.frame.destination) = (Some(mac), to);
        self.next = asker;
        self.sender = (there, "learned".to_owned());
        if let Some(end) = self.neighbour_sends(there, by).await? {
            return Ok(Known::Nobody(end));
        }
        let at = self.carry(there, &answering).await?;
        match Self::arrived(at) {
            Ok((back, by)) if back == place => {
                Ok(match self.neighbour_receives(back, by).await? {
                    Some(end) => Known::Nobody(end),
                    None => Known::Mac(mac),
                })
            }
            Ok((back, _)) => {
                let why = format!("the answer for {next} comes to {}", self.name(back));
                Ok(Known::Nobody(self.dies(place, Stage::Neighbour, why)))
            }
            Err(known) => Ok(*known),
        }
    }

    /// Returns where a frame arrived; otherwise what that means to the sender of the request.
    fn arrived(at: At) -> std::result::Result<(usize, u32), Box<Known>> {
        match at {
            At::In { place, link, .. } => Ok((place, link)),
            At::Answered { mac } => Err(Box::new(Known::Mac(mac))),
            At::End(verdict) if verdict.outcome == Outcome::Leaves => Err(Box::new(Known::Outside)),
            other => Err(Box::new(Known::Nobody(other))),
        }
    }

    async fn neighbour_sends(&mut self, place: usize, link: u32) -> Result<Option<At>> {
        if self.packet.is_arp() {
            let point = Point { layer: Layer::Arp, hook: Hook::Output };
            return self.rules(place, point, None, Some(link)).await;
        }
        let output = self.rules(place, Point::ip(Hook::Output), None, Some(link)).await?;
        match output {
            Some(end) => Ok(Some(end)),
            None => self.rules(place, Point::ip(Hook::Postrouting), None, Some(link)).await,
        }
    }

    async fn neighbour_receives(&mut self, place: usize, link: u32) -> Result<Option<At>> {
        if self.packet.is_arp() {
            let asks = self.link(place, link).is_none_or(|link| link.asks);
            if !asks {
                let why = format!("{} hears no ARP (NOARP)", self.link_name(place, link));
                return Ok(Some(self.dies(place, Stage::Neighbour, why)));
            }
            let point = Point { layer: Layer::Arp, hook: Hook::Input };
            return self.rules(place, point, Some(link), None).await;
        }
        match self.prerouting(place, link, false).await? {
            Some(end) => Ok(Some(end)),
            None => self.rules(place, Point::ip(Hook::Input), Some(link), None).await,
        }
    }

    /// Returns why a request is not answered where it arrived, if it is not; empty: nobody there
    /// has the address.
    async fn is_silent(&self, place: usize, link: u32, next: IpAddr) -> Result<Option<String>> {
        let here = &self.world.places[place];
        let name = here.link_name(link);
        if next.is_ipv6() {
            let own = here.view.addresses.iter().find(|a| {
                a.address.ip() == next && here.view.at(link).is_some_and(|link| link.has(a))
            });
            return Ok(match own {
                Some(address) if address.usable => None,
                Some(_) => Some(format!("{next} is tentative on {name} of {}", here.name)),
                None if self.proxies(place, link, next).await? => None,
                None => Some(String::new()),
            });
        }
        let from = self.packet.source;
        let query = Query { to: next, from: Some(from), incoming: Some(link), mark: 0 };
        Ok(match here.way(query).await? {
            Route::Here { .. } => self.ignored(place, link, next).await?,
            Route::By { index, .. } => {
                let answers = index != link && self.proxies(place, link, next).await?;
                (!answers).then(String::new)
            }
            Route::None(_) => Some(format!("{} has no answer for {from} by {name}", here.name)),
        })
    }

    /// Returns whether a router answers on a link for another's address (`arp_process`,
    /// `ndisc_recv_ns`).
    async fn proxies(&self, place: usize, link: u32, next: IpAddr) -> Result<bool> {
        let here = &self.world.places[place];
        let name = here.link_name(link);
        let (family, key) =
            if next.is_ipv4() { ("ipv4", "proxy_arp") } else { ("ipv6", "proxy_ndp") };
        let forwards = here.sysctl(&format!("net/{family}/conf/{name}/forwarding"))?;
        if forwards.is_none_or(|value| value == "0") {
            return Ok(false);
        }
        let is_on = self.switch(place, family, name, key)?.is_some();
        // ARP answers for all addresses, or for those that were added; neighbour discovery only for
        // those, if it is on.
        match (next, is_on) {
            (IpAddr::V4(_), true) => Ok(true),
            (IpAddr::V6(_), false) => Ok(false),
            _ => here.answers_for(link, next).await,
        }
    }

    /// Returns the sysctl of a link, or of all links, if it is on.
    fn switch(
        &self,
        place: usize,
        family: &str,
        link: &str,
        name: &str,
    ) -> Result<Option<(String, u8)>> {
        let mut found = None;
        for conf in ["all", link] {
            let key = format!("net/{family}/conf/{conf}/{name}");
            let value = self.world.places[place].sysctl(&key)?;
            let value: u8 = value.and_then(|value| value.parse().ok()).unwrap_or(0);
            if value > found.as_ref().map_or(0, |(_, most)| *most) {
                found = Some((key.replace('/', "."), value));
            }
        }
        Ok(found)
    }

    /// Evaluates `arp_ignore` and `arp_filter` for an existing address.
    async fn ignored(&self, place: usize, link: u32, next: IpAddr) -> Result<Option<String>> {
        let here = &self.world.places[place];
        let (name, from) = (here.link_name(link), self.packet.source);
        if let Some((key, value)) = self.switch(place, "ipv4", name, "arp_ignore")? {
            let own = here.addresses_of(link).find(|address| address.ip() == next);
            let answers = match value {
                1 => own.is_some(),
                2 => own.is_some_and(|address| address.contains(from)),
                // Addresses of scope host.
                3 => !next.is_loopback(),
                8 => false,
                _ => true,
            };
            if !answers {
                return Ok(Some(format!("{key} is {value} in {}", here.name)));
            }
        }
        if let Some((key, _)) = self.switch(place, "ipv4", name, "arp_filter")? {
            let way = here.way(Query { from: Some(next), ..Query::to(from) }).await?;
            if !matches!(way, Route::By { index, .. } if index == link) {
                return Ok(Some(format!("{key} is 1 in {}", here.name)));
            }
        }
        Ok(None)
    }
}
