//! The way of a packet, worked out from the kernel's answers without sending one.

use std::net::IpAddr;

use anyhow::Result;

use super::world::{HOST, World};
use crate::{
    kernel::{
        Link, LinkKind,
        route::{Refusal, Way as Route},
    },
    model::{
        Mac, Protocol,
        ruleset::{Ending, Hook, Packet, Side, Surroundings},
        way::{Hop, Outcome, Stage, Verdict, Way},
    },
};

/// A packet that has gone further than this goes round in circles.
const LONGEST: usize = 64;

/// Where a packet is.
enum At {
    /// A socket sends it.
    Sent { place: usize },
    /// It is about to go out.
    Out { place: usize, came: Option<u32>, link: u32, next: IpAddr },
    /// A frame goes out by a link.
    Frame { place: usize, link: u32, next: IpAddr },
    /// It is on the wire of a link.
    Wire { place: usize, link: Link, next: IpAddr },
    /// A frame has come by a link, from a place.
    Came { from: usize, place: usize, link: u32, next: IpAddr },
    /// A frame is in a bridge, and came by a port unless the host itself sent it.
    Bridged { from: usize, place: usize, bridge: u32, port: Option<u32>, next: IpAddr },
    /// A packet has come in; or it was sent to where it is.
    In { place: usize, link: u32, looped: bool },
    /// It is for this place.
    Here { place: usize, link: u32 },
    /// It is over.
    End(Verdict),
}

/// What a walk comes to, besides the way itself.
pub(super) struct Walked {
    pub(super) way: Way,
    /// The packet as it came into each place, in their order.
    pub(super) entries: Vec<(usize, Packet)>,
    /// The rules' points that it passed.
    pub(super) passed: Vec<(usize, Hook)>,
    /// The packet as it was at its end.
    pub(super) packet: Packet,
    /// It came from outside.
    pub(super) comes_in: bool,
}

/// How a packet begins its way.
pub(super) enum Start {
    /// A socket in this place sends it.
    Socket(usize),
    /// It comes by a link of the host's.
    Link(u32),
}

/// Follows a packet to its end.
pub(super) async fn walk(world: &mut World, packet: Packet, start: Start) -> Result<Walked> {
    let next = packet.destination;
    let mut walk = Walk {
        world,
        sender_is_set: !packet.source.is_unspecified(),
        packet,
        hops: Vec::new(),
        entries: Vec::new(),
        passed: Vec::new(),
        mac: None,
        next,
        settled: false,
        comes_in: matches!(start, Start::Link(_)),
    };
    let mut at = match start {
        Start::Socket(place) => At::Sent { place },
        Start::Link(link) => walk.comes_in(link),
    };
    for _ in 0..LONGEST {
        at = match at {
            At::Sent { place } => walk.sent(place).await?,
            At::Out { place, came, link, next } => walk.out(place, came, link, next),
            At::Frame { place, link, next } => walk.frame(place, link, next).await?,
            At::Wire { place, link, next } => walk.transmit(place, &link, next).await?,
            At::Came { from, place, link, next } => walk.came(from, place, link, next).await?,
            At::Bridged { from, place, bridge, port, next } => {
                walk.bridged(from, place, bridge, port, next).await?
            }
            At::In { place, link, looped } => walk.comes(place, link, looped).await?,
            At::Here { place, link } => walk.here(place, link)?,
            At::End(verdict) => return Ok(walk.ended(verdict)),
        };
    }
    let verdict = walk.verdict(Outcome::Dies, HOST, Stage::Route, "it goes round in circles");
    Ok(walk.ended(verdict))
}

struct Walk<'w> {
    world: &'w mut World,
    packet: Packet,
    /// Who sends it has said from which address.
    sender_is_set: bool,
    hops: Vec<Hop>,
    entries: Vec<(usize, Packet)>,
    passed: Vec<(usize, Hook)>,
    /// To which MAC the last frame went, if that is known.
    mac: Option<Mac>,
    /// To whom it goes next.
    next: IpAddr,
    /// It comes back to where it was sent.
    settled: bool,
    /// It came from outside.
    comes_in: bool,
}

