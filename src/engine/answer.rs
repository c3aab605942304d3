//! Parses the JSON of the engines' API.
//!
//! The fields are those of docker's API, which podman serves too: `ContainerInspect` and
//! `ContainerList` at <https://docs.docker.com/reference/api/engine/>.

use std::{collections::BTreeMap, fmt::Display, net::IpAddr};

use anyhow::{anyhow, bail};
use hyper::StatusCode;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Answer, Connected, Container, EngineNetwork, NetworkMode, client::Reply, is_reference,
};
use crate::{
    error::{Error, Kind},
    model::Engine,
};

/// The kernel's maximum of `kernel.pid_max`.
const MAX_PID: u32 = 4_194_304;

/// The maximum length of an engine's message.
const MAX_WORDS: usize = 200;

/// A running container in a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) name: String,
    pub(super) addresses: Vec<IpAddr>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    name: String,
    state: State,
    host_config: HostConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    running: bool,
    pid: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    network_mode: String,
    #[serde(default)]
    auto_remove: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    names: Vec<String>,
    network_settings: Option<NetworkSettings>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    networks: Option<BTreeMap<String, Endpoint>>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(rename = "IPAddress")]
    ipv4: Option<String>,
    #[serde(rename = "GlobalIPv6Address")]
    ipv6: Option<String>,
}

