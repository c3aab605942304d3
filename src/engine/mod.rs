//! Asks container engines for a target or a network, through the API sockets that `docker` and `podman` use.
//!
//! An engine may be absent, slow, broken or hostile. In each case the result is an [`Answer`]
//! within a bounded time, and no text of an engine is used without validation.
//!
//! * `socket`: finds an engine's socket.
//! * `client`: makes one HTTP request over a unix socket.
//! * `answer`: parses the JSON.
//! * `events`: follows what happens to containers.
//! * `network`: the engines' networks.

mod answer;
mod client;
mod events;
mod network;
mod socket;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    net::IpAddr,
    path::PathBuf,
    time::Duration,
};

use futures::future::join;

pub use self::events::{ContainerEvent, ContainerEvents, Happened};
pub use self::network::{Connected, EngineNetwork, connected, networks, networks_of, of_docker};
use crate::model::Engine;

/// A container, as its engine describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The engine that runs it.
    pub engine: Engine,
    /// The full ID.
    pub id: String,
    /// The name, without docker's leading slash.
    pub name: String,
    /// The PID of its first process, in the engine's PID namespace; `None`: it does not run.
    pub pid: Option<u32>,
    /// Its network mode.
    pub network: NetworkMode,
    /// Whether the engine removes it when it stops (`--rm`).
    pub auto_remove: bool,
}

/// The network mode of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkMode {
    /// A namespace of its own, or that of a namespace file: no other container of the engine shares
    /// it.
    Own,
    /// The host's.
    Host,
    /// The namespace of this container of the same engine, by ID or name.
    Of(String),
}

/// The answer of an engine.
#[derive(Debug)]
pub enum Answer {
    /// The container.
    Found(Container),
    /// It knows no such container.
    NotFound,
    /// No usable answer: the engine is absent, refused, timed out, found several containers, or
    /// sent invalid data.
    Silent(anyhow::Error),
}

/// Asks one engine for a container by full ID, name, or a unique prefix of the ID.
///
/// The engine resolves the reference, so it means the same as for `docker inspect`.
pub async fn find(engine: Engine, reference: &str, patience: Duration) -> Answer {
    match sockets(engine) {
        Ok(sockets) => find_at(engine, &sockets, reference, patience).await,
        Err(error) => Answer::Silent(error),
    }
}

/// Asks all engines concurrently.
///
/// Podman may listen at docker's socket (with the package `podman-docker`, or `DOCKER_HOST`). If
/// both claim one container, it is podman's, and docker is left out.
pub async fn find_anywhere(reference: &str, patience: Duration) -> Vec<(Engine, Answer)> {
    let (docker, podman) =
        join(find(Engine::Docker, reference, patience), find(Engine::Podman, reference, patience))
            .await;
    both(docker, podman)
}

/// Returns the IP addresses of running containers in their engines' networks, each with its owner
/// (`docker:web`). An engine that does not answer in time is left out.
pub async fn addresses(patience: Duration) -> BTreeMap<IpAddr, String> {
    running_anywhere(patience)
        .await
        .into_iter()
        .flat_map(|(engine, running)| {
            let owner = format!("{engine}:{}", running.name);
            running.addresses.into_iter().map(move |address| (address, owner.clone()))
        })
        .collect()
}

/// Returns the names of running containers, for completion. An engine that does not answer in time is
/// left out.
pub async fn names(patience: Duration) -> Vec<String> {
    let names: BTreeSet<_> = named(patience).await.into_iter().map(|(_, name)| name).collect();
    names.into_iter().collect()
}

/// Returns them with their engines.
pub async fn named(patience: Duration) -> Vec<(Engine, String)> {
    running_anywhere(patience).await.into_iter().map(|(e, running)| (e, running.name)).collect()
}

async fn find_at(
    engine: Engine,
    sockets: &[PathBuf],
    reference: &str,
    patience: Duration,
) -> Answer {
    // The reference becomes part of a path, and no engine has a container of another name.
    if !is_reference(reference) {
        return Answer::NotFound;
    }
    // Without a version, the engine uses its newest. Docker 29 refuses every
    // version below 1.44, docker 20.10 every version above 1.41.
    let path = format!("/containers/{reference}/json");
    match client::get(engine, sockets, &path, patience).await {
        Ok(reply) => answer::inspected(engine, reference, &reply),
        Err(error) => Answer::Silent(error),
    }
}

fn both(docker: Answer, podman: Answer) -> Vec<(Engine, Answer)> {
    let same = match (&docker, &podman) {
        (Answer::Found(a), Answer::Found(b)) => a.id == b.id,
        _ => false,
    };
    let mut answers = vec![(Engine::Docker, docker), (Engine::Podman, podman)];
    if same {
        answers.remove(0);
    }
    answers
}

/// Docker's first, so that podman's replace them where podman listens at both sockets.
async fn running_anywhere(patience: Duration) -> Vec<(Engine, answer::Running)> {
    let of = |engine| async move {
        let running = match sockets(engine) {
            Ok(sockets) => running_at(engine, &sockets, patience).await,
            Err(error) => Err(error),
        };
        running.unwrap_or_default().into_iter().map(move |running| (engine, running))
    };
    let (docker, podman) = join(of(Engine::Docker), of(Engine::Podman)).await;
    docker.chain(podman).collect()
}

async fn running_at(
    engine: Engine,
    sockets: &[PathBuf],
    patience: Duration,
) -> anyhow::Result<Vec<answer::Running>> {
    // `{"status":["running","paused"]}`. Without it podman leaves paused containers out.
    let path = "/containers/json?filters=%7B%22status%22%3A%5B%22running%22%2C%22paused%22%5D%7D";
    answer::listed(engine, &client::get(engine, sockets, path, patience).await?)
}

fn sockets(engine: Engine) -> anyhow::Result<Vec<PathBuf>> {
    socket::candidates(engine, |variable| env::var_os(variable))
}

/// Returns whether an engine may have a container of this name or ID, by docker's rule, which is
/// podman's too.
fn is_reference(text: &str) -> bool {
    text.len() <= 255
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}
