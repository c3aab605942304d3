//! `confirm`: keeps an underlay network.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    Changed, Session,
    driver::underlay,
    lookup::find,
    upkeep::need::{Extent, Need},
};
use crate::{
    error::Error,
    model::{LinkName, Network},
    plan::Plan,
};

/// The request to confirm an underlay network.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Confirm {
    /// The network; by default all that wait for confirmation.
    pub name: Option<LinkName>,
}

/// The confirmed networks.
#[derive(Debug, Serialize)]
pub struct Confirmed {
    /// Names of networks.
    pub confirmed: Vec<LinkName>,
}

/// Confirms underlay networks, so that they are not undone; returns `None` for a dry run.
///
/// # Errors
/// If there is no such network, or no underlay network at all.
pub async fn confirm(host: &mut Session<'_>, args: &Confirm) -> Result<Option<Changed<Confirmed>>> {
    // A move whose deadline has passed is undone here, not confirmed.
    let mut state = host.enter(Need::Changes, Extent::of(args.name.as_ref())).await?;
    if let Some(name) = &args.name
        && state.networks().get(name).is_none_or(|r| r.network.driver.uplink().is_none())
    {
        find::network(&host.kernel, &state, name).await?;
        return Err(Error::not_found(format!("network `{name}` waits for no confirmation"))
            .hint("only `netcord underlay` waits for one; `netcord ls` shows the networks' modes")
            .into());
    }
    let underlays: Vec<&Network> = state
        .networks()
        .values()
        .map(|record| &record.network)
        .filter(|n| n.driver.uplink().is_some())
        .filter(|n| args.name.as_ref().is_none_or(|a| *a == n.name))
        .filter(|n| !host.is_aside(&n.name))
        .collect();
    if underlays.is_empty() {
        host.check_none_aside()?;
        return Err(Error::not_found("no underlay network waits for a confirmation")
            .hint("its time may have run out: then the move was undone")
            .into());
    }
    let waiting = underlays.iter().filter(|n| n.driver.moving().is_some());
    let confirmed: Vec<_> = waiting.map(|n| n.name.clone()).collect();
    let plan: Plan = underlays.iter().map(|network| underlay::settled(network)).collect();
    let Some(changed) = host.carry_out(&plan, &mut state).await? else { return Ok(None) };
    Ok(Some(Changed::new(changed, Confirmed { confirmed })))
}
