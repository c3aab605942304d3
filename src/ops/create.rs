//! `create`: docker's spelling of the verbs that make a network.

use anyhow::Result;

use super::{Host, bridge, macvlan};
use crate::{
    cli::{self, Driver},
    error::Error,
};

pub(super) async fn run(host: &mut Host<'_, '_>, args: cli::Create) -> Result<()> {
    match args.driver {
        Driver::Bridge => {
            let flags = &args.physical;
            refuse(
                "bridge",
                &[
                    ("--parent", flags.parent.is_some()),
                    ("--mode", flags.mode.is_some()),
                    ("--host-access", flags.host_access),
                ],
            )?;
            bridge::run(host, args.bridge).await
        }
        Driver::Macvlan => macvlan::run(host, as_macvlan(args)?).await,
    }
}

fn as_macvlan(args: cli::Create) -> Result<cli::Macvlan> {
    let cli::Create { bridge, physical, .. } = args;
    refuse(
        "macvlan",
        &[
            ("--ipv6", bridge.ipv6),
            ("--internal", bridge.internal),
            ("--isolate", bridge.isolate),
            ("--no-masquerade", bridge.no_masquerade),
        ],
    )?;
    let parent = physical.parent.ok_or_else(|| {
        Error::usage("a macvlan network needs a link of the host's to hang on")
            .hint("say which, with `--parent`")
    })?;
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

/// Flags that mean nothing to a driver are refused: who gives one relies on it.
fn refuse(driver: &str, flags: &[(&str, bool)]) -> Result<()> {
    match flags.iter().find(|(_, given)| *given) {
        Some((flag, _)) => {
            Err(Error::usage(format!("{flag} is not of the driver {driver}")).into())
        }
        None => Ok(()),
    }
}
