//! Removes what died since the last command: endpoints whose namespace is gone, dangling names. An
//! endpoint of a container stays on record, since its engine can start it again. Every changing verb
//! does this first.

use std::{collections::HashSet, time::Duration};

use anyhow::Result;
use tokio::time::{Instant, sleep};

use crate::{
    apply, error,
    kernel::{Link, Netns, named},
    model::{
        Attachment, Endpoint, EndpointSummary, Firewall, LinkName, NamedNetns, Network,
        NetworkRecord, PortSpec,
    },
    ops::{
        Session,
        driver::underlay,
        lookup::liveness,
        upkeep::{firewall, leases, removal},
    },
    plan::{Plan, Record, Resource, Step, name, once, reverse},
    state::State,
};

/// The time to wait for the links of a dead namespace to go; a fifth of a second was measured.
const DEATH_PATIENCE: Duration = Duration::from_secs(2);
const DEATH_INTERVAL: Duration = Duration::from_millis(10);

/// Removes dead endpoints and names; returns descriptions of them. A dry run removes nothing. A
/// network for which it fails is set aside, so that other networks are not affected.
pub(super) async fn dead(host: &mut Session<'_>, state: &mut State) -> Result<Vec<String>> {
    firewall::settle(host, state).await?;
    let mut gone = Vec::new();
    if state.is_rebuilt() {
        gone.extend(stale_ports(host, state).await?);
    }
    if state.is_partial() {
        if is_tidy(host, state).await? {
            return Ok(gone);
        }
        host.complete(state).await?;
    }
    if !host.dry_run {
        for Network { name, .. } in overdue(host, state) {
            gone.extend(undone(host, state, &name).await?);
        }
    }
    for (network, endpoints) in dead_endpoints(host, state).await? {
        if host.is_aside(&network.name) {
            continue;
        }
        let (mut stopped, endpoints): (Vec<_>, Vec<_>) =
            endpoints.into_iter().partition(|e| e.container.is_some() && !is_unplugged(e));
        stopped.retain(|endpoint| !endpoint.is_stopped());
        if let Err(error) = rest(host, state, &network, &stopped).await {
            host.set_aside(
                &network.name,
                "has endpoints of stopped containers, whose rules could not be taken away",
                &error,
                "netcord prune",
            )?;
            continue;
        }
        match bury_endpoints(host, state, &network, &endpoints).await {
            Ok(()) => gone.extend(
                endpoints.iter().map(|e| format!("endpoint {}/{}", network.name, e.target)),
            ),
            Err(error) => host.set_aside(
                &network.name,
                "has dead endpoints that could not be taken away",
                &error,
                "netcord prune",
            )?,
        }
    }
    for unused in unused_names(state).await {
        match bury(host, state, &removal::outside(reverse(&name(&unused), |_| false))).await {
            Ok(()) => gone.push(format!("name {}", unused.name)),
            Err(error) if error::is_interruption(&error) => return Err(error),
            Err(error) => host.events.warn(&format!(
                "name `{}` means nothing any more, and could not be taken away: {error:#}",
                unused.name
            )),
        }
    }
    for (name, forgetting) in unused_foreign(state) {
        if let Err(error) = bury(host, state, &vec![forgetting]).await {
            host.set_aside(
                &name,
                "is not used, and could not be forgotten",
                &error,
                "netcord prune",
            )?;
        }
    }
    Ok(gone)
}

/// Closes the ports of endpoints that are gone and whose record was lost: nothing but their rules is
/// left of them, and another endpoint may get their address.
async fn stale_ports(host: &mut Session<'_>, state: &mut State) -> Result<Vec<String>> {
    host.complete(state).await?;
    let mut gone = Vec::new();
    for firewall in Firewall::ALL {
        let unrecorded = firewall::stale_ports(host, state, firewall);
        let (ports, plan): (Vec<_>, Plan) = unrecorded.into_iter().unzip();
        match bury(host, state, &plan).await {
            Ok(()) => {
                gone.extend(ports.iter().map(|port| format!("port {port} in {firewall}")));
            }
            Err(error) if error::is_interruption(&error) => return Err(error),
            Err(error) => host.events.warn(&format!(
                "rules of published ports without a record could not be removed: {error:#}"
            )),
        }
    }
    Ok(gone)
}

