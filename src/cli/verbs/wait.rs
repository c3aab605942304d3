//! The verb `wait`: its flags, its help, and what it prints.

use anyhow::Result;
use clap_complete::ArgValueCompleter;

use crate::{
    cli::complete,
    model::{Condition, Target},
    ops::{Session, wait},
    output::Output,
};

/// Wait until a target's network can be used
#[derive(clap::Args, Debug)]
#[command(
    after_help = "One link must meet the condition, and all conditions before it:\n  up       a link other than lo is up\n  carrier  it has carrier\n  addr     it has a usable address (not tentative)\n  route    a default route uses it\n\nThe target need not exist yet. Prints the link's addresses, or its name if it has none yet. Exit code 7 means that the time ran out.\n\nExamples:\n  netcord wait web && curl http://$(netcord wait web)\n  netcord wait 1310 --for route --timeout 5\n  netcord wait host --for route"
)]
pub(crate) struct Args {
    /// The target to wait for; `host` is this host's own network
    #[arg(add = ArgValueCompleter::new(complete::targets))]
    target: Target,
    /// The condition to wait for
    #[arg(long = "for", value_name = "CONDITION", default_value = "addr")]
    condition: Condition,
    /// How long to wait at most; 0 checks once
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = clap::value_parser!(u64).range(..=31_536_000))]
    timeout: u64,
}

impl Args {
    pub(super) async fn run(self, session: &Session<'_>, output: &Output) -> Result<()> {
        let Self { target, condition, timeout } = self;
        let ready = wait::wait(session, &wait::Wait { target, condition, timeout }).await?;
        let lines = match ready.addresses.as_slice() {
            [] => vec![ready.link.clone()],
            addresses => addresses.to_vec(),
        };
        output.result(ready, &lines)
    }
}
