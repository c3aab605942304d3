//! The verb `underlay`: its flags, its help, and what it prints.

use std::net::IpAddr;

use anyhow::Result;

use crate::{
    cli::values::{key_value, new_network},
    model::{Cidr, Flag, Flags, LinkName},
    ops::{Session, driver::underlay},
    output::Output,
};

/// The default time for confirmation on a terminal, in seconds.
const PATIENCE: u32 = 60;

/// Ensure a network that bridges the host's uplink: endpoints join the physical network
#[derive(clap::Args, Debug)]
#[command(
    after_help = "The link becomes a port of the bridge. Its addresses, routes, policy rules and neighbour entries move to the bridge, and `rm` moves them back. On a terminal, or with --confirm, the move is undone unless you run `netcord confirm` in time.\n\nExamples:\n  netcord underlay mydr0 --parent eth0 --ip-range 192.168.1.64/27 --takeover\n  netcord confirm mydr0\n  netcord attach mydr0 web"
)]
pub(crate) struct Args {
    /// The network's name, which is the bridge's: 15 bytes at most
    #[arg(value_name = "NETWORK", value_parser = new_network)]
    pub(super) name: LinkName,
    /// The host's link that becomes a port of the bridge
    #[arg(long, value_name = "LINK")]
    pub(super) parent: LinkName,
    /// Assign addresses only from this range of the physical network [default: every free address]
    #[arg(long, value_name = "CIDR")]
    pub(super) ip_range: Vec<Cidr>,
    /// The endpoints' gateway [default: the host's on that link]
    #[arg(long, value_name = "IP")]
    pub(super) gateway: Vec<IpAddr>,
    /// When the move is kept
    #[command(flatten)]
    pub(super) moving: MoveFlags,
    /// Endpoints do not reach each other, only the host and the outside
    #[arg(long)]
    pub(super) isolate: bool,
    /// Drop frames with a source MAC or IP address that is not the endpoint's own
    #[arg(long)]
    pub(super) no_spoof: bool,
    /// Metadata to store with the network
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(super) label: Vec<(String, String)>,
}

/// When a link may be taken over, and when that is kept.
#[derive(clap::Args, Debug)]
pub(crate) struct MoveFlags {
    /// Undo the move unless `netcord confirm` is run within this time [default: 60 on a terminal]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86400))]
    pub(super) confirm: Option<u32>,
    /// Keep the move without confirmation, for scripts
    #[arg(long, conflicts_with = "confirm")]
    pub(super) no_confirm: bool,
    /// Allow a link that the host is reached through, or that has its default route
    #[arg(long)]
    pub(super) takeover: bool,
}

impl MoveFlags {
    /// Returns the time for confirmation, in seconds.
    fn confirm_within(&self, output: &Output) -> Option<u32> {
        let asks = !self.no_confirm && output.is_on_terminal();
        self.confirm.or_else(|| asks.then_some(PATIENCE))
    }
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        let request = underlay::Underlay {
            name: self.name,
            parent: self.parent,
            ip_range: self.ip_range,
            gateway: self.gateway,
            confirm_within: self.moving.confirm_within(output),
            terminal: output.terminal(),
            takeover: self.moving.takeover,
            flags: Flags::of(|flag| match flag {
                Flag::Isolate => self.isolate,
                Flag::NoSpoof => self.no_spoof,
                Flag::Internal | Flag::NoMasquerade | Flag::Open => false,
            }),
            label: self.label,
        };
        let Some(done) = underlay::underlay(session, &request).await? else { return Ok(()) };
        if let Some(seconds) = done.now.confirm_within {
            output.note(&format!(
                "it is undone in {seconds} seconds, unless you type in a new session, to see that \
                 you still get one: netcord confirm {}",
                request.name
            ));
        }
        let lines = [done.now.network.name.to_string()];
        output.result(done, &lines)
    }
}
