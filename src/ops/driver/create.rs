//! `create`: docker's spelling of the verbs that make a network.

use anyhow::Result;

use super::{bridge, macvlan, underlay};
use crate::{
    cli::{self, Driver},
    error::Error,
    model::{Flag, Flags},
    ops::Host,
};

pub(in crate::ops) async fn run(host: &mut Host<'_, '_>, args: cli::Create) -> Result<()> {
    match args.driver {
        Driver::Bridge => {
            let flags = &args.physical;
            refuse(
                "bridge",
                &[
                    ("--parent", flags.parent.is_some()),
                    ("--mode", flags.mode.is_some()),
                    ("--host-access", flags.host_access),
                    ("--confirm", flags.takeover.confirm.is_some()),
                    ("--no-confirm", flags.takeover.no_confirm),
                    ("--takeover", flags.takeover.takeover),
                ],
            )?;
            bridge::run(host, args.bridge).await
        }
        Driver::Underlay => underlay::run(host, as_underlay(args)?).await,
        Driver::Macvlan => macvlan::run(host, as_macvlan(args)?).await,
    }
}

fn as_macvlan(args: cli::Create) -> Result<cli::Macvlan> {
    let cli::Create { bridge, physical, .. } = args;
    refuse(
        "macvlan",
        &[
            ("--ipv6", bridge.ipv6),
            ("--confirm", physical.takeover.confirm.is_some()),
            ("--no-confirm", physical.takeover.no_confirm),
            ("--takeover", physical.takeover.takeover),
        ],
    )?;
    refuse_flags("macvlan", bridge.flags(), |_| false)?;
    let parent = physical.parent.ok_or_else(|| no_parent("macvlan"))?;
    Ok(cli::Macvlan {
        name: bridge.name,
        parent,
        mode: physical.mode.unwrap_or(cli::MacvlanMode::Bridge),
        subnet: bridge.subnet,
        gateway: bridge.gateway,
        ip_range: bridge.ip_range,
        mtu: bridge.mtu,
        host_access: physical.host_access,
        label: bridge.label,
    })
}

fn as_underlay(args: cli::Create) -> Result<cli::Underlay> {
    let cli::Create { bridge, physical, .. } = args;
    refuse(
        "underlay",
        &[
            ("--subnet", !bridge.subnet.is_empty()),
            ("--mtu", bridge.mtu.is_some()),
            ("--ipv6", bridge.ipv6),
            ("--mode", physical.mode.is_some()),
            ("--host-access", physical.host_access),
        ],
    )?;
    refuse_flags("underlay", bridge.flags(), |f| matches!(f, Flag::Isolate | Flag::NoSpoof))?;
    Ok(cli::Underlay {
        name: bridge.name,
        parent: physical.parent.ok_or_else(|| no_parent("underlay"))?,
        ip_range: bridge.ip_range,
        gateway: bridge.gateway,
        takeover: physical.takeover,
        isolate: bridge.isolate,
        no_spoof: bridge.no_spoof,
        label: bridge.label,
    })
}

fn no_parent(driver: &str) -> Error {
    Error::usage(format!("the driver {driver} needs a link that leads to the physical network"))
        .hint("say which of the host's, with `--parent`")
}

/// Flags that mean nothing to a driver are refused: who gives one relies on it.
fn refuse(driver: &str, flags: &[(&str, bool)]) -> Result<()> {
    match flags.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(unsupported(driver, flag)),
        None => Ok(()),
    }
}

fn refuse_flags(driver: &str, given: Flags, is_supported: fn(Flag) -> bool) -> Result<()> {
    match given.iter().find(|flag| !is_supported(*flag)) {
        Some(flag) => Err(unsupported(driver, &flag.option())),
        None => Ok(()),
    }
}

fn unsupported(driver: &str, flag: &str) -> anyhow::Error {
    Error::usage(format!("{flag} is not of the driver {driver}")).into()
}
