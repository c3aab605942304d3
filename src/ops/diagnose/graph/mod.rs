//! `graph`: a picture of the host's network, from the kernel. Records only add the targets' names
//! and published ports.
//!
//! - `inside`: the ends of the host's links in other namespaces

mod inside;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use self::inside::Insides;
use crate::{
    error::Error,
    kernel::{Kernel, Link, LinkKind},
    model::{
        Driver, Endpoint, EndpointState, Family, Flag, Network, NetworkRecord, Overlay, Peer,
        graph::{End, Forwarding, Graph, HostLink, Inside, OtherHost, Port, Segment},
        natural_order,
    },
    ops::{
        Session,
        diagnose::view::View,
        lookup::engine_network,
        upkeep::need::{Depth, Extent},
    },
    state::{Load, State},
};

/// What to draw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GraphOf {
    /// Networks and targets; by default everything on this host.
    pub names: Vec<String>,
}

/// Reads the host's network.
///
/// # Errors
/// If a name is neither a network nor a target.
pub async fn graph(host: &Session<'_>, args: &GraphOf) -> Result<Graph> {
    let mut graph = read(host).await?;
    if !args.names.is_empty() {
        graph = graph.restricted_to(&args.names).map_err(|name| {
            Error::not_found(format!("`{name}` is neither a network nor attached to one"))
                .hint("`netcord graph` without names shows all there is")
        })?;
    }
    Ok(graph)
}

/// The host, and the records.
struct Seen {
    host: View,
    records: HashMap<String, NetworkRecord>,
}

async fn read(host: &Session<'_>) -> Result<Graph> {
    let kernel = &host.kernel;
    let state = host.look(Extent::to(Depth::Unattached)).await?;
    let records =
        state.networks().iter().map(|(name, record)| (name.to_string(), record.clone())).collect();
    let seen = Seen { host: View::of_host(kernel).await?, records };
    let mut insides = inside::read(host, &seen.host, seen.endpoints()).await;
    if insides.refused > 0 {
        let names = if insides.refused == 1 { "namespace" } else { "namespaces" };
        host.events.warn(&format!(
            "{} {names} may not be entered: what is inside is not shown",
            insides.refused
        ));
    }
    let mut segments: Vec<_> = seen
        .host
        .links
        .iter()
        .filter(|link| link.kind == LinkKind::Bridge)
        .map(|bridge| seen.bridge(bridge, &mut insides))
        .collect();
    let macvlans = seen.records.values().filter(|record| record.network.bridge().is_none());
    segments.extend(macvlans.map(|record| seen.macvlan(record, &mut insides)));
    if segments.iter().any(|segment| segment.foreign) {
        let mut names = engine_network::names().await;
        for segment in &mut segments {
            segment.engine_network = names.remove(&segment.name);
        }
    }
    segments.sort_by(|a, b| natural_order(&a.name, &b.name));
    forget_detached(kernel, &mut segments)?;
    let links =
        seen.host.links.iter().filter_map(|link| seen.host_link(link, &mut insides)).collect();
    let is_on = |key: &str| Ok::<_, anyhow::Error>(kernel.sysctl(key)?.is_some_and(|v| v != "0"));
    let forwarding = Forwarding {
        ipv4: is_on("net/ipv4/ip_forward")?,
        ipv6: is_on("net/ipv6/conf/all/forwarding")?,
    };
    Ok(Graph { forwarding, links, segments })
}

/// Endpoints that were detached after their record was read are not dead.
fn forget_detached(kernel: &Kernel, segments: &mut [Segment]) -> Result<()> {
    let is_dead = |port: &Port| port.state == EndpointState::Dead;
    if !segments.iter().flat_map(|s| &s.ports).any(is_dead) {
        return Ok(());
    }
    let now = State::read(kernel.cookie(), Load::All)?;
    let on_record: HashSet<_> = now
        .endpoints()
        .map(|(record, e)| (record.network.name.as_str(), Some(e.cookie), Some(e.ifname.as_str())))
        .collect();
    for segment in segments {
        segment.ports.retain(|port| {
            let is_on_record = |inside: &Inside| {
                let endpoint = (segment.name.as_str(), inside.cookie, inside.link.as_deref());
                on_record.contains(&endpoint)
            };
            !is_dead(port) || port.inside().is_some_and(is_on_record)
        });
    }
    Ok(())
}

impl Seen {
    fn endpoints(&self) -> impl Iterator<Item = (&Network, &Endpoint)> {
        self.records.values().flat_map(|r| r.endpoints.iter().map(move |e| (&r.network, e)))
    }

