//! The beginning of every verb: it gets the records, and does the housekeeping. No other code locks
//! records for a verb.

use anyhow::Result;

use super::{
    clean,
    need::{Depth, Extent, Need},
};
use crate::{
    agents::netcord_agent,
    kernel::LinkKind,
    model::{AgentTask, LinkName, Network},
    ops::Session,
    process,
    state::State,
};

/// Returns the networks that need netcord-agent, and what for, if it does not run.
pub(in crate::ops) fn without_agent(state: &State) -> impl Iterator<Item = (&Network, AgentTask)> {
    let networks = state.networks().values().map(|record| &record.network);
    let needing = networks.filter_map(|n| Some((n, n.driver.overlay()?.agent_task()?)));
    let mut needing = needing.peekable();
    let runs = needing.peek().is_some() && netcord_agent::runs(state.dir());
    needing.filter(move |_| !runs)
}

impl Session<'_> {
    /// Returns the records for a verb that only reads.
    pub(in crate::ops) async fn look(&self, extent: Extent<'_>) -> Result<State> {
        self.records(Need::Looks, &extent).await
    }

    /// Returns the records for a verb that changes or removes something. A dry run takes no lock,
    /// needs no privilege, and writes nothing.
    ///
    /// # Errors
    /// If the records cannot be locked, or the network that the verb concerns was set
    /// aside.
    pub(in crate::ops) async fn enter(&mut self, need: Need, extent: Extent<'_>) -> Result<State> {
        let mut state = self.records(need, &extent).await?;
        if need != Need::Changes {
            return Ok(state);
        }
        self.tidy(&mut state).await?;
        self.start_agent(&state);
        if let Some(network) = extent.network {
            self.check_aside(network)?;
        }
        if let Some(is_in_the_way) = extent.in_the_way {
            clean::dying(self, &mut state, is_in_the_way, extent.ports).await?;
        }
        Ok(state)
    }

    /// Starts netcord-agent if a network needs it and it does not run, for example since it was killed.
    /// Returns whether it was started.
    pub(in crate::ops) fn start_agent(&self, state: &State) -> bool {
        let Some((network, task)) = without_agent(state).next().filter(|_| !self.dry_run) else {
            return false;
        };
        let started = netcord_agent::start();
        if let Err(error) = &started {
            let (name, undone) = (&network.name, task.undone());
            self.events.warn(&format!("network `{name}`: {undone}: {error:#}"));
        }
        started.is_ok()
    }

    /// Does the housekeeping: repairs the firewall's rules, undoes overdue moves, removes dead
    /// endpoints and names. Returns descriptions of what was removed.
    pub(in crate::ops) async fn tidy(&mut self, state: &mut State) -> Result<Vec<String>> {
        clean::dead(self, state).await
    }

    async fn records(&self, need: Need, extent: &Extent<'_>) -> Result<State> {
        self.kernel.forget_rules();
        if extent.rules {
            // The verb reports the error.
            drop(self.kernel.ruleset());
        }
        let mut state = if need == Need::Looks || self.dry_run {
            self.rebuilt_in_memory(extent.load, extent.depth).await?
        } else {
            self.locked(extent).await?
        };
        if let Some(network) = extent.network.filter(|_| extent.inside) {
            self.look_inside(&mut state, network).await?;
        }
        Ok(state)
    }

    async fn locked(&self, extent: &Extent<'_>) -> Result<State> {
        let cookie = self.kernel.cookie();
        let doing = self.events.doing_for(State::PATIENCE, move || waiting_for_records(cookie));
        let mut state = State::locked(cookie, extent.load)?;
        drop(doing);
        self.warn_of(&state, 0);
        self.adopt(&mut state, extent.depth).await?;
        Ok(state)
    }

    /// Reads the endpoints that were not asked for.
    pub(in crate::ops) async fn complete(&self, state: &mut State) -> Result<()> {
        if state.is_partial() {
            let told = state.warnings().len();
            state.complete();
            self.warn_of(state, told);
            self.adopt(state, Depth::Links).await?;
        }
        Ok(())
    }

    /// Adopts a network whose links are inside its targets only, with its endpoints.
    pub(in crate::ops) async fn look_inside(
        &self,
        state: &mut State,
        network: &LinkName,
    ) -> Result<()> {
        let is_inside = if let Some(record) = state.networks().get(network) {
            record.network.bridge().is_none()
        } else {
            let link = self.kernel.link(network.as_str()).await?;
            link.is_none_or(|link| link.kind == LinkKind::Macvlan)
        };
        if is_inside { self.adopt(state, Depth::Names).await } else { Ok(()) }
    }
}

/// Describes the process that has locked the records.
fn waiting_for_records(cookie: u64) -> String {
    let other = State::holder(cookie).filter(|holder| *holder != std::process::id());
    match other.map(|pid| (pid, process::name(pid))) {
        Some((pid, Some(name))) => {
            format!("waiting for process {pid} (`{name}`), which has locked the records")
        }
        Some((pid, None)) => format!("waiting for process {pid}, which has locked the records"),
        None => "waiting for the records".to_owned(),
    }
}
