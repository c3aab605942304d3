//! The verb `ps`: its flags, its help, and what it prints.

use anyhow::Result;
use clap_complete::ArgValueCompleter;

use crate::{
    cli::complete,
    model::{Endpoint, LinkName, PublishedPort},
    ops::{
        Session,
        ps::{self, Listed, ShownLease},
    },
    output::{Output, Row},
};

/// List endpoints
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only endpoints of this network
    #[arg(add = ArgValueCompleter::new(complete::networks))]
    network: Option<LinkName>,
}

impl Args {
    pub(super) async fn run(self, session: &Session<'_>, output: &Output) -> Result<()> {
        let endpoints = ps::ps(session, &ps::Ps { network: self.network }).await?;
        let rows: Vec<_> = endpoints.into_iter().map(row).collect();
        let header = ["TARGET", "NETWORK", "LINK", "ADDRESS", "MAC", "HOST-LINK", "PORTS", "STATE"];
        output.list(&header, &rows)
    }
}

fn row(listed: Listed) -> Row<Listed> {
    let endpoint = &listed.endpoint;
    let cells = vec![
        endpoint.target.clone(),
        listed.network.to_string(),
        endpoint.ifname.to_string(),
        addresses(endpoint, listed.lease.as_ref()),
        endpoint.mac.to_string(),
        listed.endpoint.host_ifname().map_or_else(|| "-".into(), ToString::to_string),
        joined(&endpoint.ports.iter().map(port).collect::<Vec<_>>()),
        listed.state.as_str().to_owned(),
    ];
    Row { cells, object: listed }
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