    /// Returns a segment with the properties of its link on the host, if it has one.
    fn segment(&self, name: &str, link: Option<&Link>) -> Segment {
        let network = self.records.get(name).map(|record| &record.network);
        let driver = network.map(|network| &network.driver);
        let macvlan = driver.and_then(Driver::macvlan);
        let is = |f: fn(&Network) -> bool| network.is_some_and(f);
        let masquerade = is(|n| n.masquerades() && !n.has(Flag::Internal));
        Segment {
            name: name.to_owned(),
            mode: driver.map_or("bridge", Driver::word),
            foreign: driver.is_none_or(Driver::is_foreign),
            engine_network: None,
            up: link.is_some_and(|l| l.up),
            mac: link.and_then(|l| l.mac),
            addresses: link.map(|l| self.host.addresses_of(l)).unwrap_or_default(),
            gateways: link.map(|l| self.host.gateways_of(l)).unwrap_or_default(),
            parent: driver.and_then(Driver::parent).map(|p| p.link.to_string()),
            macvlan: macvlan.map(|macvlan| macvlan.mode),
            host_access: macvlan.is_some() && link.is_some(),
            internal: is(|n| n.has(Flag::Internal)),
            isolate: is(|n| n.has(Flag::Isolate)),
            no_spoof: is(|n| n.has(Flag::NoSpoof)),
            open: is(|n| n.has(Flag::Open)),
            masquerade,
            masquerade_by: if masquerade { self.ways_out(name) } else { Vec::new() },
            ports: Vec::new(),
            peers: driver.and_then(Driver::overlay).map(others).unwrap_or_default(),
        }
    }

    fn bridge(&self, bridge: &Link, insides: &mut Insides) -> Segment {
        let mut segment = self.segment(&bridge.name, Some(bridge));
        segment.ports.extend(self.host.ports_of(bridge).map(|link| Port {
            link: Some(link.name.clone()),
            state: state(link.is_running()),
            end: self.end(link, insides),
        }));
        // Links of other programs on top of the bridge itself.
        segment.ports.extend(insides.take(&bridge.name).into_iter().map(|(up, inside)| Port {
            link: None,
            state: state(up),
            end: End::Inside(inside),
        }));
        if let Some(record) = self.records.get(&bridge.name) {
            // A host end that was removed from the bridge by hand is among the host's links.
            let ends = record.endpoints.iter().filter_map(|e| Some((e, e.host_ifname()?)));
            let gone =
                ends.filter(|(_, host_ifname)| self.host.link(host_ifname.as_str()).is_none());
            segment.ports.extend(gone.map(|(endpoint, host_ifname)| Port {
                link: Some(host_ifname.to_string()),
                state: endpoint.state_without_link(),
                end: End::Inside(on_record(endpoint)),
            }));
        }
        sort(&mut segment.ports);
        segment
    }

    fn macvlan(&self, record: &NetworkRecord, insides: &mut Insides) -> Segment {
        let name = record.network.name.as_str();
        // The host's own macvlan, if there is one.
        let access = self.host.link(name).filter(|link| link.kind == LinkKind::Macvlan);
        let mut segment = self.segment(name, access);
        let parent = segment.parent.as_ref().and_then(|parent| self.host.link(parent));
        segment.up = parent.is_some_and(Link::is_running);
        segment.ports = record
            .endpoints
            .iter()
            .map(|endpoint| match insides.take_macvlan(&record.network, endpoint) {
                Some((up, inside)) => {
                    Port { link: None, state: state(up), end: End::Inside(inside) }
                }
                None => Port {
                    link: None,
                    state: match insides.refused {
                        0 => endpoint.state_without_link(),
                        _ => EndpointState::Unknown,
                    },
                    end: End::Inside(on_record(endpoint)),
                },
            })
            .collect();
        sort(&mut segment.ports);
        segment
    }

    fn end(&self, port: &Link, insides: &mut Insides) -> End {
        if let Some((_, inside)) = insides.take(&port.name).into_iter().next() {
            return End::Inside(inside);
        }
        if let Some(nsid) = port.leads_into() {
            let mut endpoints = self.endpoints().map(|(_, endpoint)| endpoint);
            let endpoint = endpoints.find(|e| e.has_host_end(&port.name));
            return End::Inside(Inside {
                target: endpoint.map(|e| e.target.clone()),
                nsid: Some(nsid),
                attached: port.is_ours(),
                published: endpoint.map(|e| e.ports.clone()).unwrap_or_default(),
                ..Inside::default()
            });
        }
        match self
            .host
            .links
            .iter()
            .find(|other| other.is_peer_of(port) && other.leads_into().is_none())
        {
            Some(other) => End::Host { link: other.name.clone() },
            None => End::Wire { link_kind: port.kind_name.clone() },
        }
    }

