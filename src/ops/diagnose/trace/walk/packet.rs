//! Follows routing decisions, and the delivery to sockets.

use std::net::IpAddr;

use anyhow::Result;

use super::{At, End, Start, Walk};
use crate::{
    kernel::{
        Link, Listener,
        route::{Query, Refusal, Way as Route},
    },
    model::{
        Protocol,
        ruleset::{Hook, Point},
        trace_path::{Outcome, Stage},
    },
};

impl Walk<'_> {
    /// A socket sends the packet.
    pub(super) async fn sent(&mut self, place: usize) -> Result<At> {
        let from = self.sender_is_set.then_some(self.packet.source);
        let to = self.packet.destination;
        let query = Query { from, ..Query::to(to) };
        let way = self.world.places[place].way(query).await?;
        let (link, source) = match &way {
            Route::None(why) => return self.refused(place, query, *why).await,
            Route::Here { source } => (self.loopback(place), *source),
            Route::By { index, source, .. } => (*index, *source),
        };
        self.packet.source = from.or(source).unwrap_or(to);
        if self.is_the_first() {
            let range = self.world.places[place].sysctl("net/ipv4/ip_local_port_range")?;
            let bounds = range.as_deref().and_then(|range| range.split_once(char::is_whitespace));
            if let Some((Ok(low), Ok(high))) = bounds.map(|(l, h)| (l.parse(), h.trim().parse())) {
                self.packet.ephemeral = (low, high);
            }
            self.entries.push((place, self.packet.clone()));
        }
        self.routed(place, &way);
        let mark = self.packet.mark;
        if let Some(end) = self.rules(place, Point::ip(Hook::Output), None, Some(link)).await? {
            return Ok(end);
        }
        if (self.packet.destination, self.packet.mark) == (to, mark) {
            return Ok(self.onward(place, None, &way));
        }
        let (to, from) = (self.packet.destination, Some(self.packet.source));
        let query = Query { to, from, incoming: None, mark: self.packet.mark };
        let way = self.world.places[place].way(query).await?;
        if let Route::None(why) = way {
            return self.refused(place, query, why).await;
        }
        self.routed(place, &way);
        Ok(self.onward(place, None, &way))
    }

    /// No route leads there, or one refuses the packet.
    async fn refused(&mut self, place: usize, query: Query, why: Refusal) -> Result<At> {
        let denial = self.world.places[place].denial(query).await?;
        let to = query.to;
        let text = match denial {
            Some(denial) => format!("{to}: {denial}"),
            None => format!("{to}: {}", refusal(why)),
        };
        Ok(self.dies(place, Stage::Route, text))
    }

    /// Describes a routing decision.
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
        self.world.places[place].view.link("lo").map_or(1, Link::index)
    }

    pub(super) async fn out(
        &mut self,
        place: usize,
        came: Option<u32>,
        link: u32,
        next: IpAddr,
    ) -> Result<At> {
        self.next = next;
        let point = Point::ip(Hook::Postrouting);
        Ok(match self.rules(place, point, came, Some(link)).await? {
            Some(end) => end,
            None => At::Frame { place, link, next },
        })
    }

    /// The packet has come in, and is forwarded or delivered.
    pub(super) async fn comes(&mut self, place: usize, link: u32, looped: bool) -> Result<At> {
        self.settled = looped;
        if let Some(end) = self.prerouting(place, link, looped).await? {
            return Ok(end);
        }
        self.settled = false;
        if looped {
            return Ok(At::Here { place, link });
        }
        let (to, from) = (self.packet.destination, self.packet.source);
        let query = Query { to, from: Some(from), incoming: Some(link), mark: self.packet.mark };
        let way = self.world.places[place].way(query).await?;
        match &way {
            Route::Here { .. } => {
                self.routed(place, &way);
                Ok(At::Here { place, link })
            }
            Route::None(why) => {
                let text = self.why_not(place, link, query, *why).await?;
                Ok(self.dies(place, Stage::Route, text))
            }
            Route::By { index, .. } => {
                let name = self.link_name(place, link);
                if let Some(switch) = self.forwarding_off(place, &name)? {
                    return Ok(self.dies(place, Stage::Route, not_forwarded(&switch)));
                }
                let out = *index;
                self.routed(place, &way);
                let point = Point::ip(Hook::Forward);
                if let Some(end) = self.rules(place, point, Some(link), Some(out)).await? {
                    return Ok(end);
                }
                // A packet that is routed back into its own bridge is bridged with br_netfilter,
                // and has fewer hops.
                let turns = out == link && self.meets_iptables(place)?;
                Ok(self.onward(place, (!turns).then_some(link), &way))
            }
        }
    }

    /// Evaluates the rules at prerouting, once: with `br_netfilter` a packet has passed them as a
    /// bridged frame (`ip_sabotage_in`).
    pub(super) async fn prerouting(
        &mut self,
        place: usize,
        link: u32,
        looped: bool,
    ) -> Result<Option<At>> {
        if std::mem::take(&mut self.is_prerouted) {
            return Ok(None);
        }
        if !looped && self.is_the_first() {
            self.entries.push((place, self.packet.clone()));
        }
        self.rules(place, Point::ip(Hook::Prerouting), Some(link), None).await
    }

    /// Returns why an incoming packet is refused. Linux 6.13 and later have one error for all
    /// invalid source addresses, and the same for `blackhole`.
    async fn why_not(&self, place: usize, link: u32, query: Query, why: Refusal) -> Result<String> {
        let (to, from) = (self.packet.destination, self.packet.source);
        let name = self.link_name(place, link);
        let here = &self.world.places[place];
        let denial = here.denial(query).await?;
        let is_of_source = matches!(why, Refusal::Invalid | Refusal::OtherLink);
        if is_of_source && let Some(switch) = self.failed_reverse_path(place, link).await? {
            return Ok(format!(
                "rp_filter: answers to {from} would not leave by {name} ({switch})"
            ));
        }
        // Without forwarding, every address of others is unreachable.
        if why == Refusal::Unreachable
            && let Some(switch) = self.forwarding_off(place, &name)?
        {
            return Ok(not_forwarded(&switch));
        }
        if is_of_source && here.local.contains(&from) {
            return Ok(format!("{from} is an address of {} itself (martian source)", here.name));
        }
        Ok(match denial {
            Some(denial) => format!("{from} -> {to}: {denial}"),
            None => format!("{from} -> {to}: {}", refusal(why)),
        })
    }

    /// Returns the sysctl because of which its source address is refused (`rp_filter`), if it is.
    async fn failed_reverse_path(&self, place: usize, link: u32) -> Result<Option<String>> {
        if self.packet.source.is_ipv6() {
            return Ok(None);
        }
        let here = &self.world.places[place];
        let name = self.link_name(place, link);
        let mut strictest = (0, String::new());
        for conf in ["all", &name] {
            let value = here.sysctl(&format!("net/ipv4/conf/{conf}/rp_filter"))?;
            let value: u8 = value.and_then(|v| v.parse().ok()).unwrap_or(0);
            if value > strictest.0 {
                strictest = (value, format!("net.ipv4.conf.{conf}.rp_filter is {value}"));
            }
        }
        let way = here.way(Query::to(self.packet.source)).await?;
        let fails = match (strictest.0, way) {
            (0, _) | (_, Route::Here { .. }) => false,
            (_, Route::None(_)) => true,
            // 1: by this link; 2: by any link.
            (strictness, Route::By { index, .. }) => strictness == 1 && index != link,
        };
        Ok(fails.then_some(strictest.1))
    }

    /// Returns the sysctl because of which packets from a link are not forwarded, if they are not.
    fn forwarding_off(&self, place: usize, link: &str) -> Result<Option<String>> {
        let here = &self.world.places[place];
        let is_on =
            |key: &str| here.sysctl(key).map(|value| value.is_some_and(|value| value != "0"));
        if self.packet.source.is_ipv6() {
            // A link's own sysctl concerns router advertisements (`ip6_forward`).
            let is_forced = is_on(&format!("net/ipv6/conf/{link}/force_forwarding"))?;
            let is_on = is_forced || is_on("net/ipv6/conf/all/forwarding")?;
            return Ok((!is_on).then(|| "net.ipv6.conf.all.forwarding".to_owned()));
        }
        if is_on(&format!("net/ipv4/conf/{link}/forwarding"))? {
            return Ok(None);
        }
        let of_all = is_on("net/ipv4/ip_forward")?;
        Ok(Some(if of_all {
            format!("net.ipv4.conf.{link}.forwarding")
        } else {
            "net.ipv4.ip_forward".to_owned()
        }))
    }

    /// The packet is delivered here.
    pub(super) async fn here(&mut self, place: usize, link: u32) -> Result<At> {
        if let Some(end) = self.rules(place, Point::ip(Hook::Input), Some(link), None).await? {
            return Ok(end);
        }
        if let Some(inner) = self.inner.take() {
            return Ok(self.decapsulate(place, *inner));
        }
        if let Some(first) = &self.answers {
            let is_sender = matches!(self.start, Start::Socket(sender) if sender == place);
            let is_whole =
                (self.packet.source, self.packet.source_port) == (first.destination, first.port);
            let why = match (is_sender, is_whole) {
                (true, true) => {
                    let why = format!("{} gets the answer", self.name(place));
                    self.hop(place, Stage::Socket, why.clone());
                    return Ok(At::End(self.verdict(Outcome::Arrives, place, Stage::Socket, &why)));
                }
                (true, false) => self.comes_from_another(first),
                (false, _) => format!("it comes to {}, which did not ask", self.name(place)),
            };
            return Ok(self.dies(place, Stage::Socket, why));
        }
        self.end = Some(End::Socket(place));
        let address = self.packet.destination;
        let name = self.name(place).to_owned();
        let protocol = match self.packet.protocol {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            132 => Protocol::Sctp,
            _ => return self.echo(place, address),
        };
        let port = self.packet.port.unwrap_or_default();
        let sockets = self.world.places[place].sockets(protocol)?;
        let at = format!("{port}/{protocol}");
        let (outcome, why) = match sockets.listener(address, port, protocol, link) {
            Listener::Sockets(found) => {
                let who = self.world.process_of(&found).map(|who| format!(": {who}"));
                let why = format!("{name} listens on {at}{}", who.unwrap_or_default());
                (Outcome::Arrives, why)
            }
            Listener::Connected(peer) => {
                (Outcome::Refused, format!("the socket of {at} is connected to {peer} only"))
            }
            Listener::Nobody => (Outcome::Refused, format!("nobody listens on {at}")),
        };
        self.hop(place, Stage::Socket, why.clone());
        Ok(At::End(self.verdict(outcome, place, Stage::Socket, &why)))
    }

    fn echo(&mut self, place: usize, address: IpAddr) -> Result<At> {
        let key = match address {
            IpAddr::V4(_) => "net/ipv4/icmp_echo_ignore_all",
            IpAddr::V6(_) => "net/ipv6/icmp/echo_ignore_all",
        };
        let ignores = self.world.places[place].sysctl(key)?.is_some_and(|v| v != "0");
        if ignores {
            let why = format!("{} is 1", key.replace('/', "."));
            return Ok(self.dies(place, Stage::Socket, why));
        }
        let why = format!("{} answers echoes to {address}", self.name(place));
        self.hop(place, Stage::Socket, why.clone());
        Ok(At::End(self.verdict(Outcome::Arrives, place, Stage::Socket, &why)))
    }
}

fn not_forwarded(switch: &str) -> String {
    format!("packets are not passed on: {switch} is 0")
}

fn refusal(why: Refusal) -> &'static str {
    match why {
        Refusal::NoRoute => "no route leads there",
        Refusal::Unreachable => "a route says that it is unreachable",
        Refusal::Prohibited => "a route prohibits it",
        Refusal::OtherLink => "answers would leave by another link",
        Refusal::Invalid => "such addresses have no business on this link (martian)",
    }
}
