//! The state that a diagnosis needs, read once: the host's links, addresses, routes and rules, its
//! networks, and the namespaces that its links lead into.

use std::{collections::HashMap, net::IpAddr, path::Path, rc::Rc};

use anyhow::Result;

use super::{
    isolation,
    namespace_view::{self, Inside},
    routing::{self, Unrouted},
    served,
};
use crate::{
    error::Kind,
    kernel::{Dropping, Kernel, Link, Netns, Published, Sockets, Translation, sockets},
    model::{
        Endpoint, EngineContainer, Family, Filter, Firewall, Flag, LinkName, NamedNetns, Network,
        NetworkRecord, Protocol, ruleset::Ruleset,
    },
    ops::{
        Session,
        diagnose::view::View,
        driver::underlay::Uplink,
        lookup::{endpoints::is_former, find, resolve::resolve},
        peers,
        upkeep::{
            containers::{self, Now, Stopped},
            firewall,
            need::{Depth, Extent},
        },
    },
    plan::{self, Resource, Table, nft::Nft},
    state::State,
};

/// Both IP versions.
pub(super) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The state of the host.
pub(super) struct Snapshot<'a> {
    pub(super) kernel: &'a Kernel,
    /// The host's own links, addresses and routes.
    pub(super) host: View,
    /// The networks to check.
    pub(super) segments: Vec<Segment>,
    pub(super) insides: Vec<Inside>,
    /// All endpoints, and other connections of the host's links.
    pub(super) ends: Vec<End>,
    /// Endpoints whose containers have stopped, to be checked.
    pub(super) stopped: Vec<Stopped>,
    /// The names in `/run/netns` that netcord made, if the whole host is checked.
    pub(super) names: Option<Vec<NamedNetns>>,
    pub(super) rules: Rules,
    /// The host's listening sockets.
    pub(super) sockets: Sockets,
    /// Addresses of the host's bridges whose routes are missing.
    pub(super) unrouted: Vec<Unrouted>,
    /// Addresses of published ports that the host no longer has.
    pub(super) lost_addresses: Vec<IpAddr>,
    /// Host ends whose endpoint the bridge cannot find.
    pub(super) unknown_ports: Vec<LinkName>,
    /// The hosts of each overlay network, as far as the kernel reaches them.
    pub(super) hosts: Vec<(LinkName, Vec<peers::Listed>)>,
    /// What could not be checked, with the reason.
    pub(super) unchecked: Vec<String>,
    /// Whether a privilege was missing for one of these.
    pub(super) is_refused: bool,
}

/// A network.
pub(super) struct Segment {
    pub(super) record: NetworkRecord,
    /// Its bridge, if it has one that exists.
    pub(super) bridge: Option<Link>,
    /// Rules that it should have, and lacks.
    pub(super) lost: Vec<Lost>,
}

/// Missing rules.
pub(super) struct Lost {
    pub(super) kind: LostKind,
    /// The difference to the plan.
    pub(super) words: String,
}

/// The kind of missing rules.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LostKind {
    /// Our whole table.
    Table,
    /// Masquerade rules.
    Masquerade,
    /// Other rules.
    Other,
}

/// An endpoint, or another connection: its two ends, if they exist.
pub(super) struct End {
    pub(super) network: Option<LinkName>,
    pub(super) endpoint: Option<Endpoint>,
    pub(super) outer: Option<Link>,
    pub(super) inner: Option<Inner>,
    /// Whether it is to be checked.
    pub(super) examined: bool,
}

/// A link in a namespace.
pub(super) struct Inner {
    /// The index of its namespace.
    pub(super) inside: usize,
    pub(super) link: Link,
}

/// The host's rules for forwarding and translation.
#[derive(Default)]
pub(super) struct Rules {
    /// The tables of iptables, as commands.
    pub(super) filter: HashMap<Family, Rc<str>>,
    pub(super) nat: HashMap<Family, Rc<str>>,
    /// Chains of other programs that drop forwarded packets.
    pub(super) dropping: Vec<Dropping>,
    /// Rules of other programs, except iptables', that translate destination ports.
    pub(super) translations: Vec<Translation>,
    /// The published ports that have rules.
    pub(super) published: HashMap<Firewall, Rc<[Published]>>,
    /// All nftables rules, of all programs.
    pub(super) all: Option<Rc<Ruleset>>,
    /// Whether the rules could be read.
    pub(super) readable: bool,
}

/// What to check.
enum Scope {
    Host,
    Network(Box<NetworkRecord>),
    /// The target whose namespace has this cookie.
    Target(u64),
}

