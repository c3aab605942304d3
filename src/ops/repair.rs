//! `repair`: what is on record is made so again, or only told of.

use std::collections::BTreeSet;

use anyhow::Result;
use serde::Serialize;

use super::{Changed, Host, bridge, clean, detach, gates, keeper, succession, underlay};
use crate::{
    cli,
    kernel::{Kernel, Netns},
    model::{Endpoint, Mode, NamedNetns, Network, NetworkRecord, Source},
    output::SCHEMA_VERSION,
    plan::{self, Change, Plan, Resource, Step, command, once},
    state::State,
};

/// Something that is not as it is on record.
#[derive(Debug, Serialize)]
struct Drift {
    /// Whose it is.
    of: String,
    /// What it is for.
    why: &'static str,
    /// What makes it so.
    command: String,
}

#[derive(Serialize)]
struct Found<'a> {
    schema_version: u32,
    drift: &'a [Drift],
}

#[derive(Serialize)]
struct Repaired<'a> {
    repaired: &'a [Drift],
}

/// What something on record is called, and its plan.
type Part = (String, Plan);

pub(super) async fn run(host: &mut Host<'_, '_>, args: cli::Repair) -> Result<u8> {
    let mut state =
        if args.check { host.look_at_all().await? } else { host.state_with_all().await? };
    let parts = parts(host, &state).await?;
    let mut drift = drift(&host.kernel, &parts).await;
    drift.extend(unkept(&state));
    let lines: Vec<_> = drift.iter().map(line).collect();
    if args.check {
        let found = Found { schema_version: SCHEMA_VERSION, drift: &drift };
        host.output.result(&found, &lines)?;
        return Ok(u8::from(!drift.is_empty()));
    }
    let mut plan = once(parts.into_iter().flat_map(|(_, plan)| plan).collect());
    if drift.is_empty() {
        // Flows that go on undisturbed are not forgotten for nothing.
        plan.retain(|step| !matches!(step.change.resource(), Resource::Flows(_)));
    }
    let Some(changed) = host.carry_out(&plan, &mut state).await? else { return Ok(0) };
    let kept = keep(host, &mut state).await?;
    clean::dead(host, &mut state).await?;
    let now = Repaired { repaired: &drift };
    host.output.result(&Changed::new(changed || kept, now), &lines)?;
    Ok(0)
}

/// One line of one that may be several.
fn line(drift: &Drift) -> String {
    let command = drift.command.lines().next().unwrap_or_default();
    format!("{}: {} ({command})", drift.of, drift.why)
}

/// Everything on record that can be made so: what is dead is not.
async fn parts(host: &mut Host<'_, '_>, state: &State) -> Result<Vec<Part>> {
    let hairpin = host.kernel.bridged_frames_meet_iptables()?;
    let mut parts = Vec::new();
    for named in state.names() {
        if let Some(netns) = living(named) {
            host.kernel.know(named.name.clone(), netns);
            parts.push((format!("name {}", named.name), plan::name(named)));
        }
    }
    for NetworkRecord { network, endpoints } in state.networks().values() {
        if !network.foreign {
            parts.push((format!("network {}", network.name), of_network(host, network).await?));
        }
        for endpoint in endpoints {
            detach::open(host, endpoint);
            if host.kernel.target(&endpoint.netns).is_none() {
                continue;
            }
            let plan = of_endpoint(&host.kernel, state, network, endpoint, hairpin).await?;
            parts.push((format!("endpoint {}/{}", network.name, endpoint.target), plan));
        }
    }
    Ok(parts)
}

/// The namespace of a name, if it lives, and the name is free for it.
fn living(named: &NamedNetns) -> Option<Netns> {
    let there = match (Netns::of_name(&named.name).ok()?, &named.source) {
        (Some(there), _) => there,
        (None, Source::Link(file)) => Netns::of_path(file).ok()?,
        (None, Source::Made) => return None,
    };
    (there.cookie() == named.cookie).then_some(there)
}

async fn of_network(host: &Host<'_, '_>, network: &Network) -> Result<Plan> {
    let mut plan = match network.mode {
        // One that is not settled is for its watchdog to undo.
        Mode::Underlay if network.moving().is_some() => Plan::new(),
        Mode::Underlay => underlay::unmoved(network)?,
        Mode::Macvlan => plan::create(network, &[]),
        Mode::Bridge => {
            // A firewall that came meanwhile is one to be let by, too.
            let (network, mut plan) = gates::renewed(host, network)?;
            let routed = bridge::routed_links(&host.kernel, &network).await?;
            plan.extend(plan::create(&network, &routed));
            plan
        }
    };
    reshape(&host.kernel, &mut plan).await?;
    Ok(plan)
}

