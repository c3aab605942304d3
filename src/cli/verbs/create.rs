//! The verb `create`: its flags, its help, and what it prints.

use anyhow::Result;
use clap::ValueEnum;

use super::{
    bridge, docker, macvlan, overlay,
    overlay::{Hosts, InStore},
    underlay,
    underlay::MoveFlags,
};
use crate::{
    cli::values::key_value,
    error::Error,
    model::{Cidr, Flag, Flags, LinkName, MacvlanMode},
    ops::{
        Session,
        driver::{overlay::Overlay, underlay::Underlay},
    },
    output::Output,
};

/// Ensure a network, with the syntax of `docker network create`
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  netcord create lab0\n  netcord create -d macvlan lan0 --parent eth0 --ip-range 192.168.1.192/27"
)]
#[group(skip)]
pub(crate) struct Args {
    /// The driver of the network
    #[arg(short, long, value_name = "DRIVER", default_value = "bridge")]
    driver: Driver,
    /// An option of docker's drivers that is equal to a flag: com.docker.network.driver.mtu=1400
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(super) opt: Vec<(String, String)>,
    /// As of `bridge`
    #[command(flatten)]
    pub(super) bridge: bridge::Args,
    /// As docker's
    #[command(flatten)]
    _local: docker::Local,
    /// As of the verbs of other drivers
    #[command(flatten)]
    pub(super) physical: Physical,
    /// As of `overlay`
    #[command(flatten)]
    across: Across,
}

/// Flags of drivers with a parent.
#[derive(clap::Args, Debug)]
pub(crate) struct Physical {
    /// underlay, macvlan, overlay: the host's link that leads to the physical network
    #[arg(long, value_name = "LINK")]
    pub(super) parent: Option<LinkName>,
    /// macvlan: which endpoints reach each other [default: bridge]
    #[arg(long, value_name = "MODE")]
    pub(super) mode: Option<MacvlanMode>,
    /// macvlan: let the host and the endpoints reach each other
    #[arg(long)]
    host_access: bool,
    /// underlay: when the move is kept
    #[command(flatten)]
    moving: MoveFlags,
}

/// Flags of the driver with several hosts.
#[derive(clap::Args, Debug)]
pub(crate) struct Across {
    /// overlay: this host's part of the subnet, for its endpoints; one per IP family
    #[arg(long, value_name = "CIDR")]
    host_subnet: Vec<Cidr>,
    /// overlay: the other hosts
    #[command(flatten)]
    hosts: Hosts,
    /// overlay: the store of the hosts
    #[command(flatten)]
    store: InStore,
}

/// How a network is wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Driver {
    /// A Linux bridge with the gateway's address on it
    Bridge,
    /// A Linux bridge with the host's uplink as a port
    Underlay,
    /// macvlan links on a link of the host
    Macvlan,
    /// A Linux bridge on each of several hosts, whose endpoints reach each other
    Overlay,
}

impl Args {
    pub(super) async fn run(mut self, session: &mut Session<'_>, output: &Output) -> Result<()> {
        self.take_options()?;
        match self.driver {
            Driver::Bridge => {
                self.across.refuse("bridge")?;
                let flags = &self.physical;
                refuse(
                    "bridge",
                    &[
                        ("--parent", flags.parent.is_some()),
                        ("--mode", flags.mode.is_some()),
                        ("--host-access", flags.host_access),
                        ("--confirm", flags.moving.confirm.is_some()),
                        ("--no-confirm", flags.moving.no_confirm),
                        ("--takeover", flags.moving.takeover),
                    ],
                )?;
                self.bridge.run(session, output).await
            }
            Driver::Underlay => as_underlay(self)?.run(session, output).await,
            Driver::Macvlan => as_macvlan(self)?.run(session, output).await,
            Driver::Overlay => as_overlay(self)?.run(session, output).await,
        }
    }
}

fn as_macvlan(args: Args) -> Result<macvlan::Args> {
    let Args { bridge, physical, across, .. } = args;
    across.refuse("macvlan")?;
    refuse(
        "macvlan",
        &[
            ("--ipv6", bridge.ipv6),
            ("--no-subnet", bridge.no_subnet),
            ("--no-gateway", bridge.no_gateway),
            ("--outbound-addr", !bridge.outbound_addr.is_empty()),
            ("--confirm", physical.moving.confirm.is_some()),
            ("--no-confirm", physical.moving.no_confirm),
            ("--takeover", physical.moving.takeover),
        ],
    )?;
    refuse_flags("macvlan", bridge.flags(), &[])?;
    let parent = physical.parent.ok_or_else(|| no_parent("macvlan"))?;
    Ok(macvlan::Args {
        name: bridge.name,
        parent,
        mode: physical.mode.unwrap_or(MacvlanMode::Bridge),
        subnet: bridge.subnet,
        gateway: bridge.gateway,
        ip_range: bridge.ip_range,
        mtu: bridge.mtu,
        host_access: physical.host_access,
        label: bridge.label,
    })
}

