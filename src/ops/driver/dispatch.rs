//! Calls the driver's function, for verbs that work on any network.
#![deny(clippy::wildcard_enum_match_arm)]

use anyhow::Result;

use super::{bridge, foreign, macvlan, overlay, underlay, underlay::Lost};
use crate::{
    kernel::{Kernel, Link},
    model::{Driver, Endpoint, LinkName, Network, Records},
    ops::{
        Session,
        lookup::inside::Inside,
        request::words::Words,
        upkeep::{firewall, forward_accepts, removal},
    },
    plan::{self, Mark, Plan, Uplinks},
    state::State,
};

/// Returns the plan that removes a network without endpoints.
pub(in crate::ops) async fn removal(
    host: &Session<'_>,
    records: &Records,
    network: &Network,
) -> Result<Plan> {
    match &network.driver {
        Driver::Bridge | Driver::Foreign | Driver::Macvlan(_) | Driver::Overlay(_) => {
            Ok(removal::network(records, network))
        }
        Driver::Underlay(driver) => underlay::removal(host, records, network, driver).await,
    }
}

/// Does what remains outside of this host once networks were removed. Takes the records, and unlocks
/// them: what it asks may need them.
pub(in crate::ops) async fn left(host: &Session<'_>, state: State, networks: &[Network]) {
    let dir = state.dir().to_owned();
    drop(state);
    for network in networks {
        match &network.driver {
            Driver::Bridge | Driver::Foreign | Driver::Underlay(_) | Driver::Macvlan(_) => {}
            Driver::Overlay(driver) => overlay::left(host, &dir, network, driver).await,
        }
    }
}

/// Returns the plan that makes a network as it is now.
pub(in crate::ops) async fn commands(host: &Session<'_>, network: &Network) -> Result<Plan> {
    match &network.driver {
        Driver::Bridge | Driver::Macvlan(_) | Driver::Overlay(_) => {
            Ok(plan::create(network, &Uplinks::default()))
        }
        Driver::Foreign => Ok(Plan::new()),
        Driver::Underlay(driver) => underlay::commands(host, network, driver).await,
    }
}

/// Returns a network with the accept rules that it needs in other firewalls now, the plan that
/// repairs it, and the reason if its parent cannot simply be put back.
pub(in crate::ops) async fn repair(
    host: &Session<'_>,
    network: &Network,
    endpoints: &[Endpoint],
) -> Result<(Network, Plan, Option<Lost>)> {
    let (network, mut plan) = if network.driver.forwards() {
        forward_accepts::renewed(host, network)?
    } else {
        (network.clone(), Plan::new())
    };
    let mut lost = None;
    match &network.driver {
        Driver::Bridge => {
            let uplinks = bridge::uplinks(&host.kernel, &network).await?;
            plan.extend(plan::create(&network, &uplinks));
        }
        Driver::Foreign => {
            if endpoints.iter().any(|e| !e.ports.is_empty()) {
                plan.push(forward_accepts::remember(&network));
            }
        }
        Driver::Underlay(driver) => {
            let (back, missing) = underlay::repair(&host.kernel, &network, driver).await?;
            plan.extend(back);
            lost = missing;
        }
        Driver::Macvlan(driver) => {
            plan.extend(macvlan::repair(&host.kernel, &network, driver).await?);
        }
        Driver::Overlay(driver) => {
            let (back, missing) = overlay::repair(&host.kernel, &network, driver).await?;
            plan.extend(back);
            lost = missing;
        }
    }
    Ok((network, plan, lost))
}

/// Rebuilds a network without a record from its bridge.
pub(in crate::ops) async fn of_bridge(
    kernel: &Kernel,
    name: &LinkName,
    bridge: &Link,
) -> Result<Network> {
    let firewall = firewall::of_marks(kernel);
    if !bridge.is_ours() {
        return foreign::network(kernel, name, bridge, firewall).await;
    }
    let mark = bridge.alias.as_deref().and_then(Mark::read);
    let parent = mark.and_then(|mark| mark.values("parent").next());
    match parent.and_then(|name| name.parse().ok()) {
        Some(link) => underlay::rebuilt(kernel, name, bridge, link).await,
        None => match mark.and_then(overlay::Marks::read) {
            Some(marks) => overlay::rebuilt(kernel, name, bridge, firewall, marks).await,
            None => bridge::rebuilt(kernel, name, bridge, firewall).await,
        },
    }
}

/// Rebuilds a network without a record and without a bridge from its endpoints; returns `None` if
/// they do not reveal its parent.
pub(in crate::ops) async fn of_inside(
    kernel: &Kernel,
    name: &LinkName,
    endpoints: &[Inside],
) -> Result<Option<Network>> {
    macvlan::rebuilt(kernel, name, endpoints).await
}

/// Returns the command that restores the missing parts of a network.
pub(in crate::ops) fn again(network: &Network) -> String {
    match &network.driver {
        Driver::Bridge => bridge::again(network).line(),
        Driver::Foreign | Driver::Underlay(_) | Driver::Macvlan(_) | Driver::Overlay(_) => {
            "netcord repair".to_owned()
        }
    }
}

/// Returns the command that makes a network; `None` if another program makes it.
pub(in crate::ops) fn command(network: &Network) -> Option<Words> {
    match &network.driver {
        Driver::Bridge => Some(bridge::command(network)),
        Driver::Foreign => None,
        Driver::Underlay(driver) => Some(underlay::command(network, driver)),
        Driver::Macvlan(driver) => Some(macvlan::command(network, driver)),
        Driver::Overlay(driver) => Some(overlay::command(network, driver)),
    }
}
