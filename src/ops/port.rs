//! `port`: published ports of a target, as `docker port` prints them.

use std::net::SocketAddr;

use anyhow::Result;
use serde::Serialize;

use super::{Host, detach::everywhere};
use crate::{
    cli::{self, Format, InnerPort},
    error::Error,
    model::{Protocol, PublishedPort},
    output::SCHEMA_VERSION,
};

#[derive(Serialize)]
struct Listed<'a> {
    schema_version: u32,
    ports: Vec<&'a PublishedPort>,
}

pub(super) async fn run(host: &Host<'_, '_>, args: cli::Port) -> Result<()> {
    let state = host.look().await?;
    let endpoints = everywhere(host, &state, &args.target).await?;
    if endpoints.is_empty() {
        let message = format!("target `{}` is attached to no network", args.target);
        return Err(Error::not_found(message).into());
    }
    let is_meant = |p: &&PublishedPort| match args.port {
        None => true,
        Some(InnerPort { port, protocol }) => {
            p.protocol == protocol && (p.container.first..=p.container.last).contains(&port)
        }
    };
    let ports: Vec<_> = endpoints.iter().flat_map(|(_, e)| &e.ports).filter(is_meant).collect();
    if let (Some(InnerPort { port, protocol }), true) = (args.port, ports.is_empty()) {
        let message = format!("port {port}/{protocol} of `{}` is not published", args.target);
        let is_hosts =
            |p: &&PublishedPort| p.protocol == protocol && p.host.ports().any(|h| h == port);
        let mut all = endpoints.iter().flat_map(|(_, e)| &e.ports);
        let mut error = Error::not_found(message);
        if let Some(hosts) = all.find(is_hosts) {
            error = error.hint(format!(
                "{port} is the host's port of `{}`; what is asked for is the target's",
                hosts.spec()
            ));
        }
        return Err(error.into());
    }
    if host.output.format != Format::Table {
        return host.output.inspect(&Listed { schema_version: SCHEMA_VERSION, ports });
    }
    let mut lines: Vec<_> = ports.iter().flat_map(|p| pairs(p)).collect();
    lines.sort_by_key(|(inner, protocol, host)| (*inner, *protocol, host.is_ipv6(), *host));
    for (inner, protocol, outer) in lines {
        match args.port {
            Some(asked) if asked.port != inner => {}
            Some(_) => host.output.data(&format!("{outer}\n"))?,
            None => host.output.data(&format!("{inner}/{protocol} -> {outer}\n"))?,
        }
    }
    Ok(())
}

/// Each port of a range with its place on the host.
fn pairs(port: &PublishedPort) -> impl Iterator<Item = (u16, Protocol, SocketAddr)> + '_ {
    let outer = port.host.ports().map(|p| SocketAddr::new(port.host_ip, p));
    port.container.ports().zip(outer).map(|(inner, outer)| (inner, port.protocol, outer))
}
