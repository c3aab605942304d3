//! `netcord-agent`: joins the overlay networks of this host that are in a store, and keeps the kernel
//! in agreement with what the store says of the other hosts.
//!
//! `netcord-agent relay` is another process: it carries packets of the UDP backend.
//!
//! - `service`: the agent as a whole: its networks, when it ends
//! - `socket`: answers the requests of netcord
//! - `watched`: a network that is followed: its task, and what can be asked of it
//! - `joined`: this host's part of a network, of either kind
//! - `membership`: its part of one in which each host has a subnet
//! - `flat`: its part of a flat one
//! - `relayed`: the process that carries the packets of one network (backend udp)
//! - `shape`: the configuration in the store, and the one that was asked for
//! - `peers`: the other hosts, as netcord makes entries for them
//! - `subnet_file`: flannel's file for other programs

mod flat;
mod joined;
mod membership;
mod peers;
mod relayed;
mod service;
mod shape;
mod socket;
mod subnet_file;
mod watched;

use std::{env, path::PathBuf, process::ExitCode};

use ::netcord_agent::relay;
use anyhow::{Context, Result};
use clap::Parser;
use netcord::{
    agents::netcord_agent,
    cli::AgentArguments,
    error::{Error, Kind},
    kernel::Kernel,
    output::{self, Color},
    state::{Load, State},
};
use tokio::task::LocalSet;

fn main() -> ExitCode {
    let is_relay = env::args_os().nth(1).is_some_and(|word| word == relay::WORD);
    let result =
        if is_relay { relay::run(env::args_os().skip(1)) } else { run(&AgentArguments::parse()) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(output::report(&error, Color::Auto)),
    }
}

fn run(arguments: &AgentArguments) -> Result<()> {
    if !arguments.foreground {
        netcord_agent::detach().context("cannot leave the terminal")?;
    }
    // A network namespace belongs to a thread, so there is only one thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(arguments.foreground))
}

async fn serve(in_foreground: bool) -> Result<()> {
    let cookie = Kernel::open()?.cookie();
    let dir = directory(cookie)?;
    let Some(_claim) = netcord_agent::claim(&dir)? else {
        let message = "this host has a netcord-agent already";
        return Err(Error::new(Kind::Conflict, message)
            .hint("`netcord peers NETWORK` shows it")
            .into());
    };
    let service = service::Service::new(cookie, dir, in_foreground);
    let socket = socket::Socket::bind(service.dir())?;
    if in_foreground {
        sd_notify::notify(&[sd_notify::NotifyState::Ready])?;
    } else {
        netcord_agent::ready()?;
    }
    service.resume().await?;
    socket.serve(service).await
}

/// Returns the directory of this host's records. The command that starts an agent may hold their lock.
fn directory(cookie: u64) -> Result<PathBuf> {
    State::is_free(cookie)?;
    Ok(State::read(cookie, Load::Of(&[]))?.dir().to_owned())
}
