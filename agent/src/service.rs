//! The agent as a whole: the networks that it follows, the relays that it keeps running, and how it
//! changes the kernel.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use anyhow::Result;
use netcord::{
    Events, Options, Session, Silent,
    agents::netcord_agent::protocol::Status,
    model::{Elsewhere, LinkName, Network, PeerSpec},
    ops::driver::overlay::{
        self, Against,
        flat::{self, Own},
    },
    state::State,
};
use tokio::{
    sync::{Mutex, MutexGuard},
    task::spawn_local,
    time::sleep,
};

use crate::{joined::Joined, relayed::Relayed, watched::Watched};

/// The interval at which to try to lock the records, which others lock for milliseconds.
const LOCK_INTERVAL: Duration = Duration::from_millis(20);

/// The agent of a host.
pub(crate) struct Service {
    cookie: u64,
    dir: PathBuf,
    prints: bool,
    watched: RefCell<BTreeMap<LinkName, Rc<Watched>>>,
    relayed: RefCell<BTreeMap<LinkName, Rc<Relayed>>>,
    /// The number of open connections.
    connections: Cell<usize>,
    /// A verb moves the thread between namespaces, so one runs at a time.
    turn: Mutex<()>,
}

/// Collects the warnings of a verb.
#[derive(Default)]
struct Warnings(RefCell<Vec<String>>);

impl Events for Warnings {
    fn warn(&self, text: &str) {
        self.0.borrow_mut().push(text.to_owned());
    }
}

impl Service {
    pub(crate) fn new(cookie: u64, dir: PathBuf, prints: bool) -> Rc<Self> {
        Rc::new(Self {
            cookie,
            dir,
            prints,
            watched: RefCell::default(),
            relayed: RefCell::default(),
            connections: Cell::new(0),
            turn: Mutex::new(()),
        })
    }

    /// Returns the directory of the host's records.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Prints a line, if somebody reads it.
    #[expect(clippy::print_stderr, reason = "it is the log of a service")]
    pub(crate) fn log(&self, network: &LinkName, text: &str) {
        if self.prints {
            eprintln!("{network}: {}", netcord::model::visible(text));
        }
    }

    /// Follows the networks on record that are not followed, and starts their relays, for example after
    /// this process was killed.
    ///
    /// # Errors
    /// If the records cannot be read.
    pub(crate) async fn resume(self: &Rc<Self>) -> Result<()> {
        let session = Session::open(Options::default(), &Silent)?;
        for network in overlay::stores(&session).await? {
            if self.watched(&network.name).is_none() {
                self.watch(Watched::resuming(network));
            }
        }
        for network in overlay::relayed(&session).await? {
            self.relay(&network.name);
        }
        Ok(())
    }

    /// Returns the network's relay, which is started if it does not run.
    pub(crate) fn relay(self: &Rc<Self>, network: &LinkName) -> Rc<Relayed> {
        if let Some(relayed) = self.relayed.borrow().get(network) {
            return relayed.clone();
        }
        let relayed = Relayed::new(network.clone());
        self.relayed.borrow_mut().insert(network.clone(), relayed.clone());
        let (service, task) = (self.clone(), relayed.clone());
        spawn_local(async move {
            task.run(&service).await;
            service.relayed.borrow_mut().remove(task.network());
        });
        relayed
    }

    /// Begins to follow a network in which this host has its subnet.
    pub(crate) fn follow(self: &Rc<Self>, joined: Joined) {
        self.watch(Watched::joined(joined));
    }

    fn watch(self: &Rc<Self>, watched: Rc<Watched>) {
        let name = watched.network().clone();
        let former = self.watched.borrow_mut().insert(name.clone(), watched.clone());
        drop(former);
        let service = self.clone();
        spawn_local(async move {
            watched.clone().run(&service).await;
            let mut all = service.watched.borrow_mut();
            if all.get(&name).is_some_and(|there| Rc::ptr_eq(there, &watched)) {
                all.remove(&name);
            }
        });
    }

