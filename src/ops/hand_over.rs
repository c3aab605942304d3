//! Endpoints for engines that make the namespace later: netcord makes the veth pair or the macvlan, and
//! publishes the ports, and the engine moves the inner end and configures it. Each request names its endpoint by its
//! owner, and can be repeated.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;

pub use super::attach::HandOver;
use super::{
    Changed, Session, attach,
    lookup::{endpoints::of_owner, find, plug},
    publish::{self, Ports},
    upkeep::{
        endpoints, link_attrs,
        need::{Depth, Extent, Need},
        removal, wiring,
    },
};
use crate::{
    engine,
    error::Error,
    model::{
        Address, Endpoint, EndpointSummary, LinkName, NamedNetns, Network, Owner, PortSpec, Source,
    },
    plan::{self, Plan, Record, Resource, Step},
    state::State,
};

/// How long an engine may take to name a container.
const ENGINE_PATIENCE: Duration = Duration::from_millis(200);

/// Returns a network of netcord's whose endpoints can be handed over.
///
/// # Errors
/// If it does not exist, or its endpoints have no host end.
pub async fn network(host: &Session<'_>, name: &LinkName) -> Result<Network> {
    let state = host.look(Extent::of(name)).await?;
    let network = find::network(&host.kernel, &state, name).await?.network.clone();
    if network.driver.is_foreign() {
        return Err(Error::conflict(format!("bridge `{name}` is not netcord's"))
            .hint(format!("make a network of netcord's: `netcord bridge {name}2`"))
            .into());
    }
    if network.driver.macvlan().is_some_and(|macvlan| !macvlan.host_access.is_empty()) {
        return Err(Error::conflict(format!(
            "network `{name}` has --host-access, and a container that an engine configures does not \
             know the host's MAC"
        ))
        .hint(format!("make one without: `netcord macvlan {name}2`"))
        .into());
    }
    Ok(network)
}

/// Makes an endpoint, and leaves its inner end on the host; returns `None` for a dry run.
///
/// # Errors
/// If the network does not exist, an address is taken, or the owner has an endpoint that differs.
pub async fn hand_over(
    host: &mut Session<'_>,
    request: &HandOver,
) -> Result<Option<Changed<Endpoint>>> {
    let in_the_way = |e: &EndpointSummary<'_>| {
        e.addresses.iter().any(|address| request.ip.iter().any(|ip| ip.ip == address.ip()))
    };
    let extent = Extent { in_the_way: Some(&in_the_way), ..Extent::of(&request.network).inside() };
    let mut state = host.enter(Need::Changes, extent).await?;
    if let Some((of, there)) = of_owner(&state, &request.owner) {
        check_same(request, &of.network, there)?;
        let (network, endpoint) = (of.network.clone(), there.clone());
        return whole(host, &mut state, &network, endpoint).await;
    }
    release_former(host, &mut state, request).await?;
    let record = find::network(&host.kernel, &state, &request.network).await?.into_owned();
    let bridge = plug::required(&host.kernel, &record.network).await?;
    let endpoint = attach::handed_over(host, request, &state, &record, bridge).await?;
    let plan = wiring::attach(&host.kernel, &record.network, &endpoint)?;
    let Some(changed) = host.carry_out(&plan, &mut state).await? else { return Ok(None) };
    Ok(Some(Changed::new(changed, endpoint)))
}

/// Removes endpoints that the engine no longer has: the call that made them was killed, and it has assigned
/// their addresses again; or it has moved their inner ends back to the host, and nobody answered the call
/// that releases them. An inner end in a namespace is in use.
async fn release_former(
    host: &mut Session<'_>,
    state: &mut State,
    request: &HandOver,
) -> Result<()> {
    let Owner { interface, network, .. } = &request.owner;
    let kernel = &host.kernel;
    let is_former = |e: &Endpoint, owner: &Owner| {
        let has = |ip: &Address| e.addresses.iter().any(|address| address.ip() == ip.ip);
        if e.is_unmoved() {
            return owner.network == *network && request.ip.iter().any(has);
        }
        e.handed_over.as_ref().is_some_and(|link| kernel.has_link(link))
    };
    let is_former = |e: &Endpoint| {
        let owner = e.owner.as_deref().filter(|owner| owner.interface == *interface);
        owner.is_some_and(|owner| is_former(e, owner))
    };
    let former = state.endpoints().filter(|(_, e)| is_former(e));
    let former: Vec<_> = former.map(|(r, e)| (r.network.clone(), e.clone())).collect();
    for (network, endpoint) in former {
        endpoints::away(host, state, &network, &[endpoint]).await?;
    }
    Ok(())
}

