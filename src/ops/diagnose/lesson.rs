//! `lab --check`: what a host has of what a lesson builds, whoever made it. The graph says what is
//! connected, and `trace` what becomes of packets.

use std::net::IpAddr;

use anyhow::Result;
use serde::Serialize;

use super::{
    graph::{self, GraphOf},
    trace::{self, Trace},
    view::View,
};
use crate::{
    error::{Error, Kind, did_you_mean},
    kernel::sockets::{Scope, Sockets},
    model::{
        EndpointState, PortRange, Protocol,
        graph::{End, Graph, Inside, Segment},
        lesson::{Fact, InUse, LESSONS, Lesson},
        trace_path::{Hop, Stage, TraceEnd, TraceTarget, Way},
    },
    ops::Session,
    plan, process,
};

/// What a host has of a lesson.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// The lesson's name.
    pub lesson: &'static str,
    /// Whether nothing is missing.
    pub complete: bool,
    /// The parts, in the order of building.
    pub parts: Vec<CheckedPart>,
}

/// Whether a part is there.
#[derive(Debug, Serialize)]
pub struct CheckedPart {
    /// The part in words.
    pub part: &'static str,
    /// Whether it is there.
    pub there: bool,
    /// The commands that make it.
    pub commands: Vec<String>,
}

/// Compares the host with what a lesson builds.
///
/// # Errors
/// If there is no such lesson, or the host cannot be read.
pub async fn check(host: &Session<'_>, lesson: &str) -> Result<Checked> {
    let word = lesson;
    let lesson = Lesson::of(word).ok_or_else(|| {
        let error = Error::not_found(format!("no lesson `{word}` that can be checked"));
        match did_you_mean(word, LESSONS.iter().map(|lesson| lesson.name)) {
            Some(hint) => error.hint(hint),
            None => error.hint("`netcord lab --check` lists those that can"),
        }
    })?;
    let seen = Seen {
        host,
        graph: graph::graph(host, &GraphOf::default()).await?,
        view: View::of_host(&host.kernel).await?,
    };
    let in_use = seen.in_use();
    let mut parts = Vec::new();
    for part in lesson.parts {
        let there = seen.holds(part.fact).await?;
        let commands = part.by_hand.iter().map(|command| in_use.fill_in(command)).collect();
        parts.push(CheckedPart { part: part.says, there, commands });
    }
    let complete = parts.iter().all(|part| part.there);
    Ok(Checked { lesson: lesson.name, complete, parts })
}

/// The host as it is.
struct Seen<'s, 'e> {
    host: &'s Session<'e>,
    graph: Graph,
    view: View,
}

impl Seen<'_, '_> {
    async fn holds(&self, fact: Fact) -> Result<bool> {
        let at_least = |count: usize, is_it: fn(&Segment, &Inside) -> bool| {
            let of = |s: &Segment| insides(s).filter(|(_, inside)| is_it(s, inside)).count();
            self.bridge().is_some_and(|segment| of(segment) >= count)
        };
        Ok(match fact {
            Fact::Bridge => self.bridge().is_some_and(|s| s.up && !s.addresses.is_empty()),
            Fact::Cables(count) => at_least(count, |_, _| true),
            Fact::Up(count) => self.bridge().is_some_and(|segment| {
                insides(segment).filter(|(state, _)| *state == EndpointState::Up).count() >= count
            }),
            Fact::Addresses(count) => at_least(count, has_address),
            Fact::DefaultRoutes(count) => at_least(count, |segment, inside| {
                let is_own = |g: &IpAddr| segment.addresses.iter().any(|a| a.ip() == *g);
                inside.gateways.iter().any(is_own)
            }),
            Fact::Ping => match self.endpoints().as_slice() {
                [one, other, ..] => self.arrives(end(one), address_of(other)).await?.is_some(),
                [one] => match self.bridge().and_then(|s| s.addresses.first()) {
                    Some(own) => self.arrives(end(one), Some(own.ip())).await?.is_some(),
                    None => false,
                },
                [] => false,
            },
            Fact::Forwarding => self.graph.forwarding.ipv4,
            Fact::Outside => self.outside().is_some(),
            Fact::Masquerade => match self.endpoints().first() {
                Some(one) => self
                    .arrives(end(one), self.outside())
                    .await?
                    .is_some_and(|way| translates(&way.hops, Stage::Postrouting)),
                None => false,
            },
            Fact::Published(port) => self.is_published(port).await?,
            Fact::HostListener => {
                let sockets = Sockets::here(&[Protocol::Tcp], Scope::Listening)?;
                let all = PortRange { first: 1, last: u16::MAX };
                let any = [IpAddr::from([0, 0, 0, 0]), IpAddr::from([0_u16; 8])];
                any.iter().any(|ip| sockets.listening(*ip, all, Protocol::Tcp).next().is_some())
            }
            Fact::SharedStack => process::is_netns_shared(),
            Fact::DefaultByBridge => self.by_uplink().is_some_and(|s| !s.addresses.is_empty()),
            Fact::UplinkPort => self.by_uplink().is_some_and(|segment| {
                let mut ports = segment.ports.iter().filter(|port| is_uplink(segment, &port.end));
                ports.any(|port| {
                    let link = port.link.as_deref().and_then(|name| self.view.link(name));
                    link.is_some_and(|link| self.view.addresses_of(link).is_empty())
                })
            }),
            Fact::EndpointInUplink => self.by_uplink().is_some_and(|segment| {
                let is_endpoint =
                    |inside: &Inside| has_address(segment, inside) && !has_gateway(segment, inside);
                insides(segment).any(|(state, i)| state == EndpointState::Up && is_endpoint(i))
            }),
            Fact::Vxlan => self.view.links.iter().any(|l| l.kind_name == "vxlan" && l.up),
            Fact::TunnelRoute => self.behind_tunnel().is_some(),
            Fact::Tunnel => match self.behind_tunnel() {
                Some(address) => self.leaves(address).await?,
                None => false,
            },
        })
    }

