//! The other hosts, as the events of the store describe them.

use std::{collections::BTreeMap, net::Ipv4Addr};

use netcord_agent::{
    flannel::{Config, Subnets, Taken, choose},
    store::{Event, Peer},
};

/// What is known of a network, and what is wrong with the store.
#[derive(Debug, Default)]
pub(super) struct Picture {
    peers: BTreeMap<Subnets, Peer>,
    skipped: BTreeMap<String, String>,
    /// Why the store does not answer.
    away: Option<String>,
    /// How the store's configuration differs from the one with which this host has joined.
    changed: Option<String>,
}

impl Picture {
    /// Takes an event; returns whether the other hosts may have changed.
    pub(super) fn take(&mut self, event: Event, joined_with: &Config) -> bool {
        match event {
            Event::All(peers) => {
                self.peers = peers.into_iter().map(|peer| (peer.subnets, peer)).collect();
                self.skipped.clear();
                true
            }
            Event::Peer(peer) => {
                self.peers.insert(peer.subnets, peer);
                true
            }
            Event::Gone(peer) => self.peers.remove(&peer.subnets).is_some(),
            Event::Skipped { key, why } => {
                self.skipped.insert(key, why);
                false
            }
            Event::Mended { key } => {
                self.skipped.remove(&key);
                false
            }
            Event::Config(config) => {
                self.changed = match config {
                    Some(Ok(config)) if config == *joined_with => None,
                    Some(Ok(_)) => Some(
                        "the network's configuration was changed; this host keeps the one with \
                         which it joined until it leaves and joins again"
                            .to_owned(),
                    ),
                    Some(Err(invalid)) => Some(format!(
                        "the network's configuration is not valid: {}",
                        invalid.message
                    )),
                    None => Some("the network's configuration was deleted".to_owned()),
                };
                false
            }
            Event::Away(why) => {
                self.away = Some(why);
                false
            }
            Event::Back => {
                self.away = None;
                false
            }
        }
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values()
    }

    /// The subnets that are used, in the words of [`choose`].
    pub(super) fn taken(&self) -> Vec<Taken> {
        self.peers()
            .map(|peer| Taken {
                subnets: peer.subnets,
                host: Some(peer.lease.host()),
                created: peer.created,
            })
            .collect()
    }

    /// Describes the lack of subnets, if another host could not join.
    pub(super) fn lack(&self, config: &Config) -> Option<String> {
        let nobody = Ipv4Addr::UNSPECIFIED.into();
        let choice = choose(config, &self.taken(), nobody, None, || 0);
        choice.err().map(|lack| format!("{lack}: no other host can join"))
    }

    /// Describes the keys that were skipped.
    pub(super) fn skipped(&self) -> Vec<String> {
        self.skipped.iter().map(|(key, why)| format!("key `{key}`: {why}")).collect()
    }

    /// Returns why the store does not answer.
    pub(super) fn away(&self) -> Option<String> {
        self.away.clone()
    }

    /// Describes what is wrong with the store.
    pub(super) fn problems(&self) -> impl Iterator<Item = String> {
        self.away().into_iter().chain(self.changed.clone())
    }
}
