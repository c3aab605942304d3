//! The processes that netcord keeps running: copies of this program that outlive the command that
//! started them, and [`netcord_agent`], which networks with a store need.
//!
//! This module lists them, and starts, finds and ends them. The work of each copy is a hidden verb
//! in `ops`; that of netcord-agent is in its own package.

pub mod netcord_agent;

use std::{cell::OnceCell, ffi::OsString, io, path::Path, time::Duration};

use anyhow::{Context, Result};

pub use crate::process::{Ending, background::LivenessPipe};
use crate::{
    model::{AgentProcess, EndpointId, LinkName},
    process::{self, background},
};

/// A process that outlives its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent<'a> {
    /// Renews the DHCP lease of an endpoint as long as the endpoint lives, and releases it at the
    /// end.
    LeaseRenewer {
        /// The network.
        network: &'a LinkName,
        /// The endpoint.
        endpoint: &'a EndpointId,
    },
    /// Undoes the move of an underlay network's link unless it is confirmed in time.
    Watchdog {
        /// The network.
        network: &'a LinkName,
        /// The terminal on which it reports that it undid the move.
        terminal: Option<&'a Path>,
    },
    /// Detaches a command's namespace if netcord is killed before it can.
    RunSupervisor {
        /// The command's process.
        pid: u32,
        /// The start time of that process.
        started: u64,
        /// The cookie of its namespace.
        cookie: u64,
    },
}

/// The kinds of agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// See [`Agent::LeaseRenewer`].
    LeaseRenewer,
    /// See [`Agent::Watchdog`].
    Watchdog,
    /// See [`Agent::RunSupervisor`].
    RunSupervisor,
}

impl Kind {
    const ALL: [Self; 3] = [Self::LeaseRenewer, Self::Watchdog, Self::RunSupervisor];

    /// Returns the hidden verb that it runs.
    const fn verb(self) -> &'static str {
        match self {
            Self::LeaseRenewer => "keep-lease",
            Self::Watchdog => "watchdog",
            Self::RunSupervisor => "attendant",
        }
    }
}

impl Agent<'_> {
    fn kind(&self) -> Kind {
        match self {
            Self::LeaseRenewer { .. } => Kind::LeaseRenewer,
            Self::Watchdog { .. } => Kind::Watchdog,
            Self::RunSupervisor { .. } => Kind::RunSupervisor,
        }
    }

    /// Returns the hidden verb that starts it, and its arguments.
    fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![self.kind().verb().into()];
        match *self {
            Self::LeaseRenewer { network, endpoint } => {
                words.extend([network.to_string().into(), endpoint.to_string().into()]);
            }
            Self::Watchdog { network, terminal } => {
                words.push(network.as_str().into());
                words.extend(terminal.into_iter().flat_map(|t| ["--terminal".into(), t.into()]));
            }
            Self::RunSupervisor { pid, started, cookie } => {
                let numbers = [u64::from(pid), started, cookie];
                words.extend(numbers.map(|number| number.to_string().into()));
            }
        }
        words
    }

    /// Starts the process, and returns once it is ready. It continues by itself.
    ///
    /// # Errors
    /// If it ends before it is ready, with its error message.
    pub fn start(&self) -> Result<AgentProcess> {
        let pid = background::start(&self.words())?;
        let started = process::started(pid).context("the process in the background ended")?;
        Ok(AgentProcess { pid, started })
    }

    /// Starts the process, and returns once it is ready. Its work begins when the returned value is
    /// dropped, also if this process is killed.
    ///
    /// # Errors
    /// If it ends before it is ready, with its error message.
    pub fn start_with_liveness_pipe(&self) -> Result<LivenessPipe> {
        background::start_with_liveness_pipe(&self.words())
    }

    /// Returns the running process, found by its arguments, since its record may be lost.
    pub fn running(&self) -> Option<AgentProcess> {
        let pid = process::with_arguments(&self.words())?;
        Some(AgentProcess { pid, started: process::started(pid)? })
    }
}

/// A running agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The kind.
    pub kind: Kind,
    /// The arguments of its hidden verb.
    pub arguments: Vec<OsString>,
    /// The process.
    pub process: AgentProcess,
}

impl Running {
    fn new(copy: &process::BackgroundCopy) -> Option<Self> {
        let (verb, arguments) = copy.arguments.split_first()?;
        let kind = Kind::ALL.into_iter().find(|kind| verb == kind.verb())?;
        let process = AgentProcess { pid: copy.pid, started: process::started(copy.pid)? };
        Some(Self { kind, arguments: arguments.to_vec(), process })
    }
}

/// The running agents. They are read when they are first needed: without an agent on record, never.
#[derive(Debug, Default)]
pub struct Status(OnceCell<Vec<Running>>);

/// Returns the agents that run on this machine.
pub fn status() -> Status {
    Status::default()
}

impl Status {
    /// Returns all of them, also those without a record.
    pub fn all(&self) -> &[Running] {
        self.0.get_or_init(|| process::copies().filter_map(|copy| Running::new(&copy)).collect())
    }

    /// Returns whether the agent of this process runs.
    pub fn has(&self, agent: AgentProcess) -> bool {
        self.all().iter().any(|running| running.process == agent)
    }
}

/// Returns whether a process that was started still runs, at this moment.
pub fn runs(agent: AgentProcess) -> bool {
    process::started(agent.pid) == Some(agent.started)
}

/// Asks a process to end, and waits for that.
pub fn stop(agent: AgentProcess, patience: Duration) -> io::Result<Ending> {
    process::end(agent.pid, agent.started, patience)
}

/// Called first by every such process: gives up the terminal, directory and files of its starter.
pub fn detach() -> io::Result<()> {
    background::detach_copy()
}

/// Reports to the starter that this process is ready.
pub fn ready() -> io::Result<()> {
    background::ready()
}

/// Reports readiness, and waits until the starter drops its liveness pipe.
pub fn ready_until_let_go() -> io::Result<()> {
    background::protect();
    background::ready()?;
    background::until_let_go()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn an_agent_is_started_by_words_that_are_understood() {
        let (network, endpoint) = (&"lan0".parse().unwrap(), &"nc1".parse().unwrap());
        let terminal = Some(Path::new("/dev/pts/7"));
        for agent in [
            Agent::LeaseRenewer { network, endpoint },
            Agent::Watchdog { network, terminal },
            Agent::Watchdog { network, terminal: None },
            Agent::RunSupervisor { pid: 7, started: 8, cookie: 9 },
        ] {
            let words = [OsString::from("netcord")].into_iter().chain(agent.words());
            let understood = Cli::try_parse_from(words);
            assert!(understood.is_ok(), "{agent:?}: {understood:?}");
        }
    }
}
