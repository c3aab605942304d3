//! Undoes a move: the link gets the bridge's current configuration, and what has not arrived there.

use std::time::Duration;

use anyhow::Result;

use super::{network::driver_of, uplink::Uplink};
use crate::{
    kernel::Link,
    model::{LinkConfig, LinkName, Network, Records, Underlay},
    ops::{
        Session,
        upkeep::{endpoints, removal},
    },
    plan::{self, Change, Moved, Plan, Resource, Takeover, Uplinks},
    process::clock,
    state::State,
};

/// Returns the networks whose deadline has passed, or whose move a killed run did not finish.
pub(in crate::ops) fn overdue(state: &State) -> Vec<Network> {
    let is_overdue = |network: &&Network| {
        network.driver.moving().is_some_and(|moving| match moving.deadline {
            // A running move holds the lock, which we have.
            None => true,
            Some(deadline) => clock::since_boot() >= Duration::from_secs(deadline),
        })
    };
    state.networks().values().map(|record| &record.network).filter(is_overdue).cloned().collect()
}

/// Removes the network, with its endpoints.
pub(in crate::ops) async fn undo(
    host: &mut Session<'_>,
    state: &mut State,
    network: &Network,
) -> Result<()> {
    let record = state.networks().get(&network.name);
    let endpoints = record.map(|record| record.endpoints.clone()).unwrap_or_default();
    endpoints::away(host, state, network, &endpoints).await?;
    let plan = removal(host, state.networks(), network, driver_of(network)?).await?;
    host.carry_out(&plan, state).await?;
    Ok(())
}

/// Returns the plan that removes the network, which has no endpoints.
pub(in crate::ops::driver) async fn removal(
    host: &Session<'_>,
    records: &Records,
    network: &Network,
    driver: &Underlay,
) -> Result<Plan> {
    let known_as = &driver.parent.link;
    let links = host.kernel.links().await?;
    let bridge = links.values().find(|link| link.name == network.name.as_str());
    let uplink = Uplink::find(links.values(), bridge, known_as).link();
    // The parent may have another name by now.
    let parent = &match uplink {
        Some(link) => link.name.parse()?,
        None => known_as.clone(),
    };
    let mut link_config = moved(host, network, bridge, parent).await?;
    if let Some(moving) = &driver.moving {
        link_config = link_config.or(moving.link_config.moved(known_as, parent));
    }
    let mut plan = if bridge.is_some() {
        let link_config = &link_config;
        let takeover =
            Takeover { network, driver, parent, link_config, switches: &[], plug: false };
        plan::takeover(&takeover)
    } else {
        // Nothing has moved yet, or everything is back.
        plan::create(network, &Uplinks::default())
    };
    if uplink.is_none() {
        // A parent that is gone cannot get its configuration back.
        plan.retain(|step| !concerns_parent(&step.change, parent));
    }
    let mut plan = removal::of(records, network, &plan);
    if driver.moving.is_some() {
        // An interrupted run may have left the carrier veth.
        plan.insert(0, plan::without_carrier(network));
    }
    Ok(plan)
}

/// Returns the plan that makes the network from a link with the bridge's current configuration.
pub(in crate::ops::driver) async fn commands(
    host: &Session<'_>,
    network: &Network,
    driver: &Underlay,
) -> Result<Plan> {
    let parent = &driver.parent.link;
    let bridge = host.kernel.link(network.name.as_str()).await?;
    Ok(plan::takeover(&Takeover {
        network,
        driver,
        parent,
        link_config: &moved(host, network, bridge.as_ref(), parent).await?,
        switches: &host.kernel.switches(parent)?,
        plug: true,
    }))
}

/// Returns the configuration of the bridge, as that of the link.
async fn moved(
    host: &Session<'_>,
    network: &Network,
    bridge: Option<&Link>,
    parent: &LinkName,
) -> Result<LinkConfig> {
    match bridge {
        Some(bridge) => Ok(host.kernel.link_config(bridge).await?.moved(&network.name, parent)),
        None => Ok(LinkConfig::default()),
    }
}

fn concerns_parent(change: &Change, parent: &LinkName) -> bool {
    match change.resource() {
        Some(Resource::Moved(Moved::Port { .. } | Moved::Route(_))) => true,
        Some(
            Resource::Moved(Moved::Address { link, .. } | Moved::Neighbour { link, .. })
            | Resource::WaitReady { link },
        ) => link == parent,
        _ => false,
    }
}
