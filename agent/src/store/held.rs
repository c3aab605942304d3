//! Subnets that this host holds: kept alive, taken again when they are lost, and given back.

use std::{cell::Cell, fmt, net::IpAddr, rc::Rc, time::Duration};

use anyhow::Result;
use etcd_client::Client;
use tokio::sync::mpsc;

use super::{
    Shared,
    acquire::{self, Claim, Grip, Written},
    clock::{self, BackOff},
    failure::{self, Meaning},
    keys::{Key, Range},
    view::{self, View},
    watch::{self, Change, Seen, Task},
};
use crate::flannel::{Choice, Subnets};

/// This host's subnets. The keys end some time after this value, by their lease; [`Held::leave`]
/// gives them back at once.
pub struct Held {
    store: Shared,
    subnets: Subnets,
    state: Rc<State>,
    notices: mpsc::UnboundedReceiver<Notice>,
    _task: Task,
}

/// What happens to subnets that a host holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Their key was gone, and is there again.
    Retaken,
    /// Another host has them, or this host's address. They are no longer kept.
    Lost {
        /// The other host.
        to: Rival,
    },
}

/// Another host that has what this one wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// Its address, if its key can be read.
    pub host: Option<IpAddr>,
    /// Its name, if it is a host of netcord.
    pub name: Option<String>,
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.host) {
            (Some(name), _) => write!(f, "`{}`", netcord::model::visible(name)),
            (None, Some(host)) => write!(f, "{host}"),
            (None, None) => write!(f, "a host that cannot be read"),
        }
    }
}

/// What the task and its handle share.
struct State {
    etcd_lease: Cell<i64>,
    is_reserved: Cell<bool>,
    /// When the lease ends unless it is kept alive, since boot.
    ends: Cell<Duration>,
}

impl Held {
    pub(super) fn keep(store: &Shared, claim: Claim, grip: Grip) -> Self {
        let state = Rc::new(State {
            etcd_lease: Cell::new(grip.etcd_lease),
            is_reserved: Cell::new(grip.is_reserved),
            ends: Cell::new(clock::since_boot() + ttl(&claim)),
        });
        let (sender, notices) = mpsc::unbounded_channel();
        let keeper = Keeper {
            store: store.clone(),
            subnets: grip.subnets,
            claim,
            state: state.clone(),
            sender,
        };
        let task = Task::spawn(keeper.run());
        Self { store: store.clone(), subnets: grip.subnets, state, notices, _task: task }
    }

    /// Returns the subnets.
    pub fn subnets(&self) -> Subnets {
        self.subnets
    }

    /// Returns how long the lease lasts if the store does not answer from now on.
    pub fn remaining(&self) -> Duration {
        self.state.ends.get().saturating_sub(clock::since_boot())
    }

    /// Returns whether the subnets are reserved for this host: their key has no end.
    pub fn is_reserved(&self) -> bool {
        self.state.is_reserved.get()
    }

    /// Waits until something happens. Nothing is lost if the wait is cancelled. After
    /// [`Notice::Lost`] nothing happens.
    pub async fn next(&mut self) -> Notice {
        match self.notices.recv().await {
            Some(notice) => notice,
            None => std::future::pending().await,
        }
    }

    /// Gives the subnets back, unless they are reserved.
    ///
    /// # Errors
    /// The store does not answer: the lease ends by itself.
    pub async fn leave(self) -> Result<()> {
        let Self { store, state, _task: task, .. } = self;
        drop(task);
        acquire::revoke(&store, state.etcd_lease.get()).await
    }
}

fn ttl(claim: &Claim) -> Duration {
    Duration::from_secs(claim.ttl.into())
}

/// The task that keeps subnets.
struct Keeper {
    store: Shared,
    subnets: Subnets,
    claim: Claim,
    state: Rc<State>,
    sender: mpsc::UnboundedSender<Notice>,
}

