//! The namespaces that a packet can reach: each is opened when the packet enters it, and read once.
//!
//! The kernel gives only a number for the namespace that a link leads into. Finding that namespace
//! costs an open and a request for each candidate. Those on record are tried first, so the cost
//! does not depend on their number.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    rc::Rc,
};

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::{
    place::{Place, Reading},
    walk::{Neighbour, Question},
};
use crate::{
    kernel::{Kernel, Link, LinkKind, Netns, NetnsFile, Socket, sockets},
    model::{Endpoint, Mac, NetnsName},
    ops::{diagnose::view::Names, lookup::namespaces::Handle},
    process,
    state::State,
};

/// The receiver that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Mac(Mac),
    Address(IpAddr),
}

/// A link, by the index of its namespace and its own.
pub(super) type LinkAt = (usize, u32);

/// All namespaces, by index.
pub(in crate::ops::diagnose) struct World {
    pub(super) places: Vec<Place>,
    /// What was read before, by the namespace's cookie. Without it, each namespace is read when a
    /// packet enters it.
    readings: Option<HashMap<u64, Reading>>,
    /// Namespaces that may exist, open or not.
    candidates: Vec<Handle>,
    has_processes: bool,
    /// Each namespace's numbers for open ones, as far as known.
    numbers: HashMap<(usize, i32), usize>,
    asked: HashSet<(usize, usize)>,
    /// Each namespace's numbers for candidates that are not open, and how many were tried.
    numbered: HashMap<(usize, i32), usize>,
    tried: HashMap<usize, usize>,
    has_macvlans: bool,
    endpoints: Vec<Known>,
    names: Names,
    /// Neighbours that answered an earlier packet.
    pub(super) neighbours: HashMap<Question, Neighbour>,
}

/// An endpoint on record.
struct Known {
    target: String,
    cookie: u64,
    netns: NetnsName,
    host_link: Option<String>,
    mac: Mac,
    addresses: Vec<IpNetwork>,
}

/// The index of the host's own namespace.
pub(in crate::ops::diagnose) const HOST: usize = 0;

impl Known {
    fn of(endpoint: &Endpoint) -> Self {
        Self {
            target: endpoint.target.clone(),
            cookie: endpoint.cookie,
            netns: endpoint.netns.clone(),
            host_link: endpoint.host_ifname().map(ToString::to_string),
            mac: endpoint.mac,
            addresses: endpoint.addresses.clone(),
        }
    }

    fn is(&self, wanted: Wanted) -> bool {
        match wanted {
            Wanted::Mac(mac) => self.mac == mac,
            Wanted::Address(address) => self.addresses.iter().any(|a| a.ip() == address),
        }
    }
}

impl World {
    /// Opens the host, and lists the candidates.
    pub(super) async fn open(kernel: &Kernel, state: &State) -> Result<Self> {
        let host = Place::read("host".to_owned(), Netns::own()?).await?;
        let endpoints = state.endpoints().map(|(_, endpoint)| Known::of(endpoint));
        let candidates = kernel.netns_names().into_iter().map(Handle::Name);
        Ok(Self { candidates: candidates.collect(), ..Self::new(host, endpoints.collect()) })
    }

