//! Adopts objects with our mark that are on no record. Every verb does this before it decides
//! anything, so that a lost file never causes a living endpoint's address to be given away, or the
//! endpoint to be removed.
//!
//! The names of the host's links show whether something is missing; if not, nothing else is read. A
//! macvlan is inside its target only: [`Depth`] says how far such links are searched for.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::{
    kernel::{Kernel, Link, LinkKind, Netns},
    model::{Endpoint, Firewall, LinkName, Network, PublishedPort},
    ops::{
        Session,
        lookup::{
            foreign,
            inside::{Inside, inside},
        },
        upkeep::{
            forward_accepts, handed_over,
            need::Depth,
            rebuild::{self, Ports},
        },
    },
    plan::{self, Mark},
    state::{Load, State},
};

/// The warning names at most this many lost records, and counts the others.
const TOLD: usize = 4;

impl Session<'_> {
    /// Returns the records, with lost ones rebuilt in memory. Nothing is locked or written.
    pub(super) async fn rebuilt_in_memory(&self, wanted: Load<'_>, depth: Depth) -> Result<State> {
        let read = || State::read(self.kernel.cookie(), wanted);
        let mut state = read()?;
        handed_over::find(&self.kernel, &mut state).await?;
        let missing = Missing::read(&self.kernel, &state, depth).await?;
        if missing.is_empty() {
            self.warn_of(&state, 0);
            return Ok(state);
        }
        // An object under construction was on record before; by now its record is complete, or it
        // is gone.
        let mut state = read()?;
        state.complete();
        handed_over::find(&self.kernel, &mut state).await?;
        self.warn_of(&state, 0);
        let missing = missing.still(&self.kernel, &state, depth).await?;
        self.put_on_record(&mut state, missing).await?;
        Ok(state)
    }

    /// Adds objects with our mark to the records. The lock excludes other changes meanwhile.
    pub(in crate::ops) async fn adopt(&self, state: &mut State, depth: Depth) -> Result<()> {
        handed_over::find(&self.kernel, state).await?;
        let missing = Missing::read(&self.kernel, state, depth).await?;
        if !missing.is_empty() {
            let told = state.warnings().len();
            state.complete();
            self.warn_of(state, told);
            // An invalid line counts as missing.
            let missing = Missing::read(&self.kernel, state, depth).await?;
            self.put_on_record(state, missing).await?;
        }
        if let Err(error) = state.write_adopted() {
            // The verb may not need the record.
            self.events.warn(&format!("what was rebuilt is not on record: {error:#}"));
        }
        Ok(())
    }

    /// Warns of records that could not be read.
    pub(super) fn warn_of(&self, state: &State, from: usize) {
        for warning in &state.warnings()[from..] {
            self.events.warn(warning);
        }
    }

    async fn put_on_record(&self, state: &mut State, missing: Missing) -> Result<()> {
        let mut found = Adoption::new(&self.kernel, state);
        found.adopt(missing).await?;
        for link in &found.orphans {
            self.events.warn(link);
        }
        let told: Vec<_> = found.told.into_iter().collect();
        if told.is_empty() {
            return Ok(());
        }
        let mut list = told[..told.len().min(TOLD)].join(", ");
        if told.len() > TOLD {
            list = format!("{list} and {} more", told.len() - TOLD);
        }
        let hint = if state.is_locked() { "" } else { "; `netcord repair` writes it down" };
        self.events.warn(&format!(
            "the record of {list} is lost: it is rebuilt from the marks in the kernel, which hold no \
             labels{hint}"
        ));
        Ok(())
    }
}

/// Objects with our mark that are on no record.
#[derive(Default)]
struct Missing {
    links: Vec<Link>,
    /// Macvlans of endpoints.
    inside: Vec<Inside>,
    /// Endpoints on record with published ports that are not.
    ports: Vec<(LinkName, Endpoint)>,
    /// Endpoints of other programs that have published ports.
    foreign: Vec<(Network, Endpoint)>,
}

