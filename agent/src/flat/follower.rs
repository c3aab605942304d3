//! Follows one flat network: makes the kernel's entries for the endpoints of other hosts those of the
//! store, and the store's addresses of this host those of its records. After a change in the store it
//! writes what differs; at the beginning, when the kernel may have lost something, and at intervals it
//! compares everything.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    future::pending,
    net::IpAddr,
    rc::Rc,
    time::Duration,
};

use anyhow::Result;
use netcord::{
    agents::netcord_agent::protocol::{self, Member, Offer},
    error::{Error, Kind},
    kernel::HostWatch,
    model::{Elsewhere, LinkName, Network},
    ops::driver::overlay::flat::Own,
};
use netcord_agent::store::flat::{
    Claim, Follow, Notice, Notices, Picture, Presence, Reserved, Wish,
};
use tokio::{
    sync::{Mutex, Notify, watch},
    time::{Instant, sleep_until},
};

use super::Membership;
use crate::{
    membership::{AGAIN, INTERVAL, SETTLING, loss},
    service::Service,
};

/// How long an event is in the status.
const NEWS: Duration = Duration::from_secs(600);

/// The work on one network.
pub(crate) struct Follower {
    handle: Rc<Handle>,
    follow: Follow,
    notices: Notices,
}

/// What requests can ask of it, while it works.
pub(crate) struct Handle {
    network: LinkName,
    presence: Rc<Presence>,
    picture: Rc<RefCell<Picture>>,
    /// The network as it is on record, and the entries that the kernel was given.
    kernel: Mutex<Option<(Network, Elsewhere)>>,
    own: RefCell<Own>,
    /// Whether this host's endpoints have to be compared with the store.
    unsettled: Cell<bool>,
    wake: Notify,
    lost: RefCell<Option<String>>,
    failure: RefCell<Option<String>>,
    /// What has happened, and when.
    events: RefCell<Vec<(Instant, String)>>,
}

/// Addresses for an endpoint. They are given back some time after this value is dropped, unless the
/// endpoint is on record then.
pub(crate) struct Claimed {
    /// The addresses.
    pub(crate) addresses: Vec<IpAddr>,
    reserved: Option<Reserved>,
    handle: Rc<Handle>,
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if self.reserved.take().is_some() {
            self.handle.unsettle();
        }
    }
}

impl Handle {
    fn unsettle(&self) {
        self.unsettled.set(true);
        self.wake.notify_one();
    }

    /// Takes addresses for an endpoint.
    ///
    /// # Errors
    /// If an address is taken, or the store does not answer.
    pub(crate) async fn claim(
        self: &Rc<Self>,
        service: &Service,
        asked: protocol::Claim,
    ) -> Result<Claimed> {
        if let Some(why) = &*self.lost.borrow() {
            return Err(Error::conflict(format!("this host gets no addresses: {why}")).into());
        }
        let Self { presence, picture, .. } = &**self;
        let protocol::Claim { name, mac, fixed, open, ranges, takeover, dry_run, .. } = asked;
        let open = open.into_iter().map(|subnet| Wish { subnet, ranges: ranges.clone() }).collect();
        let claim = Claim { name, mac, fixed, open, takeover };
        if dry_run {
            let addresses = Presence::preview(&picture.borrow(), &claim)?;
            return Ok(Claimed { addresses, reserved: None, handle: self.clone() });
        }
        let reserved = presence.claim(picture, &claim).await?;
        let addresses = reserved.addresses().to_vec();
        let claimed = Claimed { addresses, reserved: Some(reserved), handle: self.clone() };
        // What leads to the host that had the address goes before the endpoint comes.
        self.program(service).await?;
        Ok(claimed)
    }

