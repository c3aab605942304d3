//! The verb `port`: its flags, its help, and what it prints.

use std::net::SocketAddr;

use anyhow::Result;
use clap_complete::ArgValueCompleter;

use crate::{
    cli::complete,
    model::{InnerPort, Protocol, PublishedPort, Target},
    ops::{Session, port},
    output::{Format, Output},
};

/// List a target's published ports
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The target that has the ports
    #[arg(add = ArgValueCompleter::new(complete::targets))]
    target: Target,
    /// Only this port of the target
    #[arg(value_name = "PORT[/PROTO]")]
    port: Option<InnerPort>,
}

impl Args {
    pub(super) async fn run(self, session: &Session<'_>, output: &Output) -> Result<()> {
        let Self { target, port: asked } = self;
        let listed = port::port(session, &port::Port { target, port: asked }).await?;
        if output.format != Format::Table {
            return output.object(listed);
        }
        let mut pairs: Vec<_> = listed.ports.iter().flat_map(pairs).collect();
        pairs.sort_by_key(|(inner, protocol, host)| (*inner, *protocol, host.is_ipv6(), *host));
        for (inner, protocol, outer) in pairs {
            match asked {
                Some(asked) if asked.port != inner => {}
                Some(_) => output.data(&format!("{outer}\n"))?,
                None => output.data(&format!("{inner}/{protocol} -> {outer}\n"))?,
            }
        }
        Ok(())
    }
}

/// Returns each port of a range, with its port on the host.
fn pairs(port: &PublishedPort) -> impl Iterator<Item = (u16, Protocol, SocketAddr)> + '_ {
    let outer = port.host.ports().map(|p| SocketAddr::new(port.host_ip, p));
    port.container.ports().zip(outer).map(|(inner, outer)| (inner, port.protocol, outer))
}
