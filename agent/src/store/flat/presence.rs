//! That this host is there: the key with its name, and the lease with which all of its keys end.

use std::{cell::RefCell, net::IpAddr, rc::Rc, time::Duration};

use anyhow::Result;
use etcd_client::{Client, Compare, CompareOp, PutOptions, Txn, TxnOp};
use netcord::error::{Error, Kind};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

use super::super::{
    Inner, Node, Rival, Shared, acquire,
    clock::{self, BackOff},
    kept::{self, Kept},
    keys::Key,
    watch::Task,
};

/// How long hosts with one address may get in each other's way.
const RACE: Duration = Duration::from_secs(10);

/// What a host says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Its address.
    pub host: IpAddr,
    /// How many seconds its keys outlive its last sign of life.
    pub ttl: u32,
    /// Who it is.
    pub node: Node,
}

/// This host's lease. Its keys end some time after this value; [`Presence::leave`] ends them at once.
pub struct Presence {
    pub(super) store: Shared,
    pub(super) who: Who,
    kept: Rc<Kept>,
    doubt: Rc<Notify>,
    task: RefCell<Option<Task>>,
}

/// What happens to the lease of a host, in its order.
pub struct Notices(mpsc::UnboundedReceiver<Notice>);

/// What happens to the lease of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It had ended, and there is a new one: the keys of endpoints have to be written again.
    Renewed,
    /// Another host has this host's address. The lease is no longer kept.
    Lost {
        /// The other host.
        to: Rival,
    },
}

impl Presence {
    pub(super) async fn begin(store: &Shared, who: Who) -> Result<(Self, Notices)> {
        let kept = Rc::new(Kept::new(kept::grant(store, who.ttl).await?, who.ttl));
        if let Some(rival) = write(store, &who, kept.id()).await? {
            kept::revoke(store, kept.id()).await.ok();
            return Err(acquire::same_address(store, who.host, &rival).into());
        }
        let (sender, notices) = mpsc::unbounded_channel();
        let doubt = Rc::new(Notify::new());
        let keeper = Keeper {
            store: store.clone(),
            who: who.clone(),
            kept: kept.clone(),
            doubt: doubt.clone(),
            sender,
        };
        let task = RefCell::new(Some(Task::spawn(keeper.run())));
        Ok((Self { store: store.clone(), who, kept, doubt, task }, Notices(notices)))
    }

    /// Returns this host's address, its name and the time to live of its keys.
    pub fn who(&self) -> &Who {
        &self.who
    }

    /// Returns how long the keys last if the store does not answer from now on.
    pub fn remaining(&self) -> Duration {
        self.kept.remaining()
    }

    /// The etcd lease of this host's keys.
    pub(super) fn lease(&self) -> i64 {
        self.kept.id()
    }

    /// Says that this host's key was seen to be gone: it is looked at, and written again.
    pub fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Ends this host's keys, those of its endpoints among them.
    ///
    /// # Errors
    /// The store does not answer: they end by themselves.
    pub async fn leave(&self) -> Result<()> {
        drop(self.task.borrow_mut().take());
        kept::revoke(&self.store, self.kept.id()).await
    }
}

impl Notices {
    /// Waits until something happens. Nothing is lost if the wait is cancelled. After
    /// [`Notice::Lost`] nothing happens.
    pub async fn next(&mut self) -> Notice {
        match self.0.recv().await {
            Some(notice) => notice,
            None => std::future::pending().await,
        }
    }
}

/// Writes a host's key, unless another host has it; returns that one.
async fn write(store: &Inner, who: &Who, lease: i64) -> Result<Option<Rival>> {
    let name = store.keys.node(who.host);
    let value = serde_json::to_string(&who.node).expect("names are JSON");
    let end = Instant::now() + RACE;
    let mut back_off = BackOff::new();
    loop {
        let get = async |client: &mut Client| client.get(name.as_str(), None).await;
        let there = store.connection.call(get).await?.kvs().first().map(Key::from);
        let other = there.as_ref().and_then(|key| serde_json::from_slice::<Node>(&key.value).ok());
        if there.is_some() && other.as_ref().is_none_or(|other| other.id != who.node.id) {
            let name = other.map(|other| other.name);
            return Ok(Some(Rival { host: Some(who.host), name }));
        }
        let modified = there.map_or(0, |key| key.modified);
        let put = async |client: &mut Client| {
            let options = PutOptions::new().with_lease(lease);
            let txn = Txn::new()
                .when([Compare::mod_revision(name.as_str(), CompareOp::Equal, modified)])
                .and_then([TxnOp::put(name.as_str(), value.as_str(), Some(options))]);
            client.txn(txn).await
        };
        if store.connection.call(put).await?.succeeded() {
            return Ok(None);
        }
        if Instant::now() > end {
            let message = format!("key `{name}` is written by others all the time");
            return Err(Error::new(Kind::Timeout, message).into());
        }
        back_off.wait().await;
    }
}

/// The task that keeps the lease.
struct Keeper {
    store: Shared,
    who: Who,
    kept: Rc<Kept>,
    doubt: Rc<Notify>,
    sender: mpsc::UnboundedSender<Notice>,
}

impl Keeper {
    async fn run(self) {
        let mut back_off = BackOff::new();
        let mut is_in_doubt = false;
        let mut due = self.kept.next_renewal();
        loop {
            tokio::select! {
                () = self.doubt.notified() => is_in_doubt = true,
                () = clock::sleep_until(due) => {}
            }
            match self.check(is_in_doubt).await {
                Ok(None) => {}
                Ok(Some(Notice::Renewed)) => drop(self.sender.send(Notice::Renewed)),
                Ok(Some(lost)) => {
                    drop(self.sender.send(lost));
                    return;
                }
                Err(_) => {
                    due = clock::since_boot() + back_off.step();
                    continue;
                }
            }
            (is_in_doubt, back_off, due) = (false, BackOff::new(), self.kept.next_renewal());
        }
    }

    /// Renews the lease; writes the key again if the lease has ended or the key is in doubt.
    async fn check(&self, is_in_doubt: bool) -> Result<Option<Notice>> {
        let is_alive = self.kept.renew(&self.store).await?;
        if is_alive && !is_in_doubt {
            return Ok(None);
        }
        if !is_alive {
            self.kept.begin_again(&self.store).await?;
        }
        let rival = write(&self.store, &self.who, self.kept.id()).await?;
        Ok(Some(rival.map_or(Notice::Renewed, |to| Notice::Lost { to })))
    }
}
