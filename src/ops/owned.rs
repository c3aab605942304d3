//! The endpoints that engines own: attached, found and released as the engine identifies them. These
//! are the verbs of plugin interfaces.

use std::{collections::HashSet, path::Path, time::Duration};

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::{
    Changed, Session,
    attach::{Attach, attach},
    driver::bridge::{self, Bridge, Said},
    lookup::{find, plug},
    peers::{self, Following},
    rm::{Rm, rm},
    upkeep::{
        endpoints,
        need::{Depth, Extent, Need},
        wiring,
    },
};
use crate::{
    agents::netcord_agent::protocol::Member,
    engine,
    error::Error,
    model::{
        Endpoint, Interface, LinkName, NetnsName, Network, NetworkRecord, Owner, Removable,
        network_of, stable_hash,
    },
    plan::{Change, Class, Resource, command},
    state::{Load, State},
};

/// How long docker may take to answer.
const ENGINE_PATIENCE: Duration = Duration::from_secs(2);

/// An attachment, as an engine identifies it.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// The engine, its network and its container.
    pub owner: &'a Owner,
    /// The link inside, of those that the container has in that network.
    pub ifname: &'a LinkName,
}

impl Held<'_> {
    fn is(self, endpoint: &Endpoint) -> bool {
        endpoint.ifname == *self.ifname
            && endpoint.owner.as_ref().is_some_and(|owner| owner.is(self.owner))
    }
}

/// Returns the network that an engine's configuration names: it is made if it is missing. An existing one
/// has to be as requested in what the configuration speaks of.
///
/// # Errors
/// If it exists and differs, or could not be made.
pub async fn network(host: &mut Session<'_>, request: &Bridge, said: Said) -> Result<Network> {
    bridge::needed(host, request, said).await
}

/// Attaches a container for an engine.
///
/// # Errors
/// As [`attach`].
pub async fn hold(host: &mut Session<'_>, request: &Attach) -> Result<Changed<Endpoint>> {
    let done = attach(host, request).await?;
    let endpoint = done.and_then(|done| {
        let endpoint = done.now.endpoints.into_iter().next_back()?;
        Some(Changed::new(done.changed, endpoint))
    });
    endpoint.ok_or_else(|| Error::usage("a plugin has no dry run").into())
}

/// Returns the name of a container's namespace in `/run/netns`, if its file has none there.
pub fn netns_name(
    interface: Interface,
    netns: Option<&Path>,
    container: &str,
) -> Option<NetnsName> {
    let parent = netns.and_then(Path::parent);
    if parent.is_some_and(|dir| ["/run/netns", "/var/run/netns"].map(Path::new).contains(&dir)) {
        return None;
    }
    let hash = stable_hash(&[container.as_bytes()]);
    let derived = || format!("{}-{hash:016x}", interface.as_str());
    container.parse().or_else(|_| derived().parse()).ok()
}

/// Returns an engine's endpoint, with its network, if it is on record.
///
/// # Errors
/// If the records cannot be read.
pub async fn find(host: &Session<'_>, held: Held<'_>) -> Result<Option<(Network, Endpoint)>> {
    let state = host.look(Extent::to(Depth::Links)).await?;
    Ok(all(&state, |e| held.is(e)).pop())
}

/// Returns the endpoints of an engine's container, on all networks.
///
/// # Errors
/// If the records cannot be read.
pub async fn of_container(
    host: &Session<'_>,
    interface: Interface,
    id: &str,
) -> Result<Vec<(Network, Endpoint)>> {
    let state = host.look(Extent::to(Depth::Ports)).await?;
    let is_its = |owner: &Owner| owner.interface == interface && owner.id == id;
    Ok(all(&state, |e| e.owner.as_deref().is_some_and(is_its)))
}

/// Returns a network that exists: on record, or a bridge of another program.
///
/// # Errors
/// If the kernel cannot be read.
pub async fn existing(host: &Session<'_>, name: &LinkName) -> Result<Option<Network>> {
    if !host.kernel.has_link(name) {
        return Ok(None);
    }
    let extent = Extent { load: Load::Of(&[]), ..Extent::of(name) };
    let state = host.look(extent).await?;
    let found = find::network(&host.kernel, &state, name).await?;
    Ok(Some(found.network.clone()))
}