fn as_underlay(args: Args) -> Result<underlay::Args> {
    let Args { bridge, physical, across, .. } = args;
    across.refuse("underlay")?;
    refuse(
        "underlay",
        &[
            ("--subnet", !bridge.subnet.is_empty()),
            ("--mtu", bridge.mtu.is_some()),
            ("--ipv6", bridge.ipv6),
            ("--no-subnet", bridge.no_subnet),
            ("--no-gateway", bridge.no_gateway),
            ("--outbound-addr", !bridge.outbound_addr.is_empty()),
            ("--mode", physical.mode.is_some()),
            ("--host-access", physical.host_access),
        ],
    )?;
    refuse_flags("underlay", bridge.flags(), &Underlay::FLAGS)?;
    Ok(underlay::Args {
        name: bridge.name,
        parent: physical.parent.ok_or_else(|| no_parent("underlay"))?,
        ip_range: bridge.ip_range,
        gateway: bridge.gateway,
        moving: physical.moving,
        isolate: bridge.isolate,
        no_spoof: bridge.no_spoof,
        label: bridge.label,
    })
}

fn as_overlay(args: Args) -> Result<overlay::Args> {
    let Args { bridge, physical, across, .. } = args;
    refuse(
        "overlay",
        &[
            ("--ipv6", bridge.ipv6),
            ("--no-subnet", bridge.no_subnet),
            ("--no-gateway", bridge.no_gateway),
            ("--outbound-addr", !bridge.outbound_addr.is_empty()),
            ("--mode", physical.mode.is_some()),
            ("--host-access", physical.host_access),
            ("--confirm", physical.moving.confirm.is_some()),
            ("--no-confirm", physical.moving.no_confirm),
            ("--takeover", physical.moving.takeover),
        ],
    )?;
    refuse_flags("overlay", bridge.flags(), &Overlay::FLAGS)?;
    for (flag, is_missing) in [
        ("--subnet, the subnet of the whole network", bridge.subnet.is_empty()),
        ("--host-subnet, this host's part of the subnet", across.host_subnet.is_empty()),
    ] {
        if is_missing && across.store.store.is_empty() {
            return Err(Error::usage(format!("driver overlay needs {flag}")).into());
        }
    }
    Ok(overlay::Args {
        name: bridge.name,
        subnet: bridge.subnet,
        host_subnet: across.host_subnet,
        hosts: across.hosts,
        store: across.store,
        parent: physical.parent,
        gateway: bridge.gateway,
        ip_range: bridge.ip_range,
        mtu: bridge.mtu,
        internal: bridge.internal,
        no_spoof: bridge.no_spoof,
        no_masquerade: bridge.no_masquerade,
        label: bridge.label,
    })
}

impl Across {
    /// Refuses these flags for another driver.
    fn refuse(&self, driver: &str) -> Result<()> {
        let Hosts { peer, backend, vni, port, direct_routing, public_ip, reach } = &self.hosts;
        refuse(
            driver,
            &[
                ("--host-subnet", !self.host_subnet.is_empty()),
                ("--store", !self.store.store.is_empty()),
                ("--peer", !peer.is_empty()),
                ("--backend", backend.is_some()),
                ("--vni", vni.is_some()),
                ("--port", port.is_some()),
                ("--direct-routing", *direct_routing),
                ("--public-ip", public_ip.is_some()),
                ("--reach", reach.is_some()),
            ],
        )
    }
}

fn no_parent(driver: &str) -> Error {
    Error::usage(format!("driver {driver} needs --parent, a link of the host"))
        .hint("for example `--parent eth0`")
}

/// Refuses flags that have no meaning for a driver, since the user relies on them.
fn refuse(driver: &str, flags: &[(&str, bool)]) -> Result<()> {
    match flags.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(unsupported(driver, flag)),
        None => Ok(()),
    }
}

fn refuse_flags(driver: &str, given: Flags, supported: &[Flag]) -> Result<()> {
    match given.iter().find(|flag| !supported.contains(flag)) {
        Some(flag) => Err(unsupported(driver, &flag.option())),
        None => Ok(()),
    }
}

fn unsupported(driver: &str, flag: &str) -> anyhow::Error {
    Error::usage(format!("driver {driver} does not support {flag}")).into()
}
