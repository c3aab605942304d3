//! Checks that packets arrive: from outside, the host and a neighbour at each published port, and
//! from each endpoint at its gateways and in the world. Each is followed as `trace` follows it, on
//! what was read of the host before.

use std::{collections::HashMap, net::IpAddr, rc::Rc};

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::{
    Found,
    outside::Outside,
    snapshot::{End, Segment, Snapshot},
};
use crate::{
    error::Kind,
    kernel::Netns,
    model::{
        Endpoint, Finding, Flag, PortRange, Protocol, PublishedPort, Severity,
        ruleset::{Met, Packet},
        trace_path::{Outcome, Stage, TraceEnd, TraceTarget, Verdict},
    },
    ops::diagnose::trace::{HOST, Reading, Start, World, walk},
    picture,
    plan::quote,
};

/// How many other packets with the same end are named.
const SHOWN: usize = 4;

/// A packet that does not arrive.
pub(super) struct LostPacket {
    severity: Severity,
    network: String,
    /// `NETWORK/TARGET` of the endpoint that it is about.
    place: String,
    /// `NETWORK/TARGET` of the neighbour that sends it.
    neighbour: Option<String>,
    /// The published port that it is for.
    port: Option<PublishedPort>,
    /// From where to where, in words.
    words: String,
    /// The command that shows its path.
    trace: String,
    verdict: Verdict,
}

/// A packet to follow.
struct Sent<'p> {
    start: Start,
    /// The sender for `trace`.
    from: String,
    /// The sender's address, if the start does not decide it.
    source: Option<IpAddr>,
    to: IpAddr,
    port: Option<(u16, Protocol)>,
    words: String,
    about: &'p End,
    neighbour: Option<&'p End>,
    published: Option<&'p PublishedPort>,
}

/// Follows packets, and keeps those that certainly do not arrive. Through rules that may not be read,
/// nothing can be followed.
pub(super) async fn follow(snapshot: &mut Snapshot<'_>) {
    let (true, Ok(own)) = (snapshot.rules.readable, Netns::own()) else { return };
    match lost(snapshot, own).await {
        Ok(lost) => snapshot.lost = lost,
        Err(error) => {
            snapshot.is_refused |= Kind::of(&error) == Kind::Permission;
            snapshot.unchecked.push(format!("the paths of packets: {error:#}"));
        }
    }
}

async fn lost(snapshot: &Snapshot<'_>, own: Netns) -> Result<Vec<LostPacket>> {
    let mut readings: HashMap<_, _> =
        snapshot.insides.iter().map(|inside| (inside.cookie, inside.reading())).collect();
    let host = Reading {
        view: Rc::clone(&snapshot.host),
        ruleset: snapshot.rules.all.clone(),
        sockets: Some(Rc::clone(&snapshot.sockets)),
    };
    readings.insert(own.cookie(), host);
    let endpoints = snapshot.ends.iter().filter_map(|end| end.endpoint.as_ref());
    let Some(world) = World::of_endpoints(own, endpoints, readings) else { return Ok(Vec::new()) };
    let outside = Outside::of(&snapshot.host, &snapshot.segments);
    let mut survey =
        Survey { snapshot, world, outside, followed: HashMap::new(), lost: Vec::new() };
    for segment in &snapshot.segments {
        survey.network(segment).await?;
    }
    Ok(survey.lost)
}

struct Survey<'s> {
    snapshot: &'s Snapshot<'s>,
    world: World,
    outside: Outside,
    /// How packets of this endpoint ended.
    followed: HashMap<Key, Option<Verdict>>,
    lost: Vec<LostPacket>,
}

/// What decides the path of a packet: its start, its addresses and its port.
type Key = (Start, Option<IpAddr>, IpAddr, Option<(u16, Protocol)>);

