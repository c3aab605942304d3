//! `repair`: restores what is on record, or lists the differences.

use std::collections::BTreeSet;

use anyhow::Result;
use serde::Serialize;

use super::{
    Changed, Session, WithFailure, attach,
    driver::{
        self, overlay,
        underlay::{self, Lost},
    },
    lookup::plug,
    upkeep::{
        containers::{self, Now, Stopped},
        default_routes, endpoints, entry, leases, link_attrs,
        need::{Depth, Extent, Need},
        wiring,
    },
};
use crate::{
    agents::{self, netcord_agent},
    error::Error,
    kernel::{Kernel, Netns},
    model::{Endpoint, LinkName, NamedNetns, Network, NetworkRecord, Source},
    plan::{self, Change, Class, Plan, Resource, Step, command, once},
    state::State,
};

/// A difference between the records and the host.
#[derive(Debug, Serialize)]
pub struct Drift {
    /// The object.
    pub of: String,
    /// The purpose.
    pub why: &'static str,
    /// The command that restores it.
    pub command: String,
    /// The evidence, if there is more to say than that it is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
}

/// The differences between the records and the host.
#[derive(Debug, Serialize)]
pub struct Drifted {
    /// The differences.
    pub drift: Vec<Drift>,
}

/// What was restored.
#[derive(Debug, Serialize)]
pub struct Repaired {
    /// The differences that were found.
    pub repaired: Vec<Drift>,
}

/// The name of an object on record, and its plan.
type Part = (String, Plan);

/// Finds the differences, and changes nothing.
///
/// # Errors
/// If the records or the kernel cannot be read.
pub async fn check(host: &mut Session<'_>) -> Result<Drifted> {
    let state = host.look(Extent::to(Depth::Names)).await?;
    let Found { mut drift, .. } = find(host, &state).await?;
    drift.extend(unplugged(host, &state));
    Ok(Drifted { drift })
}

/// Restores what is on record; returns `None` for a dry run. Returns what was restored with the
/// reason why something could not be.
///
/// # Errors
/// If the records or the kernel cannot be read, or a step failed.
pub async fn repair(host: &mut Session<'_>) -> Result<WithFailure<Option<Changed<Repaired>>>> {
    let mut state = host.enter(Need::Removes, Extent::to(Depth::Names)).await?;
    let Found { drift, parts, lost, again } = find(host, &state).await?;
    let mut plan = once(parts.into_iter().flat_map(|(_, plan)| plan).collect());
    if drift.is_empty() {
        // Do not delete tracked connections if nothing else changes.
        plan.retain(|step| !matches!(step.change.facts().class, Class::Flows));
    }
    let Some(changed) = host.carry_out(&plan, &mut state).await? else {
        drop(state);
        return Ok((None, attach_again(host, again).await.1));
    };
    let kept = keep(host, &mut state).await? | host.start_agent(&state);
    let relayed = overlay::start_stopped(host, &state).await?;
    host.tidy(&mut state).await?;
    let tidied = !state.remove_leftovers()?.is_empty();
    drop(state);
    let (attached, failed) = attach_again(host, again).await;
    let done = Changed::new(
        changed || kept || relayed || tidied || attached,
        Repaired { repaired: drift },
    );
    let failure = host.check_none_aside().err().or_else(|| lost.first().map(not_put_back));
    Ok((Some(done), failure.or(failed)))
}