async fn of_endpoint(
    kernel: &Kernel,
    state: &State,
    network: &Network,
    endpoint: &Endpoint,
    hairpin: bool,
) -> Result<Plan> {
    let mut plan = plan::attach(network, endpoint, hairpin);
    plan.retain(|s| succession::successor(state.endpoints(), endpoint, &s.change).is_none());
    let veth = plan.iter().find_map(|step| match &step.change {
        Change::Create(Resource::Veth(veth)) => Some(veth.clone()),
        _ => None,
    });
    if let Some(veth) = veth
        && kernel.link(veth.host.as_str()).await?.is_some_and(|link| link.is_ours())
        && !kernel.is_laid(&veth).await?
    {
        // It was unplugged, or an end was changed: it is cut, and laid anew.
        plan.insert(0, Step::delete("the cable is not as it was laid", Resource::Veth(veth)));
    }
    if let Some(step) = renamed(kernel, network, endpoint).await? {
        plan.insert(0, step);
    }
    reshape(kernel, &mut plan).await?;
    Ok(plan)
}

/// How a macvlan goes that has got another name, to be made anew.
async fn renamed(kernel: &Kernel, network: &Network, endpoint: &Endpoint) -> Result<Option<Step>> {
    let Some(made) = plan::macvlan_of(network, endpoint) else { return Ok(None) };
    let parent = kernel.link(made.parent.as_str()).await?;
    let (Some(netns), Some(parent)) = (kernel.target(&endpoint.netns), parent) else {
        return Ok(None);
    };
    let there = netns.macvlan(&parent, &made).await?;
    let is_renamed = there.is_some_and(|link| link.is_ours() && link.name != made.name.as_str());
    let why = "the link has another name than it was made with";
    Ok(is_renamed.then(|| Step::delete(why, Resource::Macvlan(made))))
}

/// Gives links that a plan makes, and that are there, back what was changed of them since.
pub(super) async fn reshape(kernel: &Kernel, plan: &mut Plan) -> Result<()> {
    let mut lost = Vec::new();
    for step in plan.iter().filter(|step| matches!(step.change, Change::Create(_))) {
        lost.extend(kernel.lost_shape(step.change.resource()).await?);
    }
    // The record comes first, so that a later run can finish.
    let first = plan.iter().position(|s| !matches!(s.change.resource(), Resource::Record(_)));
    let why = "the link is not as it was made";
    let steps = lost.into_iter().map(|shape| Step::create(why, Resource::Shape(shape)));
    let at = first.unwrap_or(plan.len());
    plan.splice(at..at, steps);
    Ok(())
}

/// What is not so, each thing once.
async fn drift(kernel: &Kernel, parts: &[Part]) -> Vec<Drift> {
    let (mut found, mut told) = (Vec::new(), BTreeSet::new());
    for (of, plan) in parts {
        for step in plan {
            if is_fleeting(step.change.resource()) || kernel.is_so(&step.change).await {
                continue;
            }
            let Some(command) = command(step) else { continue };
            if told.insert(command.clone()) {
                found.push(Drift { of: of.clone(), why: step.why, command });
            }
        }
    }
    found
}

/// Of what is done and does not stay, nobody can say whether it is so.
fn is_fleeting(resource: &Resource) -> bool {
    matches!(resource, Resource::Flows(_) | Resource::Announcement { .. } | Resource::Ready { .. })
}

/// Leases that nobody renews.
fn unkept(state: &State) -> Vec<Drift> {
    let is_unkept = |e: &Endpoint| {
        e.lease.as_ref().is_some_and(|lease| !lease.keeper.is_some_and(keeper::runs))
    };
    let all = state.endpoints().filter(|(_, e)| is_unkept(e));
    all.map(|(record, e)| Drift {
        of: format!("endpoint {}/{}", record.network.name, e.target),
        why: "nobody renews the lease of its address",
        command: format!("netcord attach {} {} --dhcp", record.network.name, e.netns),
    })
    .collect()
}

/// Starts the keepers that are missing; tells whether there were any.
async fn keep(host: &mut Host<'_, '_>, state: &mut State) -> Result<bool> {
    let all: Vec<_> = state.endpoints().map(|(r, e)| (r.network.clone(), e.clone())).collect();
    let mut started = false;
    for (network, mut endpoint) in all {
        if host.kernel.target(&endpoint.netns).is_some() {
            started |= keeper::ensure(host, state, &network, &mut endpoint).await?;
        }
    }
    Ok(started)
}
