//! `netcord-agent`: keeps this host in the overlay networks that it has joined.

use clap::Parser;

/// Keep this host in the overlay networks that it has joined.
#[derive(Debug, Parser)]
#[command(name = "netcord-agent", version)]
struct Arguments;

fn main() {
    let Arguments = Arguments::parse();
}
