//! The store of an overlay network in etcd: its configuration, this host's lease, and the peers.
//!
//! Keys and values are flannel's. Every write is a transaction that compares first, so a host never
//! overwrites what another has written. Nothing that forwards packets depends on the store: while it
//! does not answer, everything stays as it was.
//!
//! [`Store::acquire`] and [`Store::follow`] run tasks on the thread that calls them: call them inside
//! of a [`tokio::task::LocalSet`]. The tasks end with what they return.

mod access;
mod acquire;
mod clock;
mod connection;
mod failure;
pub mod flat;
mod follow;
mod held;
mod kept;
mod keys;
mod node;
mod view;
mod watch;

use std::{rc::Rc, time::Duration};

use anyhow::Result;
use etcd_client::{Client, Compare, CompareOp, ResponseHeader, Txn, TxnOp};
use netcord::error::Error;

use self::{connection::Connection, keys::Keys};
use crate::flannel::Config;

pub use self::{
    access::Access,
    acquire::Claim,
    follow::{Event, Follow, Peer},
    held::{Held, Notice, Rival},
    node::Node,
};

/// The store of one network. A clone is the same store.
#[derive(Clone)]
pub struct Store(Shared);

type Shared = Rc<Inner>;

struct Inner {
    connection: Connection,
    keys: Keys,
}

impl Store {
    /// Connects to the store. `wait` is how long a request is tried again while no endpoint answers,
    /// here and later; it is at least a second.
    ///
    /// # Errors
    /// The access is malformed, or a file of it cannot be read; no endpoint answers
    /// ([`Kind::Timeout`]), or all refuse this host ([`Kind::Permission`]).
    ///
    /// [`Kind::Timeout`]: netcord::error::Kind::Timeout
    /// [`Kind::Permission`]: netcord::error::Kind::Permission
    pub async fn connect(access: &Access, wait: Duration) -> Result<Self> {
        let connection = Connection::open(access.clone(), wait).await?;
        let keys = Keys::new(&access.prefix);
        Ok(Self(Rc::new(Inner { connection, keys })))
    }

    /// Reads the network's configuration, whatever its kind.
    ///
    /// # Errors
    /// The value of the key is neither flannel's nor that of a flat network.
    pub async fn settings(&self) -> Result<Option<Settings>> {
        let key = self.0.keys.config();
        let get = async |client: &mut Client| client.get(key.as_str(), None).await;
        let answer = self.0.connection.call(get).await?;
        let Some(kv) = answer.kvs().first() else { return Ok(None) };
        let invalid = |e| Error::conflict(format!("`{key}` is not valid: {e}"));
        Ok(Some(match flat::Config::parse(kv.value()).map_err(invalid)? {
            Some(flat) => Settings::Flat(flat),
            None => Settings::Routed(self.parse_config(kv.value())?),
        }))
    }

    /// Reads the network's configuration.
    ///
    /// # Errors
    /// The value of the key is not flannel's.
    pub async fn config(&self) -> Result<Option<Config>> {
        let key = self.0.keys.config();
        let get = async |client: &mut Client| client.get(key.as_str(), None).await;
        let answer = self.0.connection.call(get).await?;
        answer.kvs().first().map(|kv| self.parse_config(kv.value())).transpose()
    }

    /// Writes the configuration unless there is one; returns the one that is there now, and how to take
    /// it back if this host wrote it. Compare it with the given one: another host may have been first.
    ///
    /// # Errors
    /// netcord does not support it, or the value of the key is not flannel's.
    pub async fn create_config(&self, config: &Config) -> Result<(Config, Option<Draft>)> {
        config.check_supported()?;
        let key = self.0.keys.config();
        let value = config.to_json();
        let create = async |client: &mut Client| {
            let txn = Txn::new()
                .when([Compare::create_revision(key.as_str(), CompareOp::Equal, 0)])
                .and_then([TxnOp::put(key.as_str(), value.as_str(), None)]);
            client.txn(txn).await
        };
        let answer = self.0.connection.call(create).await?;
        let revision = answer.header().filter(|_| answer.succeeded()).map(ResponseHeader::revision);
        let draft = revision.map(|revision| Draft { store: self.clone(), revision, vni: None });
        let gone = || Error::conflict(format!("`{key}` was deleted by somebody else"));
        Ok((self.config().await?.ok_or_else(gone)?, draft))
    }

    /// Takes subnets for this host, and keeps them: its own again, those of an earlier life if they
    /// are free, or free ones.
    ///
    /// # Errors
    /// There is no configuration, or netcord does not support it; all subnets are used; another
    /// host has the same address.
    pub async fn acquire(&self, claim: Claim) -> Result<Held> {
        let grip = acquire::acquire(&self.0, &claim).await?;
        Ok(Held::keep(&self.0, claim, grip))
    }

    /// Follows the peers and the configuration. The number of requests does not depend on the number
    /// of peers.
    pub fn follow(&self) -> Follow {
        Follow::new(&self.0)
    }

    fn parse_config(&self, text: &[u8]) -> Result<Config> {
        self.0.parse_config(text)
    }
}

/// The configuration of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settings {
    /// Each host has a subnet of its own.
    Routed(Config),
    /// All hosts share one subnet.
    Flat(flat::Config),
}

/// A configuration that this host wrote for a network that it has not joined yet.
pub struct Draft {
    store: Store,
    revision: i64,
    /// The key of the network's VXLAN network identifier, if it is registered.
    vni: Option<String>,
}

impl Draft {
    /// Deletes the configuration, unless it was changed since or a host has a subnet of it.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn take_back(self) -> Result<()> {
        let Inner { connection, keys } = &*self.store.0;
        let (config, leases, hosts) = (keys.config(), keys.leases(), keys.own());
        let vni = self.vni;
        let delete = async |client: &mut Client| {
            let own = Compare::mod_revision(config.as_str(), CompareOp::Equal, self.revision);
            let mut delete = vec![TxnOp::delete(config.as_str(), None)];
            delete.extend(vni.as_ref().map(|vni| TxnOp::delete(vni.as_str(), None)));
            let mut when = vec![own, leases.is_empty()];
            when.extend(vni.as_ref().map(|_| hosts.is_empty()));
            client.txn(Txn::new().when(when).and_then(delete)).await
        };
        connection.call(delete).await?;
        Ok(())
    }
}

impl Inner {
    fn parse_config(&self, text: &[u8]) -> Result<Config> {
        let not_flannels = |e| {
            Error::conflict(format!(
                "`{}` is not a configuration of flannel: {e}",
                self.keys.config()
            ))
            .hint("give each network a --prefix of its own")
        };
        Ok(Config::parse(text).map_err(not_flannels)?)
    }
}
