//! The verb `repair`: its flags, its help, and what it prints.

use anyhow::Result;

use super::print_with_failure;
use crate::{
    ops::{
        Session,
        repair::{self, Drift},
    },
    output::Output,
};

/// Restore what the records describe, after a flush, a reload or a manual change
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Makes networks, endpoints, names, published ports and their rules again where they are missing or changed. Endpoints whose namespace is gone are not restored; `prune` removes them.\n\nExamples:\n  netcord repair --check\n  iptables -F; netcord repair"
)]
pub(crate) struct Args {
    /// Only list the differences, one per line, and change nothing; exit code 1 if there is any
    #[arg(long)]
    check: bool,
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<u8> {
        if self.check {
            let found = repair::check(session).await?;
            let lines: Vec<_> = found.drift.iter().flat_map(lines).collect();
            let code = u8::from(!found.drift.is_empty());
            return output.result(found, &lines).map(|()| code);
        }
        let outcome = repair::repair(session).await?;
        print_with_failure(output, outcome, |now| now.repaired.iter().flat_map(lines).collect())
            .map(|()| 0)
    }
}

/// Returns the difference with one line of its command, and the evidence.
fn lines(drift: &Drift) -> Vec<String> {
    let command = drift.command.lines().next().unwrap_or_default();
    let what = format!("{}: {} ({command})", drift.of, drift.why);
    let evidence = drift.evidence.iter().map(|line| format!("    {line}"));
    [what].into_iter().chain(evidence).collect()
}
