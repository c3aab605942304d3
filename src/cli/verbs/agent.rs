//! The hidden verbs: each is what one kind of agent does, in the background.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

use crate::{
    model::{EndpointId, LinkName},
    ops::{
        Session,
        background::{
            lease_renewer::{self, LeaseOf},
            run_supervisor::{self, Supervised},
            watchdog,
        },
    },
    output::Output,
};

/// What an agent does.
#[derive(Debug, Subcommand)]
pub(crate) enum Args {
    /// Renew an endpoint's DHCP lease (internal)
    #[command(hide = true)]
    KeepLease {
        /// The network
        network: LinkName,
        /// What identifies the endpoint
        endpoint: EndpointId,
    },
    /// Undo an underlay network unless it is confirmed (internal)
    #[command(hide = true)]
    Watchdog {
        /// The network
        name: LinkName,
        /// The terminal on which it reports that it undid the move
        #[arg(long, value_name = "FILE")]
        terminal: Option<PathBuf>,
    },
    /// Clean up after a run that was killed (internal)
    #[command(hide = true)]
    Attendant {
        /// The command's process
        pid: u32,
        /// When it was started
        started: u64,
        /// Its namespace
        cookie: u64,
    },
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        match self {
            Self::KeepLease { network, endpoint } => {
                lease_renewer::keep(session, LeaseOf { network, endpoint }).await
            }
            Self::Watchdog { name, terminal } => watch(session, output, &name, terminal).await,
            Self::Attendant { pid, started, cookie } => {
                run_supervisor::supervise(session, Supervised { pid, started, cookie }).await
            }
        }
    }
}

async fn watch(
    session: &mut Session<'_>,
    output: &Output,
    name: &LinkName,
    terminal: Option<PathBuf>,
) -> Result<()> {
    let result = watchdog::watch(session, name).await;
    let what = match &result {
        Ok(false) => return Ok(()),
        Ok(true) => "was not confirmed: the host is as it was before".to_owned(),
        Err(error) => format!("was not confirmed, and cannot be undone: {error:#}"),
    };
    if let Some(terminal) = terminal {
        output.tell_terminal(&terminal, &format!("network `{name}` {what}"));
    }
    result.map(drop)
}