    /// The bridge with the most endpoints, of those that are not the way out.
    fn bridge(&self) -> Option<&Segment> {
        let bridges = self.graph.segments.iter().filter(|s| s.macvlan.is_none());
        let bridges = bridges.filter(|s| s.gateways.is_empty());
        bridges.max_by_key(|s| {
            (insides(s).filter(|(_, i)| has_address(s, i)).count(), insides(s).count(), s.up)
        })
    }

    /// The names and addresses for commands.
    fn in_use(&self) -> InUse {
        let Some(bridge) = self.bridge() else { return InUse::default() };
        let address = bridge.addresses.iter().find(|address| address.is_ipv4());
        InUse {
            bridge: plan::quote(&bridge.name),
            gateway: address.copied().unwrap_or(InUse::default().gateway),
            endpoints: self.endpoints().into_iter().filter_map(address_of).collect(),
        }
    }

    /// The bridge of the host's default route.
    fn by_uplink(&self) -> Option<&Segment> {
        self.graph.segments.iter().find(|s| s.macvlan.is_none() && !s.gateways.is_empty())
    }

    fn endpoints(&self) -> Vec<&Inside> {
        let Some(bridge) = self.bridge() else { return Vec::new() };
        insides(bridge).map(|(_, inside)| inside).filter(|i| has_address(bridge, i)).collect()
    }

    /// The IPv4 address of a machine behind a link of the host.
    fn outside(&self) -> Option<IpAddr> {
        let machines = self.graph.links.iter().flat_map(|link| &link.inside);
        let of_machine = machines.flat_map(|i| &i.addresses).map(ipnetwork::IpNetwork::ip);
        let gateways = self.graph.links.iter().flat_map(|link| &link.gateways).copied();
        of_machine.chain(gateways).find(IpAddr::is_ipv4)
    }

    /// An address in a subnet whose route is by a VXLAN link.
    fn behind_tunnel(&self) -> Option<IpAddr> {
        let is_tunnel = |route| {
            self.view.link_of(route).is_some_and(|link| link.kind_name == "vxlan" && link.up)
        };
        let route = self.view.routes.iter().find(|r| r.gateway.is_some() && is_tunnel(r))?;
        match route.destination {
            ipnetwork::IpNetwork::V4(subnet) => subnet.nth(1).map(IpAddr::V4),
            ipnetwork::IpNetwork::V6(subnet) => subnet.iter().nth(1).map(IpAddr::V6),
        }
    }

