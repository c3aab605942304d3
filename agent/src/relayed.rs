//! The relay of a network: a process of its own, so that packets pass while the agent is killed or
//! replaced. It ends when its TUN link is deleted; if it ends otherwise, it is started again.

use std::{cell::RefCell, process::Stdio, rc::Rc, time::Duration};

use anyhow::{Context, Result, bail};
use netcord::{
    Options, Session, Silent,
    agents::netcord_agent::{
        PROGRAM,
        protocol::{Relay, RelayUse},
    },
    error::{Error, Kind},
    model::{LinkName, Network},
    ops::driver::overlay,
    process,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};

use crate::service::Service;

/// The time to wait for a relay to be ready, and for an old one to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time to wait after a failure.
const AGAIN: Duration = Duration::from_secs(1);

/// A network with a relay: the other end of its task.
pub(crate) struct Relayed {
    network: LinkName,
    status: RefCell<Relay>,
    progress: watch::Sender<Progress>,
    /// Somebody waits for the next attempt.
    wanted: Notify,
}

#[derive(Clone)]
enum Progress {
    Starts,
    Runs,
    Failed(String),
}

impl Relayed {
    pub(crate) fn new(network: LinkName) -> Rc<Self> {
        let status = Relay { network: network.clone(), pid: None, uses: None, problem: None };
        Rc::new(Self {
            network,
            status: RefCell::new(status),
            progress: watch::Sender::new(Progress::Starts),
            wanted: Notify::new(),
        })
    }

    pub(crate) fn network(&self) -> &LinkName {
        &self.network
    }

    /// Describes the state.
    pub(crate) fn describe(&self) -> Relay {
        self.status.borrow().clone()
    }

    /// Waits until the relay runs.
    ///
    /// # Errors
    /// The reason for which it could not be started.
    pub(crate) async fn ready(&self) -> Result<()> {
        let mut progress = self.progress.subscribe();
        let has_failed = |now: &mut Progress| {
            let failed = matches!(now, Progress::Failed(_));
            if failed {
                *now = Progress::Starts;
            }
            failed
        };
        if self.progress.send_if_modified(has_failed) {
            self.wanted.notify_one();
        }
        let now = progress.wait_for(|now| !matches!(now, Progress::Starts)).await?.clone();
        match now {
            Progress::Failed(why) => {
                Err(Error::new(Kind::Failed, format!("the network's relay: {why}")).into())
            }
            Progress::Starts | Progress::Runs => Ok(()),
        }
    }

    /// Keeps the relay running until this host no longer has the network.
    pub(crate) async fn run(&self, service: &Service) {
        loop {
            let network = match self.on_record().await {
                Ok(Some(network)) => network,
                Ok(None) => return self.failed("this host does not have the network"),
                Err(error) => {
                    self.wait(service, &error).await;
                    continue;
                }
            };
            let process = match Process::start(&network).await {
                Ok(process) => process,
                Err(error) => {
                    self.wait(service, &error).await;
                    continue;
                }
            };
            let started = Instant::now();
            let end = self.attend(service, process).await;
            // One that ran for some time is started again at once.
            if started.elapsed() > AGAIN {
                self.progress.send_replace(Progress::Starts);
            } else {
                self.wait(service, &end).await;
            }
        }
    }

    async fn on_record(&self) -> Result<Option<Network>> {
        let session = Session::open(Options::default(), &Silent)?;
        let networks = overlay::relayed(&session).await?;
        Ok(networks.into_iter().find(|network| network.name == self.network))
    }

    /// Waits until the relay ends; returns its last words.
    async fn attend(&self, service: &Service, mut process: Process) -> anyhow::Error {
        let (pid, uses) = (process.child.id(), Some(process.uses.clone()));
        self.status.replace(Relay { network: self.network.clone(), pid, uses, problem: None });
        self.progress.send_replace(Progress::Runs);
        let mut last = None;
        while let Ok(Some(line)) = process.says.next_line().await {
            service.log(&self.network, &line);
            self.status.borrow_mut().problem = Some(line.clone());
            last = Some(line);
        }
        let ended = match process.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        anyhow::Error::msg(format!("it ended: {}", last.unwrap_or(ended)))
    }

    async fn wait(&self, service: &Service, failure: &anyhow::Error) {
        let why = format!("{failure:#}");
        service.log(&self.network, &why);
        self.failed(&why);
        tokio::select! {
            () = sleep(AGAIN) => drop(self.progress.send_replace(Progress::Starts)),
            () = self.wanted.notified() => {}
        }
    }

    fn failed(&self, why: &str) {
        let problem = Some(why.to_owned());
        self.status.replace(Relay {
            network: self.network.clone(),
            pid: None,
            uses: None,
            problem,
        });
        self.progress.send_replace(Progress::Failed(why.to_owned()));
    }
}

/// A relay that runs.
struct Process {
    child: Child,
    uses: RelayUse,
    says: Lines<BufReader<ChildStderr>>,
}

impl Process {
    /// Starts the relay of a network. One that an earlier agent started is ended first: a TUN link has
    /// one process, and an old one may be of another version.
    async fn start(network: &Network) -> Result<Self> {
        let overlay = network.driver.overlay().context("it is no overlay network")?;
        let udp = overlay.backend.udp().context("its backend is not udp")?;
        let own = network.subnets.first().context("it has no subnet")?;
        let words = ["relay", "--link", udp.device.as_str()];
        for (pid, started) in process::beginning_with(&[&[PROGRAM][..], &words].concat()) {
            process::end(pid, started, PATIENCE)?;
        }
        let mut child = Command::new("/proc/self/exe")
            .arg0(PROGRAM)
            .args(words)
            .args(["--host", &overlay.host.to_string()])
            .args(["--port", &udp.port.to_string()])
            .args(["--subnet", &own.cidr.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start it")?;
        let stdout = child.stdout.take().context("it has no output")?;
        let stderr = child.stderr.take().context("it has no errors")?;
        let mut says = BufReader::new(stderr).lines();
        let first = timeout(PATIENCE, BufReader::new(stdout).lines().next_line()).await;
        let Some(line) = first.context("it does not say that it is ready")?? else {
            let said = says.next_line().await?.unwrap_or_else(|| "it said nothing".to_owned());
            bail!("it did not start: {}", said.trim_start_matches("error: "))
        };
        let uses = serde_json::from_str(&line).context("it is of another version")?;
        Ok(Self { child, uses, says })
    }
}
