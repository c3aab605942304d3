//! The run supervisor: a process of its own that cleans up if netcord is killed before it can.

use std::time::Duration;

use anyhow::Result;

use crate::{
    agents,
    ops::{Session, run::clear},
    process,
};

/// The maximum time until a killed process has ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// A command that `run` started.
#[derive(Clone, Copy, Debug)]
pub struct Supervised {
    /// The PID.
    pub pid: u32,
    /// The start time, in clock ticks since boot.
    pub started: u64,
    /// The cookie of its namespace (`SO_NETNS_COOKIE`).
    pub cookie: u64,
}

/// Waits for the end of the netcord that started a command, and removes the command's endpoints.
///
/// # Errors
/// If they cannot be removed.
pub async fn supervise(host: &mut Session<'_>, args: Supervised) -> Result<()> {
    agents::ready_until_let_go()?;
    process::kill(args.pid, args.started, PATIENCE)?;
    // After a run that ended normally, there is nothing to remove.
    clear(host, args.cookie).await
}
