//! `watch`: follows the engines and the kernel, and attaches containers again that were started again.
//!
//! An event only says when to look: what is done depends on the records, the kernel and the engine's
//! answer. So whatever was missed is made good by the next look at all containers.
//!
//! - `engines`: follows each engine, also after it was away
//! - `pace`: how often an endpoint may be attached

mod engines;
mod pace;

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    time::Duration,
};

use anyhow::Result;
use futures::{
    StreamExt,
    channel::mpsc::{self, UnboundedReceiver},
};
use serde::Serialize;
use tokio::{
    select,
    time::{Instant, sleep, sleep_until},
};

use self::{
    engines::News,
    pace::{Pace, Turn},
};
use super::{
    Options, Session, attach,
    upkeep::{
        containers::{self, Now, Stopped},
        need::{Extent, Need},
    },
};
use crate::{
    engine::Happened,
    error::{self, Error},
    kernel::LinkWatch,
    model::{Endpoint, Engine, EngineContainer, LinkName, Network, NetworkRecord},
    process::{service, signal::Held},
    state::{Load, State},
};

/// The interval at which to try to lock the records, which others lock for milliseconds.
const LOCK_INTERVAL: Duration = Duration::from_millis(20);
/// The time after which what failed is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// What `watch` did, or noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Action {
    /// An engine is followed.
    Follows {
        /// The engine.
        engine: Engine,
    },
    /// An engine is away, and is followed again once it is back.
    Lost {
        /// The engine.
        engine: Engine,
        /// The reason.
        why: String,
    },
    /// A container has stopped: no rule leads to it any more.
    Stopped(Whose),
    /// A container was attached again.
    Attached {
        /// The endpoint.
        #[serde(flatten)]
        whose: Whose,
        /// Its addresses.
        addresses: Vec<IpAddr>,
    },
    /// A container could not be attached again.
    Failed {
        /// The endpoint.
        #[serde(flatten)]
        whose: Whose,
        /// The reason.
        why: String,
    },
    /// A container was started again so often that it has to wait.
    Waits(Whose),
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Whose {
    /// The network.
    pub network: LinkName,
    /// The target, as on record.
    pub target: String,
}

impl Whose {
    fn of(network: &Network, endpoint: &Endpoint) -> Self {
        Self { network: network.name.clone(), target: endpoint.target.clone() }
    }
}

type Report<'r> = dyn FnMut(&Action) -> Result<()> + 'r;

/// Attaches containers again that are started again, until a signal comes. Each action is reported.
///
/// # Errors
/// If the kernel or the records cannot be read, or `report` fails.
pub async fn watch(host: &Session<'_>, report: &mut Report<'_>) -> Result<()> {
    if host.dry_run {
        return Err(Error::usage("`watch` does not support --dry-run")
            .hint("`netcord repair --check` lists what would be attached again")
            .into());
    }
    let _no_progress = host.events.hand_over();
    let held = Held::new()?;
    let (sender, news) = mpsc::unbounded();
    for engine in [Engine::Docker, Engine::Podman] {
        drop(tokio::spawn(engines::follow(engine, sender.clone())));
    }
    let state = State::read(host.kernel.cookie(), Load::All)?;
    let stopped = stopped(&state).map(|(key, _)| key).collect();
    drop(state);
    let mut watcher =
        Watcher { news, links: LinkWatch::new()?, pace: Pace::default(), due: None, stopped };
    service::ready()?;
    let mut about = About::All;
    loop {
        let looked = select! {
            () = until_signal(&held) => return Ok(()),
            free = until_free(host.kernel.cookie()) => match free {
                Ok(()) => watcher.look(host, &about, report).await,
                Err(error) => Err(error),
            },
        };
        match looked {
            Err(error) if error::is_interruption(&error) => return Ok(()),
            looked => looked?,
        }
        about = select! {
            () = until_signal(&held) => return Ok(()),
            next = watcher.next(report) => next?,
        };
    }
}

async fn until_signal(held: &Held) {
    drop(held.wait().await);
    // Once it is not held back any more, it would end this process.
    held.came();
}

/// Waits until nobody has locked the records: a verb waits for the lock without a break, and would keep
/// this thread from all else.
async fn until_free(cookie: u64) -> Result<()> {
    while !State::is_free(cookie)? {
        sleep(LOCK_INTERVAL).await;
    }
    Ok(())
}

/// What to look at.
enum About {
    /// All containers.
    All,
    /// Only whether one has ended.
    Ends,
    /// Also the one that was started.
    Started(EngineContainer),
}

impl About {
    fn has(&self, former: &EngineContainer) -> bool {
        match self {
            Self::All => true,
            Self::Ends => false,
            Self::Started(container) => container.is_or_follows(former),
        }
    }
}

