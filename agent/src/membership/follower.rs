//! Follows one network: compares the store, the record and the kernel, and makes them agree. It does so
//! at the beginning, when the kernel may have lost something, and at intervals, each time completely.
//! After a change in the store it compares with the record only, so that the change of one host costs
//! the same however many there are.

use std::{cell::RefCell, future::pending, net::IpAddr, rc::Rc, time::Duration};

use anyhow::{Result, bail};
use futures::FutureExt;
use netcord::{
    agents::netcord_agent::protocol::{Leave, Member, Offer},
    error::{Error, Kind},
    kernel::HostWatch,
    model::{self, Cidr, LinkName, Network, Overlay, Store},
    ops::driver::overlay::Against,
};
use netcord_agent::{
    flannel::{Backend, Config},
    store::{self, Notice},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{Membership, WAIT, access, of_record, release};
use crate::{service::Service, shape, subnet_file};

/// The interval at which everything is compared even if nothing seems to have happened.
const INTERVAL: Duration = Duration::from_secs(60);
/// The time to wait after a failure.
const AGAIN: Duration = Duration::from_secs(5);
/// The time in which further losses of the kernel belong to the first one.
const SETTLING: Duration = Duration::from_millis(50);

/// A network that the agent follows: the other end of its task.
pub(crate) struct Watched {
    network: LinkName,
    beginning: RefCell<Option<(Beginning, mpsc::Receiver<Command>)>>,
    commands: mpsc::Sender<Command>,
    is_ready: watch::Sender<bool>,
}

enum Beginning {
    Joined(Box<Membership>),
    Resuming(Box<Network>),
}

/// A question to the task.
enum Command {
    Describe(oneshot::Sender<Member>),
    Offer(oneshot::Sender<Result<Offer>>),
    Leave(oneshot::Sender<Result<()>>),
}

impl Watched {
    /// A network that this host has joined.
    pub(crate) fn joined(membership: Membership) -> Rc<Self> {
        Self::new(membership.network.clone(), Beginning::Joined(Box::new(membership)))
    }

    /// A network on record, in which this host had its subnets in an earlier life of the agent.
    pub(crate) fn resuming(network: Network) -> Rc<Self> {
        Self::new(network.name.clone(), Beginning::Resuming(Box::new(network)))
    }

    fn new(network: LinkName, beginning: Beginning) -> Rc<Self> {
        let (commands, questions) = mpsc::channel(16);
        let beginning = RefCell::new(Some((beginning, questions)));
        Rc::new(Self { network, beginning, commands, is_ready: watch::Sender::new(false) })
    }

    pub(crate) fn network(&self) -> &LinkName {
        &self.network
    }

    /// Waits until the kernel was made to agree with the store for the first time.
    pub(crate) async fn ready(&self) {
        drop(self.is_ready.subscribe().wait_for(|ready| *ready).await);
    }

    /// Describes the state.
    pub(crate) async fn member(&self) -> Option<Member> {
        self.ask(Command::Describe).await
    }

    /// Offers what this host has already to a caller that joins again; returns `None` if it is leaving.
    ///
    /// # Errors
    /// If the agent has not reached the store yet.
    pub(crate) async fn offer(&self) -> Result<Option<Offer>> {
        let offer = self.ask(Command::Offer).await.transpose()?;
        if offer.is_some() {
            // What the caller finds then is what was offered.
            self.ready().await;
        }
        Ok(offer)
    }

    /// Returns whether it is leaving, or has left.
    pub(crate) fn is_over(&self) -> bool {
        self.commands.is_closed()
    }

    /// Gives the subnets back, and ends.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(crate) async fn leave(&self) -> Result<()> {
        self.ask(Command::Leave).await.unwrap_or(Ok(()))
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        self.commands.send(command(sender)).await.ok()?;
        answer.await.ok()
    }

    /// Follows the network until this host leaves it.
    pub(crate) async fn run(&self, service: &Service) {
        let Some((beginning, mut questions)) = self.beginning.borrow_mut().take() else { return };
        let membership = match beginning {
            Beginning::Joined(membership) => *membership,
            Beginning::Resuming(network) => match resume(service, &network, &mut questions).await {
                Some(membership) => membership,
                None => return,
            },
        };
        let mut follower = Follower::new(membership);
        let asked = follower.run(service, &mut questions, &self.is_ready).await;
        drop(questions);
        self.is_ready.send_replace(true);
        let left = follower.leave().await;
        if let Some(asked) = asked {
            drop(asked.send(left));
        }
    }
}

