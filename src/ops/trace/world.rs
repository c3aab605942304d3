//! The namespaces that a packet can get to: opened when it does, and read once.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    kernel::{Kernel, Link, LinkAddress, LinkKind, Netns, process},
    model::{NetnsName, ruleset::Ruleset},
    ops::graph::process_name,
    state::State,
};

/// How long engines are asked for names of containers, all together.
const PATIENCE: Duration = Duration::from_millis(500);

/// A namespace, as it was when it was opened.
pub(super) struct Place {
    /// What to call it.
    pub(super) name: String,
    pub(super) netns: Netns,
    pub(super) links: HashMap<u32, Link>,
    pub(super) addresses: Vec<LinkAddress>,
    /// The same without their links and lengths.
    pub(super) local: Vec<IpAddr>,
    pub(super) ruleset: Ruleset,
}

/// All of them, by number.
pub(super) struct World {
    pub(super) places: Vec<Place>,
    others: Vec<Candidate>,
    names: HashMap<u64, String>,
    until: Instant,
}

/// A namespace that was not opened yet.
enum Candidate {
    Name(NetnsName),
    Process(u32),
}

/// The host's own place.
pub(super) const HOST: usize = 0;

impl Place {
    async fn read(name: String, netns: Netns) -> Result<Self> {
        let (links, addresses) = (netns.links().await?, netns.all_addresses().await?);
        let local = addresses.iter().map(|address| address.address.ip()).collect();
        let ruleset = netns.ruleset()?;
        Ok(Self { name, netns, links, addresses, local, ruleset })
    }

    pub(super) fn link_name(&self, index: u32) -> &str {
        self.links.get(&index).map_or("?", |link| link.name.as_str())
    }

    /// The addresses of a link, with their lengths.
    pub(super) fn addresses_of(
        &self,
        index: u32,
    ) -> impl Iterator<Item = ipnetwork::IpNetwork> + '_ {
        let link = self.links.get(&index);
        let addresses = self.addresses.iter();
        addresses.filter(move |a| link.is_some_and(|link| link.has(a))).map(|a| a.address)
    }
}

impl World {
    /// The host, and whoever else there may be.
    pub(super) async fn open(kernel: &Kernel, state: &State) -> Result<Self> {
        let host = Place::read("host".to_owned(), Netns::own()?).await?;
        let names = kernel.netns_names().into_iter().map(Candidate::Name);
        let processes = process::one_of_each_netns().into_iter().map(Candidate::Process);
        let endpoints = state.endpoints().map(|(_, e)| (e.cookie, e.target.clone()));
        Ok(Self {
            places: vec![host],
            others: names.chain(processes).collect(),
            names: endpoints.collect(),
            until: Instant::now() + PATIENCE,
        })
    }

    /// Adds a namespace that is open already, by the name that the user calls it.
    pub(super) async fn add(&mut self, name: &str, netns: Netns) -> Result<usize> {
        let cookie = netns.cookie();
        if let Some(at) = self.places.iter().position(|place| place.netns.cookie() == cookie) {
            return Ok(at);
        }
        let name = self.names.get(&cookie).cloned().unwrap_or_else(|| name.to_owned());
        self.places.push(Place::read(name, netns).await?);
        Ok(self.places.len() - 1)
    }

    /// The next one that was not opened yet. One that may not be entered, or has ended, is passed
    /// over.
    async fn next(&mut self) -> Result<Option<usize>> {
        while let Some(candidate) = self.others.pop() {
            let (opened, pid) = match &candidate {
                Candidate::Name(name) => (Netns::of_name(name), None),
                Candidate::Process(pid) => (Netns::of_process(*pid).map(Some), Some(*pid)),
            };
            let Ok(Some(netns)) = opened else { continue };
            let cookie = netns.cookie();
            if self.places.iter().any(|place| place.netns.cookie() == cookie) {
                continue;
            }
            let name = match (&candidate, pid) {
                (Candidate::Name(name), _) => name.to_string(),
                (_, Some(pid)) if !self.names.contains_key(&cookie) => {
                    process_name(pid, cookie, self.until).await
                }
                _ => String::new(),
            };
            return self.add(&name, netns).await.map(Some);
        }
        Ok(None)
    }

    /// The namespace into which a link leads: that of its other end, or of the link below it.
    pub(super) async fn beyond(&mut self, from: usize, link: &Link) -> Result<Option<usize>> {
        let Some(number) = link.leads_into() else { return Ok(Some(from)) };
        let mut at = 0;
        loop {
            if at == self.places.len() && self.next().await?.is_none() {
                return Ok(None);
            }
            if self.places[at].netns.is_numbered(number, &self.places[from].netns).await? {
                return Ok(Some(at));
            }
            at += 1;
        }
    }

    /// The other end of a veth.
    pub(super) async fn peer(&mut self, from: usize, link: &Link) -> Result<Option<(usize, u32)>> {
        if link.kind != LinkKind::Veth {
            return Ok(None);
        }
        let Some(place) = self.beyond(from, link).await? else { return Ok(None) };
        let peer = link.other().filter(|index| self.places[place].links.contains_key(index));
        Ok(peer.map(|index| (place, index)))
    }

    /// The macvlan on a link, wherever it is, that has an address.
    pub(super) async fn macvlan_with(
        &mut self,
        parent: (usize, u32),
        address: IpAddr,
    ) -> Result<Option<(usize, u32)>> {
        let mut at = 0;
        loop {
            if at == self.places.len() && self.next().await?.is_none() {
                return Ok(None);
            }
            let place = &self.places[at];
            let found: Vec<Link> = place
                .links
                .values()
                .filter(|link| link.kind == LinkKind::Macvlan && link.other() == Some(parent.1))
                .filter(|link| place.addresses_of(link.index()).any(|a| a.ip() == address))
                .cloned()
                .collect();
            for link in found {
                if self.beyond(at, &link).await? == Some(parent.0) {
                    return Ok(Some((at, link.index())));
                }
            }
            at += 1;
        }
    }
}
