//! Subnets that this host holds: kept alive, taken again when they are lost, and given back.

use std::{cell::Cell, fmt, net::IpAddr, rc::Rc, time::Duration};

use anyhow::Result;
use tokio::sync::mpsc;

use super::{
    Shared,
    acquire::{self, Claim, Grip, Written},
    clock::{self, BackOff},
    kept::{self, Kept},
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
    kept: Kept,
    is_reserved: Cell<bool>,
}

impl Held {
    pub(super) fn keep(store: &Shared, claim: Claim, grip: Grip) -> Self {
        let state = Rc::new(State {
            kept: Kept::new(grip.etcd_lease, claim.ttl),
            is_reserved: Cell::new(grip.is_reserved),
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
        self.state.kept.remaining()
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
        kept::revoke(&store, state.kept.id()).await
    }
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
        let mut due = self.state.kept.next_renewal();
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
                    kept::revoke(&self.store, self.state.kept.id()).await.ok();
                    return;
                }
                Err(_) => {
                    due = clock::since_boot() + back_off.step();
                    continue;
                }
            }
            (is_in_doubt, back_off, due) = (false, BackOff::new(), self.state.kept.next_renewal());
        }
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
        key.lease == 0 || key.lease == self.state.kept.id()
    }

    /// Renews the lease; takes the subnets again if it has ended or if they are in doubt.
    async fn check(&self, is_in_doubt: bool) -> Result<Option<Notice>> {
        let is_alive = self.state.kept.renew(&self.store).await?;
        if is_alive && !is_in_doubt { Ok(None) } else { self.retake(is_alive).await }
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
                self.state.kept.begin_again(&self.store).await?;
                is_alive = true;
            }
            let etcd_lease = self.state.kept.id();
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
}
