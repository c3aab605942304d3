//! What the keys of a flat network say: the hosts, and whose each address is.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use netcord::model::{Elsewhere, Mac, Remote, visible};

use super::{
    super::{
        Node, Store,
        keys::{FlatPlace, Key, Keys},
        watch::{Change, Seen},
    },
    Config, Endpoint, News,
};

/// The hosts and endpoints of a network.
#[derive(Debug)]
pub struct Picture {
    keys: Keys,
    config: Config,
    /// This host's ID.
    own: String,
    /// The MAC of the gateway, which each host has itself.
    gateway_mac: Mac,
    nodes: BTreeMap<IpAddr, Node>,
    endpoints: BTreeMap<IpAddr, Known>,
    skipped: BTreeMap<String, String>,
    away: Option<String>,
    changed: Option<String>,
    is_listed: bool,
    /// Addresses that are being given to endpoints.
    reserved: BTreeSet<IpAddr>,
}

/// An endpoint's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) endpoint: Endpoint,
    /// The etcd lease with which it ends.
    pub(super) lease: i64,
    /// The revision at which it was last written.
    pub(super) modified: i64,
}

impl Picture {
    /// Makes the empty picture of a network.
    pub fn new(store: &Store, config: Config, own: &Node) -> Self {
        Self::of(store.0.keys.clone(), config, own)
    }

    fn of(keys: Keys, config: Config, own: &Node) -> Self {
        Self {
            keys,
            gateway_mac: config.gateways.first().map_or(Mac::PLACEHOLDER, |ip| Mac::of(*ip)),
            config,
            own: own.id.clone(),
            nodes: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            skipped: BTreeMap::new(),
            away: None,
            changed: None,
            is_listed: false,
            reserved: BTreeSet::new(),
        }
    }

    /// Takes an event; returns whether hosts or endpoints may have changed.
    pub fn take(&mut self, News(seen): News) -> bool {
        match seen {
            Seen::All(keys) => {
                self.nodes.clear();
                self.endpoints.clear();
                self.skipped.clear();
                let has_config = keys.iter().any(|key| key.name == self.keys.config());
                if !has_config {
                    self.configure(None);
                }
                for key in keys {
                    self.put(key);
                }
                self.is_listed = true;
                true
            }
            Seen::Changes(changes) => {
                for change in changes {
                    match change {
                        Change::Put(key) => self.put(key),
                        Change::Deleted(name) => self.delete(&name),
                    }
                }
                true
            }
            Seen::Away(why) => {
                self.away = Some(why);
                false
            }
            Seen::Back => {
                self.away = None;
                false
            }
        }
    }

    /// Returns whether all keys were read once.
    pub fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// Notes what a key says.
    pub(super) fn put(&mut self, key: Key) {
        self.skipped.remove(&key.name);
        let Key { name, value, lease, modified, .. } = key;
        let done = match self.keys.flat_place(&name) {
            FlatPlace::Config => {
                self.configure(Some(&value));
                Ok(())
            }
            FlatPlace::Node(host) => match serde_json::from_slice(&value) {
                Ok(node) => {
                    self.nodes.insert(host, node);
                    Ok(())
                }
                Err(e) => Err(e.to_string()),
            },
            FlatPlace::Endpoint(address) => self.endpoint(address, &value).map(|endpoint| {
                self.endpoints.insert(address, Known { endpoint, lease, modified });
            }),
            FlatPlace::Malformed(why) => Err(why),
            FlatPlace::Other => Ok(()),
        };
        if let Err(why) = done {
            self.skipped.insert(name, why);
        }
    }

    fn endpoint(&self, address: IpAddr, value: &[u8]) -> Result<Endpoint, String> {
        let endpoint = Endpoint::parse(value).map_err(|e| e.to_string())?;
        if !self.config.subnets.iter().any(|subnet| subnet.contains(address)) {
            return Err("the address is outside of the network".to_owned());
        }
        if self.config.gateways.contains(&address) || self.gateway_mac == endpoint.mac {
            return Err("it is the gateway's, which each host has itself".to_owned());
        }
        if self.config.subnets.iter().any(|subnet| subnet.contains(endpoint.host)) {
            return Err(format!("its host's address {} is inside of the network", endpoint.host));
        }
        Ok(endpoint)
    }

