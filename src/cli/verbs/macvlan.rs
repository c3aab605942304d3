//! The verb `macvlan`: its flags, its help, and what it prints.

use std::net::IpAddr;

use anyhow::Result;

use crate::{
    cli::values::{key_value, new_network},
    model::{Cidr, LinkName, MacvlanMode},
    ops::{Session, driver::macvlan},
    output::Output,
};

/// Ensure a macvlan network: endpoints join the physical network on a host link
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Without --subnet, subnets and gateways are those of the parent. --ip-range limits which addresses netcord may assign; before it assigns one, it checks with ARP or NDP that the address is free. The host and the endpoints reach each other only with --host-access.\n\nExamples:\n  netcord macvlan lan0 --parent eth0 --ip-range 192.168.1.192/27\n  netcord macvlan lan0 --parent eth0 --host-access\n  netcord macvlan dmz0 --parent eth0.100 --subnet 10.9.0.0/24 --gateway 10.9.0.254"
)]
pub(crate) struct Args {
    /// The network's name: 15 bytes at most
    #[arg(value_name = "NETWORK", value_parser = new_network)]
    pub(super) name: LinkName,
    /// The host's link that endpoints use; a VLAN link (eth0.100) is made if it is missing
    #[arg(long, value_name = "LINK")]
    pub(super) parent: LinkName,
    /// Which endpoints reach each other
    #[arg(long, value_name = "MODE", default_value = "bridge")]
    pub(super) mode: MacvlanMode,
    /// A subnet; at most one per IP family [default: those of the parent's addresses]
    #[arg(long, value_name = "CIDR")]
    pub(super) subnet: Vec<Cidr>,
    /// The physical network's router [default: that of the host's default route on the parent]
    #[arg(long, value_name = "IP")]
    pub(super) gateway: Vec<IpAddr>,
    /// Assign addresses only from this range of the physical network [default: every free address]
    #[arg(long, value_name = "CIDR")]
    pub(super) ip_range: Vec<Cidr>,
    /// The MTU in bytes, at most the parent's [default: the parent's]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(68..=65535))]
    pub(super) mtu: Option<u32>,
    /// Let the host and the endpoints reach each other, through a macvlan for the host
    #[arg(long)]
    pub(super) host_access: bool,
    /// Metadata to store with the network
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(super) label: Vec<(String, String)>,
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        let Some(done) = macvlan::macvlan(session, &self.into()).await? else { return Ok(()) };
        let lines = [done.now.network.name.to_string()];
        output.result(done, &lines)
    }
}

impl From<Args> for macvlan::Macvlan {
    fn from(args: Args) -> Self {
        Self {
            name: args.name,
            parent: args.parent,
            mode: args.mode,
            subnet: args.subnet,
            no_subnet: false,
            gateway: args.gateway,
            ip_range: args.ip_range,
            mtu: args.mtu,
            host_access: args.host_access,
            label: args.label,
        }
    }
}
