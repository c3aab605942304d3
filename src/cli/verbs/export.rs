//! The verb `export`: its flags, its help, and what it prints.

use anyhow::Result;

use crate::{
    ops::{Session, export},
    output::Output,
};

/// Print this host's networks as a script of netcord commands
#[derive(clap::Args, Debug)]
#[command(
    after_help = "The script makes the networks, names, endpoints and published ports again, with the same addresses, MACs and ports. Containers are named as in their engine. PIDs do not survive a reboot, so targets attached by PID are printed as comments.\n\nExamples:\n  netcord export > /etc/netcord.sh\n  sh /etc/netcord.sh"
)]
pub(crate) struct Args {}

impl Args {
    pub(super) async fn run(self, session: &Session<'_>, output: &Output) -> Result<()> {
        output.data(&export::export(session).await?)
    }
}
