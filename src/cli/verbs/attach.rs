//! The verb `attach`: its flags, its help, and what it prints.

use anyhow::Result;
use clap_complete::ArgValueCompleter;

use crate::{
    cli::{complete, values::new_netns},
    model::{Address, Gateway, LinkName, Mac, NetnsName, NetworkRef, PortSpec, RouteSpec, Target},
    ops::{Session, attach},
    output::Output,
};

/// Attach targets to a network
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  netcord attach lab0 1310\n  netcord attach docker0 1310 --ip 172.17.0.10/16 --gateway 172.17.0.1\n  netcord attach lab0 web -p 8080:80\n  netcord attach br0 web --dhcp"
)]
pub(crate) struct Args {
    /// The network: one of netcord's, any bridge of this host, or docker's or podman's name of one
    #[arg(add = ArgValueCompleter::new(complete::attachable_networks))]
    network: NetworkRef,
    /// The targets to attach
    #[arg(value_name = "TARGET", required = true, add = ArgValueCompleter::new(complete::targets))]
    targets: Vec<Target>,
    /// How they are attached
    #[command(flatten)]
    wiring: Wiring,
    /// Wait for the targets to appear, at most this long
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "30")]
    wait: Option<u64>,
}

/// How an endpoint is wired.
#[derive(clap::Args, Debug)]
pub(crate) struct Wiring {
    /// An address; may be repeated [default: the lowest free one of each subnet]
    #[arg(long, alias = "ip6", value_name = "IP[/LEN]")]
    ip: Vec<Address>,
    /// Lease the IPv4 address from the network's DHCP server, and keep renewing it
    #[arg(long)]
    dhcp: bool,
    /// The default route's gateway, or `none` [default: the network's, if there is no default route yet]
    #[arg(long, value_name = "IP|none")]
    gateway: Vec<Gateway>,
    /// The inner link's MAC address [default: 02:42 followed by the IPv4 address]
    #[arg(long, alias = "mac-address")]
    mac: Option<Mac>,
    /// The inner link's name [default: the next free ethN]
    #[arg(long, value_name = "NAME")]
    ifname: Option<LinkName>,
    /// The host end's name [default: nc and a hash]
    #[arg(long, value_name = "NAME")]
    host_ifname: Option<LinkName>,
    /// The MTU of both links in bytes [default: the bridge's]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(68..=65535))]
    mtu: Option<u32>,
    /// The default routes' metric: the lowest of a target's wins [default: the kernel's]
    #[arg(long, value_name = "NUMBER")]
    metric: Option<u32>,
    /// An additional route inside the target; the types blackhole, unreachable and prohibit drop packets
    #[arg(long, value_name = "[TYPE:]DST[,GATEWAY][,metric=N]")]
    route: Vec<RouteSpec>,
    /// Publish a port, as with `publish`
    #[arg(short, long, value_name = "PORT")]
    publish: Vec<PortSpec>,
    /// In a flat network, take the --ip from the host that has it, which detaches it
    #[arg(long, requires = "ip")]
    takeover: bool,
    /// The target's name in /run/netns [default: the PID, or the container's name]
    #[arg(long, value_name = "NAME", value_parser = new_netns)]
    name: Option<NetnsName>,
}

impl From<Wiring> for attach::Wiring {
    fn from(wiring: Wiring) -> Self {
        Self {
            ip: wiring.ip,
            no_address: false,
            ranges: Vec::new(),
            dhcp: wiring.dhcp,
            gateway: wiring.gateway,
            mac: wiring.mac,
            ifname: wiring.ifname,
            host_ifname: wiring.host_ifname,
            mtu: wiring.mtu,
            metric: wiring.metric,
            spare_default: false,
            route: wiring.route,
            publish: wiring.publish,
            name: wiring.name,
            hairpin: false,
            owner: None,
            takeover: wiring.takeover,
        }
    }
}

impl Args {
    pub(super) async fn run(self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        let Self { network, targets, wiring, wait } = self;
        let request = attach::Attach { network, targets, wiring: wiring.into(), wait };
        let Some(done) = attach::attach(session, &request).await? else { return Ok(()) };
        let addresses = done.now.endpoints.iter().flat_map(|e| &e.addresses);
        let lines: Vec<_> = addresses.map(|a| a.ip().to_string()).collect();
        output.result(done, &lines)
    }
}