/// Removes a network that has this label, and no endpoints.
///
/// # Errors
/// If a step failed.
pub async fn remove_unused(
    host: &mut Session<'_>,
    name: &LinkName,
    label: (&str, &str),
) -> Result<()> {
    let state = host.look(Extent::of(name)).await?;
    let is_unused = |record: &NetworkRecord| {
        let has_label = record.network.labels.get(label.0).is_some_and(|value| value == label.1);
        has_label && record.endpoints.is_empty()
    };
    if !state.networks().get(name).is_some_and(is_unused) {
        return Ok(());
    }
    drop(state);
    let names = vec![Removable::Network(name.clone())];
    let (_, failure) = rm(host, &Rm { names }).await?;
    failure.map_or(Ok(()), Err)
}

/// Returns the names of the host's links.
///
/// # Errors
/// If they cannot be read.
pub fn host_links(host: &Session<'_>) -> Result<HashSet<String>> {
    host.kernel.link_names()
}

/// Returns the names of this host's links, and those that host ends have on record: the call that makes such
/// a link may have been killed before.
///
/// # Errors
/// If they cannot be read.
pub async fn host_ends(host: &Session<'_>) -> Result<HashSet<String>> {
    let state = host.look(Extent::to(Depth::Links)).await?;
    let mut names = host.kernel.link_names()?;
    names.extend(state.endpoints().filter_map(|(_, e)| e.host_ifname()).map(ToString::to_string));
    Ok(names)
}

/// Returns the subnets that this host and its networks use.
///
/// # Errors
/// If they cannot be read.
pub async fn used_subnets(host: &Session<'_>) -> Result<Vec<IpNetwork>> {
    let state = host.look(Extent::to(Depth::Names)).await?;
    let own = state.networks().values().flat_map(|record| record.network.blocks());
    let addresses = host.kernel.addresses().await?.into_iter().map(|a| network_of(a.address));
    let routes = host.kernel.routes().await?.into_iter().map(|route| route.destination);
    Ok(own.chain(addresses).chain(routes).filter(|subnet| subnet.prefix() > 0).collect())
}

/// Returns the link of the host's default route.
///
/// # Errors
/// If there is none.
pub async fn default_link(host: &Session<'_>) -> Result<LinkName> {
    let routes = host.kernel.routes().await?;
    let default = routes.iter().filter(|r| r.destination.prefix() == 0).min_by_key(|r| r.metric);
    let link = match default {
        Some(route) => host.kernel.link_of(route).await?,
        None => None,
    };
    match link {
        Some(link) => Ok(link.name.parse()?),
        None => {
            Err(Error::conflict("the host has no default route, whose link would be the parent")
                .hint("name the parent of the network")
                .into())
        }
    }
}

/// Removes an engine's endpoint; returns whether there was one. Nothing of the container has to be
/// there any more.
///
/// # Errors
/// If the records cannot be locked, or a step failed.
pub async fn release(host: &mut Session<'_>, held: Held<'_>) -> Result<bool> {
    Ok(release_all(host, |e| held.is(e)).await? > 0)
}

/// Removes the endpoint of an engine that identifies it without the name of a link; returns whether there
/// was one.
///
/// # Errors
/// As [`release`].
pub async fn release_of(host: &mut Session<'_>, owner: &Owner) -> Result<bool> {
    let is_its = |e: &Endpoint| e.owner.as_ref().is_some_and(|there| there.is(owner));
    Ok(release_all(host, is_its).await? > 0)
}