impl Missing {
    async fn read(kernel: &Kernel, state: &State, depth: Depth) -> Result<Self> {
        let mut names = kernel.link_names()?;
        names.remove("lo");
        for host_ifname in state.summaries().filter_map(|(_, summary)| summary.host_ifname) {
            names.remove(host_ifname);
        }
        for unmoved in state.summaries().filter(|(_, summary)| summary.cookie == 0) {
            names.remove(unmoved.1.ifname);
        }
        for network in state.networks().values().map(|record| &record.network) {
            names.remove(network.name.as_str());
            for tunnel in network.tunnels() {
                names.remove(tunnel.as_str());
            }
            if let Some(parent) = network.driver.parent() {
                names.remove(parent.link.as_str());
                names
                    .retain(|name| network.name.carrier_names().iter().all(|c| c.as_str() != name));
            }
        }
        let mut links = kernel.links_named(&names).await?;
        links.retain(Link::is_ours);
        links.sort_by(|a, b| a.name.cmp(&b.name));
        let is_called = |name: &str| state.summaries().any(|(_, summary)| summary.netns == name);
        let inside = match depth {
            Depth::Links | Depth::Ports => Vec::new(),
            Depth::Unattached => {
                let names = kernel.netns_names().into_iter();
                inside(kernel, names.filter(|name| !is_called(name.as_str()))).await
            }
            Depth::Names => inside(kernel, kernel.netns_names().into_iter()).await,
        };
        let inside = inside.into_iter().filter(|found| !found.is_on_record(state)).collect();
        let firewalls: &[Firewall] = match depth {
            Depth::Links | Depth::Unattached => &[],
            Depth::Ports => &[Firewall::Iptables],
            Depth::Names => &Firewall::ALL,
        };
        let ports = unrecorded_ports(kernel, state, firewalls);
        let foreign = match depth {
            Depth::Names => foreign_endpoints(kernel, state).await,
            Depth::Links | Depth::Ports | Depth::Unattached => Vec::new(),
        };
        Ok(Self { links, inside, ports, foreign })
    }

    fn is_empty(&self) -> bool {
        self.links.is_empty()
            && self.inside.is_empty()
            && self.ports.is_empty()
            && self.foreign.is_empty()
    }

    /// Returns what is still missing in records that were read later.
    async fn still(mut self, kernel: &Kernel, state: &State, depth: Depth) -> Result<Self> {
        kernel.forget_rules();
        let now = Self::read(kernel, state, depth).await?;
        self.links.retain(|link| now.links.iter().any(|l| l.index() == link.index()));
        self.inside =
            now.inside.into_iter().filter(|i| self.inside.iter().any(|o| o.is(i))).collect();
        let is_of = |one: &Endpoint, (_, other): &(_, Endpoint)| one.is(&other.id());
        let former = std::mem::take(&mut self.ports);
        self.ports = now.ports;
        self.ports.retain(|(_, endpoint)| former.iter().any(|other| is_of(endpoint, other)));
        self.foreign.retain(|(_, one)| now.foreign.iter().any(|(_, other)| one.is(&other.id())));
        Ok(self)
    }
}

/// Returns endpoints with published ports in one of these firewalls that are on no record.
fn unrecorded_ports(
    kernel: &Kernel,
    state: &State,
    firewalls: &[Firewall],
) -> Vec<(LinkName, Endpoint)> {
    let mut found = Vec::new();
    for firewall in firewalls.iter().copied() {
        let is_of = |network: &Network| network.firewall == firewall;
        if !state.networks().values().any(|record| is_of(&record.network)) {
            continue;
        }
        let published = kernel.published(firewall);
        for (record, endpoint) in state.endpoints().filter(|(record, _)| is_of(&record.network)) {
            let owner = plan::owner(&record.network.name, &endpoint.netns);
            let own = published.iter().filter(|p| p.owner == owner).map(|p| &p.port);
            let leads_there = |address| endpoint.addresses.iter().any(|a| a.ip() == address);
            let is_new = |p: &&_| is_unlisted(endpoint, p) && leads_there(p.address);
            let new: Vec<_> = own.filter(is_new).cloned().collect();
            if !new.is_empty() {
                let mut endpoint = endpoint.clone();
                endpoint.ports.extend(new);
                found.push((record.network.name.clone(), endpoint));
            }
        }
    }
    found
}

