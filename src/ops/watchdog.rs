//! The watchdog of an underlay network: a process of its own that undoes the move unless it is
//! confirmed in time, also when the shell, its terminal and its connection are gone.

use std::time::Duration;

use anyhow::Result;

use super::{Host, underlay};
use crate::{
    kernel::{background, clock},
    model::LinkName,
    state::State,
};

pub(super) async fn run(host: &mut Host<'_, '_>, name: &LinkName) -> Result<()> {
    background::detach()?;
    background::protect();
    background::ready()?;
    // Who made it has ended without a word: it did not come to its end.
    if background::is_let_go()? && confirmed(host, name)? {
        return Ok(());
    }
    let mut state = host.state()?;
    // By now it may be another one of the same name, which has its own watchdog.
    match underlay::overdue(&state).into_iter().find(|network| network.name == *name) {
        Some(network) => underlay::undo(host, &mut state, &network).await,
        None => Ok(()),
    }
}

/// Waits for the confirmation, for as long as there is time.
fn confirmed(host: &Host<'_, '_>, name: &LinkName) -> Result<bool> {
    let cookie = host.kernel.cookie();
    let state = State::read(cookie)?;
    let moving =
        |state: &State| state.networks().get(name).and_then(|r| r.network.moving().cloned());
    let Some(deadline) = moving(&state).and_then(|m| m.deadline) else { return Ok(true) };
    let deadline = Duration::from_secs(deadline);
    clock::until(state.dir(), deadline, || Ok(moving(&State::read(cookie)?).is_none()))
}