impl Walk<'_> {
    fn ended(self, verdict: Verdict) -> Walked {
        let way = Way { hops: self.hops, verdict };
        let (entries, passed, packet) = (self.entries, self.passed, self.packet);
        Walked { way, entries, passed, packet, comes_in: self.comes_in }
    }

    fn name(&self, place: usize) -> &str {
        &self.world.places[place].name
    }

    fn link(&self, place: usize, index: u32) -> Option<&Link> {
        self.world.places[place].links.get(&index)
    }

    fn link_name(&self, place: usize, index: u32) -> String {
        self.world.places[place].link_name(index).to_owned()
    }

    fn hop(&mut self, place: usize, stage: Stage, what: impl Into<String>) {
        let place = self.name(place).to_owned();
        self.hops.push(Hop { place, stage, what: what.into(), rules: Vec::new() });
    }

    fn verdict(&self, outcome: Outcome, place: usize, stage: Stage, why: &str) -> Verdict {
        let place = self.name(place).to_owned();
        let text = match outcome {
            Outcome::Dies => format!("dies at {stage} of {place}: {why}"),
            Outcome::Refused => format!("refused by {place}: {why}"),
            Outcome::Leaves => format!("leaves {place}: {why}"),
            Outcome::Arrives => format!("arrives: {why}"),
        };
        Verdict { outcome, place, stage, rule: None, text }
    }

    /// It is gone, and the last thing said is why.
    fn dies(&mut self, place: usize, stage: Stage, why: impl Into<String>) -> At {
        let why = why.into();
        self.hop(place, stage, why.clone());
        At::End(self.verdict(Outcome::Dies, place, stage, &why))
    }

    fn leaves(&mut self, place: usize, why: impl Into<String>) -> At {
        let why = why.into();
        self.hop(place, Stage::Link, why.clone());
        At::End(self.verdict(Outcome::Leaves, place, Stage::Link, &why))
    }

    /// From outside, by a link of the host's.
    fn comes_in(&mut self, link: u32) -> At {
        let text = format!("comes from outside by {}", self.link_name(HOST, link));
        self.hop(HOST, Stage::Link, text);
        At::In { place: HOST, link, looped: false }
    }

    /// A socket sends it.
    async fn sent(&mut self, place: usize) -> Result<At> {
        let from = self.sender_is_set.then_some(self.packet.source);
        let to = self.packet.destination;
        let way = self.world.places[place].netns.way(to, from, None).await?;
        let (link, source) = match &way {
            Route::None(why) => {
                return Ok(self.dies(place, Stage::Route, format!("{to}: {}", refusal(*why))));
            }
            Route::Here { source } => (self.loopback(place), *source),
            Route::By { index, source, .. } => (*index, *source),
        };
        self.packet.source = from.or(source).unwrap_or(to);
        self.entries.push((place, self.packet.clone()));
        self.routed(place, &way);
        if let Some(end) = self.rules(place, Hook::Output, None, Some(link)) {
            return Ok(end);
        }
        if self.packet.destination == to {
            return Ok(self.onward(place, None, &way));
        }
        let (to, from) = (self.packet.destination, Some(self.packet.source));
        let way = self.world.places[place].netns.way(to, from, None).await?;
        if let Route::None(why) = way {
            return Ok(self.dies(place, Stage::Route, format!("{to}: {}", refusal(why))));
        }
        self.routed(place, &way);
        Ok(self.onward(place, None, &way))
    }

    /// Tells of a routing decision.
    fn routed(&mut self, place: usize, way: &Route) {
        let (from, to) = (self.packet.source, self.packet.destination);
        let text = match way {
            Route::By { index, gateway, .. } => {
                let link = self.link_name(place, *index);
                match gateway {
                    Some(gateway) => format!("{from} -> {to} by {link} via {gateway}"),
                    None => format!("{from} -> {to} by {link}"),
                }
            }
            Route::Here { .. } | Route::None(_) => {
                format!("{from} -> {to} is for {}", self.name(place))
            }
        };
        self.hop(place, Stage::Route, text);
    }

    fn onward(&mut self, place: usize, came: Option<u32>, way: &Route) -> At {
        match way {
            Route::By { index, gateway, .. } => {
                let next = gateway.unwrap_or(self.packet.destination);
                At::Out { place, came, link: *index, next }
            }
            Route::Here { .. } | Route::None(_) => {
                let (link, next) = (self.loopback(place), self.packet.destination);
                At::Out { place, came, link, next }
            }
        }
    }

    fn loopback(&self, place: usize) -> u32 {
        let links = &self.world.places[place].links;
        links.values().find(|link| link.name == "lo").map_or(1, Link::index)
    }

    fn out(&mut self, place: usize, came: Option<u32>, link: u32, next: IpAddr) -> At {
        self.next = next;
        if let Some(end) = self.rules(place, Hook::Postrouting, came, Some(link)) {
            return end;
        }
        At::Frame { place, link, next }
    }

    async fn frame(&mut self, place: usize, index: u32, next: IpAddr) -> Result<At> {
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
    async fn transmit(&mut self, place: usize, link: &Link, next: IpAddr) -> Result<At> {
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

    async fn came(&mut self, from: usize, place: usize, index: u32, next: IpAddr) -> Result<At> {
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

    async fn bridged(
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
    fn meets_iptables(&self, place: usize) -> Result<bool> {
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

    async fn comes(&mut self, place: usize, link: u32, looped: bool) -> Result<At> {
        if !looped {
            self.entries.push((place, self.packet.clone()));
        }
        self.settled = looped;
        if let Some(end) = self.rules(place, Hook::Prerouting, Some(link), None) {
            return Ok(end);
        }
        self.settled = false;
        if looped {
            return Ok(At::Here { place, link });
        }
        let (to, from) = (self.packet.destination, self.packet.source);
        let way = self.world.places[place].netns.way(to, Some(from), Some(link)).await?;
        let name = self.link_name(place, link);
        let passes_on = self.passes_on(place, &name)?;
        let switch =
            if to.is_ipv4() { "net.ipv4.ip_forward" } else { "net.ipv6.conf.all.forwarding" };
        let why = match &way {
            Route::Here { .. } => {
                self.routed(place, &way);
                return Ok(At::Here { place, link });
            }
            Route::None(Refusal::Martian | Refusal::OtherLink)
                if self.fails_reverse_path(place, link).await? =>
            {
                format!("rp_filter: answers to {from} would not leave by {name}")
            }
            Route::None(Refusal::Unreachable) if !passes_on => {
                format!("packets are not passed on: {switch} is 0")
            }
            Route::None(why) => format!("{from} -> {to}: {}", refusal(*why)),
            Route::By { .. } if !passes_on => format!("packets are not passed on: {switch} is 0"),
            Route::By { index, .. } => {
                let out = *index;
                self.routed(place, &way);
                if let Some(end) = self.rules(place, Hook::Forward, Some(link), Some(out)) {
                    return Ok(end);
                }
                // What turns round in its own bridge is bridged, and that tells less.
                let turns = out == link && self.meets_iptables(place)?;
                return Ok(self.onward(place, (!turns).then_some(link), &way));
            }
        };
        Ok(self.dies(place, Stage::Route, why))
    }

    /// Whether it is dropped for where it comes from (`rp_filter`). Newer kernels have one word for
    /// all that is wrong with an address.
    async fn fails_reverse_path(&self, place: usize, link: u32) -> Result<bool> {
        let netns = &self.world.places[place].netns;
        let name = self.link_name(place, link);
        let mut strictness = 0;
        for conf in ["all", &name] {
            let value = netns.sysctl(&format!("net/ipv4/conf/{conf}/rp_filter"))?;
            strictness = strictness.max(value.and_then(|v| v.parse().ok()).unwrap_or(0));
        }
        Ok(match (strictness, netns.way(self.packet.source, None, None).await?) {
            (0, _) | (_, Route::Here { .. }) => false,
            (_, Route::None(_)) => true,
            // 1: by this link; 2: by any.
            (strictness, Route::By { index, .. }) => strictness == 1 && index != link,
        })
    }

    fn passes_on(&self, place: usize, link: &str) -> Result<bool> {
        let family = if self.packet.source.is_ipv4() { "ipv4" } else { "ipv6" };
        let key = format!("net/{family}/conf/{link}/forwarding");
        Ok(self.world.places[place].netns.sysctl(&key)?.is_some_and(|value| value != "0"))
    }

    fn here(&mut self, place: usize, link: u32) -> Result<At> {
        if let Some(end) = self.rules(place, Hook::Input, Some(link), None) {
            return Ok(end);
        }
        let (address, port) = (self.packet.destination, self.packet.port);
        let name = self.name(place).to_owned();
        let protocol = match self.packet.protocol {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            132 => Protocol::Sctp,
            _ => return self.echo(place, address),
        };
        let netns = &self.world.places[place].netns;
        let (outcome, why) = match netns.listener(address, port, protocol)? {
            Some(who) if who.is_empty() => {
                (Outcome::Arrives, format!("{name} listens on {port}/{protocol}"))
            }
            Some(who) => (Outcome::Arrives, format!("{name} listens on {port}/{protocol}: {who}")),
            None => (Outcome::Refused, format!("nobody listens on {port}/{protocol}")),
        };
        self.hop(place, Stage::Socket, why.clone());
        Ok(At::End(self.verdict(outcome, place, Stage::Socket, &why)))
    }

    fn echo(&mut self, place: usize, address: IpAddr) -> Result<At> {
        let key = match address {
            IpAddr::V4(_) => "net/ipv4/icmp_echo_ignore_all",
            IpAddr::V6(_) => "net/ipv6/icmp/echo_ignore_all",
        };
        let ignores = self.world.places[place].netns.sysctl(key)?.is_some_and(|v| v != "0");
        if ignores {
            return Ok(self.dies(place, Stage::Socket, format!("{key} is 1")));
        }
        let why = format!("{} answers echoes to {address}", self.name(place));
        self.hop(place, Stage::Socket, why.clone());
        Ok(At::End(self.verdict(Outcome::Arrives, place, Stage::Socket, &why)))
    }

    /// Takes it through the rules of a point; `Some`: it does not come out again.
    fn rules(
        &mut self,
        place: usize,
        hook: Hook,
        came: Option<u32>,
        goes: Option<u32>,
    ) -> Option<At> {
        let here = &self.world.places[place];
        let side = |index: u32| Side { name: here.link_name(index).to_owned(), index };
        let own = goes.or(came).and_then(|link| own_address(here, link, self.next));
        let around = Surroundings {
            incoming: came.map(side),
            outgoing: goes.map(side),
            local: &here.local,
            own,
            settled: self.settled,
        };
        let is_new = here.ruleset.chains.iter().any(|c| c.base.is_some_and(|b| b.hook == hook));
        let before = (self.packet.source, self.packet.destination, self.packet.port);
        let (rules, ending) = here.ruleset.meet(hook, &mut self.packet, &around);
        let name = here.name.clone();
        let stage = stage(hook);
        let after = (self.packet.source, self.packet.destination, self.packet.port);
        let what = match ending {
            Ending::Dropped => "dropped".to_owned(),
            Ending::Rejected => "rejected".to_owned(),
            Ending::Passes if before.0 != after.0 => format!("from {} from here on", after.0),
            Ending::Passes if before != after => {
                let port = if after.2 == 0 { String::new() } else { format!(" port {}", after.2) };
                format!("to {}{port} from here on", after.1)
            }
            Ending::Passes => "passes".to_owned(),
        };
        if is_new {
            self.hops.push(Hop { place: name.clone(), stage, what, rules: rules.clone() });
        }
        if ending == Ending::Passes {
            self.passed.push((place, hook));
            return None;
        }
        let rule = rules.into_iter().next_back();
        Some(At::End(super::verdict_of_rule(&name, stage, rule)))
    }
}

/// The address that what leaves by a link gets, if it is translated: one that the next hop knows,
/// or the first.
fn own_address(place: &super::world::Place, link: u32, to: IpAddr) -> Option<IpAddr> {
    let of_family = || place.addresses_of(link).filter(|a| a.is_ipv4() == to.is_ipv4());
    let near = of_family().find(|address| address.contains(to));
    near.or_else(|| of_family().next()).map(|address| address.ip())
}

fn text_of(link: Option<&Link>) -> &str {
    link.map_or("", |link| link.name.as_str())
}

/// The point of the way where rules of a hook are met.
pub(super) fn stage(hook: Hook) -> Stage {
    match hook {
        Hook::Prerouting => Stage::Prerouting,
        Hook::Input => Stage::Input,
        Hook::Forward => Stage::Forward,
        Hook::Output => Stage::Output,
        Hook::Postrouting => Stage::Postrouting,
    }
}

fn refusal(why: Refusal) -> &'static str {
    match why {
        Refusal::NoRoute => "no route leads there",
        Refusal::Unreachable => "a route says that nothing is there",
        Refusal::Prohibited => "a route forbids it",
        Refusal::OtherLink => "answers would leave by another link",
        Refusal::Martian => "such addresses have no business on this link (martian)",
    }
}
