//! The verb `watch`: its help, and what it prints.

use anyhow::Result;

use crate::{
    ops::{
        Session,
        watch::{self, Action, Whose},
    },
    output::Output,
};

/// Attach containers again by themselves when docker or podman starts them again
///
/// Runs in the foreground until SIGINT or SIGTERM, and prints a line for each action. It follows the
/// events of docker and podman, and the kernel's. A container that was attached and is started again
/// gets back its addresses, MAC, routes and ports; the rules of one that stops are removed at once. An
/// endpoint is attached at most 5 times a minute, so that a container that fails again and again does not
/// keep the host busy. An engine that goes away is tried again after 1 second, then less often, at least
/// every 30 seconds. `netcord-watch.service` runs it with systemd.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

impl Args {
    pub(super) async fn run(self, session: &Session<'_>, output: &Output) -> Result<()> {
        watch::watch(session, &mut |action| output.result(action, &[line(action)])).await
    }
}

fn line(action: &Action) -> String {
    let place = |Whose { network, target }: &Whose| format!("{network}/{target}");
    match action {
        Action::Follows { engine } => format!("{engine}: followed"),
        Action::Lost { engine, why } => format!("{engine}: away: {why}"),
        Action::Stopped(whose) => format!("{}: stopped", place(whose)),
        Action::Attached { whose, addresses } => {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            format!("{}: attached: {}", place(whose), addresses.join(", "))
        }
        Action::Failed { whose, why } => format!("{}: failed: {why}", place(whose)),
        Action::Waits(whose) => {
            format!("{}: started too often, is attached again within a minute", place(whose))
        }
    }
}
