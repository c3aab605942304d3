//! The other hosts, as the store has them: a picture, and what changes in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use netcord::model::{Invalid, visible};
use tokio::sync::mpsc;

use super::{
    Shared,
    keys::{Key, Keys, Place},
    watch::{self, Change, Seen, Task},
};
use crate::flannel::{Config, Lease, Subnets};

/// A host of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its subnets.
    pub subnets: Subnets,
    /// What it says about itself.
    pub lease: Lease,
    /// Whether its subnets are reserved: their key has no end.
    pub is_reserved: bool,
    /// Grows with each new key: etcd's revision of its creation.
    pub created: i64,
}

/// What happens in a network. This host's own lease is among the peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// All peers: at first, and after changes that the store no longer had. The keys that were skipped
    /// follow.
    All(Vec<Peer>),
    /// A peer that is new, or has changed.
    Peer(Peer),
    /// A peer has gone: it has left, or its lease has ended.
    Gone(Peer),
    /// A key was skipped, for a reason. If it was a peer's, the peer stays as it was.
    Skipped {
        /// The key's name.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// A key that was skipped is gone, or can be read now.
    Mended {
        /// The key's name.
        key: String,
    },
    /// The configuration: at first, and when it is changed. `None`: there is no such key.
    Config(Option<Result<Config, Invalid>>),
    /// The store does not answer, for a reason. What is known stays.
    Away(String),
    /// The store answers again; changes of the meantime follow.
    Back,
}

/// The events of a network, in their order.
#[derive(Debug)]
pub struct Follow {
    seen: mpsc::Receiver<Seen>,
    picture: Picture,
    events: VecDeque<Event>,
    _task: Task,
}

impl Follow {
    pub(super) fn new(store: &Shared) -> Self {
        let (task, seen) = watch::follow(store, store.keys.all());
        let picture = Picture::new(store.keys.clone());
        Self { seen, picture, events: VecDeque::new(), _task: task }
    }

    /// Waits for the next event. Nothing is lost if the wait is cancelled.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            match self.seen.recv().await {
                Some(seen) => self.events.extend(self.picture.take(seen)),
                // The task ends only with its receiver.
                None => std::future::pending().await,
            }
        }
    }
}

/// What is known of a network.
#[derive(Debug)]
struct Picture {
    keys: Keys,
    /// Whether the keys were listed.
    is_listed: bool,
    /// The value of the configuration's key.
    config: Option<Vec<u8>>,
    peers: BTreeMap<Subnets, Peer>,
    /// The names of the keys that were skipped.
    skipped: BTreeSet<String>,
}

impl Picture {
    fn new(keys: Keys) -> Self {
        Self {
            keys,
            is_listed: false,
            config: None,
            peers: BTreeMap::new(),
            skipped: BTreeSet::new(),
        }
    }

    fn take(&mut self, seen: Seen) -> Vec<Event> {
        match seen {
            Seen::All(keys) => self.list(keys),
            Seen::Changes(changes) => {
                changes.into_iter().flat_map(|change| self.change(change)).collect()
            }
            Seen::Away(reason) => vec![Event::Away(reason)],
            Seen::Back => vec![Event::Back],
        }
    }

    fn list(&mut self, keys: Vec<Key>) -> Vec<Event> {
        let known = std::mem::take(&mut self.peers);
        let (mut config, mut skips) = (None, Vec::new());
        for key in keys {
            match self.keys.place(&key.name) {
                Place::Config => config = Some(key.value),
                Place::Lease(subnets) => match peer(subnets, &key) {
                    Ok(peer) => drop(self.peers.insert(subnets, peer)),
                    Err(e) => {
                        skips.push((key.name.clone(), skipped(&key.name, &e.message)));
                        let before = known.get(&subnets).cloned();
                        self.peers.extend(before.map(|peer| (subnets, peer)));
                    }
                },
                Place::Malformed(why) => {
                    skips.push((key.name.clone(), skipped(&key.name, &why)));
                }
                Place::Other => {}
            }
        }
        let all = Event::All(self.peers.values().cloned().collect());
        let (names, skips): (_, Vec<_>) = skips.into_iter().unzip();
        self.skipped = names;
        self.configure(config).into_iter().chain([all]).chain(skips).collect()
    }