impl Survey<'_> {
    async fn network(&mut self, segment: &Segment) -> Result<()> {
        // While its addresses move, nothing is as it will be.
        if segment.network().driver.moving().is_some() {
            return Ok(());
        }
        let all: Vec<_> = self.snapshot.ends_on(segment).filter_map(End::living).collect();
        let Some((_, first)) = all.first() else { return Ok(()) };
        // It is the neighbour of all others.
        let kept = self.world.endpoint(first).await?.unwrap_or(HOST);
        for (end, endpoint) in all.iter().filter(|(end, _)| end.examined) {
            let neighbour = all.iter().find(|(_, other)| other.cookie != endpoint.cookie);
            self.endpoint(segment, end, endpoint, neighbour.copied()).await?;
            self.world.close_after(kept);
            self.followed.clear();
        }
        self.world.close_after(HOST);
        Ok(())
    }

    async fn endpoint(
        &mut self,
        segment: &Segment,
        end: &End,
        endpoint: &Endpoint,
        neighbour: Option<(&End, &Endpoint)>,
    ) -> Result<()> {
        let Some(at) = self.world.endpoint(endpoint).await? else { return Ok(()) };
        let target = quote(endpoint.netns.as_str());
        let sent = |to, words| Sent {
            start: Start::Socket(at),
            from: target.clone(),
            source: None,
            to,
            port: None,
            words: format!("from `{}` to {words}", endpoint.target),
            about: end,
            neighbour: None,
            published: None,
        };
        for gateway in &endpoint.gateways {
            self.gateway(&sent(*gateway, format!("its gateway {gateway}"))).await?;
            if segment.network().has(Flag::Internal) {
                continue;
            }
            if let Some(to) = self.outside.world(*gateway, segment.network().driver.forwards()) {
                self.world(&sent(to, format!("the world ({to})"))).await?;
            }
        }
        for port in &endpoint.ports {
            self.port(segment, end, port, neighbour).await?;
        }
        Ok(())
    }

    async fn gateway(&mut self, sent: &Sent<'_>) -> Result<()> {
        if let Some(verdict) = self.follow(sent).await? {
            // One that only answers no ping still forwards.
            let severity = match verdict.stage {
                Stage::Input | Stage::Socket => Severity::Warning,
                _ => Severity::Error,
            };
            self.report(sent, severity, verdict);
        }
        Ok(())
    }

    async fn world(&mut self, sent: &Sent<'_>) -> Result<()> {
        let Some(verdict) = self.follow(sent).await? else { return Ok(()) };
        if names_other(&verdict, "daddr") {
            return Ok(());
        }
        let mut severity = Severity::Error;
        for port in [(443, Protocol::Tcp), (53, Protocol::Udp)] {
            let other =
                Sent { port: Some(port), words: String::new(), from: String::new(), ..*sent };
            if self.follow(&other).await?.is_none() {
                severity = Severity::Warning;
                break;
            }
        }
        self.report(sent, severity, verdict);
        Ok(())
    }

    async fn port(
        &mut self,
        segment: &Segment,
        end: &End,
        port: &PublishedPort,
        neighbour: Option<(&End, &Endpoint)>,
    ) -> Result<()> {
        // It is published on an address that is gone, which is found by itself.
        if self.snapshot.lost_addresses.contains(&port.host_ip) {
            return Ok(());
        }
        let offset = self.served(end, port);
        let (host, container) = (port.host.first + offset, port.container.first + offset);
        let protocol = port.protocol;
        let target = &end.endpoint.as_ref().map_or("", |endpoint| endpoint.target.as_str());
        let Some(to) = self.outside.published_at(port.host_ip) else { return Ok(()) };
        let sent = |start, from: &str, to, number, words| Sent {
            start,
            from: from.to_owned(),
            source: None,
            to,
            port: Some((number, protocol)),
            words,
            about: end,
            neighbour: neighbour.map(|(neighbour, _)| neighbour),
            published: Some(port),
        };
        let words = |from: &str, to, number| {
            let to = TraceTarget { party: TraceEnd::Address(to), port: Some((number, protocol)) };
            format!("from {from} to {to} (`{target}`)")
        };
        let published = |from: &str| words(from, to, host);
        self.by_outsider(sent(Start::Socket(HOST), "", to, host, published("outside"))).await?;
        self.by_insider(&sent(Start::Socket(HOST), "host", to, host, published("the host")))
            .await?;
        let Some((_, other)) = neighbour else { return Ok(()) };
        let Some(at) = self.world.endpoint(other).await? else { return Ok(()) };
        let (from, start) = (quote(other.netns.as_str()), Start::Socket(at));
        let name = format!("`{}`", other.target);
        if !to.is_loopback() {
            self.by_insider(&sent(start, &from, to, host, published(&name))).await?;
        }
        let has_family = |address: &IpNetwork| address.is_ipv4() == port.address.is_ipv4();
        if !segment.network().has(Flag::Isolate) && other.addresses.iter().any(has_family) {
            let words = words(&name, port.address, container);
            self.by_insider(&sent(start, &from, port.address, container, words)).await?;
        }
        Ok(())
    }

    /// From an arbitrary sender in the world, or else from one on the same link: a firewall may let
    /// in only those.
    async fn by_outsider(&mut self, sent: Sent<'_>) -> Result<()> {
        let mut first = None;
        for (link, source) in self.outside.senders_to(sent.to) {
            let (start, from, source) = (Start::Link(link), source.to_string(), Some(source));
            let sent = Sent { start, from, source, words: sent.words.clone(), ..sent };
            match self.follow(&sent).await? {
                None => return Ok(()),
                Some(verdict) => first = first.or(Some((sent, verdict))),
            }
        }
        if let Some((sent, verdict)) = first
            && !names_other(&verdict, "saddr")
        {
            self.report(&sent, Severity::Error, verdict);
        }
        Ok(())
    }

    /// Returns the offset in a range of ports of the first that a program listens on, else 0.
    fn served(&self, end: &End, port: &PublishedPort) -> u16 {
        let inside = end.inner.as_ref().map(|inner| &self.snapshot.insides[inner.inside]);
        let Some(sockets) = inside.and_then(|inside| inside.sockets.as_ref()) else { return 0 };
        let is_served = |number: &u16| {
            let single = PortRange::single(*number);
            sockets.serving(port.address, single, port.protocol).next().is_some()
        };
        let served = port.container.ports().find(is_served);
        served.map_or(0, |number| number - port.container.first)
    }

    /// From the host or a neighbour: others may get through.
    async fn by_insider(&mut self, sent: &Sent<'_>) -> Result<()> {
        if let Some(verdict) = self.follow(sent).await? {
            self.report(sent, Severity::Warning, verdict);
        }
        Ok(())
    }

    /// Returns the verdict if the packet certainly does not arrive.
    async fn follow(&mut self, sent: &Sent<'_>) -> Result<Option<Verdict>> {
        let unspecified = if sent.to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let packet = Packet::to(sent.source.unwrap_or(unspecified), sent.to, sent.port);
        let key = (sent.start, sent.source, sent.to, sent.port);
        if let Some(verdict) = self.followed.get(&key) {
            return Ok(verdict.clone());
        }
        let verdict = walk(&mut self.world, packet, sent.start).await?.way.verdict;
        let is_lost = match verdict.outcome {
            Outcome::Arrives | Outcome::Leaves | Outcome::Unknown => false,
            Outcome::Dies => !self.is_intended(&verdict) && !self.settles(sent.about, &verdict),
            // The checks of its sockets know more: a server need not listen in both IP versions.
            Outcome::Refused => {
                sent.about.endpoint.as_ref().is_none_or(|e| e.target != verdict.place)
            }
        };
        let verdict = is_lost.then_some(verdict);
        self.followed.insert(key, verdict.clone());
        Ok(verdict)
    }

    /// Returns whether a target's own policy dropped what it sends, and other rules accept some of
    /// that.
    fn is_intended(&self, verdict: &Verdict) -> bool {
        let Some(Met { table, chain, handle: None, .. }) = &verdict.rule else { return false };
        let sender = self.snapshot.insides.iter().find(|inside| inside.target == verdict.place);
        let Some(sender) = sender.filter(|_| verdict.stage == Stage::Output) else { return false };
        let chain = sender.ruleset.as_ref().and_then(|ruleset| ruleset.chain(table, chain));
        chain.is_some_and(|chain| !chain.rules.is_empty())
    }

    /// Returns whether it ended at a bridge one of whose ports is still coming up.
    fn settles(&self, end: &End, verdict: &Verdict) -> bool {
        let segment = self.snapshot.segment_of(end);
        let bridge = segment.and_then(|segment| segment.bridge.as_ref());
        let mut ports = bridge.into_iter().flat_map(|bridge| self.snapshot.host.ports_of(bridge));
        verdict.stage == Stage::Bridge
            && verdict.rule.is_none()
            && ports.any(|port| port.up && port.carrier && !port.operates)
    }

    fn report(&mut self, sent: &Sent<'_>, severity: Severity, verdict: Verdict) {
        let to = TraceTarget { party: TraceEnd::Address(sent.to), port: sent.port };
        let network = sent.about.network.as_ref();
        self.lost.push(LostPacket {
            severity,
            network: network.map(ToString::to_string).unwrap_or_default(),
            place: self.snapshot.place(sent.about),
            neighbour: sent.neighbour.map(|neighbour| self.snapshot.place(neighbour)),
            port: sent.published.cloned(),
            words: sent.words.clone(),
            trace: format!("netcord trace {} {to}", sent.from),
            verdict,
        });
    }
}