/// Joins a network on record again, however long that takes. Returns `None` if the host has left.
async fn resume(
    service: &Service,
    network: &Network,
    questions: &mut mpsc::Receiver<Command>,
) -> Option<Membership> {
    let overlay = network.driver.overlay()?;
    let store = overlay.store.clone()?;
    let mut problem: Option<Problem> = None;
    // Those who ask before the first attempt has ended wait for it.
    let mut waiting: Vec<oneshot::Sender<Result<Offer>>> = Vec::new();
    let mut joining = rejoin(network, &store).boxed_local();
    loop {
        tokio::select! {
            joined = &mut joining => match joined {
                Ok(membership) => {
                    for asked in waiting {
                        drop(asked.send(Ok(membership.offer())));
                    }
                    return Some(membership);
                }
                Err(error) => {
                    let found = Problem::of(&error);
                    service.log(&network.name, &found.why);
                    for asked in waiting.drain(..) {
                        drop(asked.send(Err(cannot_join(&found.why))));
                    }
                    problem = Some(found);
                    let again = async {
                        sleep(AGAIN).await;
                        rejoin(network, &store).await
                    };
                    joining = again.boxed_local();
                }
            },
            question = questions.recv() => match question? {
                Command::Describe(answer) => {
                    let problem = problem.clone().unwrap_or_else(Problem::not_reached);
                    drop(answer.send(problem.describe(&network.name)));
                }
                Command::Offer(answer) => match &problem {
                    None => waiting.push(answer),
                    Some(problem) => drop(answer.send(Err(cannot_join(&problem.why)))),
                },
                Command::Leave(answer) => {
                    let leave = Leave {
                        network: network.name.clone(),
                        store: store.clone(),
                        host: overlay.host,
                    };
                    drop(answer.send(release(&leave).await));
                    return None;
                }
            },
        }
    }
}

/// Why a network could not be joined again.
#[derive(Clone)]
struct Problem {
    why: String,
    kind: Kind,
}

impl Problem {
    fn of(error: &anyhow::Error) -> Self {
        Self { why: format!("{error:#}"), kind: Kind::of(error) }
    }

    fn not_reached() -> Self {
        Self { why: "the store was not reached yet".to_owned(), kind: Kind::Timeout }
    }

    fn describe(self, network: &LinkName) -> Member {
        let Self { why, kind } = self;
        Member {
            network: network.clone(),
            lease: None,
            reserved: false,
            lost: (kind == Kind::Conflict).then(|| why.clone()),
            away: (kind == Kind::Timeout).then(|| why.clone()),
            problems: vec![why],
            skipped: Vec::new(),
        }
    }
}

fn cannot_join(why: &str) -> anyhow::Error {
    Error::conflict(format!("netcord-agent cannot join the network again: {why}")).into()
}

async fn rejoin(network: &Network, store: &Store) -> Result<Membership> {
    let Some(overlay) = network.driver.overlay() else { bail!("it is no overlay network") };
    let hosts: Vec<IpAddr> = [Some(overlay.host), overlay.second].into_iter().flatten().collect();
    let former = of_record(network.subnets.iter().map(|subnet| Cidr(subnet.cidr)));
    let connection = store::Store::connect(&access(store)?, WAIT).await?;
    let Some(config) = connection.config().await? else {
        bail!("the network's configuration was deleted from the store");
    };
    // With another configuration, this host would get other subnets than those of its endpoints.
    if !is_of(&config, overlay) {
        bail!("the network's configuration was changed: remove the network, and join again");
    }
    let name = &network.name;
    let membership =
        Membership::take(name, store, &hosts, config, former, connection, WAIT).await?;
    let got = membership.held.subnets();
    if Some(got) == former {
        return Ok(membership);
    }
    membership.leave().await?;
    let own = network.subnets.iter().map(|subnet| subnet.cidr.to_string()).collect::<Vec<_>>();
    Err(Error::conflict(format!("another host has this host's subnet {} now", own.join(",")))
        .hint("detach the endpoints, remove the network and join again")
        .into())
}

/// Returns whether a network on record has this configuration.
fn is_of(config: &Config, overlay: &Overlay) -> bool {
    let is_same = match (&config.backend, &overlay.backend) {
        (Backend::Vxlan(wanted), model::Backend::Vxlan(there)) => {
            (wanted.vni, wanted.port, wanted.direct_routing)
                == (there.vni, there.port, there.direct_routing)
        }
        (Backend::HostGw, model::Backend::HostGw) => true,
        (Backend::Udp { port }, model::Backend::Udp(there)) => *port == there.port,
        (
            Backend::Vxlan(_) | Backend::HostGw | Backend::Udp { .. } | Backend::Other(_),
            model::Backend::Vxlan(_) | model::Backend::HostGw | model::Backend::Udp(_),
        ) => false,
    };
    is_same && shape::subnets(config) == overlay.cluster
}