    fn delete(&mut self, name: &str) {
        self.skipped.remove(name);
        match self.keys.flat_place(name) {
            FlatPlace::Config => self.configure(None),
            FlatPlace::Node(host) => drop(self.nodes.remove(&host)),
            FlatPlace::Endpoint(address) => drop(self.endpoints.remove(&address)),
            FlatPlace::Malformed(_) | FlatPlace::Other => {}
        }
    }

    fn configure(&mut self, value: Option<&[u8]>) {
        self.changed = match value.map(Config::parse) {
            Some(Ok(Some(config))) if config == self.config => None,
            Some(Ok(_)) => Some(
                "the network's configuration was changed; this host keeps the one with which it \
                 joined until it leaves and joins again"
                    .to_owned(),
            ),
            Some(Err(e)) => Some(format!("the network's configuration is not valid: {e}")),
            None => Some("the network's configuration was deleted".to_owned()),
        };
    }

    /// Notes what this host has just written, before the store reports it.
    pub(super) fn wrote(&mut self, address: IpAddr, known: Known) {
        self.endpoints.insert(address, known);
    }

    /// Notes what this host has just deleted, before the store reports it.
    pub(super) fn removed(&mut self, address: IpAddr) {
        self.endpoints.remove(&address);
    }

    pub(super) fn reserve(&mut self, addresses: &[IpAddr]) {
        self.reserved.extend(addresses);
    }

    pub(super) fn unreserve(&mut self, addresses: &[IpAddr]) {
        self.reserved.retain(|address| !addresses.contains(address));
    }

    pub(super) fn is_reserved(&self, address: IpAddr) -> bool {
        self.reserved.contains(&address)
    }

    pub(super) fn get(&self, address: IpAddr) -> Option<&Known> {
        self.endpoints.get(&address)
    }

    /// Returns the addresses that the store has given to this host, but for those that are being given to
    /// endpoints at the moment.
    pub fn given(&self) -> BTreeSet<IpAddr> {
        let own = self.endpoints.iter().filter(|(_, known)| known.endpoint.node == self.own);
        own.map(|(address, _)| *address).filter(|ip| !self.is_reserved(*ip)).collect()
    }

    /// Returns the host that has an address; `None` if nobody or this host has it.
    pub fn other(&self, address: IpAddr) -> Option<&Endpoint> {
        let known = self.endpoints.get(&address)?;
        Some(&known.endpoint).filter(|endpoint| endpoint.node != self.own)
    }

    /// Returns all addresses that are used, or being given to endpoints.
    pub(super) fn taken(&self) -> impl Iterator<Item = IpAddr> {
        self.endpoints.keys().chain(&self.reserved).copied()
    }

    /// Returns what is on other hosts.
    pub fn elsewhere(&self) -> Elsewhere {
        let is_other = |known: &&Known| known.endpoint.node != self.own;
        let endpoints = self.endpoints.iter().filter(|(_, known)| is_other(known));
        let endpoints: BTreeMap<_, _> = endpoints
            .map(|(address, Known { endpoint, .. })| {
                (*address, Remote { mac: endpoint.mac, host: endpoint.host })
            })
            .collect();
        let others = self.nodes.iter().filter(|(_, node)| node.id != self.own);
        let mut hosts: BTreeMap<_, _> =
            others.map(|(host, node)| (*host, node.name.clone())).collect();
        for at in endpoints.values() {
            hosts.entry(at.host).or_default();
        }
        Elsewhere { endpoints, hosts }
    }

    /// Describes the keys that were skipped.
    pub fn skipped(&self) -> Vec<String> {
        let of = |(key, why): (&String, &String)| format!("key `{}`: {why}", visible(key));
        self.skipped.iter().map(of).collect()
    }

    /// Returns why the store does not answer.
    pub fn away(&self) -> Option<String> {
        self.away.clone()
    }

    /// Describes what is wrong with the store.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.away().into_iter().chain(self.changed.clone())
    }

    /// Returns the configuration with which this host joined.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns whether the store has an address for this host.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.get(address).is_some_and(|known| known.endpoint.node == self.own)
    }

    /// Returns whether the store has a host with this address.
    pub fn has_host(&self, host: IpAddr) -> bool {
        self.nodes.contains_key(&host)
    }
}

#[cfg(test)]
mod tests {
    use netcord::model::Flat;

    use super::*;