/// Returns endpoints of other programs to which published ports lead that are on no record.
async fn foreign_endpoints(kernel: &Kernel, state: &State) -> Vec<(Network, Endpoint)> {
    let mut found = Vec::new();
    let endpoints = state.endpoints();
    let on_record: BTreeSet<_> =
        endpoints.map(|(record, e)| plan::owner(&record.network.name, &e.netns)).collect();
    let is_used = |firewall| {
        let mut networks =
            state.networks().values().map(|record| record.network.firewall).peekable();
        networks.peek().is_none() || networks.any(|used| used == firewall)
    };
    for firewall in Firewall::ALL.into_iter().filter(|firewall| is_used(*firewall)) {
        let owners: BTreeSet<_> =
            kernel.published(firewall).iter().map(|p| p.owner.clone()).collect();
        for owner in owners.difference(&on_record) {
            let Some((bridge, name)) = owner.split_once('/') else { continue };
            let Ok(name) = name.parse() else { continue };
            let Ok(Some(netns)) = Netns::of_name(&name) else { continue };
            let there = foreign::endpoint(kernel, state, &name, &netns).await;
            if let Ok(Some((network, endpoint))) = there
                && network.name.as_str() == bridge
            {
                found.push((Network { firewall, ..network }, endpoint));
            }
        }
    }
    found
}

fn is_unlisted(endpoint: &Endpoint, port: &PublishedPort) -> bool {
    endpoint.ports.iter().all(|known| !known.is_as(port))
}

/// Describes a host end whose network cannot be rebuilt, since nothing is left that shows its
/// subnets.
fn orphan(link: &Link) -> Option<String> {
    let mark = link.alias.as_deref().and_then(Mark::read)?;
    let (name, network, target) = (&link.name, mark.network, mark.target?);
    Some(format!(
        "link `{name}` is the host end of endpoint `{network}/{target}`, but neither a record nor a \
         bridge of network `{network}` exists, so nothing reaches it: make the bridge again, or remove \
         the endpoint with `netcord prune`"
    ))
}

/// Records that are being rebuilt.
struct Adoption<'a> {
    kernel: &'a Kernel,
    state: &'a mut State,
    ports: Ports,
    /// Networks that were on no record.
    networks: BTreeSet<LinkName>,
    /// The lost networks and endpoints that the warning names.
    told: BTreeSet<String>,
    /// Warnings of host ends whose network has neither a record nor a bridge.
    orphans: Vec<String>,
}

impl<'a> Adoption<'a> {
    fn new(kernel: &'a Kernel, state: &'a mut State) -> Self {
        let (networks, told, orphans) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        Self { kernel, state, ports: Ports::default(), networks, told, orphans }
    }

    async fn adopt(&mut self, missing: Missing) -> Result<()> {
        for link in &missing.links {
            if link.kind == LinkKind::Bridge
                && let Ok(name) = link.name.parse()
            {
                let network = rebuild::network(self.kernel, self.state, &name, link).await?;
                self.network(&network);
            }
        }
        let mut ports = Vec::new();
        for link in missing.links.iter().filter(|link| link.kind == LinkKind::Veth) {
            match self.port(link).await? {
                Some(port) => ports.push(port),
                None => self.orphans.extend(orphan(link)),
            }
        }
        // Approximately in the order of attachment.
        ports.sort_by(|(_, a), (_, b)| a.addresses.cmp(&b.addresses));
        for (network, endpoint) in ports {
            self.network(&network);
            self.endpoint(&network.name, endpoint);
        }
        let mut inside: BTreeMap<LinkName, Vec<Inside>> = BTreeMap::new();
        for found in missing.inside {
            inside.entry(found.network.clone()).or_default().push(found);
        }
        for (name, found) in inside {
            self.inside(&name, &found).await?;
        }
        for (network, endpoint) in missing.ports {
            self.endpoint(&network, endpoint);
        }
        for (network, mut endpoint) in missing.foreign {
            self.ports.give(self.kernel, &network, &mut endpoint);
            self.network(&network);
            self.endpoint(&network.name, endpoint);
        }
        self.open_foreign();
        Ok(())
    }

