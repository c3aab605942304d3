//! `inspect`: networks and targets as JSON, or as the commands that would make them by hand.

use std::borrow::Cow;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    Session, WithFailure, driver,
    lookup::{endpoints::everywhere, find},
    ps::{Listed, ShownLease, States},
    upkeep::{
        default_routes,
        need::{Depth, Extent},
        wiring,
    },
};
use crate::{
    error::{Error, Kind},
    model::{Endpoint, LinkName, NamedNetns, Network, NetworkRecord, Target},
    plan::{self, Plan},
    state::State,
};

/// What to show.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Inspect {
    /// Networks and targets; else everything on this host.
    pub names: Vec<String>,
}

/// A network or a target, with its endpoints.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Object {
    /// A network.
    Network {
        /// The network.
        #[serde(flatten)]
        network: Network,
        /// Its endpoints.
        endpoints: Vec<Listed>,
    },
    /// A target.
    Target {
        /// The target, as it was asked for.
        target: String,
        /// Its name in `/run/netns`.
        netns: String,
        /// Its namespace (`SO_NETNS_COOKIE`).
        cookie: u64,
        /// Its endpoints.
        endpoints: Vec<Listed>,
    },
}

/// Something that was asked for: a network with its endpoints, or the endpoints of a target.
enum Subject {
    Network(NetworkRecord),
    Target(String, Vec<(Network, Endpoint)>),
}

/// Describes networks and targets. Those that are there are described although others are not, as
/// docker does.
///
/// # Errors
/// If the records or the kernel cannot be read.
pub async fn inspect(host: &Session<'_>, args: &Inspect) -> Result<WithFailure<Vec<Object>>> {
    let state = host.look(Extent::to(Depth::Unattached)).await?;
    let (subjects, failure) = subjects(host, &state, args).await;
    let states = States::read(&host.kernel).await?;
    let mut objects = Vec::new();
    for subject in subjects {
        objects.push(object(&states, subject).await);
    }
    Ok((objects, failure))
}

/// The plan that makes networks and targets as they are.
///
/// # Errors
/// If the records or the kernel cannot be read.
pub async fn inspect_plan(host: &Session<'_>, args: &Inspect) -> Result<WithFailure<Plan>> {
    let state = host.look(Extent::to(Depth::Unattached)).await?;
    let (subjects, failure) = subjects(host, &state, args).await;
    Ok((commands(host, &state, &subjects).await?, failure))
}

async fn subjects(host: &Session<'_>, state: &State, args: &Inspect) -> WithFailure<Vec<Subject>> {
    let (mut subjects, mut failure) = (Vec::new(), None);
    for name in &args.names {
        match subject(host, state, name).await {
            Ok(subject) => subjects.push(subject),
            Err(error) => failure = Some(failure.unwrap_or(error)),
        }
    }
    if args.names.is_empty() {
        subjects.extend(state.networks().values().cloned().map(Subject::Network));
    }
    (subjects, failure)
}

async fn subject(host: &Session<'_>, state: &State, name: &str) -> Result<Subject> {
    if let Ok(network) = name.parse::<LinkName>() {
        match find::network(&host.kernel, state, &network).await {
            Err(error) if Kind::of(&error) == Kind::NotFound => {}
            found => return found.map(Cow::into_owned).map(Subject::Network),
        }
    }
    let target: Target = name.parse()?;
    match everywhere(host, state, &target).await {
        Ok(endpoints) if !endpoints.is_empty() => Ok(Subject::Target(name.to_owned(), endpoints)),
        Ok(_) => {
            Err(Error::not_found(format!("`{name}` is neither a network nor attached to one"))
                .into())
        }
        Err(error) => Err(error),
    }
}

async fn object(states: &States<'_>, subject: Subject) -> Object {
    match subject {
        Subject::Network(NetworkRecord { network, endpoints }) => {
            let mut listed = Vec::new();
            for endpoint in endpoints {
                listed.push(self::listed(states, &network, endpoint).await);
            }
            Object::Network { endpoints: listed, network }
        }
        Subject::Target(target, endpoints) => {
            let first = endpoints.first().map(|(_, e)| (e.netns.to_string(), e.cookie));
            let (netns, cookie) = first.unwrap_or_default();
            let mut listed = Vec::new();
            for (network, endpoint) in endpoints {
                listed.push(self::listed(states, &network, endpoint).await);
            }
            Object::Target { target, netns, cookie, endpoints: listed }
        }
    }
}

async fn listed(states: &States<'_>, network: &Network, mut endpoint: Endpoint) -> Listed {
    Listed {
        network: network.name.clone(),
        state: states.of(network, &endpoint).await,
        lease: ShownLease::take(&mut endpoint, &states.agents),
        endpoint,
    }
}

/// Networks first, then who is attached to them.
async fn commands(host: &Session<'_>, state: &State, subjects: &[Subject]) -> Result<Plan> {
    let (mut plan, mut attached) = (Plan::new(), Vec::new());
    for subject in subjects {
        match subject {
            Subject::Network(NetworkRecord { network, endpoints }) => {
                plan.extend(driver::commands(host, network).await?);
                attached.extend(endpoints.iter().map(|e| (network, e)));
            }
            Subject::Target(_, endpoints) => attached.extend(endpoints.iter().map(|(n, e)| (n, e))),
        }
    }
    default_routes::in_turn(&mut attached, |(_, endpoint)| endpoint);
    for (network, endpoint) in attached {
        let is_it = |n: &&NamedNetns| n.cookie == endpoint.cookie;
        plan.extend(state.names().iter().find(is_it).map(plan::name).unwrap_or_default());
        plan.extend(wiring::attach(&host.kernel, network, endpoint)?);
    }
    Ok(plan)
}