    fn change(&mut self, change: Change) -> impl Iterator<Item = Event> + use<> {
        let (name, put) = match change {
            Change::Put(key) => (key.name.clone(), Some(key)),
            Change::Deleted(name) => (name, None),
        };
        let event = match (self.keys.place(&name), put) {
            (Place::Config, put) => self.configure(put.map(|key| key.value)),
            (Place::Lease(subnets), Some(key)) => match peer(subnets, &key) {
                Ok(peer) => {
                    let before = self.peers.insert(subnets, peer.clone());
                    (before.as_ref() != Some(&peer)).then_some(Event::Peer(peer))
                }
                Err(e) => Some(skipped(&name, &e.message)),
            },
            (Place::Lease(subnets), None) => self.peers.remove(&subnets).map(Event::Gone),
            (Place::Malformed(why), Some(_)) => Some(skipped(&name, &why)),
            (Place::Malformed(_), None) | (Place::Other, _) => None,
        };
        let mut mended = None;
        if let Some(Event::Skipped { .. }) = event {
            self.skipped.insert(name);
        } else if self.skipped.remove(&name) {
            mended = Some(Event::Mended { key: visible(&name).into_owned() });
        }
        mended.into_iter().chain(event)
    }

    fn configure(&mut self, value: Option<Vec<u8>>) -> Option<Event> {
        if std::mem::replace(&mut self.is_listed, true) && self.config == value {
            return None;
        }
        let config = value.as_deref().map(Config::parse);
        self.config = value;
        Some(Event::Config(config))
    }
}

fn peer(subnets: Subnets, key: &Key) -> Result<Peer, Invalid> {
    let lease = Lease::parse(&key.value)?;
    Ok(Peer { subnets, lease, is_reserved: key.lease == 0, created: key.created })
}

