//! Completions that depend on the host: names of networks and targets. Failures are silent.

use std::{collections::BTreeSet, ffi::OsStr, time::Duration};

use clap_complete::CompletionCandidate;

use crate::{
    engine,
    kernel::Kernel,
    model::{LinkName, steers},
    state::{Load, State},
};

/// The time to wait for an engine. Less than 50 ms in all seems instantaneous at a prompt.
const PATIENCE: Duration = Duration::from_millis(25);

/// Returns networks of netcord, and bridges of other programs.
pub(super) fn networks(typed: &OsStr) -> Vec<CompletionCandidate> {
    candidates(typed, run(network_names))
}

/// Returns names in `/run/netns`, and running containers.
pub(super) fn targets(typed: &OsStr) -> Vec<CompletionCandidate> {
    candidates(typed, run(target_names))
}

/// Returns both.
pub(super) fn networks_and_targets(typed: &OsStr) -> Vec<CompletionCandidate> {
    let mut names = run(network_names);
    names.extend(run(target_names));
    candidates(typed, names)
}

fn candidates(typed: &OsStr, names: BTreeSet<String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    names
        .into_iter()
        // Leave out names with control characters, which a terminal would interpret.
        .filter(|name| name.starts_with(&*typed) && !name.contains(steers))
        .map(CompletionCandidate::new)
        .collect()
}

fn run<F: Future<Output = BTreeSet<String>>>(names: impl FnOnce() -> F) -> BTreeSet<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map(|r| r.block_on(names())).unwrap_or_default()
}

async fn network_names() -> BTreeSet<String> {
    let Ok(kernel) = Kernel::open() else { return BTreeSet::new() };
    let mut names: BTreeSet<String> = State::read(kernel.cookie(), Load::Of(&[]))
        .map(|state| state.networks().keys().map(ToString::to_string).collect())
        .unwrap_or_default();
    let bridges = kernel.bridges().await.unwrap_or_default().into_iter().map(|l| l.name);
    // Bridges may have names that are no valid names of networks.
    names.extend(bridges.filter(|name| name.parse::<LinkName>().is_ok()));
    names
}

async fn target_names() -> BTreeSet<String> {
    let mut names: BTreeSet<String> = engine::names(PATIENCE).await.into_iter().collect();
    if let Ok(kernel) = Kernel::open() {
        names.extend(kernel.netns_names().iter().map(ToString::to_string));
    }
    names
}
