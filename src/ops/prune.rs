//! `prune`: removes dead objects and leftovers, and lists them. Dead endpoints would also be
//! removed by the next changing command; those of containers that are gone only by this one.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::{
    Changed, Session, WithFailure,
    driver::underlay,
    lookup::liveness,
    upkeep::{
        containers::{self, Now},
        endpoints, firewall,
        need::{Depth, Extent, Need},
        removal,
    },
};
use crate::{
    engine,
    kernel::{Kernel, Link, LinkKind, Netns},
    model::{Endpoint, Firewall, Interface, NamedNetns, Network, NetworkRecord, Owner},
    plan::{self, LinkId, Plan, Step, reverse},
    state::State,
};

/// The time to wait for docker.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was removed.
#[derive(Debug, Serialize)]
pub struct Pruned {
    /// Descriptions.
    pub pruned: Vec<String>,
}

/// Removes leftovers; returns `None` for a dry run. Returns the removed objects with the error of a
/// network that could not be tidied.
///
/// # Errors
/// If the records or the kernel cannot be read, or a step failed.
pub async fn prune(host: &mut Session<'_>) -> Result<WithFailure<Option<Changed<Pruned>>>> {
    let mut state = host.enter(Need::Removes, Extent::to(Depth::Names)).await?;
    let mut pruned = host.tidy(&mut state).await?;
    pruned.extend(forgotten(host, &mut state).await?);
    pruned.extend(disowned(host, &mut state).await?);
    let mut plan = Plan::new();
    for (name, steps) in strangers(&state) {
        pruned.push(format!("name {name}"));
        plan.extend(steps);
    }
    for (link, step) in half_made_links(host, &state).await? {
        pruned.push(format!("link {link}"));
        plan.push(step);
    }
    for (what, steps) in stale_rules(host, &state) {
        pruned.push(what);
        plan.extend(steps);
    }
    if host.dry_run {
        host.print(&plan).await?;
        return Ok((None, None));
    }
    host.carry_out(&plan, &mut state).await?;
    let leftovers = state.remove_leftovers()?;
    pruned.extend(leftovers.iter().map(|file| format!("record {}", file.display())));
    // A move that waits for confirmation is left alone, as by every other verb.
    let overdue = underlay::overdue(&state);
    let mut dead = state.networks().keys().filter(|name| overdue.iter().all(|n| n.name != **name));
    let failure = dead.try_for_each(|name| host.check_aside(name)).err();
    Ok((Some(Changed::new(!pruned.is_empty(), Pruned { pruned })), failure))
}

/// Removes the endpoints of containers that their engine no longer has; returns descriptions. One that
/// has merely stopped is kept, as its engine keeps it.
async fn forgotten(host: &mut Session<'_>, state: &mut State) -> Result<Vec<String>> {
    let mut pruned = Vec::new();
    for stopped in containers::stopped(host, state).await? {
        let place = stopped.place();
        match stopped.now {
            Now::Gone => {}
            Now::Runs(_) | Now::Stopped => continue,
            Now::Unknown(error) => {
                host.events.note(&format!("endpoint `{place}` is kept: {error:#}"));
                continue;
            }
        }
        endpoints::away(host, state, &stopped.network, &[stopped.endpoint]).await?;
        pruned.push(format!("endpoint {place}"));
    }
    Ok(pruned)
}

/// Removes the endpoints of docker's that docker has forgotten, for example since it was killed; returns
/// descriptions.
async fn disowned(host: &mut Session<'_>, state: &mut State) -> Result<Vec<String>> {
    let mut pruned = Vec::new();
    for (network, endpoint) in of_docker(state) {
        let Some(owner) = &endpoint.owner else { continue };
        let place = format!("endpoint {}/{}", network.name, endpoint.target);
        match engine::connected(&owner.network, PATIENCE).await {
            Ok(all) if all.iter().flatten().any(|one| one.endpoint == owner.id) => continue,
            // Another docker may answer here: what lives is not cut on its word.
            Ok(None) if liveness::lives(&endpoint) => {
                host.events.note(&format!("{place} is kept: docker does not have its network"));
                continue;
            }
            Ok(_) => {}
            Err(error) => {
                host.events.note(&format!("{place} is kept: {error:#}"));
                continue;
            }
        }
        endpoints::away(host, state, &network, &[endpoint]).await?;
        pruned.push(place);
    }
    Ok(pruned)
}