struct Watcher {
    news: UnboundedReceiver<News>,
    links: LinkWatch,
    pace: Pace,
    /// When to look at all containers again.
    due: Option<Instant>,
    /// The endpoints of stopped containers that are no news any more.
    stopped: HashSet<String>,
}

impl Watcher {
    /// Waits until there is something to look at.
    async fn next(&mut self, report: &mut Report<'_>) -> Result<About> {
        loop {
            let due = self.due;
            select! {
                Some(news) = self.news.next() => match news {
                    News::Follows(engine) => {
                        report(&Action::Follows { engine })?;
                        return Ok(About::All);
                    }
                    News::Lost(engine, why) => report(&Action::Lost { engine, why })?,
                    News::Event(_, event) if event.happened == Happened::Ended => {
                        return Ok(About::Ends);
                    }
                    News::Event(engine, event) => {
                        let (id, name, stopped) = (event.id, event.name, false);
                        return Ok(About::Started(EngineContainer { engine, id, name, stopped }));
                    }
                },
                removed = self.links.any_removal() => return removed.map(|()| About::Ends),
                () = until(due) => return Ok(About::All),
            }
        }
    }

    /// Takes away the rules of what has ended, and attaches what was started.
    async fn look(
        &mut self,
        host: &Session<'_>,
        about: &About,
        report: &mut Report<'_>,
    ) -> Result<()> {
        // A session of its own: an open namespace would not end with its container.
        let options = Options { dry_run: false, firewall: host.firewall };
        let mut session = Session::open(options, host.events)?;
        let done = match about {
            About::Ends => Ok(()),
            About::All | About::Started(_) => self.attach(&mut session, about, report).await,
        };
        let done = match done {
            Ok(()) => self.note_ends(&mut session, report).await,
            failed => failed,
        };
        session.close();
        done
    }

    async fn attach(
        &mut self,
        host: &mut Session<'_>,
        about: &About,
        report: &mut Report<'_>,
    ) -> Result<()> {
        if matches!(about, About::All) {
            self.due = None;
        }
        let state = State::read(host.kernel.cookie(), Load::All)?;
        let waiting = containers::waiting(host, &state, |former| about.has(former)).await;
        drop(state);
        for Stopped { network, endpoint, now } in waiting {
            let Now::Runs(target) = now else { continue };
            let whose = Whose::of(&network, &endpoint);
            let turn = self.pace.turn(&key(&network, &endpoint), Instant::now());
            if let Turn::Later { at, is_news } = turn {
                self.wake(at);
                if is_news {
                    report(&Action::Waits(whose))?;
                }
                continue;
            }
            match attach::again(host, &network.name, target, &endpoint).await {
                Ok(Some(addresses)) => report(&Action::Attached { whose, addresses })?,
                Ok(None) => {}
                Err(error) if error::is_interruption(&error) => return Err(error),
                Err(error) => {
                    self.wake(Instant::now() + RETRY);
                    report(&Action::Failed { whose, why: format!("{error:#}") })?;
                }
            }
        }
        Ok(())
    }

    /// Takes away the rules of containers that have ended, and reports these and those of which another
    /// command took the rules away.
    async fn note_ends(&mut self, host: &mut Session<'_>, report: &mut Report<'_>) -> Result<()> {
        let mut state = State::read(host.kernel.cookie(), Load::All)?;
        let ended = containers::without_namespace(host, &state).await?;
        if ended.iter().any(|(_, endpoint)| !endpoint.is_stopped()) {
            drop(state);
            drop(host.enter(Need::Changes, Extent::of(None)).await?);
            state = State::read(host.kernel.cookie(), Load::All)?;
        }
        let now: BTreeMap<_, _> = stopped(&state).collect();
        for (_, whose) in now.iter().filter(|(key, _)| !self.stopped.contains(*key)) {
            report(&Action::Stopped(whose.clone()))?;
        }
        self.stopped = now.into_keys().collect();
        Ok(())
    }

    fn wake(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Returns the endpoints of stopped containers, by their keys.
fn stopped(state: &State) -> impl Iterator<Item = (String, Whose)> {
    let stopped = state.endpoints().filter(|(_, endpoint)| endpoint.is_stopped());
    stopped.map(|(NetworkRecord { network, .. }, endpoint)| {
        (key(network, endpoint), Whose::of(network, endpoint))
    })
}

/// Returns what tells an endpoint from the others.
fn key(network: &Network, endpoint: &Endpoint) -> String {
    format!("{}/{}/{}", network.name, endpoint.target, endpoint.ifname)
}