    /// An address of the host of the same IP version.
    fn own_end(&self, other: IpAddr) -> TraceEnd {
        let own = self.graph.segments.iter().flat_map(|s| &s.addresses);
        let own = own.chain(self.graph.links.iter().flat_map(|link| &link.addresses));
        let own = own.map(ipnetwork::IpNetwork::ip).find(|ip| ip.is_ipv4() == other.is_ipv4());
        TraceEnd::Address(own.unwrap_or(other))
    }

    /// Whether a connection from the machine outside to a port of the host is led into a namespace.
    async fn is_published(&self, port: u16) -> Result<bool> {
        let Some(outside) = self.outside() else { return Ok(false) };
        let mut own = self.graph.links.iter().flat_map(|link| &link.addresses);
        let Some(own) = own.find(|address| address.contains(outside)) else { return Ok(false) };
        let to =
            TraceTarget { party: TraceEnd::Address(own.ip()), port: Some((port, Protocol::Tcp)) };
        let way = self.trace(TraceEnd::Address(outside), to).await?;
        Ok(way
            .is_some_and(|w| w.verdict.outcome.is_good() && translates(&w.hops, Stage::Prerouting)))
    }

    /// The path of an echo request to an address, if it and the reply get through.
    async fn arrives(&self, from: TraceEnd, to: Option<IpAddr>) -> Result<Option<Way>> {
        let Some(to) = to else { return Ok(None) };
        let to = TraceTarget { party: TraceEnd::Address(to), port: None };
        Ok(self.trace(from, to).await?.filter(|way| way.verdict.outcome.is_good()))
    }

    /// Whether an echo request leaves the host. What the other host does with it is not our concern.
    async fn leaves(&self, address: IpAddr) -> Result<bool> {
        let to = TraceTarget { party: TraceEnd::Address(address), port: None };
        let way = self.trace(self.own_end(address), to).await?;
        Ok(way.is_some_and(|way| {
            let ends_here = way.hops.first().is_some_and(|hop| hop.place == way.verdict.place);
            way.verdict.outcome.is_good() || !ends_here
        }))
    }

    async fn trace(&self, from: TraceEnd, to: TraceTarget) -> Result<Option<Way>> {
        match trace::trace(self.host, &Trace { from, to, live: None }).await {
            Ok(traced) => Ok(Some(traced.way)),
            // An end that is not there, or has no address, is something that is missing.
            Err(error) if Kind::of(&error) == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether a rule at this hook changes an address.
fn translates(hops: &[Hop], stage: Stage) -> bool {
    let words =
        if stage == Stage::Postrouting { ["masquerade", "snat"] } else { ["dnat", "redirect"] };
    let rules = hops.iter().filter(|hop| hop.stage == stage).flat_map(|hop| &hop.rules);
    rules
        .map(|met| met.rule.to_lowercase())
        .any(|rule| words.iter().any(|word| rule.contains(word)))
}

/// The links inside at the ports of a bridge, with their states.
fn insides(segment: &Segment) -> impl Iterator<Item = (EndpointState, &Inside)> {
    segment.ports.iter().filter_map(|port| Some((port.state, port.inside()?)))
}

fn has_address(segment: &Segment, inside: &Inside) -> bool {
    inside.addresses.iter().any(|a| segment.addresses.iter().any(|own| own.contains(a.ip())))
}

fn has_gateway(segment: &Segment, inside: &Inside) -> bool {
    inside.addresses.iter().any(|address| segment.gateways.contains(&address.ip()))
}

/// Whether it leads to the gateway, or to where nobody can see.
fn is_uplink(segment: &Segment, end: &End) -> bool {
    match end {
        End::Inside(inside) => has_gateway(segment, inside),
        End::Host { .. } | End::Wire { .. } => true,
    }
}

/// A namespace as the sender of a packet.
fn end(inside: &Inside) -> TraceEnd {
    let name = inside.target.as_deref().unwrap_or_default();
    // A process is shown as `NAME (PID)`.
    let pid = name.rsplit_once(" (").and_then(|(_, pid)| pid.strip_suffix(')'));
    let unknown = || TraceEnd::Address(address_of(inside).unwrap_or(IpAddr::from([0, 0, 0, 0])));
    pid.unwrap_or(name).parse().map_or_else(|_| unknown(), TraceEnd::Target)
}

fn address_of(inside: &Inside) -> Option<IpAddr> {
    inside.addresses.first().map(ipnetwork::IpNetwork::ip)
}