    /// Adds the accept rules for published ports of a foreign network.
    fn open_foreign(&mut self) {
        let has_ports = |name: &&LinkName| {
            self.state.networks().get(*name).is_some_and(|record| {
                record.network.driver.is_foreign()
                    && record.endpoints.iter().any(|e| !e.ports.is_empty())
            })
        };
        let foreign: Vec<_> = self.networks.iter().filter(has_ports).cloned().collect();
        for name in foreign {
            if let Some(record) = self.state.networks().get(&name) {
                self.state.adopt_network(forward_accepts::rebuilt(self.kernel, &record.network));
            }
        }
    }

    fn network(&mut self, network: &Network) {
        let name = &network.name;
        if !self.state.networks().contains_key(name) {
            self.told.insert(format!("network `{name}`"));
            self.networks.insert(name.clone());
            self.state.adopt_network(network.clone());
        }
    }

    /// Returns the endpoint of a host end, with its network.
    async fn port(&mut self, port: &Link) -> Result<Option<(Network, Endpoint)>> {
        let Some(network) = self.network_of(port).await? else { return Ok(None) };
        let spare = self.state.spare();
        let endpoint = rebuild::endpoint(self.kernel, spare, &network, port).await?;
        Ok(endpoint.map(|mut endpoint| {
            self.ports.give(self.kernel, &network, &mut endpoint);
            (network, endpoint)
        }))
    }

    /// Returns the network in the alias of a host end, or else that of its bridge. A network on
    /// record may have lost its bridge.
    async fn network_of(&self, port: &Link) -> Result<Option<Network>> {
        let mark = port.alias.as_deref().and_then(Mark::read).filter(|mark| mark.target.is_some());
        let bridge = match (mark, port.master) {
            (Some(mark), _) => match self.on_record(mark.network) {
                Some(network) => return Ok(Some(network).filter(|n| n.bridge().is_some())),
                None => self.kernel.link(mark.network).await?,
            },
            (None, Some(master)) => self.kernel.links().await?.remove(&master),
            (None, None) => None,
        };
        let Some(bridge) = bridge.filter(|link| link.kind == LinkKind::Bridge) else {
            return Ok(None);
        };
        if let Some(network) = self.on_record(&bridge.name) {
            return Ok(Some(network).filter(|n| n.bridge().is_some()));
        }
        let Ok(name) = bridge.name.parse() else { return Ok(None) };
        rebuild::network(self.kernel, self.state, &name, &bridge).await.map(Some)
    }

    fn on_record(&self, network: &str) -> Option<Network> {
        Some(self.state.networks().get(&network.parse().ok()?)?.network.clone())
    }

    async fn inside(&mut self, name: &LinkName, found: &[Inside]) -> Result<()> {
        let network = match self.state.networks().get(name) {
            Some(record) => record.network.clone(),
            None => match rebuild::network_inside(self.kernel, self.state, name, found).await? {
                Some(network) => {
                    self.network(&network);
                    network
                }
                None => return Ok(()),
            },
        };
        if network.bridge().is_some() {
            return Ok(());
        }
        for found in found {
            let endpoint = rebuild::endpoint_inside(found, self.state.spare(), &network).await?;
            self.endpoint(name, endpoint);
        }
        Ok(())
    }

    fn endpoint(&mut self, network: &LinkName, mut endpoint: Endpoint) {
        let others = self
            .state
            .endpoints()
            .filter(|(_, other)| other.cookie == endpoint.cookie && !other.is(&endpoint.id()));
        let taken: Vec<_> = others.flat_map(|(_, other)| other.routes.iter()).collect();
        endpoint.routes.retain(|route| !taken.iter().any(|other| other.is_same_refusal(route)));
        if !self.told.contains(&format!("network `{network}`")) {
            self.told.insert(format!("endpoint `{network}/{}`", endpoint.target));
        }
        self.state.adopt_endpoint(network, endpoint);
    }
}