    /// Returns a link that is neither a bridge nor a bridge port. Fallback tunnel devices, which
    /// exist in every namespace (`sit0`, `gre0`), are left out: they are down and have no address.
    fn host_link(&self, link: &Link, insides: &mut Insides) -> Option<HostLink> {
        let is_bridge = |l: &&Link| l.kind == LinkKind::Bridge;
        let is_access = link.kind == LinkKind::Macvlan && self.records.contains_key(&link.name);
        if link.kind == LinkKind::Bridge
            || link.name == "lo"
            || is_access
            || self.host.links.iter().filter(is_bridge).any(|bridge| link.is_port_of(bridge))
        {
            return None;
        }
        let addresses = self.host.addresses_of(link);
        let mut inside: Vec<_> =
            insides.take(&link.name).into_iter().map(|(_, inside)| inside).collect();
        if let Some(nsid) = link.leads_into()
            && inside.is_empty()
        {
            inside.push(Inside { nsid: Some(nsid), ..Inside::default() });
        }
        // The index of a peer in another namespace may be that of a link here.
        let is_peer = |l: &Link| l.leads_into().is_none() && l.is_peer_of(link);
        let is_below = |l: &Link| link.is_upper_of(l) || is_peer(l);
        let lower = match link.leads_into() {
            None => self.host.links.iter().find(|l| is_below(l)).map(|l| l.name.clone()),
            Some(_) => None,
        };
        let is_of_use = link.up
            || link.kind_name.is_empty()
            || !addresses.is_empty()
            || lower.is_some()
            || !inside.is_empty();
        is_of_use.then(|| HostLink {
            name: link.name.clone(),
            kind: link.kind_name.clone(),
            up: link.is_running(),
            mac: link.mac,
            addresses,
            gateways: self.host.gateways_of(link),
            lower,
            master: self.host.bridge_of(link).map(|l| l.name.clone()),
            inside,
        })
    }

    /// Returns the links of the default routes with the lowest metric, except for the segment's
    /// own.
    fn ways_out(&self, segment: &str) -> Vec<String> {
        let mut found = Vec::new();
        for family in Family::BOTH {
            let by = self.host.default_route(family).and_then(|route| self.host.link_of(route));
            let name = by.map(|link| link.name.clone()).filter(|name| name != segment);
            found.extend(name.filter(|name| !found.contains(name)));
        }
        found
    }
}

/// The other hosts of an overlay network.
fn others(overlay: &Overlay) -> Vec<OtherHost> {
    let via = |host: IpAddr, peer: &Peer| {
        let mut via: Vec<String> = Vec::new();
        for subnet in &peer.subnets {
            let link = match peer.next_hop(subnet) {
                Some(_) => Some(&overlay.parent),
                None => overlay.tunnel_to(host, peer, subnet),
            };
            via.extend(link.map(ToString::to_string).filter(|link| !via.contains(link)));
        }
        via
    };
    let other = |(host, peer): (&IpAddr, &Peer)| OtherHost {
        host: *host,
        subnets: peer.subnets.clone(),
        via: via(*host, peer),
    };
    overlay.peers.iter().map(other).collect()
}

fn state(is_up: bool) -> EndpointState {
    if is_up { EndpointState::Up } else { EndpointState::Down }
}

/// Returns an endpoint that is on record, but does not exist.
fn on_record(endpoint: &Endpoint) -> Inside {
    Inside {
        target: Some(endpoint.target.clone()),
        cookie: Some(endpoint.cookie),
        nsid: None,
        attached: true,
        link: Some(endpoint.ifname.to_string()),
        mac: Some(endpoint.mac),
        addresses: endpoint.addresses.clone(),
        gateways: endpoint.gateways.clone(),
        published: endpoint.ports.clone(),
    }
}

/// Physical links first, then by target in natural order, then by port.
fn sort(ports: &mut [Port]) {
    ports.sort_by(|a, b| {
        let target = |p: &Port| p.inside().and_then(|i| i.target.clone());
        let rank =
            |p: &Port| (p.inside().is_some(), p.inside().is_some_and(|i| i.target.is_none()));
        let name = |p: &Port| p.link.clone().unwrap_or_default();
        rank(a)
            .cmp(&rank(b))
            .then_with(|| {
                natural_order(&target(a).unwrap_or_default(), &target(b).unwrap_or_default())
            })
            .then_with(|| natural_order(&name(a), &name(b)))
    });
}
