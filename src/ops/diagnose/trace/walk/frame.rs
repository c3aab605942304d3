//! Follows frames from link to link: veths, macvlans, and bridge ports.

use std::{net::IpAddr, rc::Rc};

use anyhow::Result;

use super::{super::world::Wanted, At, Walk, tunnel::Tun};
use crate::{
    kernel::{Link, LinkKind},
    model::{
        ruleset::{Hook, Kind, Point},
        trace_path::Stage,
    },
};

/// The destination of a frame in a bridge.
enum To {
    /// The host itself.
    Host,
    /// A port, and whether the bridge knows the MAC.
    Port(Box<Link>, bool),
    Nowhere,
}

impl Walk<'_> {
    /// A link sends a frame.
    pub(super) async fn carry(&mut self, place: usize, link: &Link) -> Result<At> {
        if let Some(end) = self.leaving(place, link).await? {
            return Ok(end);
        }
        let name = &link.name;
        match link.kind {
            LinkKind::Bridge => Box::pin(self.bridged(place, link, None)).await,
            LinkKind::Veth => {
                let Some((there, peer)) = self.world.peer(place, link).await? else {
                    let why = format!("by {name}, whose other end is not seen");
                    return Ok(self.leaves(place, link.index(), why));
                };
                let (what, who) = (self.link_name(there, peer), self.name(there));
                let text = if there == place {
                    format!("{name} -> {what}")
                } else {
                    format!("{name} -> {what} of {who}")
                };
                self.hop(place, Stage::Link, text);
                self.packet.forget();
                Box::pin(self.came(there, peer)).await
            }
            LinkKind::Macvlan => Box::pin(self.by_macvlan(place, link)).await,
            LinkKind::Vxlan => self.encapsulate(place, link).await,
            LinkKind::Tun if Tun::of(link).is_some() => Ok(self.relay(place, link)),
            LinkKind::Vlan | LinkKind::Tun | LinkKind::Other => {
                let why = format!("by {name} for {}", self.next);
                Ok(self.leaves(place, link.index(), why))
            }
        }
    }

    /// Returns the destination MAC, if known.
    fn wanted(&self) -> Wanted {
        self.packet.frame.destination.map_or(Wanted::Address(self.next), Wanted::Mac)
    }

    async fn by_macvlan(&mut self, place: usize, link: &Link) -> Result<At> {
        let name = &link.name;
        let below = self.world.beyond(place, link).await?.zip(link.other());
        let Some((there, parent)) = below else {
            let why = format!("by {name}, whose parent is not seen");
            return Ok(self.leaves(place, link.index(), why));
        };
        let parent_name = self.link_name(there, parent);
        let text = format!("{name} is on {parent_name} of {}", self.name(there));
        self.hop(place, Stage::Link, text);
        self.packet.forget();
        let wanted = self.wanted();
        if let Some((other, sibling)) = self.world.macvlan_with((there, parent), wanted).await? {
            if !link.reaches_siblings() {
                let why = format!("{name} does not reach others on {parent_name}");
                return Ok(self.dies(place, Stage::Link, why));
            }
            return self.taken(other, sibling).await;
        }
        let Some(below) = self.link(there, parent).cloned() else {
            return Ok(self.dies(there, Stage::Link, "the link is gone"));
        };
        let is_parents = match wanted {
            Wanted::Mac(mac) => below.mac == Some(mac),
            Wanted::Address(to) => {
                self.world.places[there].addresses_of(parent).any(|a| a.ip() == to)
            }
        };
        if is_parents {
            let why = format!("a macvlan does not reach {parent_name} itself");
            return Ok(self.dies(place, Stage::Neighbour, why));
        }
        self.carry(there, &below).await
    }

    /// A link receives a frame.
    pub(super) async fn came(&mut self, place: usize, index: u32) -> Result<At> {
        let Some(link) = self.link(place, index).cloned() else {
            return Ok(self.dies(place, Stage::Link, "the link is gone"));
        };
        if !link.up {
            return Ok(self.dies(place, Stage::Link, format!("{} is down", link.name)));
        }
        if let Some(end) = self.received(place, &link).await? {
            return Ok(end);
        }
        let master = link.master.and_then(|master| self.link(place, master)).cloned();
        match master {
            Some(bridge) if bridge.kind == LinkKind::Bridge => {
                return self.bridged(place, &bridge, Some(&link)).await;
            }
            Some(master) => {
                return Ok(At::In { place, link: master.index(), looped: false });
            }
            None => {}
        }
        let is_own = match self.wanted() {
            Wanted::Mac(mac) => link.mac == Some(mac),
            Wanted::Address(to) => {
                link.mac.is_none() || self.world.places[place].local.contains(&to)
            }
        };
        if is_own {
            return Ok(At::In { place, link: index, looped: false });
        }
        match self.world.macvlan_with((place, index), self.wanted()).await? {
            Some((place, link)) => self.taken(place, link).await,
            // Every host that receives an ARP request may answer it.
            None if matches!(self.packet.kind, Kind::Question { .. }) => {
                Ok(At::In { place, link: index, looped: false })
            }
            None => Ok(self.unanswered()),
        }
    }

    /// A macvlan receives a frame.
    async fn taken(&mut self, place: usize, index: u32) -> Result<At> {
        let Some(link) = self.link(place, index).cloned() else {
            return Ok(self.dies(place, Stage::Link, "the link is gone"));
        };
        if !link.up {
            return Ok(self.dies(place, Stage::Link, format!("{} is down", link.name)));
        }
        self.packet.forget();
        let end = self.received(place, &link).await?;
        Ok(end.unwrap_or(At::In { place, link: index, looped: false }))
    }

    /// No host has the destination.
    fn unanswered(&mut self) -> At {
        let (from, how) = self.sender.clone();
        let why = match self.packet.frame.destination {
            Some(mac) => {
                let how = if how.is_empty() { String::new() } else { format!(" ({how})") };
                format!("nobody has {mac}, the MAC of {}{how}", self.next)
            }
            None => format!("nobody answers for {}", self.next),
        };
        self.dies(from, Stage::Neighbour, why)
    }

    /// A bridge handles a frame from a port, or from the host itself.
    async fn bridged(&mut self, place: usize, bridge: &Link, came: Option<&Link>) -> Result<At> {
        let name = bridge.name.clone();
        if !bridge.up {
            return Ok(self.dies(place, Stage::Bridge, format!("{name} is down")));
        }
        if bridge.filters_vlans {
            self.not_judged(place, Stage::Bridge, format!("VLAN filtering of {name}"));
        }
        if let Some(port) = came
            && let Some(end) = self.enters(place, bridge, port).await?
        {
            return Ok(end);
        }
        let by = came.map_or("the host".to_owned(), |port| format!("port {}", port.name));
        let (egress, is_known) = match self.egress(place, bridge, came).await? {
            To::Nowhere => return Ok(self.unanswered()),
            To::Host => {
                self.hop(place, Stage::Bridge, format!("{name}: from {by} to the host"));
                let index = bridge.index();
                if came.is_some() && !self.packet.is_arp() && self.meets_iptables(place)? {
                    if let Some(end) = self.prerouting(place, index, false).await? {
                        return Ok(end);
                    }
                    self.is_prerouted = true;
                }
                let (point, port) = (Point::bridge(Hook::Input), came.map(Link::index));
                let end = self.rules(place, point, port, None).await?;
                return Ok(end.unwrap_or(At::In { place, link: index, looped: false }));
            }
            To::Port(port, is_known) => (port, is_known),
        };
        if let Some(why) = self.not_to(&name, came, &egress, is_known) {
            return Ok(self.dies(place, Stage::Bridge, why));
        }
        let how = if is_known { "" } else { ", by asking all ports" };
        let text = format!("{name}: from {by} to port {}{how}", egress.name);
        self.hop(place, Stage::Bridge, text);
        if let Some(end) = self.crosses(place, bridge, came, &egress).await? {
            return Ok(end);
        }
        self.carry(place, &egress).await
    }

    /// A bridge port receives a frame.
    async fn enters(&mut self, place: usize, bridge: &Link, port: &Link) -> Result<Option<At>> {
        if !port.forwards() {
            let (state, name) = (port.port.state, &bridge.name);
            let why = format!("port {} of {name} does not forward: it is {state}", port.name);
            return Ok(Some(self.dies(place, Stage::Bridge, why)));
        }
        if port.port.locked {
            let what = format!("locked port {}", port.name);
            self.not_judged(place, Stage::Bridge, what);
        }
        if let Some(mac) = self.packet.frame.source.filter(|_| port.port.learns) {
            self.learned.insert(((place, bridge.index()), mac), port.index());
        }
        let point = Point::bridge(Hook::Prerouting);
        self.rules(place, point, Some(port.index()), None).await
    }

    /// Returns why a frame does not leave by a port.
    fn not_to(
        &self,
        bridge: &str,
        came: Option<&Link>,
        egress: &Link,
        is_known: bool,
    ) -> Option<String> {
        let port = &egress.name;
        if !egress.forwards() {
            let state = egress.port.state;
            return Some(format!("port {port} of {bridge} does not forward: it is {state}"));
        }
        if let Some(came) = came.filter(|came| came.isolated && egress.isolated) {
            return Some(format!("{bridge}: ports {} and {port} are isolated", came.name));
        }
        if is_known {
            return None;
        }
        let (is_off, word, what) = match (self.packet.kind, self.next) {
            // The host's own broadcasts go to all ports.
            (Kind::Question { .. }, _) if came.is_none() => return None,
            (Kind::Question { .. }, IpAddr::V4(_)) => {
                (!egress.port.broadcasts, "bcast_flood", "what is for all")
            }
            (Kind::Question { .. }, IpAddr::V6(_)) => {
                (!egress.port.multicasts, "mcast_flood", "what is for a group")
            }
            _ => (!egress.port.floods, "flood", "a MAC that it does not know"),
        };
        is_off.then(|| format!("{word} of port {port} is off: {bridge} does not send it {what}"))
    }

    /// Evaluates the rules of a bridge, and with `br_netfilter` those of IP.
    async fn crosses(
        &mut self,
        place: usize,
        bridge: &Link,
        came: Option<&Link>,
        egress: &Link,
    ) -> Result<Option<At>> {
        if egress.port.suppresses && matches!(self.packet.kind, Kind::Question { .. }) {
            let what = format!("neigh_suppress or proxy_arp of port {}", egress.name);
            self.not_judged(place, Stage::Bridge, what);
        }
        let meets = came.is_some() && !self.packet.is_arp() && self.meets_iptables(place)?;
        let index = Some(bridge.index());
        if meets && let Some(end) = self.prerouting(place, bridge.index(), false).await? {
            return Ok(Some(end));
        }
        let (by, to) = (came.map(Link::index), Some(egress.index()));
        let hook = if by.is_some() { Hook::Forward } else { Hook::Output };
        if let Some(end) = self.rules(place, Point::bridge(hook), by, to).await? {
            return Ok(Some(end));
        }
        if meets
            && let Some(end) = self.rules(place, Point::ip(Hook::Forward), index, index).await?
        {
            return Ok(Some(end));
        }
        let point = Point::bridge(Hook::Postrouting);
        if let Some(end) = self.rules(place, point, None, to).await? {
            return Ok(Some(end));
        }
        if meets {
            return self.rules(place, Point::ip(Hook::Postrouting), None, index).await;
        }
        Ok(None)
    }

    /// Returns where a bridge sends a frame.
    async fn egress(&mut self, place: usize, bridge: &Link, came: Option<&Link>) -> Result<To> {
        let here = &self.world.places[place];
        let wanted = self.wanted();
        let mut known = None;
        if let Wanted::Mac(mac) = wanted {
            known = here.port_of(bridge, mac).await?;
            if bridge.mac == Some(mac) {
                known = Some(bridge.index());
            }
        }
        let is_own = match wanted {
            Wanted::Mac(_) => known == Some(bridge.index()),
            Wanted::Address(address) => here.local.contains(&address),
        };
        if came.is_some() && is_own {
            return Ok(To::Host);
        }
        let view = Rc::clone(&here.view);
        let port = |index| view.at(index).filter(|port| port.is_port_of(bridge)).cloned();
        let learned = match wanted {
            Wanted::Mac(mac) => self.learned.get(&((place, bridge.index()), mac)).copied(),
            Wanted::Address(_) => None,
        };
        // A frame moves the entry of its sender to the port that it came by (`br_fdb_update`).
        let known = learned.or(known);
        let is_known = known.is_some();
        if let Some(found) = known.and_then(port) {
            // A frame leaves by the port that it came in by only in hairpin mode.
            let returns = came.is_some_and(|came| came.index() == found.index());
            return Ok(if returns && !found.hairpin {
                To::Nowhere
            } else {
                To::Port(Box::new(found), is_known)
            });
        }
        let by = came.filter(|came| !came.hairpin).map(Link::index);
        let found = self.world.towards((place, bridge.index()), by, wanted).await?;
        if let Some(found) = found.and_then(port) {
            return Ok(To::Port(Box::new(found), false));
        }
        let ports = view.sorted_ports_of(bridge).into_iter();
        for port in ports.filter(|port| port.is_running() && Some(port.index()) != by) {
            if self.is_wire(place, port).await? {
                return Ok(To::Port(Box::new(port.clone()), false));
            }
        }
        // The bridge itself receives broadcasts, and may answer for others.
        let is_question = matches!(self.packet.kind, Kind::Question { .. });
        Ok(if came.is_some() && is_question { To::Host } else { To::Nowhere })
    }

    /// Returns whether what is behind a port is unknown: it is physical, or leads into a namespace that
    /// is none of an endpoint's, where only those are looked at.
    async fn is_wire(&mut self, place: usize, port: &Link) -> Result<bool> {
        Ok(port.kind != LinkKind::Veth
            || self.world.is_of_endpoints() && self.world.peer(place, port).await?.is_none())
    }

    /// Returns whether bridged frames pass the rules of IP (`br_netfilter`).
    pub(super) fn meets_iptables(&self, place: usize) -> Result<bool> {
        let family = if self.packet.source.is_ipv4() { "iptables" } else { "ip6tables" };
        let key = format!("net/bridge/bridge-nf-call-{family}");
        Ok(self.world.places[place].sysctl(&key)?.is_some_and(|value| value != "0"))
    }
}
