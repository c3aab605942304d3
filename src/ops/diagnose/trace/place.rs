//! A namespace as it was when it was opened: each question to its kernel is asked once, however many
//! packets come by.

use std::{
    cell::{OnceCell, RefCell},
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    rc::Rc,
};

use anyhow::Result;
use ipnetwork::IpNetwork;

use crate::{
    kernel::{
        Filter, Link, LinkAddress, Netns, Sockets,
        route::{Query, Way},
    },
    model::{
        Mac, Protocol,
        ruleset::{Field, Layer, Packet, Ruleset},
    },
    ops::diagnose::view::View,
};

/// A namespace, as it was when it was opened.
pub(super) struct Place {
    /// Its name in the output.
    pub(super) name: String,
    pub(super) netns: Netns,
    /// Its links and addresses.
    pub(super) view: Rc<View>,
    /// The addresses without links and prefix lengths.
    pub(super) local: Vec<IpAddr>,
    ruleset: OnceCell<Rc<Ruleset>>,
    needs_reverse: OnceCell<bool>,
    legacy: OnceCell<Vec<(&'static str, String)>>,
    sockets: Answers<Protocol, Rc<Sockets>>,
    ways: Answers<Query, Way>,
    denials: Answers<Query, Option<String>>,
    sysctls: Answers<String, Option<String>>,
    macs: Answers<(u32, IpAddr), Option<(Mac, &'static str)>>,
    proxies: Answers<(u32, IpAddr), bool>,
    ports: Answers<(u32, Mac), Option<u32>>,
    hosts: Answers<(u32, Mac), Option<IpAddr>>,
    filters: Answers<(u32, bool), Rc<[Filter]>>,
    peers: Answers<u32, Option<Link>>,
    peer_addresses: Answers<u32, Rc<[LinkAddress]>>,
}

/// What was read of a namespace before.
#[derive(Clone)]
pub(in crate::ops::diagnose) struct Reading {
    pub(in crate::ops::diagnose) view: Rc<View>,
    pub(in crate::ops::diagnose) ruleset: Option<Rc<Ruleset>>,
    /// Of all protocols.
    pub(in crate::ops::diagnose) sockets: Option<Rc<Sockets>>,
}

/// The kernel's answers to one kind of question.
struct Answers<K, V>(RefCell<HashMap<K, V>>);

impl<K, V> Default for Answers<K, V> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<K: Eq + Hash, V: Clone> Answers<K, V> {
    fn known(&self, key: &K) -> Option<V> {
        self.0.borrow().get(key).cloned()
    }

    fn keep(&self, key: K, answer: V) -> V {
        self.0.borrow_mut().insert(key, answer.clone());
        answer
    }

    fn of(&self, key: K, ask: impl FnOnce(&K) -> Result<V>) -> Result<V> {
        match self.known(&key) {
            Some(answer) => Ok(answer),
            None => ask(&key).map(|answer| self.keep(key, answer)),
        }
    }

    async fn of_kernel(&self, key: K, asked: impl Future<Output = Result<V>>) -> Result<V> {
        match self.known(&key) {
            Some(answer) => Ok(answer),
            None => asked.await.map(|answer| self.keep(key, answer)),
        }
    }
}

impl Place {
    pub(super) async fn read(name: String, netns: Netns) -> Result<Self> {
        let view = View::links_of(&netns).await?.with_addresses(&netns).await?;
        Ok(Self::of(name, netns, Reading { view: Rc::new(view), ruleset: None, sockets: None }))
    }

    /// One of which something was read before.
    pub(super) fn of(name: String, netns: Netns, reading: Reading) -> Self {
        let Reading { view, ruleset, sockets } = reading;
        let all = sockets.iter().flat_map(|sockets| {
            Protocol::ALL.into_iter().map(move |protocol| (protocol, Rc::clone(sockets)))
        });
        Self {
            name,
            netns,
            // An address is the namespace's own once duplicate address detection is over.
            local: view.addresses.iter().filter(|a| a.usable).map(|a| a.address.ip()).collect(),
            view,
            ruleset: ruleset.map(OnceCell::from).unwrap_or_default(),
            needs_reverse: OnceCell::new(),
            legacy: OnceCell::new(),
            sockets: Answers(RefCell::new(all.collect())),
            ways: Answers::default(),
            denials: Answers::default(),
            sysctls: Answers::default(),
            macs: Answers::default(),
            proxies: Answers::default(),
            ports: Answers::default(),
            hosts: Answers::default(),
            filters: Answers::default(),
            peers: Answers::default(),
            peer_addresses: Answers::default(),
        }
    }

    /// Returns its rules, which are read when a packet meets them.
    pub(super) fn ruleset(&self) -> Result<&Ruleset> {
        if let Some(ruleset) = self.ruleset.get() {
            return Ok(ruleset);
        }
        let read = self.netns.ruleset()?;
        Ok(self.ruleset.get_or_init(|| Rc::new(read)))
    }

    /// Returns whether a rule asks for the link that leads back to the sender.
    pub(super) fn needs_reverse(&self) -> Result<bool> {
        let ruleset = self.ruleset()?;
        let asks = || [true, false].iter().any(|by| ruleset.looks_at(&Field::Reverse(*by)));
        Ok(*self.needs_reverse.get_or_init(asks))
    }

    /// Returns the tables of `iptables-legacy` that a packet meets. Their rules cannot be read.
    pub(super) fn legacy(&self, layer: Layer, packet: &Packet) -> Result<Vec<String>> {
        if self.legacy.get().is_none() {
            let read = self.netns.legacy_tables()?;
            self.legacy.get_or_init(|| read);
        }
        let program = match (layer, packet.source) {
            (Layer::Arp, _) => "arptables",
            (Layer::Ip, IpAddr::V4(_)) => "iptables",
            (Layer::Ip, IpAddr::V6(_)) => "ip6tables",
            (Layer::Link | Layer::Bridge, _) => return Ok(Vec::new()),
        };
        let all = self.legacy.get().into_iter().flatten();
        let of_program = all.filter(|(of, _)| *of == program);
        Ok(of_program.map(|(of, table)| format!("{of} {table}")).collect())
    }

    pub(super) fn link_name(&self, index: u32) -> &str {
        self.view.at(index).map_or("?", |link| link.name.as_str())
    }

    /// Returns the addresses of a link, with prefix lengths.
    pub(super) fn addresses_of(&self, index: u32) -> impl Iterator<Item = IpNetwork> + '_ {
        let link = self.view.at(index);
        let addresses = self.view.addresses.iter();
        addresses.filter(move |a| link.is_some_and(|link| link.has(a))).map(|a| a.address)
    }

    pub(super) fn sockets(&self, protocol: Protocol) -> Result<Rc<Sockets>> {
        self.sockets.of(protocol, |protocol| self.netns.sockets(&[*protocol]).map(Rc::new))
    }

    pub(super) fn sysctl(&self, key: &str) -> Result<Option<String>> {
        self.sysctls.of(key.to_owned(), |key| self.netns.sysctl(key))
    }

    pub(super) async fn way(&self, query: Query) -> Result<Way> {
        self.ways.of_kernel(query, self.netns.way(query)).await
    }

    pub(super) async fn denial(&self, query: Query) -> Result<Option<String>> {
        self.denials.of_kernel(query, self.netns.denial(query)).await
    }

    pub(super) async fn mac_of(
        &self,
        link: &Link,
        address: IpAddr,
    ) -> Result<Option<(Mac, &'static str)>> {
        self.macs.of_kernel((link.index(), address), self.netns.mac_of(link, address)).await
    }

    pub(super) async fn answers_for(&self, link: u32, address: IpAddr) -> Result<bool> {
        self.proxies.of_kernel((link, address), self.netns.answers_for(link, address)).await
    }

    pub(super) async fn port_of(&self, bridge: &Link, mac: Mac) -> Result<Option<u32>> {
        self.ports.of_kernel((bridge.index(), mac), self.netns.port_of(bridge, mac)).await
    }

    pub(super) async fn host_of(&self, link: &Link, mac: Mac) -> Result<Option<IpAddr>> {
        self.hosts.of_kernel((link.index(), mac), self.netns.host_of(link, mac)).await
    }

    pub(super) async fn filters(&self, link: &Link, receives: bool) -> Result<Rc<[Filter]>> {
        let asked = async { self.netns.filters(link, receives).await.map(Rc::from) };
        self.filters.of_kernel((link.index(), receives), asked).await
    }

    pub(super) async fn peer_of(&self, link: &Link) -> Result<Option<Link>> {
        self.peers.of_kernel(link.index(), self.netns.peer_of(link)).await
    }

    pub(super) async fn peer_addresses(&self, link: &Link) -> Result<Rc<[LinkAddress]>> {
        let asked = async { self.netns.peer_addresses(link).await.map(Rc::from) };
        self.peer_addresses.of_kernel(link.index(), asked).await
    }
}