fn skipped(key: &str, why: &str) -> Event {
    Event::Skipped { key: visible(key).into_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{Event, Picture};
    use crate::store::{
        keys::{Key, Keys},
        watch::{Change, Seen},
    };

    const CONFIG: &str = r#"{"Network":"10.5.0.0/16"}"#;

    fn key(name: &str, value: &str) -> Key {
        Key { name: format!("/n/{name}"), value: value.into(), lease: 7, created: 1, modified: 1 }
    }

    fn lease(name: &str, host: &str) -> Key {
        let value = format!(r#"{{"PublicIP":"{host}","PublicIPv6":null,"BackendType":"host-gw"}}"#);
        key(&format!("subnets/{name}"), &value)
    }

    fn picture(keys: &[Key]) -> Picture {
        let mut picture = Picture::new(Keys::new("/n"));
        picture.take(Seen::All(keys.to_owned()));
        picture
    }

    fn put(picture: &mut Picture, key: Key) -> Vec<String> {
        show(&picture.take(Seen::Changes(vec![Change::Put(key)])))
    }

    fn show(events: &[Event]) -> Vec<String> {
        events.iter().map(show_one).collect()
    }

    fn show_one(event: &Event) -> String {
        match event {
            Event::All(peers) => {
                let peers = peers.iter().map(|p| format!("{}={}", p.subnets, p.lease.host()));
                format!("all {}", peers.collect::<Vec<_>>().join(" "))
            }
            Event::Peer(peer) => format!("peer {}={}", peer.subnets, peer.lease.host()),
            Event::Gone(peer) => format!("gone {}={}", peer.subnets, peer.lease.host()),
            Event::Skipped { key, .. } => format!("skipped {key}"),
            Event::Mended { key } => format!("mended {key}"),
            Event::Config(None) => "no config".into(),
            Event::Config(Some(Ok(config))) => format!("config {}", config.ipv4.network()),
            Event::Config(Some(Err(e))) => format!("bad config: {e}"),
            Event::Away(reason) => format!("away: {reason}"),
            Event::Back => "back".into(),
        }
    }

    #[test]
    fn the_first_picture_has_the_config_and_names_what_it_skips() {
        let mut picture = Picture::new(Keys::new("/n"));
        let keys = vec![
            key("config", CONFIG),
            key("nodes/x", "of others"),
            lease("10.5.1.0-24", "10.0.0.1"),
            key("subnets/10.5.2.0-24", "not JSON"),
            lease("10.5.3.0", "10.0.0.3"),
            lease("10.5.4.0-24", "10.0.0.4"),
        ];
        assert_eq!(
            show(&picture.take(Seen::All(keys))),
            [
                "config 10.5.0.0/16",
                "all 10.5.1.0-24=10.0.0.1 10.5.4.0-24=10.0.0.4",
                "skipped /n/subnets/10.5.2.0-24",
                "skipped /n/subnets/10.5.3.0",
            ]
        );
    }

    #[test]
    fn a_peer_whose_value_can_no_longer_be_read_stays_as_it_was() {
        let mut picture = picture(&[lease("10.5.1.0-24", "10.0.0.1")]);
        let torn = key("subnets/10.5.1.0-24", "{");
        assert_eq!(put(&mut picture, torn.clone()), ["skipped /n/subnets/10.5.1.0-24"]);
        let listed = show(&picture.take(Seen::All(vec![torn])));
        assert_eq!(listed, ["all 10.5.1.0-24=10.0.0.1", "skipped /n/subnets/10.5.1.0-24"]);
        let (mended, good) = ("mended /n/subnets/10.5.1.0-24", lease("10.5.1.0-24", "10.0.0.1"));
        assert_eq!(put(&mut picture, good.clone()), [mended], "it is the same as before");
        assert_eq!(put(&mut picture, good), [""; 0]);
        let torn = key("subnets/10.5.1.0-24", "{");
        put(&mut picture, torn);
        let gone = Change::Deleted("/n/subnets/10.5.1.0-24".into());
        let events = show(&picture.take(Seen::Changes(vec![gone])));
        assert_eq!(events, [mended, "gone 10.5.1.0-24=10.0.0.1"]);
    }

    #[test]
    fn changes_are_told_once() {
        let mut picture = picture(&[]);
        assert_eq!(
            put(&mut picture, lease("10.5.1.0-24", "10.0.0.1")),
            ["peer 10.5.1.0-24=10.0.0.1"]
        );
        assert_eq!(put(&mut picture, lease("10.5.1.0-24", "10.0.0.1")), [""; 0], "a renewal");
        assert_eq!(
            put(&mut picture, lease("10.5.1.0-24", "10.0.0.9")),
            ["peer 10.5.1.0-24=10.0.0.9"]
        );
        let gone = Change::Deleted("/n/subnets/10.5.1.0-24".into());
        let deleted = Seen::Changes(vec![gone.clone(), gone]);
        assert_eq!(show(&picture.take(deleted)), ["gone 10.5.1.0-24=10.0.0.9"]);
    }

    #[test]
    fn a_changed_config_is_reported_and_the_same_again_is_not() {
        let mut picture = picture(&[key("config", CONFIG)]);
        assert_eq!(put(&mut picture, key("config", CONFIG)), [""; 0]);
        let other = r#"{"Network":"10.6.0.0/16"}"#;
        assert_eq!(put(&mut picture, key("config", other)), ["config 10.6.0.0/16"]);
        assert_eq!(put(&mut picture, key("config", "")).len(), 1);
        let deleted = Seen::Changes(vec![Change::Deleted("/n/config".into())]);
        assert_eq!(show(&picture.take(deleted)), ["no config"]);
    }

    #[test]
    fn a_store_that_is_away_changes_no_peer() {
        let mut picture = picture(&[lease("10.5.1.0-24", "10.0.0.1")]);
        assert_eq!(show(&picture.take(Seen::Away("refused".into()))), ["away: refused"]);
        assert_eq!(show(&picture.take(Seen::Back)), ["back"]);
        assert_eq!(picture.peers.len(), 1);
    }
}
