//! The verb `bridge`: its flags, its help, and what it prints.

use std::net::IpAddr;

use anyhow::Result;

use crate::{
    cli::values::{key_value, new_network},
    model::{Cidr, Flag, Flags, LinkName},
    ops::{Session, driver::bridge},
    output::Output,
};

/// Ensure a bridge network
#[derive(clap::Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[command(
    after_help = "Examples:\n  netcord bridge lab0\n  netcord bridge lab0 --subnet 10.9.0.0/24 --ipv6\n  netcord bridge back --internal"
)]
pub(crate) struct Args {
    /// The network's name, which is the bridge's: 15 bytes at most
    #[arg(value_name = "NETWORK", value_parser = new_network)]
    pub(super) name: LinkName,
    /// A subnet; may be repeated [default: the lowest free one of docker's pools]
    #[arg(long, value_name = "CIDR")]
    pub(super) subnet: Vec<Cidr>,
    /// Have no subnet: the bridge only switches frames, and netcord assigns no addresses (layer 2)
    #[arg(long)]
    pub(super) no_subnet: bool,
    /// The bridge's address, which is the endpoints' gateway [default: the first of the subnet]
    #[arg(long, value_name = "IP")]
    pub(super) gateway: Vec<IpAddr>,
    /// Give the bridge no address, with --internal: endpoints do not reach the host either
    #[arg(long)]
    pub(super) no_gateway: bool,
    /// Assign addresses only from this part of the subnet
    #[arg(long, value_name = "CIDR")]
    pub(super) ip_range: Vec<Cidr>,
    /// The source address of packets that leave the network; one per IP family [default: that of the outgoing link]
    #[arg(long, value_name = "IP")]
    pub(super) outbound_addr: Vec<IpAddr>,
    /// The MTU in bytes [default: that of the link with the host's default route]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(68..=65535))]
    pub(super) mtu: Option<u32>,
    /// Add an IPv6 subnet [default: a /64 of this host's unique local (ULA) prefix]
    #[arg(long)]
    pub(super) ipv6: bool,
    /// Endpoints reach nothing outside the network
    #[arg(long)]
    pub(super) internal: bool,
    /// Endpoints do not reach each other, only the host, the outside and published ports
    #[arg(long)]
    pub(super) isolate: bool,
    /// Drop frames with a source MAC or IP address that is not the endpoint's own, and messages of
    /// routers and DHCP servers
    #[arg(long)]
    pub(super) no_spoof: bool,
    /// Do not translate source addresses (no SNAT) of packets that leave the network
    #[arg(long)]
    pub(super) no_masquerade: bool,
    /// Open the network to other networks with --open, in both directions
    #[arg(long)]
    pub(super) open: bool,
    /// Metadata to store with the network
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(super) label: Vec<(String, String)>,
}

impl Args {
    /// The flags that are given.
    pub(super) fn flags(&self) -> Flags {
        Flags::of(|flag| match flag {
            Flag::Internal => self.internal,
            Flag::Isolate => self.isolate,
            Flag::NoMasquerade => self.no_masquerade,
            Flag::NoSpoof => self.no_spoof,
            Flag::Open => self.open,
        })
    }

    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        let Some(done) = bridge::bridge(session, &self.into()).await? else { return Ok(()) };
        let lines = [done.now.network.name.to_string()];
        output.result(done, &lines)
    }
}

impl From<Args> for bridge::Bridge {
    fn from(args: Args) -> Self {
        Self {
            flags: args.flags(),
            name: args.name,
            subnet: args.subnet,
            no_subnet: args.no_subnet,
            gateway: args.gateway,
            no_gateway: args.no_gateway,
            ip_range: args.ip_range,
            outbound_addr: args.outbound_addr,
            mtu: args.mtu,
            ipv6: args.ipv6,
            label: args.label,
        }
    }
}
