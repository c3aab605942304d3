//! The verb `reset`: its flags, its help, and what it prints.

use anyhow::Result;

use super::print_with_failure;
use crate::{
    error::Error,
    ops::{Session, reset},
    output::Output,
};

/// Remove everything that netcord made on this host, and nothing else
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Removes endpoints, networks, names, published ports, rules in both firewalls and records; also links and rules that carry netcord's mark but have no record. The addresses and routes of an underlay network move back to its parent. Namespaces and bridges that netcord did not make stay, and so do processes: a process in a namespace made by `none` keeps the namespace, without its name.\n\nOn a terminal --yes is required; without it netcord prints what it would remove.\n\nExamples:\n  netcord --dry-run reset\n  netcord reset --yes"
)]
pub(crate) struct Args {
    /// Remove without asking, also on a terminal
    #[arg(short, long)]
    yes: bool,
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        // On a terminal, the user may have meant only one network; a script means what it says.
        if !self.yes && !session.is_dry_run() && output.is_on_terminal() {
            let removed = reset::would_remove(session).await?;
            if !removed.is_empty() {
                for what in &removed {
                    output.note(&format!("would remove {what}"));
                }
                return Err(Error::usage(
                    "nothing was removed: on a terminal `reset` requires `--yes`",
                )
                .hint("`netcord reset --yes` removes all of it, `netcord rm NETWORK` one network")
                .into());
            }
        }
        print_with_failure(output, reset::reset(session).await?, |now| now.removed.clone())
    }
}
