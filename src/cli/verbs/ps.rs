//! The verb `ps`: its flags, its help, and what it prints.

use anyhow::Result;
use clap_complete::ArgValueCompleter;

use super::docker;
use crate::{
    cli::{complete, values::key_value},
    model::{Endpoint, LinkName, PublishedPort},
    ops::{
        Session,
        ps::{self, Listed, ShownLease},
    },
    output::{Output, Row},
};

/// List endpoints
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  netcord ps\n  netcord ps lab0 --wide\n  netcord ps --filter state=down\n  netcord ps --format '{{.Target}} {{.Address}}'"
)]
pub(crate) struct Args {
    /// Only endpoints of this network
    #[arg(add = ArgValueCompleter::new(complete::networks))]
    network: Option<LinkName>,
    /// Only endpoints that match: target=NAME, network=NAME, state=STATE, ip=IP, mac=MAC, publish=PORT
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_value)]
    filter: Vec<(String, String)>,
    /// Show the MAC and the link on the host, too
    #[arg(short, long)]
    wide: bool,
    /// As docker's
    #[command(flatten)]
    _whole: docker::Whole,
}

const COLUMNS: [&str; 8] =
    ["TARGET", "NETWORK", "LINK", "ADDRESS", "MAC", "HOST-LINK", "PORTS", "STATE"];
/// The columns that only --wide shows.
const WIDE: [&str; 2] = ["MAC", "HOST-LINK"];

impl Args {
    pub(super) async fn run(self, session: &Session<'_>, output: &Output) -> Result<()> {
        let request = ps::Ps { network: self.network, filter: self.filter };
        let endpoints = ps::ps(session, &request).await?;
        let rows: Vec<_> = endpoints.into_iter().map(row).collect();
        output.list(&COLUMNS, if self.wide { &[] } else { &WIDE }, &rows)
    }
}

fn row(listed: Listed) -> Row<Listed> {
    let endpoint = &listed.endpoint;
    let ports = endpoint.ports.iter().map(port).collect::<Vec<_>>();
    let state = listed.state.as_str().to_owned();
    let docker = vec![
        ("ID", endpoint.netns.to_string()),
        ("Name", endpoint.target.clone()),
        ("Names", endpoint.target.clone()),
        ("Networks", listed.network.to_string()),
        ("Status", state.clone()),
        ("Ports", ports.join(", ")),
    ];
    let cells = vec![
        endpoint.target.clone(),
        listed.network.to_string(),
        endpoint.ifname.to_string(),
        addresses(endpoint, listed.lease.as_ref()),
        endpoint.mac.to_string(),
        listed.endpoint.host_ifname().map_or_else(|| "-".into(), ToString::to_string),
        joined(&ports),
        state,
    ];
    Row { cells, object: listed, docker }
}

/// Docker's form, without the endpoint's address, which is in the same row.
fn port(port: &PublishedPort) -> String {
    format!("{}->{}/{}", port.host_side(), port.container, port.protocol)
}

fn addresses(endpoint: &Endpoint, lease: Option<&ShownLease>) -> String {
    let mut parts: Vec<_> = endpoint.addresses.iter().map(ToString::to_string).collect();
    if let Some(lease) = lease {
        let word = if lease.is_renewed() { "(dhcp)" } else { "(dhcp, not renewed)" };
        match endpoint.addresses.first().filter(|a| a.is_ipv4()) {
            Some(_) => parts[0] = format!("{} {word}", parts[0]),
            // The lease has expired, and no server has granted another.
            None => parts.insert(0, format!("- {word}")),
        }
    }
    joined(&parts)
}

fn joined(parts: &[String]) -> String {
    if parts.is_empty() { "-".into() } else { parts.join(", ") }
}