impl Scope {
    /// Returns whether the endpoint of a stopped container is to be checked; `asked` is the container of
    /// the target, if it runs.
    fn has(&self, stopped: &Stopped, asked: Option<&EngineContainer>) -> bool {
        let Stopped { network, endpoint, .. } = stopped;
        match self {
            Self::Host => true,
            Self::Network(record) => network.name == record.network.name,
            Self::Target(cookie) => {
                endpoint.cookie == *cookie || asked.is_some_and(|now| is_former(endpoint, now))
            }
        }
    }
}

/// Returns the hosts of the overlay networks.
async fn hosts(
    kernel: &Kernel,
    segments: &[Segment],
    dir: &Path,
) -> Result<Vec<(LinkName, Vec<peers::Listed>)>> {
    let mut hosts = Vec::new();
    for network in segments.iter().map(Segment::network) {
        if let Some(overlay) = network.driver.overlay() {
            hosts.push((network.name.clone(), peers::of(kernel, network, overlay, dir).await?));
        }
    }
    Ok(hosts)
}

/// Reads the state of the host, or of one network or target.
pub(super) async fn read<'a>(host: &'a Session<'_>, name: Option<&str>) -> Result<Snapshot<'a>> {
    let kernel = &host.kernel;
    let state = host.look(Extent { rules: true, ..Extent::to(Depth::Names) }).await?;
    let mut asked = None;
    let scope = match name {
        None => Scope::Host,
        Some(name) => match network(kernel, &state, name).await? {
            Some(record) => Scope::Network(Box::new(record)),
            None => Scope::Target(target(host, &state, name, &mut asked).await?),
        },
    };
    let view = View::of_host(kernel).await?;
    let mut unchecked = Vec::new();
    let mut stopped = containers::stopped(host, &state).await?;
    let has_stopped = |e: &Endpoint| stopped.iter().any(|s| s.endpoint.is(&e.id()));
    let on_record = state.endpoints().filter(|(_, endpoint)| !has_stopped(endpoint));
    let on_record: Vec<_> =
        on_record.map(|(record, endpoint)| (&record.network, endpoint)).collect();
    let container = asked.as_ref().and_then(|asked| asked.found.container.clone());
    stopped.retain(|stopped| scope.has(stopped, container.as_ref()));
    unchecked.extend(stopped.iter().filter_map(unanswered));
    let reading = namespace_view::Reading { host: &view, on_record: &on_record };
    let (insides, refused) = reading.all(host, asked).await;
    let mut is_refused = refused > 0;
    if refused > 0 {
        let names = if refused == 1 { "namespace" } else { "namespaces" };
        unchecked.push(format!("{refused} {names} that may not be entered"));
    }
    let mut ends = reading.ends(&insides);
    let is_examined = |end: &End| match &scope {
        Scope::Host => end.endpoint.is_some(),
        Scope::Network(record) => end.network.as_ref() == Some(&record.network.name),
        Scope::Target(cookie) => cookie_of(end, &insides) == Some(*cookie),
    };
    for end in &mut ends {
        end.examined = is_examined(end);
    }
    unchecked.extend(programs(&view.links, &insides, &ends));
    let records = match &scope {
        Scope::Host => state.networks().values().cloned().collect(),
        Scope::Network(record) => vec![(**record).clone()],
        Scope::Target(_) => records_of(kernel, &state, &ends).await?,
    };
    let rules = match kernel.check_rules_readable() {
        Ok(()) => rules(kernel, &records)?,
        Err(error) => {
            is_refused |= Kind::of(&error) == Kind::Permission;
            unchecked.push(format!("the rules of the firewall: {error:#}"));
            Rules::default()
        }
    };
    let sockets =
        Sockets::here(&Protocol::ALL, sockets::Scope::Listening).unwrap_or_else(|error| {
            unchecked.push(format!("the ports that the host's programs listen on: {error:#}"));
            Sockets::default()
        });
    let mut segments = Vec::new();
    for record in records {
        segments.push(segment(kernel, &view, record, rules.readable)?);
    }
    segments.sort_by(|a, b| a.name().cmp(b.name()));
    let hosts = hosts(kernel, &segments, state.dir()).await?;
    let bridges = segments.iter().filter_map(|segment| segment.bridge.as_ref());
    let examined = ends.iter().filter(|end| end.examined);
    let endpoints = examined.clone().filter_map(|end| end.endpoint.as_ref());
    let (mut unrouted, mut lost_addresses) = (Vec::new(), Vec::new());
    let mut unknown_ports = Vec::new();
    match Netns::own() {
        Ok(own) => {
            unrouted = routing::read(&own, bridges, &view).await?;
            lost_addresses = served::lost_addresses(&own, endpoints).await?;
            unknown_ports = isolation::unknown(&own, &segments, examined).await?;
        }
        Err(error) if Kind::of(&error) == Kind::Permission => {
            is_refused = true;
            unchecked.push(format!("routing decisions: {error:#}"));
        }
        Err(error) => return Err(error),
    }
    Ok(Snapshot {
        kernel,
        host: view,
        unrouted,
        lost_addresses,
        unknown_ports,
        hosts,
        segments,
        insides,
        ends,
        stopped,
        names: matches!(scope, Scope::Host).then(|| state.names().to_vec()),
        rules,
        sockets,
        unchecked,
        is_refused,
    })
}

