//! The way back: the link gets what hangs on the bridge now, and what has not arrived there.

use std::time::Duration;

use anyhow::Result;

use super::{Uplink, parent_of};
use crate::{
    kernel::Link,
    model::{Belongings, LinkName, Network},
    ops::{
        Session, detach,
        removal::{self, Records},
    },
    plan::{self, Change, Moved, Plan, Resource, Underlay},
    process::clock,
    state::State,
};

/// The networks whose time is over, or that a killed run did not finish.
pub(in crate::ops) fn overdue(state: &State) -> Vec<Network> {
    let is_overdue = |network: &&Network| {
        network.moving().is_some_and(|moving| match moving.deadline {
            // Who makes it holds the lock, and it is ours.
            None => true,
            Some(deadline) => clock::since_boot() >= Duration::from_secs(deadline),
        })
    };
    state.networks().values().map(|record| &record.network).filter(is_overdue).cloned().collect()
}

/// Takes the network away, with its endpoints.
pub(in crate::ops) async fn undo(
    host: &mut Session<'_>,
    state: &mut State,
    network: &Network,
) -> Result<()> {
    let record = state.networks().get(&network.name);
    let endpoints = record.map(|record| record.endpoints.clone()).unwrap_or_default();
    detach::away(host, state, network, &endpoints).await?;
    let plan = removal(host, state.networks(), network).await?;
    host.carry_out(&plan, state).await?;
    Ok(())
}

/// The plan that takes the network away, which nothing is attached to.
pub(in crate::ops) async fn removal(
    host: &Session<'_>,
    records: &Records,
    network: &Network,
) -> Result<Plan> {
    let known_as = parent_of(network)?;
    let links = host.kernel.links().await?;
    let bridge = links.values().find(|link| link.name == network.name.as_str());
    let uplink = Uplink::find(links.values(), bridge, known_as).link();
    // It may have another name by now.
    let parent = &match uplink {
        Some(link) => link.name.parse()?,
        None => known_as.clone(),
    };
    let mut belongings = moved(host, network, bridge, parent).await?;
    if let Some(moving) = network.moving() {
        belongings = belongings.or(moving.belongings.moved(known_as, parent));
    }
    let mut plan = plan::underlay(&Underlay {
        network,
        parent,
        belongings: &belongings,
        switches: &[],
        plug: false,
    });
    if bridge.is_none() {
        // Nothing has moved yet, or all of it is back.
        plan.retain(|step| !is_of_the_move(&step.change));
    } else if uplink.is_none() {
        // A link that was pulled out has nothing to be given back.
        plan.retain(|step| !concerns_parent(&step.change, parent));
    }
    let mut plan = removal::of(records, network, &plan);
    if network.moving().is_some() {
        // A run that did not come to its end may have left it.
        plan.insert(0, plan::without_carrier(network));
    }
    Ok(plan)
}

/// What the network is besides what was moved.
pub(in crate::ops) fn unmoved(network: &Network) -> Result<Plan> {
    let mut plan = plan::underlay(&Underlay {
        network,
        parent: parent_of(network)?,
        belongings: &Belongings::default(),
        switches: &[],
        plug: false,
    });
    plan.retain(|step| !is_of_the_move(&step.change));
    Ok(plan)
}

/// The plan that would make the network out of a link that has what its bridge has now.
pub(in crate::ops) async fn commands(host: &Session<'_>, network: &Network) -> Result<Plan> {
    let parent = parent_of(network)?;
    let bridge = host.kernel.link(network.name.as_str()).await?;
    Ok(plan::underlay(&Underlay {
        network,
        parent,
        belongings: &moved(host, network, bridge.as_ref(), parent).await?,
        switches: &host.kernel.switches(parent)?,
        plug: true,
    }))
}

/// What hangs on the bridge, as it would on the link.
async fn moved(
    host: &Session<'_>,
    network: &Network,
    bridge: Option<&Link>,
    parent: &LinkName,
) -> Result<Belongings> {
    match bridge {
        Some(bridge) => Ok(host.kernel.belongings(bridge).await?.moved(&network.name, parent)),
        None => Ok(Belongings::default()),
    }
}

fn is_of_the_move(change: &Change) -> bool {
    matches!(change.resource(), Some(Resource::Moved(_) | Resource::Ready { .. }))
}

fn concerns_parent(change: &Change, parent: &LinkName) -> bool {
    match change.resource() {
        Some(Resource::Moved(Moved::Port { .. } | Moved::Route(_))) => true,
        Some(
            Resource::Moved(Moved::Address { link, .. } | Moved::Neighbour { link, .. })
            | Resource::Ready { link },
        ) => link == parent,
        _ => false,
    }
}
