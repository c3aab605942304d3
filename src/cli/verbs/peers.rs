//! The verb `peers`: its flags, its help, and what it prints.

use anyhow::Result;
use clap_complete::ArgValueCompleter;

use crate::{
    cli::complete,
    model::LinkName,
    ops::{
        Session,
        peers::{self, Listed},
    },
    output::{Output, Row},
};

/// List the hosts of an overlay network
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  netcord peers pods\n  netcord --format json peers pods")]
pub(crate) struct Args {
    /// The network
    #[arg(add = ArgValueCompleter::new(complete::networks))]
    network: LinkName,
}

impl Args {
    pub(super) async fn run(self, session: &Session<'_>, output: &Output) -> Result<()> {
        let peers = peers::peers(session, &peers::Peers { network: self.network }).await?;
        let rows: Vec<_> = peers.into_iter().map(row).collect();
        output.list(&["HOST", "SUBNET", "BACKEND", "VIA", "STATE"], &rows)
    }
}

fn row(listed: Listed) -> Row<Listed> {
    let joined = |parts: Vec<String>| parts.join(",");
    let via = if listed.is_self {
        "this host".to_owned()
    } else {
        joined(listed.via.iter().map(ToString::to_string).collect())
    };
    let cells = vec![
        listed.host.to_string(),
        joined(listed.subnets.iter().map(ToString::to_string).collect()),
        listed.backend.as_str().to_owned(),
        via,
        listed.state.as_str().to_owned(),
    ];
    Row { cells, object: listed }
}
