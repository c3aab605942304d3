//! The command line of netcord-agent: here, so that its manual page and its completions are made with
//! those of netcord.

use clap::Parser;

use crate::agents::netcord_agent::PROGRAM;

/// Keep this host in the overlay networks that it has joined (`netcord overlay --store`), and the
/// relays of those with backend udp running
///
/// netcord starts the agent when a network needs it. It reads from the records of this host what it
/// has to do, and ends when there is nothing left. All networks forward packets without it; a relay
/// that ends meanwhile is not started again.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, max_term_width = 100)]
pub struct AgentArguments {
    /// Stay in the foreground, and print what happens on stderr; for systemd
    #[arg(long)]
    pub foreground: bool,
}
