//! `inspect`: shows networks and targets as JSON, or as commands that make them.

use std::{borrow::Cow, net::IpAddr};

use anyhow::Result;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::{
    Session, WithFailure, driver,
    lookup::{
        endpoints::everywhere,
        engine_network, find,
        resolve::{Found, resolve},
    },
    ps::{Listed, ShownLease, States},
    upkeep::{
        default_routes,
        need::{Depth, Extent},
        wiring,
    },
};
use crate::{
    error::Kind,
    kernel::{Link, Netns, global_addresses},
    model::{
        Endpoint, LinkName, Mac, NamedNetns, Network, NetworkRecord, NetworkRef, Target,
        natural_order,
    },
    plan::{self, Plan},
    state::State,
};

/// What to show.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Inspect {
    /// Networks and targets; by default everything on this host.
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
        /// What docker or podman calls it, if the bridge is theirs (`docker:shop_default`).
        #[serde(skip_serializing_if = "Option::is_none")]
        engine_network: Option<String>,
        /// Its endpoints.
        endpoints: Vec<Listed>,
    },
    /// A target.
    Target {
        /// The target, as requested.
        target: String,
        /// Its name in `/run/netns`.
        netns: String,
        /// The cookie of its namespace (`SO_NETNS_COOKIE`).
        cookie: u64,
        /// Its endpoints.
        endpoints: Vec<Listed>,
        /// Its links, also those that netcord did not make; empty if it has ended.
        links: Vec<LinkInside>,
    },
}

/// A link inside a target.
#[derive(Debug, Serialize)]
pub struct LinkInside {
    name: String,
    kind: String,
    up: bool,
    carrier: bool,
    mac: Option<Mac>,
    mtu: u32,
    addresses: Vec<IpNetwork>,
    /// The gateways of the default routes by it.
    gateways: Vec<IpAddr>,
}

/// A network with its endpoints, or the endpoints of a target.
enum Subject {
    Network(NetworkRecord),
    Target(String, Vec<(Network, Endpoint)>, Option<Found>),
}

/// Describes networks and targets. Existing ones are described even if others do not exist, as in
/// docker.
///
/// # Errors
/// If the records or the kernel cannot be read.
pub async fn inspect(host: &Session<'_>, args: &Inspect) -> Result<WithFailure<Vec<Object>>> {
    let state = host.look(Extent::to(Depth::Unattached)).await?;
    let (subjects, failure) = subjects(host, &state, args).await;
    let states = States::read(&host.kernel).await?;
    let mut objects = Vec::new();
    for subject in subjects {
        objects.push(object(&states, subject).await?);
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
    let error = match target(host, state, name).await {
        Err(error) if Kind::of(&error) == Kind::NotFound => error,
        found => return found,
    };
    // A container is meant before a network of the same name.
    let Some(bridge) = engine_bridge(host, name).await? else { return Err(error) };
    let record = find::network(&host.kernel, state, &bridge).await?;
    Ok(Subject::Network(record.into_owned()))
}

async fn target(host: &Session<'_>, state: &State, name: &str) -> Result<Subject> {
    let target: Target = name.parse()?;
    let endpoints = everywhere(host, state, &target).await?;
    let found = match resolve(&host.kernel, host.events, &target, None).await {
        Err(error) if endpoints.is_empty() => return Err(error),
        found => found.ok(),
    };
    Ok(Subject::Target(name.to_owned(), endpoints, found))
}

/// Returns the bridge of an engine's network.
async fn engine_bridge(host: &Session<'_>, name: &str) -> Result<Option<LinkName>> {
    match name.parse() {
        Ok(NetworkRef::Engine(engine, name)) => {
            Ok(engine_network::bridge_of(host, engine, &name).await.ok())
        }
        Ok(NetworkRef::Name(name)) => engine_network::bridge_anywhere(host, &name).await,
        Err(_) => Ok(None),
    }
}

async fn object(states: &States<'_>, subject: Subject) -> Result<Object> {
    Ok(match subject {
        Subject::Network(NetworkRecord { network, endpoints }) => {
            let mut listed = Vec::new();
            for endpoint in endpoints {
                listed.push(self::listed(states, &network, endpoint).await);
            }
            let engine_network = if network.driver.is_foreign() {
                engine_network::names().await.remove(network.name.as_str())
            } else {
                None
            };
            Object::Network { endpoints: listed, engine_network, network }
        }
        Subject::Target(target, endpoints, found) => {
            let first = endpoints.first().map(|(_, e)| (e.netns.to_string(), e.cookie));
            let alive = found.as_ref().map(|f| (f.name.to_string(), f.netns.cookie()));
            let (netns, cookie) = first.or(alive).unwrap_or_default();
            let links = match &found {
                Some(found) => links(&found.netns).await?,
                None => Vec::new(),
            };
            let mut listed = Vec::new();
            for (network, endpoint) in endpoints {
                listed.push(self::listed(states, &network, endpoint).await);
            }
            Object::Target { target, netns, cookie, endpoints: listed, links }
        }
    })
}

/// Returns the links of a namespace but lo, in natural order.
async fn links(netns: &Netns) -> Result<Vec<LinkInside>> {
    let mut links: Vec<_> = netns.links().await?.into_values().collect();
    links.retain(|link| link.name != "lo");
    links.sort_by(|a, b| natural_order(&a.name, &b.name));
    let (addresses, routes) = (netns.all_addresses().await?, netns.routes().await?);
    let inside = |link: &Link| {
        let mut routes: Vec<_> = routes.iter().filter(|route| link.carries(route)).collect();
        routes.retain(|route| route.destination.prefix() == 0);
        LinkInside {
            name: link.name.clone(),
            kind: link.kind_name.clone(),
            up: link.up,
            carrier: link.carrier,
            mac: link.mac,
            mtu: link.mtu,
            addresses: global_addresses(&addresses, link),
            gateways: routes.iter().filter_map(|route| route.gateway).collect(),
        }
    };
    Ok(links.iter().map(inside).collect())
}

async fn listed(states: &States<'_>, network: &Network, mut endpoint: Endpoint) -> Listed {
    Listed {
        network: network.name.clone(),
        state: states.of(network, &endpoint).await,
        lease: ShownLease::take(&mut endpoint, &states.agents),
        endpoint,
    }
}

/// Networks first, then their endpoints.
async fn commands(host: &Session<'_>, state: &State, subjects: &[Subject]) -> Result<Plan> {
    let (mut plan, mut attached) = (Plan::new(), Vec::new());
    for subject in subjects {
        match subject {
            Subject::Network(NetworkRecord { network, endpoints }) => {
                plan.extend(driver::commands(host, network).await?);
                attached.extend(endpoints.iter().map(|e| (network, e)));
            }
            Subject::Target(_, endpoints, _) => {
                attached.extend(endpoints.iter().map(|(n, e)| (n, e)));
            }
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