fn overdue(host: &Session<'_>, state: &State) -> Vec<Network> {
    let mut overdue = underlay::overdue(state);
    overdue.retain(|network| !host.is_aside(&network.name));
    overdue
}

/// Undoes an overdue move; returns a description.
async fn undone(
    host: &mut Session<'_>,
    state: &mut State,
    name: &LinkName,
) -> Result<Option<String>> {
    let Some(record) = state.networks().get(name) else { return Ok(None) };
    let network = record.network.clone();
    if let Err(error) = underlay::undo(host, state, &network).await {
        let command = format!("netcord rm {name}");
        let what = "was not finished or not confirmed in time, and could not be undone";
        return host.set_aside(name, what, &error, &command).map(|()| None);
    }
    host.events.warn(&format!(
        "network `{name}` was not finished or not confirmed in time: the host is as it was before"
    ));
    Ok(Some(format!("network {name}")))
}

async fn bury_endpoints(
    host: &mut Session<'_>,
    state: &mut State,
    network: &Network,
    endpoints: &[Endpoint],
) -> Result<()> {
    let plan = removal::endpoints(&host.kernel, state, network, endpoints).await?;
    bury_with_leases(host, state, network, endpoints, &plan).await
}

/// Carries out the plan that removes endpoints, and ends their leases.
async fn bury_with_leases(
    host: &mut Session<'_>,
    state: &mut State,
    network: &Network,
    endpoints: &[Endpoint],
    plan: &Plan,
) -> Result<()> {
    let kept = leases::kept(endpoints);
    bury(host, state, plan).await?;
    for endpoint in endpoints.iter().filter(|_| !host.dry_run) {
        leases::end(host, network, endpoint, &kept).await?;
    }
    Ok(())
}

/// Returns whether the program that attached a running container has detached it.
fn is_unplugged(endpoint: &Endpoint) -> bool {
    endpoint.foreign && liveness::lives(endpoint)
}

/// Removes what is left on the host of endpoints whose containers have stopped, but their records.
async fn rest(
    host: &mut Session<'_>,
    state: &mut State,
    network: &Network,
    endpoints: &[Endpoint],
) -> Result<()> {
    if endpoints.is_empty() {
        return Ok(());
    }
    if host.dry_run {
        for stopped in endpoints
            .iter()
            .filter_map(|e| Some(Endpoint { ports: e.ports.clone(), ..e.stopped()? }))
        {
            // Without the lock, nothing is written.
            state.adopt_endpoint(&network.name, stopped);
        }
        return Ok(());
    }
    let plans = endpoints.iter().map(|e| removal::stopped(state, network, e));
    let plan = once(plans.flatten().collect());
    bury_with_leases(host, state, network, endpoints, &plan).await
}

/// Returns whether nothing is dead, as far as summaries show.
async fn is_tidy(host: &Session<'_>, state: &State) -> Result<bool> {
    // These are checked inside.
    let has_macvlans = state.summaries().any(|(_, summary)| summary.host_ifname.is_none());
    Ok(!has_macvlans
        && underlay::overdue(state).is_empty()
        && unused_names(state).await.is_empty()
        && unused_foreign(state).is_empty()
        && gone(host, state).await?.is_empty())
}

/// Waits for the end of endpoints that would be in the way, or have one of these ports, although their
/// namespace is gone: the kernel deletes a dead namespace's links a little later.
pub(super) async fn dying(
    host: &mut Session<'_>,
    state: &mut State,
    is_in_the_way: &dyn Fn(&EndpointSummary<'_>) -> bool,
    ports: &[PortSpec],
) -> Result<()> {
    let lives = |e: &EndpointSummary<'_>| {
        e.netns.parse().is_ok_and(|name| {
            Netns::of_name(&name).is_ok_and(|there| there.is_some_and(|t| t.cookie() == e.cookie))
        })
    };
    let has_port =
        |e: &Endpoint| ports.iter().any(|spec| e.ports.iter().any(|p| p.may_clash(spec)));
    let with_port =
        state.endpoints().map(|(_, e)| e).filter(|e| has_port(e)).map(EndpointSummary::of);
    let in_the_way = state.summaries().map(|(_, e)| e).filter(is_in_the_way);
    let dying: HashSet<_> = in_the_way
        .chain(with_port)
        .filter(|e| !lives(e))
        .filter_map(|e| e.host_ifname.map(str::to_owned))
        .collect();
    let until = Instant::now() + DEATH_PATIENCE;
    let _doing = (!dying.is_empty()).then(|| {
        host.events.doing_for(DEATH_PATIENCE, "waiting for the links of what has ended to go")
    });
    for host_ifname in &dying {
        while host.kernel.link(host_ifname).await?.is_some() && Instant::now() < until {
            sleep(DEATH_INTERVAL).await;
        }
    }
    if !dying.is_empty() {
        dead(host, state).await?;
    }
    Ok(())
}