/// Returns whether a rule dropped it because of the address of somebody who is only an example.
fn names_other(verdict: &Verdict, side: &str) -> bool {
    let side = match (is_answer(verdict), side) {
        (true, "saddr") => "daddr",
        (true, _) => "saddr",
        (false, side) => side,
    };
    verdict.rule.as_ref().is_some_and(|met| met.rule.split(' ').any(|word| word == side))
}

fn is_answer(verdict: &Verdict) -> bool {
    verdict.text.contains("but the answer")
}

/// Finds packets that do not arrive, unless another check found out why. Those with the same end are
/// one finding.
pub(super) fn broken(snapshot: &Snapshot<'_>, found: &[Found]) -> Vec<Finding> {
    let unknown = snapshot.lost.iter().filter(|lost| !found.iter().any(|found| lost.is_by(found)));
    let mut unknown: Vec<_> = unknown.collect();
    unknown.sort_by_key(|lost| lost.severity);
    let mut groups: Vec<Vec<&LostPacket>> = Vec::new();
    let (mut by_end, mut by_port) = (HashMap::new(), HashMap::new());
    for lost in unknown {
        let port = (&lost.place, lost.port.as_ref().map(PublishedPort::to_string));
        let of_port = by_port.get(&port).filter(|_| port.1.is_some());
        // What makes a port fail for all may show itself elsewhere to others.
        let at = by_end.get(&lost.end()).or(of_port).copied().unwrap_or_else(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        by_end.entry(lost.end()).or_insert(at);
        by_port.entry(port).or_insert(at);
        groups[at].push(lost);
    }
    groups.iter().filter_map(|group| finding(group)).collect()
}

fn finding(group: &[&LostPacket]) -> Option<Finding> {
    let severity = group.iter().map(|lost| lost.severity).min()?;
    let first = group.iter().find(|lost| lost.severity == severity)?;
    let place = if group.iter().all(|lost| lost.place == first.place) {
        &first.place
    } else if group.iter().all(|lost| lost.network == first.network) {
        &first.network
    } else {
        "host"
    };
    let what = format!("packets {} do not arrive; the whole path: `{}`", first.words, first.trace);
    let finding = match severity {
        Severity::Error => Finding::error(place, what),
        Severity::Warning => Finding::warning(place, what),
    };
    let others = group.iter().filter(|lost| lost.trace != first.trace);
    let end = first.end();
    let shown = others.clone().take(SHOWN).map(|lost| {
        let why = if lost.end() == end { "" } else { &format!(": {}", lost.verdict.text) };
        format!("nor {}{why}", lost.words)
    });
    let more = others.count().saturating_sub(SHOWN);
    let more = (more > 0).then(|| format!("and {more} more"));
    let finding = finding.shown_by(first.verdict.text.clone());
    Some(shown.chain(more).fold(finding, Finding::shown_by))
}

impl LostPacket {
    /// What ends its path: the same for all that end by it.
    fn end(&self) -> String {
        let Verdict { place, stage, rule, text, .. } = &self.verdict;
        match rule {
            Some(met) => format!("{stage} of {place}: {}", picture::trace_path::rule(met)),
            None => text.clone(),
        }
    }

    /// Returns whether another check found what ends it.
    fn is_by(&self, found: &Found) -> bool {
        let place = &found.finding.place;
        let is_about = place == "host"
            || [&self.network, &self.place].contains(&place)
            || self.neighbour.as_ref() == Some(place);
        is_about
            && (IS_FIRST.contains(&found.id)
                || ends(found.id).contains(&self.verdict.stage) && self.is_shown_by(found))
    }

    /// Returns whether the evidence of another check is about the same rule or port.
    fn is_shown_by(&self, Found { id, finding }: &Found) -> bool {
        let is_shown = |text: &str| finding.evidence.iter().any(|shown| shown.contains(text));
        match (*id, &self.verdict.rule, &self.port) {
            ("input-drop" | "output-drop" | "target-drop", Some(met), _) => {
                is_shown(&picture::trace_path::rule(met))
            }
            ("port-missing", _, Some(port)) => is_shown(&port.to_string()) || is_shown("changed: "),
            ("forward-drop" | "bridge-netfilter" | "rules-missing", rule, _) => rule.is_some(),
            ("masquerade-missing", ..) => is_answer(&self.verdict),
            (_, rule, _) => rule.is_none(),
        }
    }
}

/// Checks without which nothing else can be right: wherever a packet ends then.
const IS_FIRST: [&str; 10] = [
    "bridge-missing",
    "parent-missing",
    "link-down",
    "no-carrier",
    "not-in-bridge",
    "mac-duplicate",
    "endpoint-dead",
    "address-missing",
    "address-clash",
    "route-missing",
];

/// Returns the stages at which packets end because of what a check finds.
fn ends(id: &str) -> &'static [Stage] {
    use Stage::{Bridge, Forward, Input, Link, Neighbour, Output, Prerouting, Route, Socket};
    match id {
        "port-isolated" | "port-blocked" => &[Neighbour, Bridge],
        "mac-changed" => &[Neighbour, Bridge, Stage::Ingress],
        "default-route" | "port-address" => &[Route, Neighbour],
        "masquerade-missing" => &[Prerouting, Forward, Route, Neighbour, Link],
        "peer-missing" | "rp-filter" | "forwarding-off" => &[Route, Neighbour, Link],
        "forward-drop" => &[Forward],
        "bridge-netfilter" => &[Forward, Bridge],
        "rules-missing" => &[Prerouting, Input, Forward, Output],
        "input-drop" => &[Input],
        "output-drop" => &[Output],
        "target-drop" => &[Input, Output, Prerouting],
        "port-missing" | "port-shadowed" => &[Route, Neighbour, Socket],
        _ => &[],
    }
}
