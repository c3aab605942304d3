//! Endpoints whose containers have stopped, and what their engines say of these containers now.

use std::time::Duration;

use anyhow::Result;
use futures::future::join_all;

use crate::{
    engine::{self, Answer, Container, NetworkMode},
    model::{Endpoint, EngineContainer, LinkName, Network, PublishedPort, Target},
    ops::{
        Session,
        lookup::liveness::lives,
        upkeep::{clean, default_routes},
    },
    plan::{Record, Resource, Step},
    state::State,
};

/// The time to wait for an engine.
const PATIENCE: Duration = Duration::from_secs(2);

/// An endpoint whose container has stopped.
pub(in crate::ops) struct Stopped {
    pub(in crate::ops) network: Network,
    pub(in crate::ops) endpoint: Endpoint,
    pub(in crate::ops) now: Now,
}

/// What an engine says of a container that stopped.
pub(in crate::ops) enum Now {
    /// It runs again, or one of its name that was made in its place does.
    Runs(Target),
    /// It can be started.
    Stopped,
    /// The engine has neither this container nor one of its name.
    Gone,
    /// The engine does not answer.
    Unknown(anyhow::Error),
}

impl Stopped {
    /// Returns the name of the endpoint, as users read it.
    pub(in crate::ops) fn place(&self) -> String {
        format!("{}/{}", self.network.name, self.endpoint.target)
    }

    /// Returns the command that attaches the container again, if it runs.
    pub(in crate::ops) fn command(&self) -> Option<String> {
        let Now::Runs(target) = &self.now else { return None };
        let Self { network, endpoint, .. } = self;
        if !endpoint.foreign {
            return Some(format!("netcord attach {} {target}", network.name));
        }
        let ports: Vec<_> = endpoint.ports.iter().map(PublishedPort::spec).collect();
        Some(format!("netcord publish {target} {}", ports.join(" ")))
    }
}

/// Returns the endpoints of stopped containers, in the order in which they can be attached again, with
/// what their engines say.
pub(in crate::ops) async fn stopped(host: &Session<'_>, state: &State) -> Result<Vec<Stopped>> {
    let mut endpoints = without_namespace(host, state).await?;
    if endpoints.is_empty() {
        return Ok(Vec::new());
    }
    default_routes::in_turn(&mut endpoints, |(_, endpoint)| endpoint);
    let _doing = host.events.doing_for(PATIENCE, "asking the engines for stopped containers");
    let asked = endpoints.iter().filter_map(|(_, e)| e.container.as_deref()).map(now);
    let answers = join_all(asked).await;
    let with = |((network, endpoint), now)| Stopped { network, endpoint, now };
    Ok(endpoints.into_iter().zip(answers).map(with).collect())
}

/// Returns the endpoints of stopped containers.
pub(in crate::ops) async fn without_namespace(
    host: &Session<'_>,
    state: &State,
) -> Result<Vec<(Network, Endpoint)>> {
    if !state.endpoints().any(|(_, e)| e.container.is_some()) {
        return Ok(Vec::new());
    }
    let all = clean::dead_endpoints(host, state).await?.into_iter();
    let all = all.flat_map(|(network, of_network)| {
        of_network.into_iter().map(move |endpoint| (network.clone(), endpoint))
    });
    // The link of a running container that somebody deleted is a fault of another kind.
    Ok(all.filter(|(_, e)| e.is_stopped() || (e.container.is_some() && !lives(e))).collect())
}

/// Asks the engine for a container by its ID; if it was removed, for one that has its name.
async fn now(former: &EngineContainer) -> Now {
    let found = match engine::find(former.engine, &former.id, PATIENCE).await {
        Answer::NotFound => engine::find(former.engine, &former.name, PATIENCE).await,
        found => found,
    };
    match found {
        Answer::NotFound => Now::Gone,
        Answer::Silent(error) => Now::Unknown(error),
        Answer::Found(Container { engine, name, pid: Some(_), network, .. })
            if network != NetworkMode::Host =>
        {
            Now::Runs(Target::Container(engine, name))
        }
        Answer::Found(_) => Now::Stopped,
    }
}

/// Returns how a command names the container of an endpoint, which may have another name by now.
pub(in crate::ops) async fn name(container: &EngineContainer) -> String {
    let EngineContainer { engine, id, name, .. } = container;
    match engine::find(*engine, id, PATIENCE).await {
        Answer::Found(now) => format!("{engine}:{}", now.name),
        Answer::NotFound | Answer::Silent(_) => format!("{engine}:{name}"),
    }
}

/// Splits the endpoints of a network into those that live and those whose container has stopped.
pub(in crate::ops) async fn split(
    host: &Session<'_>,
    state: &State,
    network: &LinkName,
    endpoints: &[Endpoint],
) -> Result<(Vec<Endpoint>, Vec<Endpoint>)> {
    let stopped = without_namespace(host, state).await?;
    let has_stopped =
        |e: &Endpoint| stopped.iter().any(|(of, other)| of.name == *network && other.is(&e.id()));
    Ok(endpoints.iter().cloned().partition(|e| !has_stopped(e)))
}

/// The step that removes the record of a stopped container's endpoint.
pub(in crate::ops) fn forgotten(network: &Network, former: &Endpoint) -> Step {
    let (network, endpoint) = (network.name.clone(), former.clone());
    Step::delete(
        "the container was started again: the record of its former endpoint goes",
        Resource::Record(Record::Endpoint { network, endpoint }),
    )
}