/// Removes all endpoints of an engine's network but these; returns how many there were.
///
/// # Errors
/// If the records cannot be locked, or a step failed.
pub async fn release_others(
    host: &mut Session<'_>,
    interface: Interface,
    network: &str,
    kept: &[Held<'_>],
) -> Result<usize> {
    let is_of = |owner: &Owner| owner.interface == interface && owner.network == network;
    release_all(host, |e| {
        e.owner.as_deref().is_some_and(is_of) && !kept.iter().any(|held| held.is(e))
    })
    .await
}

async fn release_all(
    host: &mut Session<'_>,
    is_meant: impl Fn(&Endpoint) -> bool,
) -> Result<usize> {
    let mut state = host.enter(Need::Removes, Extent::to(Depth::Links)).await?;
    let meant = all(&state, is_meant);
    // Those of a network are removed together: they are in order of their networks.
    for of_one in meant.chunk_by(|(one, _), (next, _)| one.name == next.name) {
        let Some((network, _)) = of_one.first() else { continue };
        let gone: Vec<_> = of_one.iter().map(|(_, endpoint)| endpoint.clone()).collect();
        endpoints::away(host, &mut state, network, &gone).await?;
    }
    host.tidy(&mut state).await?;
    Ok(meant.len())
}

fn all(state: &State, is_meant: impl Fn(&Endpoint) -> bool) -> Vec<(Network, Endpoint)> {
    let all = state.endpoints().filter(|(_, endpoint)| is_meant(endpoint));
    all.map(|(record, endpoint)| (record.network.clone(), endpoint.clone())).collect()
}

/// Returns what is missing of an engine's endpoint, as the commands that would restore it. What others
/// may have changed on purpose, such as the MAC or the MTU, is not looked at.
///
/// # Errors
/// If the namespace or the kernel cannot be read.
pub async fn missing(
    host: &mut Session<'_>,
    network: &Network,
    endpoint: &Endpoint,
) -> Result<Vec<String>> {
    endpoints::open(host, endpoint);
    let mut plan = wiring::attach(&host.kernel, network, endpoint)?;
    plan.retain(|step| {
        let is_firewall = matches!(step.change.facts().class, Class::Firewall(_));
        is_firewall
            || matches!(
                &step.change,
                Change::Create(
                    Resource::Address { .. } | Resource::Route { .. } | Resource::Up { .. }
                )
            )
    });
    let changes: Vec<_> = plan.iter().map(|step| &step.change).collect();
    let there = host.kernel.hold(&changes).await;
    let missing = plan.iter().zip(there).filter(|(_, is_there)| !is_there);
    Ok(missing.filter_map(|(step, _)| command(step)).collect())
}

/// Whether containers can be attached to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They can.
    Ready,
    /// There is no such network.
    Missing,
    /// They cannot, for a reason.
    Unavailable(String),
    /// They can, but the network's store is not followed, for a reason: other hosts may not reach them.
    Limited(String),
}

/// Returns the IDs of docker's networks.
///
/// # Errors
/// If docker does not answer in time.
pub async fn networks_of_docker() -> Result<HashSet<String>> {
    engine::of_docker(ENGINE_PATIENCE).await
}

/// Returns whether containers can be attached to a network. It takes no lock, and looks at no endpoint.
///
/// # Errors
/// If the records or the kernel cannot be read.
pub async fn readiness(host: &Session<'_>, name: &LinkName) -> Result<Readiness> {
    let extent = Extent { load: Load::Of(&[]), ..Extent::of(name) };
    let state = host.look(extent).await?;
    let Some(record) = state.networks().get(name) else {
        let is_link = host.kernel.has_link(name);
        return Ok(if is_link { Readiness::Ready } else { Readiness::Missing });
    };
    let network = &record.network;
    if let Err(error) = plug::required(&host.kernel, network).await {
        return Ok(Readiness::Unavailable(format!("{error:#}")));
    }
    Ok(match peers::follows(network, state.dir()).await.transpose()? {
        Some(Following::Follows(Member { lost: Some(why), .. })) => Readiness::Unavailable(why),
        Some(Following::Follows(Member { away: Some(why), .. })) => Readiness::Limited(why),
        None | Some(Following::Follows(_)) => Readiness::Ready,
        Some(Following::DoesNotFollow | Following::DoesNotRun) => {
            host.start_agent(&state);
            Readiness::Limited("netcord-agent did not follow the network's store".to_owned())
        }
    })
}
