//! `confirm`: an underlay network stays.

use anyhow::Result;
use serde::Serialize;

use super::{Changed, Host, clean, find};
use crate::{
    cli,
    error::Error,
    model::{LinkName, Network},
    plan::{Plan, Record, Resource, Step},
    state::Wanted,
};

#[derive(Serialize)]
struct Confirmed {
    confirmed: Vec<LinkName>,
}

pub(super) async fn run(host: &mut Host<'_, '_>, args: cli::Confirm) -> Result<()> {
    let mut state = host.state(Wanted::All).await?;
    // One whose time is over is undone, not confirmed.
    clean::dead(host, &mut state).await?;
    if let Some(name) = &args.name {
        host.check_aside(name)?;
    }
    if let Some(name) = &args.name
        && state.networks().get(name).is_none_or(|r| r.network.driver.uplink().is_none())
    {
        return Err(find::no_network(&host.kernel, &state, name.as_str()).await);
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
            .hint("its time may be over: then everything is as it was before")
            .into());
    }
    let waiting = underlays.iter().filter(|n| n.driver.moving().is_some());
    let confirmed: Vec<_> = waiting.map(|n| n.name.clone()).collect();
    let plan: Plan = underlays.iter().map(|network| settled(network)).collect();
    let Some(changed) = host.carry_out(&plan, &mut state).await? else { return Ok(()) };
    let lines: Vec<_> = confirmed.iter().map(ToString::to_string).collect();
    host.output.result(&Changed::new(changed, Confirmed { confirmed }), &lines)
}

/// The network stays as it is: the list by which it would be undone is no longer needed.
pub(super) fn settled(network: &Network) -> Step {
    Step::create(
        "record that the move is confirmed",
        Resource::Record(Record::Network(network.with_moving(None))),
    )
}