/// Silently: a user who attaches an endpoint did not ask about dead ones.
async fn bury(host: &mut Session<'_>, state: &mut State, plan: &Plan) -> Result<()> {
    if !host.dry_run && !plan.is_empty() {
        let before = &mut |number, step: &Step| host.events.before(number, step);
        apply::carry_out(plan, &mut host.kernel, state, before, &mut |_| ()).await?;
    }
    Ok(())
}

/// Returns the host ends that are gone.
async fn gone<'s>(host: &Session<'_>, state: &'s State) -> Result<HashSet<&'s str>> {
    let mut names = state.summaries().filter_map(|(_, summary)| summary.host_ifname).peekable();
    if names.peek().is_none() {
        return Ok(HashSet::new());
    }
    host.kernel.gone(names).await
}

/// Returns endpoints whose host end is gone: it is deleted with the namespace of its peer. A
/// macvlan has none, so its link inside is checked; if that cannot be read, the endpoint counts as
/// alive.
pub(in crate::ops) async fn dead_endpoints(
    host: &Session<'_>,
    state: &State,
) -> Result<Vec<(Network, Vec<Endpoint>)>> {
    let gone = gone(host, state).await?;
    let mut dead = Vec::new();
    for NetworkRecord { network, endpoints } in state.networks().values() {
        let mut of_network = Vec::new();
        for endpoint in endpoints {
            let is_dead = match &endpoint.attachment {
                Attachment::Macvlan => {
                    matches!(liveness::inner(&host.kernel, network, endpoint).await, Ok(None))
                }
                Attachment::Veth { host_ifname } => gone.contains(host_ifname.as_str()),
            };
            if is_dead {
                of_network.push(endpoint.clone());
            }
        }
        if !of_network.is_empty() {
            dead.push((network.clone(), of_network));
        }
    }
    Ok(dead)
}

/// Returns names of ours that no endpoint uses, and that lead nowhere, or were made for an endpoint
/// that a killed run did not make.
async fn unused_names(state: &State) -> Vec<NamedNetns> {
    if state.names().is_empty() {
        return Vec::new();
    }
    let used: HashSet<_> = state.summaries().map(|(_, summary)| summary.cookie).collect();
    let wanted = |n: &NamedNetns| used.contains(&n.cookie) || (n.kept && named(&n.name).exists());
    let mut unused = Vec::new();
    for name in state.names().iter().filter(|n| !wanted(n)) {
        if !is_attached(name).await {
            unused.push(name.clone());
        }
    }
    unused
}

/// Returns whether a macvlan of ours is inside whose network has lost its record.
async fn is_attached(named: &NamedNetns) -> bool {
    let Ok(Some(netns)) = Netns::of_name(&named.name) else { return false };
    let links = netns.links().await.unwrap_or_default();
    let is_ours = |link: &Link| link.is_ours() && link.leads_into().is_some();
    netns.cookie() == named.cookie && links.values().any(is_ours)
}

/// Returns records of foreign networks without endpoints.
fn unused_foreign(state: &State) -> Vec<(LinkName, Step)> {
    let is_used = |name: &LinkName| state.summaries().any(|(network, _)| network.name == *name);
    let unused = |r: &&NetworkRecord| r.network.driver.is_foreign() && !is_used(&r.network.name);
    let forget = |r: &NetworkRecord| {
        let record = Resource::Record(Record::Network(r.network.clone()));
        (r.network.name.clone(), Step::delete("netcord has no endpoint on this bridge", record))
    };
    state.networks().values().filter(unused).map(forget).collect()
}
