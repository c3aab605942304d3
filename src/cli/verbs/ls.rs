//! The verb `ls`: its flags, its help, and what it prints.

use anyhow::Result;

use crate::{
    cli::values::key_value,
    ops::{
        Session,
        ls::{self, Listed},
    },
    output::{Output, Row},
};

/// List networks
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only networks that match: name=NAME, mode=MODE, label=KEY[=VALUE]
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_value)]
    filter: Vec<(String, String)>,
}

impl Args {
    pub(super) async fn run(self, session: &Session<'_>, output: &Output) -> Result<()> {
        let networks = ls::ls(session, &ls::Ls { filter: self.filter }).await?;
        let rows: Vec<_> = networks.into_iter().map(row).collect();
        output.list(&["NETWORK", "MODE", "SUBNET", "GATEWAY", "ENDPOINTS"], &rows)
    }
}

fn row(listed: Listed) -> Row<Listed> {
    let network = &listed.network;
    let joined = |parts: Vec<String>| if parts.is_empty() { "-".into() } else { parts.join(",") };
    let foreign = if network.driver.is_foreign() { " (foreign)" } else { "" };
    let gateways = network.subnets.iter().filter_map(|s| s.gateway);
    let cells = vec![
        network.name.to_string(),
        format!("{}{foreign}", network.driver.word()),
        joined(network.subnets.iter().map(|s| s.cidr.to_string()).collect()),
        joined(gateways.map(|g| g.to_string()).collect()),
        listed.endpoints.to_string(),
    ];
    Row { cells, object: listed }
}