/// Describes a stopped container of which its engine says nothing.
fn unanswered(stopped: &Stopped) -> Option<String> {
    let Now::Unknown(error) = &stopped.now else { return None };
    Some(format!("whether the container of {} runs again: {error:#}", stopped.place()))
}

/// Returns the links with an XDP program, whose effect is unknown.
fn programs(links: &[Link], insides: &[Inside], ends: &[End]) -> Vec<String> {
    let own = links.iter().map(|link| (link, String::new()));
    let examined = ends.iter().filter(|end| end.examined);
    let inner = examined.filter_map(|end| end.inner.as_ref());
    let inner =
        inner.map(|Inner { inside, link }| (link, format!(" of {}", insides[*inside].target)));
    let programmed = own.chain(inner).filter(|(link, _)| link.xdp);
    programmed
        .map(|(link, whose)| {
            format!("the XDP program at {}{whose}, which may drop incoming packets", link.name)
        })
        .collect()
}

/// Returns the networks to check.
async fn records_of(kernel: &Kernel, state: &State, ends: &[End]) -> Result<Vec<NetworkRecord>> {
    let examined = ends.iter().filter(|end| end.examined);
    let mut met: Vec<_> = examined.filter_map(|end| end.network.clone()).collect();
    met.sort();
    met.dedup();
    let mut found = Vec::new();
    for name in met {
        found.push(find::network(kernel, state, &name).await?.into_owned());
    }
    Ok(found)
}

fn cookie_of(end: &End, insides: &[Inside]) -> Option<u64> {
    let of_inner = end.inner.as_ref().map(|inner| insides[inner.inside].cookie);
    of_inner.or(end.endpoint.as_ref().map(|e| e.cookie))
}