/// docker's `NetworkResource`, and podman's `Network` with its own names for the fields.
#[derive(Deserialize)]
struct ListedNetwork {
    #[serde(alias = "Name")]
    name: String,
    #[serde(alias = "Id")]
    id: String,
    #[serde(alias = "Driver")]
    driver: String,
    /// The bridge, in podman's.
    network_interface: Option<String>,
    #[serde(alias = "Options", default)]
    options: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedNetwork {
    containers: Option<BTreeMap<String, InNetwork>>,
}

#[derive(Deserialize)]
struct InNetwork {
    #[serde(rename = "Name")]
    container: String,
    #[serde(rename = "EndpointID")]
    endpoint: String,
}

#[derive(Deserialize)]
struct Complaint {
    message: String,
}

/// Parses the answer to a request for one container.
pub(super) fn inspected(engine: Engine, reference: &str, reply: &Reply) -> Answer {
    if reply.status.is_success() {
        return container(engine, reply).map_or_else(Answer::Silent, Answer::Found);
    }
    match complaint(engine, reply) {
        Err(error) => Answer::Silent(error),
        // Checked before the status: docker 20.10 answers 500, newer ones 400, and podman 4.3
        // answers 404.
        Ok(message) if is_ambiguous(&message) => {
            let message = format!("`{reference}` is several containers of {engine}: {message}");
            Answer::Silent(Error::conflict(message).hint("give more of the ID, or the name").into())
        }
        Ok(_) if reply.status == StatusCode::NOT_FOUND => Answer::NotFound,
        Ok(message) => Answer::Silent(refusal(engine, reply.status, &message)),
    }
}

/// Parses the list of running containers. Containers without a usable name are left out.
pub(super) fn listed(engine: Engine, reply: &Reply) -> anyhow::Result<Vec<Running>> {
    if !reply.status.is_success() {
        return Err(refusal(engine, reply.status, &complaint(engine, reply)?));
    }
    let listed: Vec<Listed> = parse(engine, reply)?;
    Ok(listed.into_iter().filter_map(running).collect())
}

/// Parses the list of networks. Those without a usable name are left out.
pub(super) fn networks(engine: Engine, reply: &Reply) -> anyhow::Result<Vec<EngineNetwork>> {
    if !reply.status.is_success() {
        return Err(refusal(engine, reply.status, &complaint(engine, reply)?));
    }
    let listed: Vec<ListedNetwork> = parse(engine, reply)?;
    Ok(listed.into_iter().filter_map(|listed| network(engine, listed)).collect())
}

/// Parses the answer to a request for one network of docker's. Containers without a usable name are
/// left out.
pub(super) fn connected(reply: &Reply) -> anyhow::Result<Option<Vec<Connected>>> {
    let engine = Engine::Docker;
    if !reply.status.is_success() {
        let message = complaint(engine, reply)?;
        return match reply.status {
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(refusal(engine, status, &message)),
        };
    }
    let InspectedNetwork { containers } = parse(engine, reply)?;
    let all = containers.unwrap_or_default().into_values();
    let named = all.filter(|one| is_reference(&one.container) && is_reference(&one.endpoint));
    Ok(Some(
        named.map(|one| Connected { endpoint: one.endpoint, container: one.container }).collect(),
    ))
}

fn network(engine: Engine, listed: ListedNetwork) -> Option<EngineNetwork> {
    let ListedNetwork { name, id, driver, network_interface, options } = listed;
    if ![&name, &id, &driver].into_iter().all(|text| is_reference(text)) {
        return None;
    }
    let bridge = (driver == "bridge").then(|| match engine {
        Engine::Podman => network_interface,
        Engine::Docker => {
            let named = options.unwrap_or_default().remove("com.docker.network.bridge.name");
            named.or_else(|| Some(format!("br-{}", id.get(..12)?)))
        }
    });
    let bridge = bridge.flatten().and_then(|bridge| bridge.parse().ok());
    Some(EngineNetwork { engine, id, name, driver, bridge })
}

fn container(engine: Engine, reply: &Reply) -> anyhow::Result<Container> {
    let Inspected { id, name, state, host_config } = parse(engine, reply)?;
    let name = bare(&name);
    let network = match host_config.network_mode.split_once(':') {
        Some(("container", other)) => NetworkMode::Of(other.to_owned()),
        None if host_config.network_mode == "host" => NetworkMode::Host,
        _ => NetworkMode::Own,
    };
    // IDs go to the terminal, into paths and into records, so they are validated.
    let other = if let NetworkMode::Of(other) = &network { Some(other.as_str()) } else { None };
    for text in [Some(id.as_str()), Some(name), other].into_iter().flatten() {
        if !is_reference(text) {
            bail!("{engine} makes no sense: `{}` names no container", legible(text));
        }
    }
    if state.pid > MAX_PID {
        bail!("{engine} makes no sense: {} is not a process id", state.pid);
    }
    let pid = (state.running && state.pid != 0).then_some(state.pid);
    let auto_remove = host_config.auto_remove;
    Ok(Container { engine, name: name.to_owned(), id, pid, network, auto_remove })
}

fn running(listed: Listed) -> Option<Running> {
    // Names with more slashes are aliases that another container has for this one (docker's
    // `--link`).
    let name = listed.names.iter().map(|name| bare(name)).find(|name| is_reference(name))?;
    let networks = listed.network_settings.and_then(|s| s.networks).unwrap_or_default();
    let addresses = networks
        .into_values()
        .flat_map(|endpoint| [endpoint.ipv4, endpoint.ipv6])
        // The string is empty without an address.
        .filter_map(|address| address?.parse().ok())
        .filter(|address: &IpAddr| !address.is_unspecified())
        .collect();
    Some(Running { name: name.to_owned(), addresses })
}

fn parse<T: DeserializeOwned>(engine: Engine, reply: &Reply) -> anyhow::Result<T> {
    serde_json::from_slice(&reply.body)
        .map_err(|error| anyhow!("{engine} makes no sense: {}", legible(error)))
}

/// Returns the engine's error message. Every error of its API is JSON with a message, so anything
/// else does not come from an engine.
fn complaint(engine: Engine, reply: &Reply) -> anyhow::Result<String> {
    match serde_json::from_slice(&reply.body) {
        Ok(Complaint { message }) => Ok(legible(message)),
        Err(_) => bail!("{engine} makes no sense: HTTP status {}", reply.status.as_u16()),
    }
}

fn refusal(engine: Engine, status: StatusCode, message: &str) -> anyhow::Error {
    let kind = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Kind::Permission,
        _ => Kind::Failed,
    };
    Error::new(kind, format!("{engine} refuses (HTTP status {}): {message}", status.as_u16()))
        .into()
}

/// Docker: "Multiple IDs found with provided prefix: 4". Podman: "more than one result for
/// container ID 4: container already exists". A reference contains no spaces, so it cannot imitate
/// that.
fn is_ambiguous(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("multiple ids found") || message.contains("more than one result")
}

fn bare(name: &str) -> &str {
    name.strip_prefix('/').unwrap_or(name)
}

/// Returns an engine's message as one line that is safe for a terminal.
fn legible(words: impl Display) -> String {
    let words = words.to_string();
    let mut line: String =
        words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS).collect();
    if words.chars().nth(MAX_WORDS).is_some() {
        line.push_str("...");
    }
    line
}
