//! The bridge of an engine's network: `docker network ls` and `podman network ls` have other names
//! for networks than the kernel has for their bridges.

use std::{collections::HashMap, time::Duration};

use anyhow::Result;

use crate::{
    engine::{self, EngineNetwork},
    error::{Error, did_you_mean},
    model::{Engine, LinkName},
    ops::Session,
};

/// The time to wait for an engine that the user named.
const NAMED: Duration = Duration::from_secs(10);
/// The time to wait if only an engine can know the name.
const SEARCH: Duration = Duration::from_secs(2);
/// The time to wait for the engines' names of bridges, which are only shown.
const ASIDE: Duration = Duration::from_millis(200);

/// Returns what the engines call their bridges (`docker:shop_default`), by the bridge.
pub(in crate::ops) async fn names() -> HashMap<String, String> {
    let named =
        |network: EngineNetwork| Some((network.bridge.as_ref()?.to_string(), network.to_string()));
    engine::networks(ASIDE).await.into_iter().filter_map(named).collect()
}

/// Returns the bridge of a network of this engine.
///
/// # Errors
/// If the engine does not answer, or has no such bridge network.
pub(in crate::ops) async fn bridge_of(
    host: &Session<'_>,
    engine: Engine,
    name: &str,
) -> Result<LinkName> {
    let _doing = host.events.doing_for(NAMED, format!("asking {engine} for network `{name}`"));
    let networks = engine::networks_of(engine, NAMED).await?;
    if let Some(network) = networks.iter().find(|network| network.is_called(name)) {
        return bridge(host, network);
    }
    let bridges = networks.iter().filter(|network| network.bridge.is_some());
    let names = || bridges.clone().map(|network| network.name.as_str());
    let mut error = Error::not_found(format!("{engine} has no network `{name}`"));
    error.hint = did_you_mean(name, names());
    Err(error.absent(name, names()).into())
}

/// Returns the bridge of a network of any engine; `None` if none has such a network. An engine that
/// does not answer in time is left out.
///
/// # Errors
/// If several engines have it, or it is no bridge network.
pub(in crate::ops) async fn bridge_anywhere(
    host: &Session<'_>,
    name: &str,
) -> Result<Option<LinkName>> {
    let _doing = host.events.doing_for(SEARCH, format!("asking the engines for network `{name}`"));
    let mut networks = engine::networks(SEARCH).await;
    networks.retain(|network| network.is_called(name));
    match networks.as_slice() {
        [] => Ok(None),
        [only] => bridge(host, only).map(Some),
        all => {
            let candidates: Vec<_> = all.iter().map(ToString::to_string).collect();
            Err(Error::conflict(format!("`{name}` is found in more than one place"))
                .hint(format!("write one of: {}", candidates.join(", ")))
                .into())
        }
    }
}

fn bridge(host: &Session<'_>, network: &EngineNetwork) -> Result<LinkName> {
    let EngineNetwork { engine, name, driver, .. } = network;
    match &network.bridge {
        Some(bridge) if host.kernel.has_link(bridge) => Ok(bridge.clone()),
        Some(bridge) => Err(Error::not_found(format!(
            "network `{name}` of {engine} has no bridge `{bridge}` at present"
        ))
        .hint(format!("{engine} makes it with the first container in the network"))
        .into()),
        None => Err(Error::not_found(format!(
            "network `{name}` of {engine} is no bridge on this host: its driver is {driver}"
        ))
        .hint("netcord attaches to networks of its own, and to bridges")
        .into()),
    }
}
