//! The networks of engines.

use std::{collections::HashSet, fmt, time::Duration};

use futures::future::join;

use super::{answer, client, is_reference, socket::of_plugins, sockets};
use crate::model::{Engine, LinkName};

/// A network, as its engine describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineNetwork {
    /// The engine that has it.
    pub engine: Engine,
    /// The full ID.
    pub id: String,
    /// The name.
    pub name: String,
    /// The driver.
    pub driver: String,
    /// The bridge, if the driver makes one. podman's does not exist while no container runs in it.
    pub bridge: Option<LinkName>,
}

/// The length of the IDs that `docker network ls` prints.
const SHORT_ID: usize = 12;

impl EngineNetwork {
    /// Returns whether a word is its name, or its ID as the engine prints it.
    pub fn is_called(&self, word: &str) -> bool {
        self.name == word || word.len() >= SHORT_ID && self.id.starts_with(word)
    }
}

/// `docker:shop_default`
impl fmt::Display for EngineNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.engine, self.name)
    }
}

/// A container in a network of docker's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The full ID of the endpoint.
    pub endpoint: String,
    /// The container's name.
    pub container: String,
}

/// Returns the containers in a network of the docker that calls netcord as a plugin, by its full ID; `None`
/// if it has no such network.
///
/// # Errors
/// If docker does not answer in time, or not as an engine does.
pub async fn connected(id: &str, patience: Duration) -> anyhow::Result<Option<Vec<Connected>>> {
    // The ID becomes part of a path.
    if !is_reference(id) {
        return Ok(None);
    }
    let path = format!("/networks/{id}");
    answer::connected(&client::get(Engine::Docker, &of_plugins(), &path, patience).await?)
}

/// Returns the full IDs of the networks of the docker that calls netcord as a plugin.
///
/// # Errors
/// As [`connected`].
pub async fn of_docker(patience: Duration) -> anyhow::Result<HashSet<String>> {
    let reply = client::get(Engine::Docker, &of_plugins(), "/networks", patience).await?;
    let all = answer::networks(Engine::Docker, &reply)?;
    Ok(all.into_iter().map(|network| network.id).collect())
}

/// Returns the networks of an engine.
///
/// # Errors
/// If it does not answer in time, or not as an engine does.
pub async fn networks_of(engine: Engine, patience: Duration) -> anyhow::Result<Vec<EngineNetwork>> {
    let sockets = sockets(engine)?;
    // Only podman's own API names the bridge.
    let path = match engine {
        Engine::Docker => "/networks",
        Engine::Podman => "/v4.0.0/libpod/networks/json",
    };
    answer::networks(engine, &client::get(engine, &sockets, path, patience).await?)
}

/// Returns the networks of all engines. An engine that does not answer in time is left out.
pub async fn networks(patience: Duration) -> Vec<EngineNetwork> {
    let (docker, podman) =
        join(networks_of(Engine::Docker, patience), networks_of(Engine::Podman, patience)).await;
    let (mut docker, podman) = (docker.unwrap_or_default(), podman.unwrap_or_default());
    // podman may listen at docker's socket, too.
    let of_podman: HashSet<_> = podman.iter().map(|network| network.id.as_str()).collect();
    docker.retain(|network| !of_podman.contains(network.id.as_str()));
    docker.into_iter().chain(podman).collect()
}
