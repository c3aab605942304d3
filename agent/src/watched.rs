//! A network that the agent follows: its task, and what can be asked of it.

use std::{cell::RefCell, pin::pin, rc::Rc};

use anyhow::Result;
use futures::FutureExt;
use netcord::{
    agents::netcord_agent::protocol::{Leave, Member, Offer},
    error::{Error, Kind},
    model::{LinkName, Network},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};

use crate::{
    flat,
    joined::{self, Joined},
    membership::{AGAIN, Follower},
    service::Service,
};

/// A network that the agent follows: the other end of its task.
pub(crate) struct Watched {
    network: LinkName,
    beginning: RefCell<Option<(Beginning, mpsc::Receiver<Command>)>>,
    commands: mpsc::Sender<Command>,
    is_ready: watch::Sender<bool>,
    /// Of a flat network, once the store was reached.
    flat: RefCell<Option<Rc<flat::Handle>>>,
}

enum Beginning {
    Joined(Box<Joined>),
    Resuming(Box<Network>),
}

/// A question to the task.
pub(crate) enum Command {
    Describe(oneshot::Sender<Member>),
    Offer(oneshot::Sender<Result<Offer>>),
    Leave(oneshot::Sender<Result<()>>),
}

impl Watched {
    /// A network that this host has joined.
    pub(crate) fn joined(joined: Joined) -> Rc<Self> {
        Self::new(joined.network().clone(), Beginning::Joined(Box::new(joined)))
    }

    /// A network on record, in which this host had its subnets in an earlier life of the agent.
    pub(crate) fn resuming(network: Network) -> Rc<Self> {
        Self::new(network.name.clone(), Beginning::Resuming(Box::new(network)))
    }

    fn new(network: LinkName, beginning: Beginning) -> Rc<Self> {
        let (commands, questions) = mpsc::channel(16);
        let beginning = RefCell::new(Some((beginning, questions)));
        let (is_ready, flat) = (watch::Sender::new(false), RefCell::default());
        Rc::new(Self { network, beginning, commands, is_ready, flat })
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

    /// Returns what does the work on a flat network, which gives addresses.
    ///
    /// # Errors
    /// If the agent has not reached the store yet, or the network is not flat.
    pub(crate) async fn flat(&self) -> Result<Rc<flat::Handle>> {
        // Until the store is reached, this has the reason.
        self.offer().await?;
        let handle = self.flat.borrow().clone();
        Ok(handle.ok_or_else(|| Error::usage(format!("network `{}` is not flat", self.network)))?)
    }

    /// Follows the network until this host leaves it.
    pub(crate) async fn run(&self, service: &Service) {
        let Some((beginning, mut questions)) = self.beginning.borrow_mut().take() else { return };
        let joined = match beginning {
            Beginning::Joined(joined) => *joined,
            Beginning::Resuming(network) => match resume(service, &network, &mut questions).await {
                Some(joined) => joined,
                None => return,
            },
        };
        let (asked, left) = match joined {
            Joined::Routed(membership) => {
                let mut follower = Follower::new(*membership);
                let asked = follower.run(service, &mut questions, &self.is_ready).await;
                drop(questions);
                self.is_ready.send_replace(true);
                (asked, follower.leave().await)
            }
            Joined::Flat(membership) => {
                let follower = flat::Follower::new(membership);
                let handle = follower.handle();
                self.flat.replace(Some(handle.clone()));
                let asked = self.answer(follower, service, &mut questions).await;
                drop(questions);
                self.is_ready.send_replace(true);
                (asked, handle.leave().await)
            }
        };
        if let Some(asked) = asked {
            drop(asked.send(left));
        }
    }

    /// Answers questions about a flat network while its follower works. Returns who asked to leave; `None`
    /// if the network is gone.
    async fn answer(
        &self,
        follower: flat::Follower,
        service: &Service,
        questions: &mut mpsc::Receiver<Command>,
    ) -> Option<oneshot::Sender<Result<()>>> {
        let handle = follower.handle();
        let mut work = pin!(follower.run(service, &self.is_ready));
        loop {
            tokio::select! {
                () = &mut work => return None,
                question = questions.recv() => match question? {
                    Command::Describe(answer) => drop(answer.send(handle.describe())),
                    Command::Offer(answer) => drop(answer.send(Ok(handle.offer()))),
                    Command::Leave(answer) => return Some(answer),
                },
            }
        }
    }
}

/// Joins a network on record again, however long that takes. Returns `None` if the host has left.
async fn resume(
    service: &Service,
    network: &Network,
    questions: &mut mpsc::Receiver<Command>,
) -> Option<Joined> {
    let overlay = network.driver.overlay()?;
    let store = overlay.store.clone()?;
    let mut problem: Option<Problem> = None;
    // Those who ask before the first attempt has ended wait for it.
    let mut waiting: Vec<oneshot::Sender<Result<Offer>>> = Vec::new();
    let mut joining = Joined::again(network, &store).boxed_local();
    loop {
        tokio::select! {
            joined = &mut joining => match joined {
                Ok(joined) => {
                    for asked in waiting {
                        drop(asked.send(Ok(joined.offer())));
                    }
                    return Some(joined);
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
                        Joined::again(network, &store).await
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
                    drop(answer.send(joined::release(&leave).await));
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