    fn picture() -> Picture {
        let config = Config {
            subnets: vec!["10.5.0.0/16".parse().unwrap()],
            gateways: vec!["10.5.0.1".parse().unwrap()],
            vni: 4096,
            port: 8472,
            flat: Flat::default(),
        };
        let own = Node { id: "own".into(), name: "h1".into() };
        Picture::of(Keys::new("/n"), config, &own)
    }

    fn key(name: &str, value: &str) -> Key {
        Key { name: format!("/n/{name}"), value: value.into(), lease: 7, created: 1, modified: 1 }
    }

    fn endpoint(address: &str, host: &str, node: &str, mac: &str) -> Key {
        let value = format!(r#"{{"host":"{host}","node":"{node}","mac":"{mac}","name":"x"}}"#);
        key(&format!("x-netcord/endpoints/{address}"), &value)
    }

    const MAC: &str = "02:42:0a:05:00:09";

    #[test]
    fn the_endpoints_of_other_hosts_are_elsewhere() {
        let mut picture = picture();
        picture.put(endpoint("10.5.0.2", "192.0.2.1", "own", "02:42:0a:05:00:02"));
        picture.put(endpoint("10.5.0.3", "192.0.2.2", "two", "02:42:0a:05:00:03"));
        picture.put(key("x-netcord/nodes/192.0.2.3", r#"{"id":"three","name":"h3"}"#));
        let (own, other) = ("10.5.0.2".parse().unwrap(), "10.5.0.3".parse().unwrap());
        let elsewhere = picture.elsewhere();
        assert_eq!(elsewhere.endpoints.keys().collect::<Vec<_>>(), [&other]);
        assert_eq!(elsewhere.hosts.len(), 2, "also the host without endpoints");
        assert_eq!(picture.given(), BTreeSet::from([own]));
        picture.reserve(&[own]);
        assert!(picture.given().is_empty(), "it is being given to an endpoint");
        assert_eq!(picture.taken().collect::<BTreeSet<_>>(), BTreeSet::from([own, other]));
        picture.unreserve(&[own]);
        picture.delete("/n/x-netcord/endpoints/10.5.0.3");
        assert!(picture.elsewhere().endpoints.is_empty());
    }

    #[test]
    fn a_key_that_would_harm_this_host_is_skipped_and_named() {
        let gateway = "02:42:0a:05:00:01";
        for (wrong, why) in [
            (endpoint("10.6.0.9", "192.0.2.9", "two", MAC), "outside of the network"),
            (endpoint("10.5.0.1", "192.0.2.9", "two", MAC), "the gateway's"),
            (endpoint("10.5.0.9", "192.0.2.9", "two", gateway), "the gateway's"),
            (endpoint("10.5.0.9", "10.5.0.8", "two", MAC), "inside of the network"),
            (endpoint("10.5.0.9", "192.0.2.9", "two", "ff:ff:ff:ff:ff:ff"), "multicast"),
            (endpoint("10.5.0.9", "192.0.2.9", "two", "00:00:00:00:00:00"), "stands for none"),
            (endpoint("10.5.0.9", "127.0.0.1", "two", MAC), "no address of a host"),
            (endpoint("web", "192.0.2.9", "two", MAC), "no IP address"),
            (key("x-netcord/endpoints/10.5.0.9", "{"), "EOF"),
            (key("x-netcord/nodes/192.0.2.9", "7"), "invalid type"),
        ] {
            let mut picture = picture();
            let name = wrong.name.clone();
            picture.put(wrong);
            let skipped = picture.skipped().join("\n");
            assert!(skipped.contains(&name) && skipped.contains(why), "{name}: {skipped}");
            assert_eq!(picture.elsewhere(), Elsewhere::default());
            picture.delete(&name);
            assert!(picture.skipped().is_empty(), "it is gone");
        }
    }

    #[test]
    fn a_changed_configuration_is_a_problem_and_not_obeyed() {
        let mut picture = picture();
        let same = picture.config().to_json();
        picture.put(key("config", &same));
        assert_eq!(picture.problems().count(), 0);
        picture.put(key("config", &same.replace("4096", "4097")));
        assert!(picture.problems().any(|what| what.contains("was changed")));
        picture.delete("/n/config");
        assert!(picture.problems().any(|what| what.contains("was deleted")));
        assert_eq!(picture.config().vni, 4096);
    }
}
