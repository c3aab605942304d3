//! A lease of etcd that this host keeps alive.

use std::{cell::Cell, time::Duration};

use anyhow::Result;
use etcd_client::Client;

use super::{
    Inner, clock,
    failure::{self, Meaning},
};

/// A lease: the keys that were written with it end some time after this host's last sign of life.
pub(super) struct Kept {
    id: Cell<i64>,
    /// When it ends unless it is kept alive, since boot.
    ends: Cell<Duration>,
    ttl: u32,
}

impl Kept {
    /// Takes charge of a lease that was granted just now, for so many seconds.
    pub(super) fn new(id: i64, ttl: u32) -> Self {
        let kept = Self { id: Cell::new(id), ends: Cell::default(), ttl };
        kept.extend(clock::since_boot());
        kept
    }

    pub(super) fn id(&self) -> i64 {
        self.id.get()
    }

    /// Returns how long it lasts if the store does not answer from now on.
    pub(super) fn remaining(&self) -> Duration {
        self.ends.get().saturating_sub(clock::since_boot())
    }

    /// Returns when to renew it, since boot. Two renewals can fail before it ends.
    pub(super) fn next_renewal(&self) -> Duration {
        clock::since_boot() + self.lasts() / 3
    }

    /// Renews it; returns whether it was still there.
    pub(super) async fn renew(&self, store: &Inner) -> Result<bool> {
        let (id, now) = (self.id(), clock::since_boot());
        let keep = async |client: &mut Client| match client.lease_client().keep_alive(id).await {
            Err(e) if failure::meaning(&e) == Meaning::LeaseGone => Ok(false),
            other => other.map(|_| true),
        };
        let is_alive = store.connection.call(keep).await?;
        if is_alive {
            self.extend(now);
        }
        Ok(is_alive)
    }

    /// Makes a new lease in place of one that has ended.
    pub(super) async fn begin_again(&self, store: &Inner) -> Result<()> {
        let now = clock::since_boot();
        self.id.set(grant(store, self.ttl).await?);
        self.extend(now);
        Ok(())
    }

    fn extend(&self, from: Duration) {
        self.ends.set(from + self.lasts());
    }

    fn lasts(&self) -> Duration {
        Duration::from_secs(self.ttl.into())
    }
}

/// Makes a lease that lasts so many seconds.
pub(super) async fn grant(store: &Inner, ttl: u32) -> Result<i64> {
    let grant = async |client: &mut Client| client.lease_client().grant(ttl.into(), None).await;
    Ok(store.connection.call(grant).await?.id())
}

/// Ends a lease and the keys that depend on it.
pub(super) async fn revoke(store: &Inner, id: i64) -> Result<()> {
    let revoke = async |client: &mut Client| match client.lease_client().revoke(id).await {
        Err(e) if failure::meaning(&e) == Meaning::LeaseGone => Ok(()),
        other => other.map(drop),
    };
    Ok(store.connection.call(revoke).await?)
}