    /// The host and the namespaces of endpoints, as they were read before. All others are outside:
    /// a packet to one leaves.
    pub(in crate::ops::diagnose) fn of_endpoints<'e>(
        host: Netns,
        endpoints: impl Iterator<Item = &'e Endpoint>,
        mut readings: HashMap<u64, Reading>,
    ) -> Option<Self> {
        let reading = readings.remove(&host.cookie())?;
        let host = Place::of("host".to_owned(), host, reading);
        let world = Self::new(host, endpoints.map(Known::of).collect());
        // There are no others to look for.
        Some(Self { readings: Some(readings), has_processes: true, has_macvlans: true, ..world })
    }

    fn new(host: Place, endpoints: Vec<Known>) -> Self {
        Self {
            places: vec![host],
            readings: None,
            candidates: Vec::new(),
            has_processes: false,
            numbers: HashMap::new(),
            asked: HashSet::new(),
            numbered: HashMap::new(),
            tried: HashMap::new(),
            has_macvlans: false,
            endpoints,
            names: Names::new(),
            neighbours: HashMap::new(),
        }
    }

    /// Returns whether it has the host and the namespaces of endpoints only.
    pub(super) fn is_of_endpoints(&self) -> bool {
        self.readings.is_some()
    }

    /// Opens the namespace of an endpoint; returns `None` if it cannot be entered by its name.
    pub(in crate::ops::diagnose) async fn endpoint(
        &mut self,
        endpoint: &Endpoint,
    ) -> Result<Option<usize>> {
        if let Some(at) = self.open_with(endpoint.cookie) {
            return Ok(Some(at));
        }
        let file = NetnsFile::of_name(&endpoint.netns);
        let Some(Ok(netns)) = file.map(NetnsFile::enter) else { return Ok(None) };
        if netns.cookie() != endpoint.cookie {
            return Ok(None);
        }
        self.add(&endpoint.target, netns).await.map(Some)
    }

    /// Returns the open namespace with this cookie.
    fn open_with(&self, cookie: u64) -> Option<usize> {
        self.places.iter().position(|place| place.netns.cookie() == cookie)
    }

    /// Closes all namespaces after this one: a process may have only so many files open.
    pub(in crate::ops::diagnose) fn close_after(&mut self, last: usize) {
        self.places.truncate(last + 1);
        self.neighbours.clear();
        self.numbers.retain(|(from, _), at| *from <= last && *at <= last);
        self.asked.retain(|(from, at)| *from <= last && *at <= last);
    }

    /// Returns the process that has one of these sockets, if that is of interest and known.
    pub(super) fn process_of(&self, sockets: &[&Socket]) -> Option<String> {
        // To find it, all processes are read.
        if self.is_of_endpoints() {
            None
        } else {
            sockets::process_of(sockets).map(|who| who.to_string())
        }
    }

    /// Adds an open namespace, under the user's name for it.
    pub(super) async fn add(&mut self, name: &str, netns: Netns) -> Result<usize> {
        let cookie = netns.cookie();
        if let Some(at) = self.open_with(cookie) {
            return Ok(at);
        }
        let on_record = self.endpoints.iter().find(|endpoint| endpoint.cookie == cookie);
        let name = on_record.map_or(name, |endpoint| &endpoint.target).to_owned();
        let reading = self.readings.as_ref().and_then(|readings| readings.get(&cookie)).cloned();
        self.places.push(match reading {
            Some(reading) => Place::of(name, netns, reading),
            None => Place::read(name, netns).await?,
        });
        Ok(self.places.len() - 1)
    }

    /// Opens a candidate.
    async fn enter(&mut self, candidate: &Handle, file: NetnsFile) -> Result<Option<usize>> {
        // Skip one that has ended meanwhile, or may not be entered.
        let Ok(netns) = file.enter() else { return Ok(None) };
        let cookie = netns.cookie();
        let name = match self.endpoints.iter().find(|endpoint| endpoint.cookie == cookie) {
            Some(endpoint) => endpoint.target.clone(),
            None => self.names.of(candidate, cookie).await,
        };
        self.add(&name, netns).await.map(Some)
    }

    /// Returns a candidate by its index. Processes are listed only after all names.
    fn candidate(&mut self, at: usize) -> Option<Handle> {
        if at >= self.candidates.len() && !self.has_processes {
            self.has_processes = true;
            let processes = process::one_of_each_netns().into_iter().map(Handle::Process);
            self.candidates.extend(processes);
        }
        self.candidates.get(at).cloned()
    }

    /// Returns the namespace that a link leads into: that of its peer, or of the link below it.
    pub(super) async fn beyond(&mut self, from: usize, link: &Link) -> Result<Option<usize>> {
        let Some(number) = link.leads_into() else { return Ok(Some(from)) };
        for at in 0..self.places.len() {
            if self.asked.insert((from, at)) {
                let other = &self.places[at].netns;
                if let Some(found) = self.places[from].netns.number_of_entered(other).await? {
                    self.numbers.insert((from, found), at);
                }
            }
        }
        if let Some(at) = self.numbers.get(&(from, number)) {
            return Ok(Some(*at));
        }
        let on_record = self
            .endpoints
            .iter()
            .find(|e| from == HOST && e.host_link.as_ref() == Some(&link.name));
        if let Some(candidate) = on_record.map(|endpoint| Handle::Name(endpoint.netns.clone()))
            && let Some(file) = candidate.file()
            && self.places[from].netns.number_of(&file).await? == Some(number)
        {
            return self.enter(&candidate, file).await;
        }
        self.search(from, number).await
    }

    /// Tries all candidates for a number, each once.
    async fn search(&mut self, from: usize, number: i32) -> Result<Option<usize>> {
        if let Some(at) = self.numbered.get(&(from, number)).copied()
            && let Some(candidate) = self.candidate(at)
            && let Some(file) = candidate.file()
        {
            return self.enter(&candidate, file).await;
        }
        let mut at = self.tried.get(&from).copied().unwrap_or_default();
        while let Some(candidate) = self.candidate(at) {
            let here = at;
            at += 1;
            self.tried.insert(from, at);
            let Some(file) = candidate.file() else { continue };
            let Some(found) = self.places[from].netns.number_of(&file).await? else { continue };
            if found == number {
                return self.enter(&candidate, file).await;
            }
            self.numbered.entry((from, found)).or_insert(here);
        }
        Ok(None)
    }

    /// Returns the peer of a veth.
    pub(super) async fn peer(&mut self, from: usize, link: &Link) -> Result<Option<LinkAt>> {
        if link.kind != LinkKind::Veth {
            return Ok(None);
        }
        let Some(place) = self.beyond(from, link).await? else { return Ok(None) };
        let peer = link.other().filter(|index| self.places[place].view.at(*index).is_some());
        Ok(peer.map(|index| (place, index)))
    }

    /// Returns the macvlan on a link, in whatever namespace, that belongs to the receiver.
    pub(super) async fn macvlan_with(
        &mut self,
        parent: LinkAt,
        wanted: Wanted,
    ) -> Result<Option<LinkAt>> {
        let found = self.macvlans_of(wanted).await?;
        Ok(found.into_iter().find(|(_, on)| *on == parent).map(|(macvlan, _)| macvlan))
    }

    /// Returns all macvlans of the receiver, each with the link below it.
    async fn macvlans_of(&mut self, wanted: Wanted) -> Result<Vec<(LinkAt, LinkAt)>> {
        let names: Vec<_> =
            self.endpoints.iter().filter(|e| e.is(wanted)).map(|e| e.netns.clone()).collect();
        for name in names {
            let candidate = Handle::Name(name);
            if let Some(file) = candidate.file() {
                self.enter(&candidate, file).await?;
            }
        }
        let found = self.open_macvlans_of(wanted).await?;
        if !found.is_empty() || self.has_macvlans {
            return Ok(found);
        }
        self.has_macvlans = true;
        let mut at = 0;
        while let Some(candidate) = self.candidate(at) {
            at += 1;
            // A namespace that may not be entered has none that could be followed.
            let Some(Ok(netns)) = candidate.file().map(NetnsFile::enter) else { continue };
            if !netns.macvlans().await?.is_empty()
                && let Some(file) = candidate.file()
            {
                self.enter(&candidate, file).await?;
            }
        }
        self.open_macvlans_of(wanted).await
    }

    async fn open_macvlans_of(&mut self, wanted: Wanted) -> Result<Vec<(LinkAt, LinkAt)>> {
        let mut found = Vec::new();
        for (at, place) in self.places.iter().enumerate() {
            let is_wanted = |link: &&Link| match wanted {
                Wanted::Mac(mac) => link.mac == Some(mac),
                Wanted::Address(to) => place.addresses_of(link.index()).any(|a| a.ip() == to),
            };
            let links = place.view.links.iter().filter(|link| link.kind == LinkKind::Macvlan);
            found.extend(links.filter(is_wanted).map(|link| (at, link.clone())));
        }
        let mut on = Vec::new();
        for (at, link) in found {
            if let Some(below) = self.beyond(at, &link).await?.zip(link.other()) {
                on.push(((at, link.index()), below));
            }
        }
        Ok(on)
    }

    /// Returns the port of a bridge that leads to the receiver, also through other bridges.
    pub(super) async fn towards(
        &mut self,
        (place, bridge): LinkAt,
        came: Option<u32>,
        wanted: Wanted,
    ) -> Result<Option<u32>> {
        let Some(bridge) = self.places[place].view.at(bridge).cloned() else { return Ok(None) };
        let view = Rc::clone(&self.places[place].view);
        let ports = view.sorted_ports_of(&bridge);
        let hint = self.endpoints.iter().find(|e| place == HOST && e.is(wanted));
        let hint = hint
            .and_then(|e| ports.iter().find(|port| e.host_link.as_ref() == Some(&port.name)))
            .copied();
        let mut beyond = Vec::new();
        let all = hint.into_iter().chain(ports.iter().copied());
        for port in all.filter(|port| Some(port.index()) != came) {
            match self.is_behind(place, port, wanted).await? {
                Behind::Wanted => return Ok(Some(port.index())),
                Behind::Bridge(at, bridge) => beyond.push((port.index(), at, bridge)),
                Behind::Another => {}
            }
        }
        for (port, (at, link), bridge) in beyond {
            let found = Box::pin(self.towards((at, bridge), Some(link), wanted)).await?;
            if found.is_some() {
                return Ok(Some(port));
            }
        }
        // On top of a link of the receiver's side.
        for (_, (at, below)) in self.macvlans_of(wanted).await? {
            let Some(link) = self.places[at].view.at(below).cloned() else { continue };
            if let Some((there, port)) = self.peer(at, &link).await?
                && there == place
                && Some(port) != came
                && ports.iter().any(|p| p.index() == port)
            {
                return Ok(Some(port));
            }
        }
        Ok(None)
    }

    async fn is_behind(&mut self, from: usize, port: &Link, wanted: Wanted) -> Result<Behind> {
        if port.kind != LinkKind::Veth {
            return Ok(Behind::Another);
        }
        let Some(peer) = self.places[from].peer_of(port).await? else {
            return Ok(Behind::Another);
        };
        if let Some(master) = peer.master {
            let Some((at, link)) = self.peer(from, port).await? else {
                return Ok(Behind::Another);
            };
            let place = &self.places[at];
            let Some(bridge) = place.view.at(master) else { return Ok(Behind::Another) };
            let is_own = match wanted {
                Wanted::Mac(mac) => bridge.mac == Some(mac),
                Wanted::Address(address) => place.local.contains(&address),
            };
            return Ok(if is_own { Behind::Wanted } else { Behind::Bridge((at, link), master) });
        }
        let is_wanted = match wanted {
            Wanted::Mac(mac) => peer.mac == Some(mac),
            Wanted::Address(address) => {
                let all = self.places[from].peer_addresses(port).await?;
                all.iter().any(|a| a.address.ip() == address)
            }
        };
        Ok(if is_wanted { Behind::Wanted } else { Behind::Another })
    }
}

/// The other side of a port.
enum Behind {
    Wanted,
    /// A port of another bridge.
    Bridge(LinkAt, u32),
    Another,
}