/// The work on one network.
struct Follower {
    membership: Membership,
    links: Vec<LinkName>,
    /// The host that has this host's subnet, or why the kernel could not be changed.
    lost: Option<String>,
    failure: Option<String>,
    warnings: Vec<String>,
}

impl Follower {
    fn new(membership: Membership) -> Self {
        Self { membership, links: Vec::new(), lost: None, failure: None, warnings: Vec::new() }
    }

    /// Follows until this host leaves. Returns who asked for that; `None` if the network is gone.
    async fn run(
        &mut self,
        service: &Service,
        questions: &mut mpsc::Receiver<Command>,
        is_ready: &watch::Sender<bool>,
    ) -> Option<oneshot::Sender<Result<()>>> {
        let mut kernel = HostWatch::new().ok();
        let (mut due, mut is_news) = (Instant::now(), false);
        loop {
            let membership = &mut self.membership;
            tokio::select! {
                event = membership.follow.next() => is_news |= membership.note(event),
                notice = membership.held.next() => match notice {
                    Notice::Retaken => self.lost = None,
                    Notice::Lost { to } => {
                        let what = format!("this host's subnet is used by {to} now");
                        service.log(&membership.network, &what);
                        self.lost = Some(what);
                    }
                },
                () = loss(&mut kernel, &self.links) => due = due.min(Instant::now() + SETTLING),
                question = questions.recv() => match question? {
                    Command::Leave(answer) => return Some(answer),
                    Command::Describe(answer) => drop(answer.send(self.describe())),
                    Command::Offer(answer) => drop(answer.send(Ok(self.membership.offer()))),
                },
                against = comparison(due, is_news) => {
                    is_news = false;
                    if !self.apply(service, against).await {
                        // Somebody has removed the network, and could not reach this agent.
                        return None;
                    }
                    is_ready.send_replace(true);
                    if self.failure.is_some() {
                        due = Instant::now() + AGAIN;
                    } else if against == Against::Kernel {
                        due = Instant::now() + INTERVAL;
                    }
                }
            }
        }
    }

    /// Makes the kernel and the record agree with the store; returns whether this host still has the
    /// network.
    async fn apply(&mut self, service: &Service, against: Against) -> bool {
        let Membership { network, store, .. } = &self.membership;
        let others = self.membership.others();
        match service.apply(network, &others.specs, against).await {
            Ok(None) => return false,
            Ok(Some((now, warnings))) => {
                self.failure = None;
                self.warnings = [others.left_out, warnings].concat();
                self.links = now.tunnels().cloned().chain([now.name.clone()]).collect();
                self.links.extend(now.driver.overlay().map(|overlay| overlay.parent.clone()));
                if let Some(file) = &store.subnet_file
                    && let Err(error) = subnet_file::write(file, &now)
                {
                    self.failure = Some(format!("{}: {error}", file.display()));
                }
            }
            Err(error) => {
                let what = format!("{error:#}");
                service.log(network, &what);
                self.failure = Some(what);
            }
        }
        true
    }

    fn describe(&self) -> Member {
        let Membership { network, config, held, picture, .. } = &self.membership;
        let own = self.lost.clone().into_iter().chain(self.failure.clone());
        let lack = picture.lack(config);
        Member {
            network: network.clone(),
            lease: self.lost.is_none().then(|| held.remaining().as_secs()),
            reserved: held.is_reserved(),
            lost: self.lost.clone(),
            away: picture.away(),
            problems: own.chain(picture.problems()).chain(lack).collect(),
            skipped: [self.warnings.clone(), picture.skipped()].concat(),
        }
    }

    async fn leave(self) -> Result<()> {
        if let Some(file) = &self.membership.store.subnet_file {
            drop(std::fs::remove_file(file));
        }
        self.membership.leave().await
    }
}

/// Waits until something is to be compared: with the record after news of the store, and with the
/// kernel at a time.
async fn comparison(due: Instant, is_news: bool) -> Against {
    if is_news && due > Instant::now() {
        return Against::Record;
    }
    sleep_until(due).await;
    Against::Kernel
}

/// Waits until the kernel may have lost something of a network.
async fn loss(kernel: &mut Option<HostWatch>, links: &[LinkName]) {
    let is_open = match kernel {
        Some(watch) => watch.loss(links).await.is_ok(),
        None => pending().await,
    };
    if !is_open {
        *kernel = None;
    }
}
