//! What netcord keeps running: copies of this program that go on when the command that started them
//! has ended, and nothing else does. There is no daemon.
//!
//! Here is what may run, how it is started, found and ended. What each does is a hidden verb in `ops`.

use std::{ffi::OsString, io, path::Path, time::Duration};

use anyhow::{Context, Result};

pub use crate::process::{Ending, background::LivenessPipe};
use crate::{
    model::{AgentProcess, EndpointId, LinkName},
    process::{self, background},
};

/// What may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent<'a> {
    /// Renews the DHCP lease of an endpoint for as long as that lives, and gives it back at the end.
    LeaseRenewer {
        /// Of which network.
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
    /// Removes what a command was attached to, if netcord was killed before it could.
    RunSupervisor {
        /// The command's process.
        pid: u32,
        /// When that was started.
        started: u64,
        /// The cookie of its namespace.
        cookie: u64,
    },
}

impl Agent<'_> {
    /// The words by which it is started: a hidden verb and its arguments.
    fn words(&self) -> Vec<OsString> {
        match *self {
            Self::LeaseRenewer { network, endpoint } => {
                ["keep-lease".into(), network.to_string(), endpoint.to_string()]
                    .map(OsString::from)
                    .into()
            }
            Self::Watchdog { network, terminal } => {
                let mut words: Vec<OsString> =
                    ["watchdog", network.as_str()].map(Into::into).into();
                words.extend(terminal.into_iter().flat_map(|t| ["--terminal".into(), t.into()]));
                words
            }
            Self::RunSupervisor { pid, started, cookie } => {
                ["attendant".into(), pid.to_string(), started.to_string(), cookie.to_string()]
                    .map(OsString::from)
                    .into()
            }
        }
    }

    /// Starts it; returns once it is ready. It goes on by itself.
    ///
    /// # Errors
    /// If it ends before: with what it said.
    pub fn start(&self) -> Result<AgentProcess> {
        let pid = background::start(&self.words())?;
        let started = process::started(pid).context("the process in the background ended")?;
        Ok(AgentProcess { pid, started })
    }

    /// Starts it; returns once it is ready. Its work begins when what is returned is dropped, however
    /// that comes.
    ///
    /// # Errors
    /// If it ends before: with what it said.
    pub fn start_with_liveness_pipe(&self) -> Result<LivenessPipe> {
        background::start_with_liveness_pipe(&self.words())
    }

    /// The one that runs, found by what it was started with: its record may be lost.
    pub fn running(&self) -> Option<AgentProcess> {
        let pid = process::with_arguments(&self.words())?;
        Some(AgentProcess { pid, started: process::started(pid)? })
    }
}

/// Whether one that was started runs.
pub fn runs(agent: AgentProcess) -> bool {
    process::started(agent.pid) == Some(agent.started)
}

/// Asks one to end, and waits for that.
pub fn stop(agent: AgentProcess, patience: Duration) -> io::Result<Ending> {
    process::end(agent.pid, agent.started, patience)
}

/// The first thing that an agent does: it leaves behind what belongs to who started it.
pub fn detach() -> io::Result<()> {
    background::detach()
}

/// Tells who started this agent that it can be relied on.
pub fn ready() -> io::Result<()> {
    background::ready()
}

/// The life of an agent on a liveness pipe until its work begins.
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
