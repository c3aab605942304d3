//! The store of a flat network: one subnet for all hosts, and a key for each address of an endpoint.
//!
//! - `config`: the network's configuration, which flannel refuses
//! - `endpoint`: the value of an address's key
//! - `vni`: a VXLAN network identifier for each network of an etcd
//! - `presence`: that this host is there: its lease, and the key with its name
//! - `claims`: takes and gives back addresses, each by a transaction that compares first
//! - `picture`: what the keys say

mod claims;
mod config;
mod endpoint;
mod picture;
mod presence;
mod vni;

use anyhow::Result;
use tokio::sync::mpsc;

use super::{
    Store,
    watch::{self, Task},
};

pub use self::{
    claims::{Claim, Reserved, Settled, Wish},
    config::Config,
    endpoint::Endpoint,
    picture::Picture,
    presence::{Notice, Notices, Presence, Who},
    vni::New,
};

/// What happens in a flat network, in its order. [`Picture::take`] reads it.
#[derive(Debug)]
pub struct Follow {
    seen: mpsc::Receiver<watch::Seen>,
    _task: Task,
}

/// Something that has happened.
#[derive(Debug)]
pub struct News(watch::Seen);

impl Follow {
    /// Waits for the next event. Nothing is lost if the wait is cancelled.
    pub async fn next(&mut self) -> News {
        match self.seen.recv().await {
            Some(seen) => News(seen),
            // The task ends only with its receiver.
            None => std::future::pending().await,
        }
    }

    /// Returns an event that is there already.
    pub fn ready(&mut self) -> Option<News> {
        self.seen.try_recv().ok().map(News)
    }
}

impl Store {
    /// Follows the hosts, the endpoints and the configuration of a flat network, by one list and one
    /// watch.
    pub fn follow_flat(&self) -> Follow {
        let (task, seen) = watch::follow(&self.0, self.0.keys.flat());
        Follow { seen, _task: task }
    }

    /// Announces this host, and keeps it announced.
    ///
    /// # Errors
    /// Another host has the same address, or the store does not answer.
    pub async fn announce(&self, who: Who) -> Result<(Presence, Notices)> {
        Presence::begin(&self.0, who).await
    }
}
