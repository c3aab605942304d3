//! The verb `watchdog`: its flags, its help, and what it prints.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    model::LinkName,
    ops::{Session, watchdog},
    output::Output,
};

/// Undo an underlay network unless it is confirmed (internal)
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The network
    name: LinkName,
    /// The terminal on which it reports that it undid the move
    #[arg(long, value_name = "FILE")]
    terminal: Option<PathBuf>,
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        let result = watchdog::watch(session, &self.name).await;
        let what = match &result {
            Ok(false) => return Ok(()),
            Ok(true) => "was not confirmed: the host is as it was before".to_owned(),
            Err(error) => format!("was not confirmed, and cannot be undone: {error:#}"),
        };
        if let Some(terminal) = &self.terminal {
            output.tell_terminal(terminal, &format!("network `{}` {what}", self.name));
        }
        result.map(drop)
    }
}
