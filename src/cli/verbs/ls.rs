//! The verb `ls`: its flags, its help, and what it prints.

use anyhow::Result;

use super::docker;
use crate::{
    cli::values::key_value,
    model::Flag,
    ops::{
        Session,
        ls::{self, Listed},
    },
    output::{Output, Row},
};

/// List networks
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only networks that match: name=NAME, mode=MODE (or driver=), label=KEY[=VALUE]
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_value)]
    filter: Vec<(String, String)>,
    /// As docker's
    #[command(flatten)]
    _whole: docker::Whole,
}

impl Args {
    pub(super) async fn run(self, session: &Session<'_>, output: &Output) -> Result<()> {
        let networks = ls::ls(session, &ls::Ls { filter: self.filter }).await?;
        let rows: Vec<_> = networks.into_iter().map(row).collect();
        output.list(&["NETWORK", "MODE", "SUBNET", "GATEWAY", "ENDPOINTS"], &[], &rows)
    }
}

fn row(listed: Listed) -> Row<Listed> {
    let network = &listed.network;
    let joined = |parts: Vec<String>| if parts.is_empty() { "-".into() } else { parts.join(",") };
    let foreign = match &listed.engine_network {
        Some(name) => format!(" ({name})"),
        None if network.driver.is_foreign() => " (foreign)".to_owned(),
        None => String::new(),
    };
    let gateways = network.subnets.iter().filter_map(|s| s.gateway);
    let cells = vec![
        network.name.to_string(),
        format!("{}{foreign}", network.driver.word()),
        joined(network.subnets.iter().map(|s| s.cidr.to_string()).collect()),
        joined(gateways.map(|g| g.to_string()).collect()),
        listed.endpoints.to_string(),
    ];
    let yes_no = |is_on: bool| is_on.to_string();
    let labels = network.labels.iter().map(|(key, value)| format!("{key}={value}"));
    let docker = vec![
        ("ID", network.name.to_string()),
        ("Name", network.name.to_string()),
        ("Driver", network.driver.word().to_owned()),
        ("Scope", "local".to_owned()),
        ("IPv4", yes_no(network.subnets.iter().any(|s| s.cidr.is_ipv4()))),
        ("IPv6", yes_no(network.has_ipv6())),
        ("Internal", yes_no(network.has(Flag::Internal))),
        ("Labels", labels.collect::<Vec<_>>().join(",")),
    ];
    Row { cells, object: listed, docker }
}
