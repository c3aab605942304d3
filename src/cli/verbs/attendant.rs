//! The verb `attendant`: its flags, its help, and what it prints.

use anyhow::Result;

use crate::ops::{Session, run_supervisor};

/// Clean up after a run that was killed (internal)
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The command's process
    pid: u32,
    /// When it was started
    started: u64,
    /// Its namespace
    cookie: u64,
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<()> {
        let Self { pid, started, cookie } = self;
        run_supervisor::attend(session, run_supervisor::Attended { pid, started, cookie }).await
    }
}
