//! From link to link: neighbours, veths, macvlans, and the ports of bridges.

use std::net::IpAddr;

use anyhow::Result;

use super::{At, Walk};
use crate::{
    kernel::{Link, LinkKind},
    model::{Mac, ruleset::Hook, way::Stage},
};

impl Walk<'_> {
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
        self.mac = None;
        if link.mac.is_some() {
            self.mac = self.world.places[place].netns.mac_of(&link, next).await?;
            let text = match self.mac {
                Some(mac) => format!("{next} is {mac} on {name}"),
                None => format!("{next} is asked for on {name}"),
            };
            self.hop(place, Stage::Neighbour, text);
        }
        self.transmit(place, &link, next).await
    }

    /// By a link, whatever is behind it.
    pub(super) async fn transmit(&mut self, place: usize, link: &Link, next: IpAddr) -> Result<At> {
        let name = &link.name;
        match link.kind {
            LinkKind::Bridge => {
                Ok(At::Bridged { from: place, place, bridge: link.index(), port: None, next })
            }
            LinkKind::Veth => {
                let Some((there, peer)) = self.world.peer(place, link).await? else {
                    return Ok(
                        self.leaves(place, format!("by {name}, whose other end is not seen"))
                    );
                };
                let (what, who) = (self.link_name(there, peer), self.name(there));
                let text = if there == place {
                    format!("{name} -> {what}")
                } else {
                    format!("{name} -> {what} of {who}")
                };
                self.hop(place, Stage::Link, text);
                if there != place {
                    self.forget();
                }
                Ok(At::Came { from: place, place: there, link: peer, next })
            }
            LinkKind::Macvlan => self.by_macvlan(place, link, next).await,
            LinkKind::Vlan | LinkKind::Other => {
                Ok(self.leaves(place, format!("by {name} for {next}")))
            }
        }
    }

    /// What one namespace knows of a packet, the next one does not.
    fn forget(&mut self) {
        let packet = &mut self.packet;
        (packet.mark, packet.untracked) = (0, false);
        (packet.destination_translated, packet.source_translated) = (false, false);
    }

    async fn by_macvlan(&mut self, place: usize, link: &Link, next: IpAddr) -> Result<At> {
        let name = &link.name;
        let below = self.world.beyond(place, link).await?.zip(link.other());
        let Some((there, parent)) = below else {
            return Ok(self.leaves(place, format!("by {name}, whose parent is not seen")));
        };
        let parent_name = self.link_name(there, parent);
        let text = format!("{name} is on {parent_name} of {}", self.name(there));
        self.hop(place, Stage::Link, text);
        self.forget();
        if let Some((other, sibling)) = self.world.macvlan_with((there, parent), next).await? {
            if !link.reaches_siblings() {
                let why = format!("{name} does not reach others on {parent_name}");
                return Ok(self.dies(place, Stage::Link, why));
            }
            return Ok(At::Came { from: place, place: other, link: sibling, next });
        }
        if self.world.places[there].addresses_of(parent).any(|a| a.ip() == next) {
            let why = format!("a macvlan does not reach {parent_name} itself");
            return Ok(self.dies(place, Stage::Neighbour, why));
        }
        match self.link(there, parent).cloned() {
            Some(below) if below.kind == LinkKind::Veth => {
                Ok(At::Wire { place: there, link: below, next })
            }
            _ => Ok(self.leaves(there, format!("by {parent_name} for {next}"))),
        }
    }

    pub(super) async fn came(
        &mut self,
        from: usize,
        place: usize,
        index: u32,
        next: IpAddr,
    ) -> Result<At> {
        let Some(link) = self.link(place, index).cloned() else {
            return Ok(self.dies(place, Stage::Link, "the link is gone"));
        };
        if !link.up {
            return Ok(self.dies(place, Stage::Link, format!("{} is down", link.name)));
        }
        let master = link.master.and_then(|master| self.link(place, master));
        match master.map(|master| (master.kind, master.index())) {
            Some((LinkKind::Bridge, bridge)) => {
                return Ok(At::Bridged { from, place, bridge, port: Some(index), next });
            }
            Some((_, master)) => return Ok(At::In { place, link: master, looped: false }),
            None => {}
        }
        let answers = self.world.places[place].local.contains(&next)
            || (self.mac.is_some() && self.mac == link.mac);
        if answers {
            return Ok(At::In { place, link: index, looped: false });
        }
        match self.world.macvlan_with((place, index), next).await? {
            Some((place, link)) => Ok(At::In { place, link, looped: false }),
            None => Ok(self.unanswered(from, next)),
        }
    }

    fn unanswered(&mut self, from: usize, next: IpAddr) -> At {
        self.dies(from, Stage::Neighbour, format!("nobody answers for {next}"))
    }

    pub(super) async fn bridged(
        &mut self,
        from: usize,
        place: usize,
        bridge: u32,
        port: Option<u32>,
        next: IpAddr,
    ) -> Result<At> {
        let Some(link) = self.link(place, bridge).cloned() else {
            return Ok(self.dies(place, Stage::Bridge, "the bridge is gone"));
        };
        let name = link.name.clone();
        let came = port.and_then(|port| self.link(place, port)).cloned();
        if !link.up {
            return Ok(self.dies(place, Stage::Bridge, format!("{name} is down")));
        }
        if let Some(port) = came.as_ref().filter(|port| !port.forwards()) {
            let why = format!("port {} of {name} does not forward", port.name);
            return Ok(self.dies(place, Stage::Bridge, why));
        }
        let by = came.as_ref().map_or("the host".to_owned(), |port| format!("port {}", port.name));
        if port.is_some() && self.world.places[place].local.contains(&next) {
            self.hop(place, Stage::Bridge, format!("{name}: from {by} to the host"));
            return Ok(At::In { place, link: bridge, looped: false });
        }
        let Some((egress, is_known)) = self.egress(place, &link, port, next).await? else {
            return Ok(self.unanswered(from, next));
        };
        let how = if is_known { "" } else { ", by asking all ports" };
        let text = format!("{name}: from {by} to port {}{how}", egress.name);
        if came.as_ref().is_some_and(|came| came.isolated && egress.isolated) {
            let why = format!(
                "{name}: ports {} and {} are isolated",
                text_of(came.as_ref()),
                egress.name
            );
            return Ok(self.dies(place, Stage::Bridge, why));
        }
        self.hop(place, Stage::Bridge, text);
        if port.is_some()
            && self.meets_iptables(place)?
            && let Some(end) = self.rules_of_bridge(place, bridge)
        {
            return Ok(end);
        }
        self.transmit(place, &egress, next).await
    }

    /// The port by which a bridge sends what is for an address, and whether it knows that.
    async fn egress(
        &mut self,
        place: usize,
        bridge: &Link,
        came: Option<u32>,
        next: IpAddr,
    ) -> Result<Option<(Link, bool)>> {
        let ports: Vec<Link> = self.world.places[place]
            .links
            .values()
            .filter(|link| link.is_port_of(bridge) && link.is_running())
            .filter(|link| Some(link.index()) != came || link.hairpin)
            .cloned()
            .collect();
        for port in &ports {
            let Some((there, peer)) = self.world.peer(place, port).await? else { continue };
            let has = self.world.places[there].addresses_of(peer).any(|a| a.ip() == next);
            if has {
                let mac = self.link(there, peer).and_then(|peer| peer.mac);
                let known = self.port_of(place, bridge, mac).await?;
                return Ok(Some((port.clone(), known == Some(port.index()))));
            }
        }
        let known = self.port_of(place, bridge, self.mac).await?;
        if let Some(port) = ports.iter().find(|port| Some(port.index()) == known) {
            return Ok(Some((port.clone(), true)));
        }
        // Of a wire nobody can tell who is behind it.
        let wire = ports.into_iter().find(|port| port.kind != LinkKind::Veth);
        Ok(wire.map(|port| (port, false)))
    }

    async fn port_of(&self, place: usize, bridge: &Link, mac: Option<Mac>) -> Result<Option<u32>> {
        match mac {
            Some(mac) => self.world.places[place].netns.port_of(bridge, mac).await,
            None => Ok(None),
        }
    }

    /// Whether frames that only cross a bridge meet rules (`br_netfilter`).
    pub(super) fn meets_iptables(&self, place: usize) -> Result<bool> {
        let family = if self.packet.source.is_ipv4() { "iptables" } else { "ip6tables" };
        let key = format!("net/bridge/bridge-nf-call-{family}");
        Ok(self.world.places[place].netns.sysctl(&key)?.is_some_and(|value| value != "0"))
    }

    fn rules_of_bridge(&mut self, place: usize, bridge: u32) -> Option<At> {
        self.entries.push((place, self.packet.clone()));
        let bridge = Some(bridge);
        self.rules(place, Hook::Prerouting, bridge, None)
            .or_else(|| self.rules(place, Hook::Forward, bridge, bridge))
            .or_else(|| self.rules(place, Hook::Postrouting, None, bridge))
    }
}

fn text_of(link: Option<&Link>) -> &str {
    link.map_or("", |link| link.name.as_str())
}
