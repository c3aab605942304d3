//! `inspect`: networks and targets as JSON, or as the commands that would make them by hand.

use std::borrow::Cow;

use anyhow::Result;
use serde::Serialize;

use super::{
    Host,
    detach::everywhere,
    driver, find,
    ps::{ShownLease, States},
    succession,
};
use crate::{
    cli,
    error::{Error, Kind},
    model::{Endpoint, EndpointState, LinkName, NamedNetns, Network, NetworkRecord, Target},
    output::SCHEMA_VERSION,
    plan::{self, Plan},
    state::State,
};

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Object {
    Network {
        schema_version: u32,
        #[serde(flatten)]
        network: Network,
        endpoints: Vec<Shown>,
    },
    Target {
        schema_version: u32,
        target: String,
        netns: String,
        cookie: u64,
        endpoints: Vec<Shown>,
    },
}

#[derive(Serialize)]
struct Shown {
    network: LinkName,
    state: EndpointState,
    #[serde(flatten)]
    endpoint: Endpoint,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<ShownLease>,
}

/// Something that was asked for: a network with its endpoints, or the endpoints of a target.
enum Subject {
    Network(NetworkRecord),
    Target(String, Vec<(Network, Endpoint)>),
}

pub(super) async fn run(host: &Host<'_, '_>, args: cli::Inspect) -> Result<()> {
    let state = host.look().await?;
    let mut subjects = Vec::new();
    // Good ones are shown although others fail, as docker does.
    let mut failure = None;
    for name in &args.names {
        match subject(host, &state, name).await {
            Ok(subject) => subjects.push(subject),
            Err(error) => failure = Some(failure.unwrap_or(error)),
        }
    }
    if args.names.is_empty() {
        subjects.extend(state.networks().values().cloned().map(Subject::Network));
    }
    if args.commands {
        let plan = commands(host, &state, &subjects).await?;
        host.output.script(&plan, |_| false)?;
    } else {
        let states = States::read(&host.kernel).await?;
        let mut objects = Vec::new();
        for subject in subjects {
            objects.push(object(&states, subject).await);
        }
        host.output.inspect(&objects)?;
    }
    failure.map_or(Ok(()), Err)
}

async fn subject(host: &Host<'_, '_>, state: &State, name: &str) -> Result<Subject> {
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
            let mut shown = Vec::new();
            for endpoint in endpoints {
                shown.push(self::shown(states, &network, endpoint).await);
            }
            Object::Network { schema_version: SCHEMA_VERSION, endpoints: shown, network }
        }
        Subject::Target(target, endpoints) => {
            let first = endpoints.first().map(|(_, e)| (e.netns.to_string(), e.cookie));
            let (netns, cookie) = first.unwrap_or_default();
            let mut shown = Vec::new();
            for (network, endpoint) in endpoints {
                shown.push(self::shown(states, &network, endpoint).await);
            }
            Object::Target {
                schema_version: SCHEMA_VERSION,
                target,
                netns,
                cookie,
                endpoints: shown,
            }
        }
    }
}

async fn shown(states: &States<'_>, network: &Network, mut endpoint: Endpoint) -> Shown {
    Shown {
        network: network.name.clone(),
        state: states.of(network, &endpoint).await,
        lease: ShownLease::take(&mut endpoint),
        endpoint,
    }
}

/// Networks first, then who is attached to them.
async fn commands(host: &Host<'_, '_>, state: &State, subjects: &[Subject]) -> Result<Plan> {
    let hairpin = host.kernel.bridged_frames_meet_iptables()?;
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
    succession::in_turn(&mut attached, |(_, endpoint)| endpoint);
    for (network, endpoint) in attached {
        let is_it = |n: &&NamedNetns| n.cookie == endpoint.cookie;
        plan.extend(state.names().iter().find(is_it).map(plan::name).unwrap_or_default());
        plan.extend(plan::attach(network, endpoint, hairpin));
    }
    Ok(plan)
}