/// Makes what a killed call has not made of an endpoint on record. Once it is moved, it is whole.
async fn whole(
    host: &mut Session<'_>,
    state: &mut State,
    network: &Network,
    endpoint: Endpoint,
) -> Result<Option<Changed<Endpoint>>> {
    let mut plan = Plan::new();
    if endpoint.is_unmoved() {
        plan.extend(wiring::attach(&host.kernel, network, &endpoint)?);
        link_attrs::restore(&host.kernel, &mut plan).await?;
    }
    let Some(changed) = host.carry_out(&plan, state).await? else { return Ok(None) };
    Ok(Some(Changed::new(changed, endpoint)))
}

fn check_same(request: &HandOver, of: &Network, there: &Endpoint) -> Result<()> {
    let has = |wanted: &Address| there.addresses.iter().any(|a| a.ip() == wanted.ip);
    let is_same = of.name == request.network
        && request.ip.iter().all(has)
        && request.mac.is_none_or(|mac| mac == there.mac);
    if is_same {
        return Ok(());
    }
    Err(Error::conflict(format!("{} exists, and it is not this one", request.owner)).into())
}

/// Names the namespace that the engine is about to make, and moves the inner end to; returns the
/// endpoint.
///
/// # Errors
/// If the owner has no endpoint.
pub async fn name(host: &mut Session<'_>, owner: &Owner, file: PathBuf) -> Result<Endpoint> {
    let mut state = host.enter(Need::Changes, Extent::of(None)).await?;
    let (_, endpoint) = of_owner(&state, owner).ok_or_else(|| unknown(owner))?;
    let endpoint = endpoint.clone();
    let named = NamedNetns {
        name: endpoint.netns.clone(),
        cookie: endpoint.cookie,
        source: Source::Link(file),
        kept: false,
    };
    host.carry_out(&plan::name(&named), &mut state).await?;
    Ok(endpoint)
}

/// Names the endpoint after its container, as its engine calls it, unless it has a name.
///
/// # Errors
/// If the record cannot be written.
pub async fn learn_name(host: &mut Session<'_>, owner: &Owner) -> Result<()> {
    let state = host.look(Extent::of(None)).await?;
    let is_nameless = |owner: &Owner| owner.name.is_none();
    if !of_owner(&state, owner).is_some_and(|(_, e)| e.owner.as_deref().is_some_and(is_nameless)) {
        return Ok(());
    }
    // docker may wait for this call, and nothing depends on the name.
    let Ok(Some(all)) = engine::connected(&owner.network, ENGINE_PATIENCE).await else {
        return Ok(());
    };
    let Some(named) = all.into_iter().find(|one| one.endpoint == owner.id) else { return Ok(()) };
    let mut state = host.enter(Need::Changes, Extent::of(None)).await?;
    let Some((record, endpoint)) = of_owner(&state, owner) else { return Ok(()) };
    let owner = Owner { name: Some(named.container.clone()), ..owner.clone() };
    let owner = Some(Box::new(owner));
    let endpoint = Endpoint { target: named.container, owner, ..endpoint.clone() };
    let record = Record::Endpoint { network: record.network.name.clone(), endpoint };
    let step = Step::create("record what the engine calls it", Resource::Record(record));
    host.carry_out(&vec![step], &mut state).await.map(drop)
}

/// Publishes ports of an endpoint.
///
/// # Errors
/// As [`publish::publish`], and if the owner has no endpoint.
pub async fn publish(
    host: &mut Session<'_>,
    owner: &Owner,
    ports: &[PortSpec],
) -> Result<Option<Changed<Ports>>> {
    publish::of_owner(host, owner, ports).await
}

/// Closes all ports of an endpoint; returns whether there were any.
///
/// # Errors
/// If a step failed.
pub async fn unpublish(host: &mut Session<'_>, owner: &Owner) -> Result<bool> {
    let mut state = host.enter(Need::Changes, Extent::to(Depth::Ports)).await?;
    let Some((record, endpoint)) = of_owner(&state, owner) else { return Ok(false) };
    let plan = removal::ports(&state, &record.network, endpoint, &endpoint.ports);
    Ok(host.carry_out(&plan, &mut state).await?.unwrap_or_default())
}

fn unknown(owner: &Owner) -> Error {
    Error::not_found(format!("no endpoint is {owner}"))
}
