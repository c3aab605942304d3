//! The watchdog of an underlay network: a process of its own that undoes the move unless it is
//! confirmed in time, also when the shell, its terminal and its connection are gone.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::{
    agents,
    model::{LinkName, Moving},
    ops::{
        Session,
        driver::underlay,
        upkeep::need::{Extent, Need},
    },
    process::clock,
    state::{Load, State},
};

/// Waits for the confirmation of a move, and undoes the move without one. Returns whether it was
/// undone.
///
/// # Errors
/// If the move cannot be undone.
pub async fn watch(host: &mut Session<'_>, name: &LinkName) -> Result<bool> {
    agents::ready_until_let_go()?;
    if is_settled(host, name)? {
        return Ok(false);
    }
    let mut result = undo(host, name).await;
    for _ in 1..ATTEMPTS {
        if result.is_ok() {
            break;
        }
        sleep(INTERVAL).await;
        result = undo(host, name).await;
    }
    result.map(|()| true)
}

/// Another process may hold the lock for long, or change the link at the same moment.
const ATTEMPTS: usize = 10;
const INTERVAL: Duration = Duration::from_secs(1);

/// Waits for the confirmation until the deadline. A run that was killed set no deadline, so the
/// move is undone at once.
fn is_settled(host: &Session<'_>, name: &LinkName) -> Result<bool> {
    let cookie = host.kernel.cookie();
    let read = || State::read(cookie, Load::All).map(|state| (moving(&state, name), state));
    let (deadline, state) = match read()? {
        (None, _) => return Ok(true),
        (Some(moving), state) => (moving.deadline.unwrap_or_default(), state),
    };
    clock::until(state.dir(), Duration::from_secs(deadline), || Ok(read()?.0.is_none()))
}

fn moving(state: &State, name: &LinkName) -> Option<Moving> {
    state.networks().get(name)?.network.driver.moving().cloned()
}

async fn undo(host: &mut Session<'_>, name: &LinkName) -> Result<()> {
    host.kernel.reconnect()?;
    let mut state = host.enter(Need::Removes, Extent::of(name)).await?;
    // By now it may be another network of the same name, which has its own watchdog.
    match underlay::overdue(&state).into_iter().find(|network| network.name == *name) {
        Some(network) => underlay::undo(host, &mut state, &network).await,
        None => Ok(()),
    }
}