    /// Makes the store say what this host's records say. If that fails, the follower tries again.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(crate) async fn settle_now(&self, service: &Service) -> Result<()> {
        let settled = self.settle(service).await;
        if settled.is_err() {
            self.wake.notify_one();
        }
        settled
    }

    async fn settle(&self, service: &Service) -> Result<()> {
        if let Some(why) = self.picture.borrow().away() {
            self.unsettled.set(true);
            let message = format!("the store does not answer: {why}");
            return Err(Error::new(Kind::Timeout, message).into());
        }
        self.unsettled.set(false);
        let given = self.given();
        let Some(own) = service.own_endpoints(&self.network).await? else { return Ok(()) };
        let result = self.settle_to(service, own, &given).await;
        if result.is_err() {
            self.unsettled.set(true);
        }
        result
    }

    /// Returns this host's addresses. An endpoint is on record before its address is among them, so they
    /// are read before the records.
    fn given(&self) -> BTreeSet<IpAddr> {
        self.picture.borrow().given()
    }

    async fn settle_to(&self, service: &Service, own: Own, given: &BTreeSet<IpAddr>) -> Result<()> {
        let Self { presence, picture, .. } = self;
        let addresses = own.addresses.clone();
        *self.own.borrow_mut() = own;
        let settled = presence.settle(picture, &addresses, given).await?;
        if settled.is_stale {
            self.unsettle();
        }
        if !settled.lost.is_empty() {
            self.evict(service, &settled.lost).await?;
        }
        Ok(())
    }

    /// Detaches the endpoints whose addresses other hosts have.
    async fn evict(&self, service: &Service, lost: &[IpAddr]) -> Result<()> {
        let whose: Vec<_> = {
            let picture = self.picture.borrow();
            let of = |ip: &IpAddr| picture.other(*ip).map(|other| (*ip, other.host));
            lost.iter().filter_map(of).collect()
        };
        let gone = service.evict(&self.network, lost).await?;
        // Without an endpoint, it was detached here before another host got the address.
        for (ip, host) in whose.into_iter().filter(|_| !gone.is_empty()) {
            let what = format!(
                "host {host} took over address {ip}: this host has detached {}",
                gone.join(", ")
            );
            service.log(&self.network, &what);
            self.events.borrow_mut().push((Instant::now(), what));
        }
        self.unsettle();
        Ok(())
    }

    /// Writes the entries that differ from those that the kernel was given.
    async fn program(&self, service: &Service) -> Result<()> {
        let mut kernel = self.kernel.lock().await;
        let Some((network, former)) = kernel.as_mut() else { return Ok(()) };
        let now = self.elsewhere();
        if *former != now {
            service.program(network, Some(former), &now).await?;
            *former = now;
        }
        Ok(())
    }

    /// Makes the bridge, the link and all entries what they should be. Returns this host's endpoints, and
    /// the addresses that it had before they were read; `None` if it no longer has the network.
    async fn program_all(&self, service: &Service) -> Result<Option<(Own, BTreeSet<IpAddr>)>> {
        let given = self.given();
        let Some((network, own)) = service.follow_flat(&self.network).await? else {
            return Ok(None);
        };
        let mut kernel = self.kernel.lock().await;
        let now = self.elsewhere();
        service.program(&network, None, &now).await?;
        *kernel = Some((network, now));
        Ok(Some((own, given)))
    }

    /// Returns what is on other hosts.
    pub(crate) fn elsewhere(&self) -> Elsewhere {
        self.picture.borrow().elsewhere()
    }

    pub(crate) fn offer(&self) -> Offer {
        let picture = self.picture.borrow();
        super::offer(picture.config(), picture.skipped())
    }

    pub(crate) fn describe(&self) -> Member {
        let Self { presence, picture, .. } = self;
        let (lost, picture) = (self.lost.borrow().clone(), picture.borrow());
        let own = lost.clone().into_iter().chain(self.failure.borrow().clone());
        let mut events = self.events.borrow_mut();
        events.retain(|(when, _)| when.elapsed() < NEWS);
        let events = events.iter().map(|(_, what)| what.clone());
        Member {
            network: self.network.clone(),
            lease: lost.is_none().then(|| presence.remaining().as_secs()),
            reserved: false,
            lost,
            away: picture.away(),
            problems: own.chain(picture.problems()).chain(events).collect(),
            skipped: picture.skipped(),
        }
    }

    /// Returns whether the store lacks an address of this host, or another host has it.
    fn has_lost_addresses(&self) -> bool {
        let Self { presence, picture, .. } = self;
        let picture = picture.borrow();
        if !picture.has_host(presence.who().host) {
            presence.doubt();
        }
        self.own.borrow().addresses.keys().any(|ip| !picture.is_own(*ip))
    }

    /// Gives all addresses back.
    ///
    /// # Errors
    /// The store does not answer: they end by themselves.
    pub(crate) async fn leave(&self) -> Result<()> {
        self.presence.leave().await
    }
}

