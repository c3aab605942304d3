//! Completions that depend on the host: names of networks and targets. Failures are silent.

use std::{collections::BTreeSet, env, ffi::OsStr, time::Duration};

use clap_complete::CompletionCandidate;

use crate::{
    engine,
    kernel::Kernel,
    model::{Endpoint, LinkName, PublishedPort, lesson::LESSONS, steers},
    state::{Load, State},
};

/// The time to wait for an engine. Less than 50 ms in all seems instantaneous at a prompt.
const PATIENCE: Duration = Duration::from_millis(25);

/// The prefixes of targets.
const PREFIXES: [&str; 3] = ["netns:", "docker:", "podman:"];

/// Returns networks of netcord, and bridges of other programs.
pub(super) fn networks(typed: &OsStr) -> Vec<CompletionCandidate> {
    candidates(typed, run(network_names))
}

/// Returns networks as [`networks`], and bridge networks of engines.
pub(super) fn attachable_networks(typed: &OsStr) -> Vec<CompletionCandidate> {
    let names = async || {
        let mut names = network_names().await;
        let of_engines = engine::networks(PATIENCE).await.into_iter();
        for network in of_engines.filter(|network| network.bridge.is_some()) {
            names.insert(network.to_string());
            names.insert(network.name);
        }
        names
    };
    candidates(typed, run(names))
}

/// Returns names in `/run/netns`, and running containers.
pub(super) fn targets(typed: &OsStr) -> Vec<CompletionCandidate> {
    candidates(typed, run(target_names))
}

/// Returns the published ports of the target that is named before, or of all targets.
pub(super) fn published(typed: &OsStr) -> Vec<CompletionCandidate> {
    // The shell hands the command line over as arguments, behind `--`.
    let words = env::args().skip_while(|word| word != "--").collect::<Vec<_>>();
    candidates(typed, run(|| async { published_ports(&words) }))
}

/// Returns both.
pub(super) fn networks_and_targets(typed: &OsStr) -> Vec<CompletionCandidate> {
    let mut names = run(network_names);
    names.extend(run(target_names));
    candidates(typed, names)
}

/// Returns the lessons that can be checked.
pub(super) fn lessons(typed: &OsStr) -> Vec<CompletionCandidate> {
    candidates(typed, LESSONS.iter().map(|lesson| lesson.name.to_owned()).collect())
}

fn candidates(typed: &OsStr, names: BTreeSet<String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    names
        .into_iter()
        // Leave out names with control characters, which a terminal would interpret.
        .filter(|name| name.starts_with(&*typed) && !name.contains(steers))
        // A prefix is for who begins to type one.
        .filter(|name| typed.contains(':') || !PREFIXES.iter().any(|p| name.starts_with(p)))
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

fn published_ports(words: &[String]) -> BTreeSet<String> {
    let Ok(kernel) = Kernel::open() else { return BTreeSet::new() };
    let Ok(state) = State::read(kernel.cookie(), Load::All) else { return BTreeSet::new() };
    let is_named = |endpoint: &Endpoint| {
        let bare =
            |word: &str| word.split_once(':').map_or(word.to_owned(), |(_, name)| name.into());
        words.iter().any(|word| {
            *word == endpoint.target
                || bare(word) == endpoint.target
                || bare(word) == endpoint.netns.as_str()
        })
    };
    let ports =
        |endpoint: &Endpoint| endpoint.ports.iter().map(PublishedPort::spec).collect::<Vec<_>>();
    state.endpoints().filter(|(_, e)| is_named(e)).flat_map(|(_, e)| ports(e)).collect()
}

/// Returns names of targets, also with the prefix that tells where they are.
async fn target_names() -> BTreeSet<String> {
    let running = engine::named(PATIENCE).await;
    let mut names: BTreeSet<String> = BTreeSet::new();
    for (engine, name) in running {
        names.insert(format!("{engine}:{name}"));
        names.insert(name);
    }
    if let Ok(kernel) = Kernel::open() {
        for name in kernel.netns_names() {
            names.insert(format!("netns:{name}"));
            names.insert(name.to_string());
        }
    }
    names
}