/// Attaches containers that were started again; returns whether there were any that could be, with the
/// first failure.
async fn attach_again(
    host: &mut Session<'_>,
    again: Vec<Stopped>,
) -> (bool, Option<anyhow::Error>) {
    let (mut attached, mut failure) = (false, None);
    for stopped in again {
        let Now::Runs(target) = stopped.now else { continue };
        match attach::again(host, &stopped.network.name, target, &stopped.endpoint).await {
            Ok(addresses) => attached |= addresses.is_some(),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    (attached, failure)
}

fn not_put_back((network, lost): &(LinkName, Lost)) -> anyhow::Error {
    Error::conflict(format!("network `{network}`: {}", lost.why))
        .hint(format!("to put it back: `{}`", lost.command))
        .into()
}

/// The differences, and the plans that restore them.
struct Found {
    drift: Vec<Drift>,
    parts: Vec<Part>,
    /// Networks whose parent cannot simply be put back.
    lost: Vec<(LinkName, Lost)>,
    /// Endpoints whose containers were started again.
    again: Vec<Stopped>,
}

async fn find(host: &mut Session<'_>, state: &State) -> Result<Found> {
    let (parts, lost) = parts(host, state).await?;
    let mut drift = drift(&host.kernel, &parts).await;
    drift.extend(unkept(state));
    drift.extend(entry::without_agent(state).map(|(network, task)| Drift {
        of: format!("network {}", network.name),
        why: task.undone(),
        command: netcord_agent::PROGRAM.to_owned(),
        evidence: Vec::new(),
    }));
    let unrelayed = overlay::stopped(host, state).await?;
    drift.extend(unrelayed.into_iter().map(|network| Drift {
        of: format!("network {}", network.name),
        why: "the network's relay does not run",
        command: netcord_agent::PROGRAM.to_owned(),
        evidence: Vec::new(),
    }));
    drift.extend(lost.iter().map(|(network, lost)| Drift {
        of: format!("network {network}"),
        why: lost.why,
        command: lost.command.clone(),
        evidence: Vec::new(),
    }));
    let mut again = containers::stopped(host, state).await?;
    again.retain(|stopped| matches!(stopped.now, Now::Runs(_)));
    drift.extend(again.iter().filter_map(|stopped| {
        Some(Drift {
            of: format!("endpoint {}", stopped.place()),
            why: "its container was started again, in a new namespace",
            command: stopped.command()?,
            evidence: Vec::new(),
        })
    }));
    Ok(Found { drift, parts, lost, again })
}

/// Returns the plans of everything on record that lives, and the networks whose parent cannot
/// simply be put back.
async fn parts(
    host: &mut Session<'_>,
    state: &State,
) -> Result<(Vec<Part>, Vec<(LinkName, Lost)>)> {
    let (mut parts, mut lost) = (Vec::new(), Vec::new());
    for named in state.names() {
        if let Some(netns) = living(named) {
            host.kernel.know(named.name.clone(), netns);
            parts.push((format!("name {}", named.name), plan::name(named)));
        }
    }
    let mut networks = Vec::new();
    // An old veth is deleted only when everything that the new one needs exists.
    for NetworkRecord { network, endpoints } in state.networks().values() {
        if let Some(error) = nothing_to_hang_on(host, network).await? {
            host.set_aside(&network.name, "cannot be repaired", &error, "netcord repair")?;
            if network.driver.parent().is_some() {
                lost.push((network.name.clone(), underlay::gone(network)));
            }
            continue;
        }
        let (network, mut plan, lost_parent) = driver::repair(host, network, endpoints).await?;
        link_attrs::restore(&host.kernel, &mut plan).await?;
        lost.extend(lost_parent.map(|parent| (network.name.clone(), parent)));
        parts.push((format!("network {}", network.name), plan));
        networks.push((network, endpoints));
    }
    for (network, endpoints) in &networks {
        for endpoint in *endpoints {
            endpoints::open(host, endpoint);
            if host.kernel.target(&endpoint.netns).is_none() {
                continue;
            }
            let plan = of_endpoint(&host.kernel, state, network, endpoint).await?;
            parts.push((format!("endpoint {}/{}", network.name, endpoint.target), plan));
        }
    }
    Ok((parts, lost))
}

/// Returns why the bridge or parent of a network cannot be restored, if another program has to make
/// it.
async fn nothing_to_hang_on(
    host: &Session<'_>,
    network: &Network,
) -> Result<Option<anyhow::Error>> {
    if network.driver.makes_lower_link() {
        return Ok(None);
    }
    Ok(plug::required(&host.kernel, network).await.err())
}

/// Returns the namespace of a name, if it lives, and the name is free for it.
fn living(named: &NamedNetns) -> Option<Netns> {
    let there = match (Netns::of_name(&named.name).ok()?, &named.source) {
        (Some(there), _) => there,
        (None, Source::Link(file)) => Netns::of_path(file).ok()?,
        (None, Source::Made) => return None,
    };
    (there.cookie() == named.cookie).then_some(there)
}

async fn of_endpoint(
    kernel: &Kernel,
    state: &State,
    network: &Network,
    endpoint: &Endpoint,
) -> Result<Plan> {
    let mut plan = wiring::attach(kernel, network, endpoint)?;
    plan.retain(|s| default_routes::successor(state.endpoints(), endpoint, &s.change).is_none());
    let veth = plan.iter().find_map(|step| match &step.change {
        Change::Create(Resource::Veth(veth)) => Some(veth.clone()),
        _ => None,
    });
    if let Some(veth) = veth
        && kernel.link(veth.host.as_str()).await?.is_some_and(|link| link.is_ours())
    {
        if let Some(drifted) = kernel.drifted_ends(&veth).await? {
            link_attrs::add(&mut plan, drifted);
        } else if endpoint.handed_over.is_some() {
            // Its owner may have renamed it, and would have to configure a new one.
            plan.retain(|step| !matches!(step.change, Change::Create(Resource::Veth(_))));
        } else {
            // Nothing less helps: an end has another name, or is gone.
            plan.insert(0, Step::delete("the veth pair was changed", Resource::Veth(veth)));
        }
    }
    if endpoint.handed_over.is_some() && endpoint.host_ifname().is_none() {
        // The same of a macvlan.
        plan.retain(|step| !is_of_link(&step.change));
    } else if let Some(step) = renamed(kernel, network, endpoint).await? {
        plan.insert(0, step);
    }
    link_attrs::restore(kernel, &mut plan).await?;
    Ok(plan)
}

fn is_of_link(change: &Change) -> bool {
    matches!(change, Change::Create(Resource::Macvlan(_) | Resource::Alias { .. }))
}

/// Returns the step that deletes a macvlan under another name, so that it can be made again.
async fn renamed(kernel: &Kernel, network: &Network, endpoint: &Endpoint) -> Result<Option<Step>> {
    let Some(made) = plan::macvlan_of(network, endpoint) else { return Ok(None) };
    let parent = kernel.link(made.parent.as_str()).await?;
    let (Some(netns), Some(parent)) = (kernel.target(&endpoint.netns), parent) else {
        return Ok(None);
    };
    let there = netns.macvlan(&parent, &made.id()).await?;
    let is_renamed = there.is_some_and(|link| link.is_ours() && link.name != made.name.as_str());
    let why = "the link was renamed";
    Ok(is_renamed.then(|| Step::delete(why, Resource::Macvlan(made))))
}

/// Returns the differences, without duplicates.
async fn drift(kernel: &Kernel, parts: &[Part]) -> Vec<Drift> {
    let (mut found, mut told) = (Vec::new(), BTreeSet::new());
    for (of, plan) in parts {
        for step in plan {
            // Whether a change without a lasting effect was made is unknown.
            if !step.change.facts().lasts {
                continue;
            }
            let Some(evidence) = evidence(kernel, &step.change).await else {
                continue;
            };
            let Some(command) = command(step) else { continue };
            if told.insert(command.clone()) {
                found.push(Drift { of: of.clone(), why: step.why, command, evidence });
            }
        }
    }
    found
}

/// Returns the evidence that a change has something to do; `None` if it has not. If that cannot be
/// read, it has.
async fn evidence(kernel: &Kernel, change: &Change) -> Option<Vec<String>> {
    match change {
        Change::Create(resource) if resource.facts().firewall().is_some() => {
            let damage = kernel.damage(resource).unwrap_or_else(|e| vec![format!("{e:#}")]);
            (!damage.is_empty()).then_some(damage)
        }
        _ => (!kernel.holds(change).await).then(Vec::new),
    }
}

/// Endpoints without a bridge or parent.
fn unplugged(host: &Session<'_>, state: &State) -> Vec<Drift> {
    let aside = state.endpoints().filter(|(record, _)| host.is_aside(&record.network.name));
    aside
        .map(|(record, e)| Drift {
            of: format!("endpoint {}/{}", record.network.name, e.target),
            why: "its bridge or parent is gone, and netcord did not make that",
            command: format!("netcord detach {} {}", record.network.name, e.netns),
            evidence: Vec::new(),
        })
        .collect()
}

/// Leases without a lease renewer.
fn unkept(state: &State) -> Vec<Drift> {
    let agents = agents::status();
    let runs = |renewer| agents.has(renewer);
    let is_unkept = |e: &Endpoint| {
        !e.is_stopped() && e.lease.as_ref().is_some_and(|lease| !lease.renewer.is_some_and(runs))
    };
    let all = state.endpoints().filter(|(_, e)| is_unkept(e));
    all.map(|(record, e)| Drift {
        of: format!("endpoint {}/{}", record.network.name, e.target),
        why: "no process renews its DHCP lease",
        command: format!("netcord attach {} {} --dhcp", record.network.name, e.netns),
        evidence: Vec::new(),
    })
    .collect()
}

/// Starts missing lease renewers; returns whether there were any.
async fn keep(host: &mut Session<'_>, state: &mut State) -> Result<bool> {
    let all: Vec<_> = state.endpoints().map(|(r, e)| (r.network.clone(), e.clone())).collect();
    let mut started = false;
    for (network, mut endpoint) in all {
        if host.kernel.target(&endpoint.netns).is_some() {
            started |= leases::ensure(host, state, &network, &mut endpoint).await?;
        }
    }
    Ok(started)
}