/// What comes next.
enum Next {
    News,
    Loss,
    Settle,
    All,
}

impl Follower {
    pub(crate) fn new(membership: Membership) -> Self {
        let Membership { network, presence, notices, follow, picture, .. } = membership;
        let handle = Rc::new(Handle {
            network,
            presence,
            picture,
            kernel: Mutex::default(),
            own: RefCell::default(),
            unsettled: Cell::new(false),
            wake: Notify::new(),
            lost: RefCell::default(),
            failure: RefCell::default(),
            events: RefCell::default(),
        });
        Self { handle, follow, notices }
    }

    pub(crate) fn handle(&self) -> Rc<Handle> {
        self.handle.clone()
    }

    /// Follows until this host no longer has the network.
    pub(crate) async fn run(mut self, service: &Service, is_ready: &watch::Sender<bool>) {
        let handle = self.handle.clone();
        let mut kernel = HostWatch::new().ok();
        let mut links: Vec<LinkName> = Vec::new();
        let (mut due, mut retry) = (Instant::now(), None);
        loop {
            let next = tokio::select! {
                news = self.follow.next() => {
                    let mut picture = handle.picture.borrow_mut();
                    let mut is_news = picture.take(news);
                    while let Some(news) = self.follow.ready() {
                        is_news |= picture.take(news);
                    }
                    let is_back = handle.unsettled.get() && picture.away().is_none();
                    match (is_news, is_back) {
                        (true, _) => Next::News,
                        (false, true) => Next::Settle,
                        (false, false) => continue,
                    }
                }
                notice = self.notices.next() => {
                    handle.note(service, notice);
                    Next::Settle
                }
                () = loss(&mut kernel, &links) => Next::Loss,
                () = handle.wake.notified() => Next::Settle,
                () = until(retry) => Next::Settle,
                () = sleep_until(due) => Next::All,
            };
            let done = match next {
                Next::Loss => {
                    due = due.min(Instant::now() + SETTLING);
                    continue;
                }
                Next::News => {
                    let done = handle.program(service).await;
                    if handle.has_lost_addresses() {
                        handle.unsettle();
                    }
                    done
                }
                Next::Settle => {
                    retry = None;
                    handle.settle(service).await
                }
                Next::All => match handle.program_all(service).await {
                    Ok(None) => return,
                    Ok(Some((own, given))) => {
                        links = handle.links(&own).await;
                        due = Instant::now() + INTERVAL;
                        let settled = handle.settle_to(service, own, &given).await;
                        is_ready.send_replace(true);
                        settled
                    }
                    Err(error) => {
                        due = Instant::now() + AGAIN;
                        Err(error)
                    }
                },
            };
            let failure = done.err().map(|error| format!("{error:#}"));
            if let Some(why) = &failure {
                service.log(&handle.network, why);
                retry = Some(Instant::now() + AGAIN);
                if matches!(next, Next::News) {
                    due = due.min(Instant::now() + AGAIN);
                }
            }
            *handle.failure.borrow_mut() = failure;
        }
    }
}

impl Handle {
    fn note(&self, service: &Service, notice: Notice) {
        *self.lost.borrow_mut() = match notice {
            Notice::Renewed => None,
            Notice::Lost { to } => {
                let what = format!("this host's address is used by {to} now");
                service.log(&self.network, &what);
                Some(what)
            }
        };
    }

    /// Returns the links whose changes matter.
    async fn links(&self, own: &Own) -> Vec<LinkName> {
        let mut links = own.links.clone();
        if let Some((network, _)) = &*self.kernel.lock().await {
            links.push(network.name.clone());
            links.extend(network.tunnels().cloned());
            links.extend(network.driver.overlay().map(|overlay| overlay.parent.clone()));
        }
        links
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
