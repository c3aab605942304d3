//! The verb `publish`: its flags, its help, and what it prints.

use anyhow::Result;
use clap_complete::ArgValueCompleter;

use crate::{
    cli::complete,
    model::{PortSpec, Target},
    ops::{Session, publish},
    output::Output,
};

/// Publish ports of a target on the host
#[derive(clap::Args, Debug)]
#[command(
    after_help = "PORT is [HOSTIP:][HOSTPORT[-END]:]PORT[-END][/tcp|udp|sctp], as for `docker run -p`.\n\nExamples:\n  netcord publish web 8080:80\n  netcord publish web 127.0.0.1:5353:53/udp 9000-9010:9000-9010"
)]
pub(crate) struct Args {
    /// The target that has the ports
    #[arg(add = ArgValueCompleter::new(complete::targets))]
    target: Target,
    /// The ports to publish
    #[arg(value_name = "PORT", required = true)]
    ports: Vec<PortSpec>,
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        let Self { target, ports } = self;
        let request = publish::Publish { target, ports, owner: None };
        let Some(done) = publish::publish(session, &request).await? else { return Ok(()) };
        let lines: Vec<_> = done.now.ports.iter().map(ToString::to_string).collect();
        output.result(done, &lines)
    }
}
