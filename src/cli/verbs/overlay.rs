//! The verb `overlay`: its flags, its help, and what it prints.

use std::net::IpAddr;

use anyhow::Result;

use crate::{
    cli::values::{key_value, new_network},
    model::{BackendKind, Cidr, Flag, Flags, LinkName, PeerSpec, Vxlan},
    ops::{Session, driver::overlay},
    output::Output,
};

/// Ensure an overlay network: endpoints on several hosts reach each other by their own addresses
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Each host runs the command with the same --subnet, its own --host-subnet, and one --peer for each other host.\nRun again with other peers, it adds and removes what differs.\n\nExamples:\n  netcord overlay pods --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24 --peer 10.5.2.0/24=192.0.2.2\n  netcord overlay pods --subnet 10.5.0.0/16 --host-subnet 10.5.1.0/24 --backend host-gw --peer 10.5.2.0/24=192.0.2.2\n  netcord overlay pods --subnet 10.5.0.0/16 --subnet fd00:5::/48 --host-subnet 10.5.1.0/24 --host-subnet fd00:5:0:1::/64 --peer 10.5.2.0/24,fd00:5:0:2::/64=192.0.2.2"
)]
pub(crate) struct Args {
    /// The network's name, which is the bridge's: 15 bytes at most
    #[arg(value_name = "NETWORK", value_parser = new_network)]
    pub(super) name: LinkName,
    /// The subnet of the whole network, the same on all hosts; at most one per IP family
    #[arg(long, value_name = "CIDR", required = true)]
    pub(super) subnet: Vec<Cidr>,
    /// This host's part of the subnet, for its endpoints; one per IP family
    #[arg(long, value_name = "CIDR", required = true)]
    pub(super) host_subnet: Vec<Cidr>,
    /// What only overlay networks have
    #[command(flatten)]
    pub(super) hosts: Hosts,
    /// The host's link that leads to the other hosts [default: that of the route to the first peer]
    #[arg(long, value_name = "LINK", conflicts_with_all = ["public_ip", "reach"])]
    pub(super) parent: Option<LinkName>,
    /// The bridge's address, which is the endpoints' gateway [default: the first of the host subnet]
    #[arg(long, value_name = "IP")]
    pub(super) gateway: Vec<IpAddr>,
    /// Assign addresses only from this part of the host subnet
    #[arg(long, value_name = "CIDR")]
    pub(super) ip_range: Vec<Cidr>,
    /// The MTU in bytes [default: that of the parent, less 50 for the tunnel, or 70 over IPv6]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(68..=65535))]
    pub(super) mtu: Option<u32>,
    /// Endpoints reach those of the network on all hosts, and nothing outside
    #[arg(long)]
    pub(super) internal: bool,
    /// Drop frames with a source MAC or IP address that is not the endpoint's own, and messages of
    /// routers and DHCP servers
    #[arg(long)]
    pub(super) no_spoof: bool,
    /// Do not translate source addresses (no SNAT) of packets that leave the network
    #[arg(long)]
    pub(super) no_masquerade: bool,
    /// Metadata to store with the network
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(super) label: Vec<(String, String)>,
}

/// The other hosts, and how packets reach them.
#[derive(clap::Args, Debug)]
pub(crate) struct Hosts {
    /// Another host: the subnets of its endpoints, and its address. The first address carries the
    /// tunnel; the second is the next hop of the other IP family's packets without a tunnel
    #[arg(long, value_name = "SUBNET[,SUBNET6]=HOST[,HOST6]")]
    pub(super) peer: Vec<PeerSpec>,
    /// How packets reach the other hosts [default: vxlan]
    #[arg(long, value_name = "BACKEND")]
    pub(super) backend: Option<BackendKind>,
    /// vxlan: the network identifier, the same on all hosts [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(Vxlan::VNI_MAX)))]
    pub(super) vni: Option<u32>,
    /// vxlan: the UDP port, the same on all hosts [default: 8472]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// vxlan: no tunnel to hosts that are on the parent without a router between
    #[arg(long)]
    pub(super) direct_routing: bool,
    /// This host's address, by which the others reach it [default: the first of the parent]
    #[arg(long, value_name = "IP", conflicts_with = "reach")]
    pub(super) public_ip: Option<IpAddr>,
    /// Take the parent that leads to this address
    #[arg(long, value_name = "IP")]
    pub(super) reach: Option<IpAddr>,
}

impl Args {
    /// The flags that are given.
    fn flags(&self) -> Flags {
        Flags::of(|flag| match flag {
            Flag::Internal => self.internal,
            Flag::Isolate => false,
            Flag::NoMasquerade => self.no_masquerade,
            Flag::NoSpoof => self.no_spoof,
        })
    }

    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        let Some(done) = overlay::overlay(session, &self.into()).await? else { return Ok(()) };
        let lines: Vec<_> =
            done.now.network.subnets.iter().map(|subnet| subnet.cidr.to_string()).collect();
        output.result(done, &lines)
    }
}

impl From<Args> for overlay::Overlay {
    fn from(args: Args) -> Self {
        Self {
            flags: args.flags(),
            name: args.name,
            subnet: args.subnet,
            host_subnet: args.host_subnet,
            peer: args.hosts.peer,
            backend: args.hosts.backend.unwrap_or(BackendKind::Vxlan),
            vni: args.hosts.vni,
            port: args.hosts.port,
            direct_routing: args.hosts.direct_routing,
            parent: args.parent,
            public_ip: args.hosts.public_ip,
            reach: args.hosts.reach,
            gateway: args.gateway,
            ip_range: args.ip_range,
            mtu: args.mtu,
            label: args.label,
        }
    }
}