async fn network(kernel: &Kernel, state: &State, name: &str) -> Result<Option<NetworkRecord>> {
    let Ok(name) = name.parse::<LinkName>() else { return Ok(None) };
    match find::network(kernel, state, &name).await {
        Ok(record) => Ok(Some(record.into_owned())),
        Err(error) if Kind::of(&error) == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the namespace of a target; for a dead one, by its name on record.
async fn target(
    host: &Session<'_>,
    state: &State,
    name: &str,
    asked: &mut Option<namespace_view::Asked>,
) -> Result<u64> {
    match resolve(&host.kernel, host.events, &name.parse()?, None).await {
        Ok(found) => {
            let cookie = found.netns.cookie();
            *asked = Some(namespace_view::Asked { name: name.to_owned(), found });
            Ok(cookie)
        }
        Err(error) => {
            let called_so = state.endpoints().find(|(_, e)| e.target == name);
            called_so.map(|(_, e)| e.cookie).ok_or(error)
        }
    }
}

fn rules(kernel: &Kernel, records: &[NetworkRecord]) -> Result<Rules> {
    let mut rules = Rules { dropping: kernel.dropping()?, readable: true, ..Rules::default() };
    rules.all = Some(kernel.ruleset()?);
    for family in FAMILIES {
        rules.filter.insert(family, kernel.iptables(family, Table::Filter)?);
        rules.nat.insert(family, kernel.iptables(family, Table::Nat)?);
    }
    for record in records.iter().filter(|r| r.endpoints.iter().any(|e| !e.ports.is_empty())) {
        let firewall = record.network.firewall;
        rules.published.entry(firewall).or_insert_with(|| kernel.published(firewall));
    }
    if !rules.published.is_empty() {
        let is_listed = |t: &Translation| {
            let family = match t.family {
                "ip" => Family::V4,
                "ip6" => Family::V6,
                _ => return false,
            };
            t.table == Table::Nat.name() && rules.nat.get(&family).is_some_and(|l| !l.is_empty())
        };
        let translations = kernel.translations()?.into_iter().filter(|t| !is_listed(t));
        rules.translations = translations.collect();
    }
    Ok(rules)
}

fn segment(
    kernel: &Kernel,
    host: &View,
    record: NetworkRecord,
    is_readable: bool,
) -> Result<Segment> {
    let network = &record.network;
    let bridge = network.bridge().and_then(|name| host.link(name.as_str())).cloned();
    let mut lost: Vec<Lost> = Vec::new();
    if is_readable {
        for resource in wanted(&record) {
            let has_table = kernel.has_table()?;
            for words in kernel.damage(&resource)? {
                if !lost.iter().any(|lost| lost.words == words) {
                    lost.push(Lost { kind: LostKind::of(&resource, has_table), words });
                }
            }
        }
    }
    Ok(Segment { record, bridge, lost })
}

/// Returns the firewall elements that a network should have, without its accept rules in other
/// firewalls and published ports; masquerade rules separately.
fn wanted(record: &NetworkRecord) -> Vec<Resource> {
    let NetworkRecord { network, endpoints } = record;
    if network.driver.moving().is_some() {
        return Vec::new();
    }
    let plan = firewall::rules(&NetworkRecord {
        network: network.with_forward_accepts(Vec::new()),
        endpoints: endpoints.clone(),
    });
    let resources = plan.into_iter().filter_map(|step| step.change.resource().cloned());
    let of_firewall = resources.filter(|r| r.facts().firewall().is_some_and(|part| !part.is_port));
    let in_parts = of_firewall.flat_map(|resource| match resource {
        Resource::Nft(Nft::Network(rules)) => {
            let filter = plan::nft::NetworkRules { nat: Vec::new(), ..rules.clone() };
            let nat = plan::nft::NetworkRules { filter: Vec::new(), ..rules };
            vec![Resource::Nft(Nft::Network(filter)), Resource::Nft(Nft::Network(nat))]
        }
        other => vec![other],
    });
    in_parts.collect()
}

impl LostKind {
    fn of(resource: &Resource, has_table: bool) -> Self {
        match resource {
            Resource::Nft(_) if !has_table => Self::Table,
            Resource::Nft(Nft::Network(rules)) if rules.filter.is_empty() => Self::Masquerade,
            Resource::Rule(rule) if rule.jump.first().is_some_and(|j| j == "MASQUERADE") => {
                Self::Masquerade
            }
            _ => Self::Other,
        }
    }
}

impl Segment {
    pub(super) fn network(&self) -> &Network {
        &self.record.network
    }

    pub(super) fn name(&self) -> &str {
        self.record.network.name.as_str()
    }

    /// Returns whether the host forwards packets between it and the rest of the world.
    pub(super) fn is_routed(&self) -> bool {
        self.network().driver.forwards() && !self.network().has(Flag::Internal)
    }

    /// Returns whether its bridge is netcord's, and the gateway of its endpoints.
    pub(super) fn is_gateway(&self) -> bool {
        self.network().driver.is_gateway()
    }

    /// Returns whether netcord filters its traffic, also in other firewalls.
    pub(super) fn is_filtered(&self) -> bool {
        self.network().driver.filter() == Filter::Traffic
    }

    /// Returns its IP versions.
    pub(super) fn families(&self) -> Vec<Family> {
        self.network().subnets.iter().map(|s| Family::of(s.cidr.network())).collect()
    }

    /// Returns its uplink, or the link that leads to the other hosts of an overlay network.
    pub(super) fn parent(&self) -> Option<&LinkName> {
        let driver = &self.network().driver;
        let of_overlay = || driver.overlay().map(|overlay| &overlay.parent);
        driver.parent().map(|parent| &parent.link).or_else(of_overlay)
    }
}

impl Snapshot<'_> {
    /// Returns the state of a network's parent. Without a bridge, the parent only has to exist.
    pub(super) fn uplink(&self, segment: &Segment, parent: &LinkName) -> Uplink<'_> {
        Uplink::find(self.host.links.iter(), segment.bridge.as_ref(), parent)
    }

    /// Returns the network of an endpoint, if it is to be checked.
    pub(super) fn segment_of(&self, end: &End) -> Option<&Segment> {
        self.segments.iter().find(|s| Some(&s.network().name) == end.network.as_ref())
    }

    /// Returns the endpoints to check.
    pub(super) fn examined(&self) -> impl Iterator<Item = &End> {
        self.ends.iter().filter(|end| end.examined)
    }

    /// Returns the endpoints to check whose links inside were read.
    pub(super) fn entered(&self) -> impl Iterator<Item = (&End, &Inside, &Link)> {
        self.examined().filter_map(|end| {
            let inner = end.inner.as_ref()?;
            Some((end, &self.insides[inner.inside], &inner.link))
        })
    }

    /// Returns all endpoints of a network.
    pub(super) fn ends_on<'s>(&'s self, segment: &'s Segment) -> impl Iterator<Item = &'s End> {
        self.ends.iter().filter(|end| end.network.as_ref() == Some(&segment.network().name))
    }

    /// `NETWORK/TARGET`
    pub(super) fn place(&self, end: &End) -> String {
        let target = match (&end.endpoint, &end.inner) {
            (Some(endpoint), _) => endpoint.target.clone(),
            (None, Some(inner)) => self.insides[inner.inside].target.clone(),
            (None, None) => String::new(),
        };
        match &end.network {
            Some(network) => format!("{network}/{target}"),
            None => target,
        }
    }
}