    /// Returns a network that is followed.
    pub(crate) fn watched(&self, network: &LinkName) -> Option<Rc<Watched>> {
        self.watched.borrow().get(network).filter(|watched| !watched.is_over()).cloned()
    }

    /// Describes the networks that are followed, and the relays.
    pub(crate) async fn status(&self) -> Status {
        let all: Vec<_> = self.watched.borrow().values().cloned().collect();
        let mut members = Vec::new();
        for watched in all {
            members.extend(watched.member().await);
        }
        let relays = self.relayed.borrow().values().map(|relayed| relayed.describe()).collect();
        Status { members, relays }
    }

    /// Returns whether there is nothing left to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.connections.get() == 0
            && self.watched.borrow().is_empty()
            && self.relayed.borrow().is_empty()
    }

    /// Counts an open connection, as long as the returned value exists.
    pub(crate) fn connected(self: &Rc<Self>) -> Connected {
        self.connections.set(self.connections.get() + 1);
        Connected(self.clone())
    }

    /// Waits until no other verb runs, and the records are free. A verb waits for the lock without a break,
    /// and would keep this thread from all else.
    async fn unlocked(&self) -> Result<MutexGuard<'_, ()>> {
        let turn = self.turn.lock().await;
        while !State::is_free(self.cookie)? {
            sleep(LOCK_INTERVAL).await;
        }
        Ok(turn)
    }

    /// Makes the links of a flat network; returns the network and this host's endpoints, or `None` if this
    /// host no longer has it.
    ///
    /// # Errors
    /// If the kernel refuses a change.
    pub(crate) async fn follow_flat(&self, network: &LinkName) -> Result<Option<(Network, Own)>> {
        let _turn = self.unlocked().await?;
        let mut session = Session::open(Options::default(), &Silent)?;
        flat::follow(&mut session, network).await
    }

    /// Returns this host's endpoints in a flat network.
    ///
    /// # Errors
    /// If the records cannot be read.
    pub(crate) async fn own_endpoints(&self, network: &LinkName) -> Result<Option<Own>> {
        let _turn = self.turn.lock().await;
        flat::own(&Session::open(Options::default(), &Silent)?, network).await
    }

    /// Makes the entries for the endpoints of other hosts; `former` are those that the kernel has.
    ///
    /// # Errors
    /// If the kernel refuses a change.
    pub(crate) async fn program(
        &self,
        network: &Network,
        former: Option<&Elsewhere>,
        now: &Elsewhere,
    ) -> Result<()> {
        let _turn = self.turn.lock().await;
        let session = Session::open(Options::default(), &Silent)?;
        flat::program(&session, network, former, now).await
    }

    /// Detaches the endpoints whose addresses other hosts have now; returns their targets.
    ///
    /// # Errors
    /// If the kernel refuses a change.
    pub(crate) async fn evict(&self, network: &LinkName, lost: &[IpAddr]) -> Result<Vec<String>> {
        let _turn = self.unlocked().await?;
        let mut session = Session::open(Options::default(), &Silent)?;
        flat::evict(&mut session, network, lost).await
    }

    /// Makes the kernel and the record of a network agree with the other hosts. Returns the network and
    /// the warnings, or `None` if this host no longer has it.
    ///
    /// # Errors
    /// If the kernel refuses a change.
    pub(crate) async fn apply(
        &self,
        network: &LinkName,
        peers: &[PeerSpec],
        against: Against,
    ) -> Result<Option<(Network, Vec<String>)>> {
        let _turn = self.unlocked().await?;
        let warnings = Warnings::default();
        let mut session = Session::open(Options::default(), &warnings)?;
        let now = overlay::follow(&mut session, network, peers, against).await;
        session.close();
        Ok(now?.map(|now| (now, warnings.0.into_inner())))
    }
}

/// An open connection.
pub(crate) struct Connected(Rc<Service>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
    }
}
