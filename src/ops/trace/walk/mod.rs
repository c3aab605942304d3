//! The way of a packet, worked out from the kernel's answers without sending one: routes and rules
//! here, links and bridges in `wire`.

mod wire;

use std::net::IpAddr;

use anyhow::Result;

use super::world::{HOST, World};
use crate::{
    kernel::{
        Link,
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
