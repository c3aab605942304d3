//! `exec`: docker's spelling of `container TARGET -- CMD`.

use std::ffi::OsString;

use anyhow::Result;
use clap::ValueHint;
use clap_complete::ArgValueCompleter;

use super::{CommandLine, container};
use crate::{cli::complete, model::Target, ops::Session, output::Output};

/// Run a command in a target's namespace, with the syntax of `docker exec`
#[derive(clap::Args, Debug)]
#[command(
    after_help = "The command is one of this host, with the host's files, users and environment: only the network is the target's. It has netcord's terminal, so that -i and -t change nothing.\n\nExamples:\n  netcord exec web ip addr\n  netcord exec -it web sh"
)]
pub(crate) struct Args {
    /// The target that has the namespace
    #[arg(add = ArgValueCompleter::new(complete::targets))]
    target: Target,
    /// The command, and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
    /// As docker's
    #[command(flatten)]
    _terminal: Terminal,
}

/// docker's flags for a terminal, which every command has here.
#[derive(clap::Args, Debug)]
pub(super) struct Terminal {
    /// Keep stdin open (always)
    #[arg(short, long = "interactive", hide = true)]
    _interactive: bool,
    /// Leave the terminal to the command (always)
    #[arg(short, long = "tty", hide = true)]
    _tty: bool,
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        let Self { target, command, .. } = self;
        container::Args { target, command: CommandLine { command } }.run(session, output).await
    }
}
