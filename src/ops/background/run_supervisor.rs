//! The attendant of a run: a process of its own that clears up when netcord was killed before it
//! could.

use std::time::Duration;

use anyhow::Result;

use crate::{
    agents,
    ops::{Session, run::clear},
    process,
};

/// How long a process takes to end that is killed, at the most.
const PATIENCE: Duration = Duration::from_secs(5);

/// A command that `run` started.
#[derive(Clone, Copy, Debug)]
pub struct Attended {
    /// Its process.
    pub pid: u32,
    /// When that was started, in clock ticks since the host's start.
    pub started: u64,
    /// Its namespace (`SO_NETNS_COOKIE`).
    pub cookie: u64,
}

/// Waits for the end of the netcord that started a command, and removes what the command was attached
/// to.
///
/// # Errors
/// If that cannot be removed.
pub async fn attend(host: &mut Session<'_>, args: Attended) -> Result<()> {
    agents::ready_until_let_go()?;
    process::kill(args.pid, args.started, PATIENCE)?;
    // After a run that came to its end there is nothing left.
    clear(host, args.cookie).await
}
