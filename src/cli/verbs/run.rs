//! The verb `run`: its flags, its help, and what it prints.

use std::ffi::OsString;

use anyhow::Result;
use clap::ValueHint;
use clap_complete::ArgValueCompleter;

use super::{attach::Wiring, exec};
use crate::{
    cli::complete,
    model::RunNetwork,
    ops::{Session, run},
};

/// Run a command in a namespace of its own, attached to a network
#[derive(clap::Args, Debug)]
#[command(
    after_help = "This is `docker run` for a program of this host, with the host's files and users. The namespace is attached before the command starts. Signals are passed on to the command, and netcord exits with its exit code. Everything is removed when the command ends, even if netcord is killed. Background processes that the command leaves keep running, without a network.\n\nNETWORK is a network's name, none (only lo), host (the host's own namespace), or container:TARGET (a target's namespace).\n\nExamples:\n  netcord run -- ip addr\n  netcord run --network lab0 -p 8080:80 -- python3 -m http.server 80\n  netcord run --network lab0 --ip 10.7.0.9 --name web -- sh\n  netcord run --network container:web -- ss -tlnp"
)]
pub(crate) struct Args {
    /// The network that the command is attached to
    #[arg(long, visible_alias = "net", value_name = "NETWORK", default_value = "none", add = ArgValueCompleter::new(complete::networks))]
    pub(in crate::cli) network: RunNetwork,
    /// How it is attached
    #[command(flatten)]
    pub(in crate::cli) wiring: Wiring,
    /// Remove everything when the command ends (always)
    #[arg(long = "rm", hide = true)]
    _rm: bool,
    /// As docker's
    #[command(flatten)]
    _terminal: exec::Terminal,
    /// Wait on this file descriptor, then become the command (internal)
    #[arg(long, hide = true)]
    pub(in crate::cli) start_barrier: Option<i32>,
    /// The command, and its arguments
    #[arg(last = true, required = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    pub(in crate::cli) command: Vec<OsString>,
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<u8> {
        let Self { network, wiring, command, .. } = self;
        run::run(session, run::Run { network, wiring: wiring.into(), command }).await
    }
}