fn of_docker(state: &State) -> Vec<(Network, Endpoint)> {
    let is_dockers = |owner: &Owner| owner.interface == Interface::Docker;
    let is_its = |e: &Endpoint| e.owner.as_deref().is_some_and(is_dockers);
    let all = state.endpoints().filter(|(_, e)| is_its(e));
    all.map(|(record, e)| (record.network.clone(), e.clone())).collect()
}

/// Rules that nothing on record needs: in the firewall that is not in use, of ports that are not
/// published, and of networks that are gone.
fn stale_rules(host: &Session<'_>, state: &State) -> Vec<(String, Plan)> {
    let mut found = Vec::new();
    for firewall in Firewall::ALL {
        let leftover = removal::leftover(state.networks(), firewall);
        let is_needed = state.networks().values().any(|r| removal::needs(r, firewall, None));
        if !is_needed {
            if host.kernel.stands(firewall) {
                found.push((format!("rules in {firewall}"), leftover));
            }
            continue;
        }
        let unrecorded = firewall::stale_ports(host, state, firewall).into_iter();
        found.extend(
            unrecorded.map(|(port, step)| (format!("port {port} in {firewall}"), vec![step])),
        );
    }
    let with_rules = |r: &&NetworkRecord| removal::needs(r, Firewall::Nftables, None);
    let known: Vec<_> =
        state.networks().values().filter(with_rules).map(|r| &r.network.name).collect();
    // Without networks, the whole table was removed.
    let mut gone = host.kernel.networks_with_rules();
    gone.retain(|name| !known.is_empty() && !known.contains(&name));
    let open = host.kernel.open_networks();
    for name in gone {
        let what = format!("rules of {name} in nftables");
        let is_open = open.contains(&name);
        found.push((what, vec![plan::stale_network(name, is_open)]));
    }
    found
}

/// Names of ours that lead to another namespace: a PID was reused.
fn strangers(state: &State) -> impl Iterator<Item = (String, Plan)> + '_ {
    let is_another = |n: &&NamedNetns| {
        Netns::of_name(&n.name).is_ok_and(|there| there.is_some_and(|t| t.cookie() != n.cookie))
    };
    state
        .names()
        .iter()
        .filter(is_another)
        .map(|n| (n.name.to_string(), removal::outside(reverse(&plan::name(n), |_| false))))
}

/// Host ends with our mark that are on no record, even after records were rebuilt.
async fn half_made_links(host: &Session<'_>, state: &State) -> Result<Vec<(String, Step)>> {
    let is_known = |link: &Link| state.endpoints().any(|(_, e)| e.has_host_end(&link.name));
    // A link with carrier may be in use, even if nothing shows by whom.
    let is_half = |link: &Link| link.master.is_none() || !link.is_running();
    let is_unknown = |link: &Link| link.kind == LinkKind::Veth && !is_known(link) && is_half(link);
    unknown_links(&host.kernel, is_unknown).await
}

/// Returns links with our mark that match, and the steps that delete them.
pub(super) async fn unknown_links(
    kernel: &Kernel,
    is_unknown: impl Fn(&Link) -> bool,
) -> Result<Vec<(String, Step)>> {
    let mut found = Vec::new();
    for link in kernel.links().await?.into_values() {
        if !link.is_ours() || !is_unknown(&link) {
            continue;
        }
        let Ok(name) = link.name.parse() else { continue };
        let step = Step::delete_link("a link without a record", LinkId::Unrecorded(name));
        found.push((link.name, step));
    }
    Ok(found)
}
