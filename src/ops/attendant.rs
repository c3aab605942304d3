//! The attendant of a run: a process of its own that clears up when netcord was killed before it
//! could.

use std::time::Duration;

use anyhow::Result;

use super::{Host, run::clear};
use crate::{agents, cli, process};

/// How long a process takes to end that is killed, at the most.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn run(host: &mut Host<'_, '_>, args: cli::Attendant) -> Result<()> {
    agents::ready_until_let_go()?;
    process::kill(args.pid, args.started, PATIENCE)?;
    // After a run that came to its end there is nothing left.
    clear(host, args.cookie).await
}
