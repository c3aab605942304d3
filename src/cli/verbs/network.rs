//! `network`: docker's spelling of the verbs of networks.

use anyhow::Result;
use clap::Subcommand;

use super::{attach, create, detach, inspect, ls, print_with_failure, rm};
use crate::{
    error::Error,
    model::Removable,
    ops::{
        Session,
        ls::{Ls, ls as networks},
        rm::{Rm, rm as remove},
    },
    output::Output,
};

/// docker's spelling: network ls, create, rm, inspect, connect, disconnect, prune
#[derive(clap::Args, Debug)]
#[command(
    disable_help_subcommand = true,
    arg_required_else_help = false,
    after_help = "Each is the verb of the same name, with its flags. Only `network prune` differs from `prune`: as docker's, it removes the networks without endpoints."
)]
pub(crate) struct Args {
    /// What to do
    #[command(subcommand)]
    verb: Verb,
}

/// The verbs of `docker network`.
#[derive(Debug, Subcommand)]
enum Verb {
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Create(Box<create::Args>),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
    Inspect(inspect::Args),
    Connect(attach::Args),
    Disconnect(detach::Args),
    Prune(Prune),
}

/// Remove all networks of netcord that have no endpoints
#[derive(clap::Args, Debug)]
struct Prune {
    /// Remove without asking, also on a terminal
    #[arg(short, long)]
    force: bool,
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        match self.verb {
            Verb::Ls(args) => args.run(session, output).await,
            Verb::Create(args) => args.run(session, output).await,
            Verb::Rm(args) => args.run(session, output).await,
            Verb::Inspect(args) => args.run(session, output).await,
            Verb::Connect(args) => args.run(session, output).await,
            Verb::Disconnect(args) => args.run(session, output).await,
            Verb::Prune(args) => args.run(session, output).await,
        }
    }
}

impl Prune {
    async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        let listed = networks(session, &Ls::default()).await?.into_iter();
        let unused = listed.filter(|n| n.endpoints == 0 && !n.network.driver.is_foreign());
        let names: Vec<_> = unused.map(|listed| listed.network.name).collect();
        let is_asked = !self.force && !session.is_dry_run() && output.is_on_terminal();
        if is_asked && !names.is_empty() {
            for name in &names {
                output.note(&format!("would remove network {name}"));
            }
            let message = "nothing was removed: on a terminal `network prune` requires `--force`";
            return Err(Error::usage(message).hint("`netcord rm NETWORK` removes one").into());
        }
        let request = Rm { names: names.into_iter().map(Removable::Network).collect() };
        print_with_failure(output, remove(session, &request).await?, |now| now.removed.clone())
    }
}