impl Keeper {
    async fn run(self) {
        let name = self.store.keys.lease(&self.subnets);
        let (_task, mut seen) = watch::follow(&self.store, Range::one(name));
        let mut back_off = BackOff::new();
        let mut is_in_doubt = false;
        let mut due = self.next_renewal();
        loop {
            tokio::select! {
                seen = seen.recv() => match seen {
                    Some(seen) if self.note(&seen) => continue,
                    Some(_) => is_in_doubt = true,
                    None => return,
                },
                () = clock::sleep_until(due) => {}
            }
            match self.check(is_in_doubt).await {
                Ok(None) => {}
                Ok(Some(Notice::Retaken)) => drop(self.sender.send(Notice::Retaken)),
                Ok(Some(lost)) => {
                    drop(self.sender.send(lost));
                    // Only this host's address is still kept by it.
                    acquire::revoke(&self.store, self.state.etcd_lease.get()).await.ok();
                    return;
                }
                Err(_) => {
                    due = clock::since_boot() + back_off.step();
                    continue;
                }
            }
            (is_in_doubt, back_off, due) = (false, BackOff::new(), self.next_renewal());
        }
    }

    /// Two renewals can fail before the lease ends.
    fn next_renewal(&self) -> Duration {
        clock::since_boot() + ttl(&self.claim) / 3
    }

    /// Takes note of what is seen of the key of the subnets. Returns whether it is this host's, as
    /// far as can be seen.
    fn note(&self, seen: &Seen) -> bool {
        let key = match seen {
            Seen::All(keys) => keys.first(),
            Seen::Changes(changes) => match changes.last() {
                Some(Change::Put(key)) => Some(key),
                Some(Change::Deleted(_)) => None,
                None => return true,
            },
            Seen::Away(_) | Seen::Back => return true,
        };
        let own = key.filter(|key| self.is_host_of(key) && self.is_kept(key));
        self.state.is_reserved.set(own.is_some_and(|key| key.lease == 0));
        own.is_some()
    }

    fn is_host_of(&self, key: &Key) -> bool {
        view::host_of(key) == Some(self.claim.lease.host())
    }

    /// Returns whether a key ends when this host wants it to, or never.
    fn is_kept(&self, key: &Key) -> bool {
        key.lease == 0 || key.lease == self.state.etcd_lease.get()
    }

    /// Renews the lease; takes the subnets again if it has ended or if they are in doubt.
    async fn check(&self, is_in_doubt: bool) -> Result<Option<Notice>> {
        let is_alive = self.renew().await?;
        if is_alive && !is_in_doubt { Ok(None) } else { self.retake(is_alive).await }
    }

    /// Returns whether the lease was still there.
    async fn renew(&self) -> Result<bool> {
        let (id, now) = (self.state.etcd_lease.get(), clock::since_boot());
        let keep = async |client: &mut Client| match client.lease_client().keep_alive(id).await {
            Err(e) if failure::meaning(&e) == Meaning::LeaseGone => Ok(false),
            other => other.map(|_| true),
        };
        let is_alive = self.store.connection.call(keep).await?;
        if is_alive {
            self.state.ends.set(now + ttl(&self.claim));
        }
        Ok(is_alive)
    }

    async fn retake(&self, mut is_alive: bool) -> Result<Option<Notice>> {
        let lost = |to| Ok(Some(Notice::Lost { to }));
        let host = self.claim.lease.host();
        let mut back_off = BackOff::new();
        loop {
            let view = View::read(&self.store, host).await?;
            if let Some(rival) = view.same_address(&self.claim.node, host) {
                return lost(rival);
            }
            let choice = match view.lease(&self.subnets) {
                Some(key) if !self.is_host_of(key) => {
                    return lost(Rival { host: view::host_of(key), name: None });
                }
                Some(key) if is_alive && self.is_kept(key) && view.node.is_some() => {
                    self.state.is_reserved.set(key.lease == 0);
                    return Ok(None);
                }
                Some(_) => Choice::Own(self.subnets),
                None => Choice::Free(self.subnets),
            };
            if !is_alive {
                self.begin_again().await?;
                is_alive = true;
            }
            let etcd_lease = self.state.etcd_lease.get();
            match acquire::write(&self.store, &self.claim, &view, choice, etcd_lease).await? {
                Written::Done(grip) => {
                    self.state.is_reserved.set(grip.is_reserved);
                    return Ok(Some(Notice::Retaken));
                }
                Written::Overlaps(rival) => return lost(rival),
                Written::Raced => back_off.wait().await,
            }
        }
    }

    /// Makes a new lease in place of one that has ended.
    async fn begin_again(&self) -> Result<()> {
        let now = clock::since_boot();
        let etcd_lease = acquire::grant(&self.store, self.claim.ttl).await?;
        self.state.etcd_lease.set(etcd_lease);
        self.state.ends.set(now + ttl(&self.claim));
        Ok(())
    }
}
