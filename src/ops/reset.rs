//! `reset`: removes everything that netcord made on this host, and nothing else: objects on record,
//! and those with our mark and without a record.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    Changed, Session, WithFailure, driver, prune,
    rm::Removed,
    upkeep::{
        endpoints, leases,
        need::{Depth, Extent, Need},
        removal,
    },
};
use crate::{
    kernel::{Kernel, Link, LinkKind, Netns},
    model::{Endpoint, Firewall, Network, NetworkRecord, Records},
    plan::{self, Change, LinkId, MacvlanId, Plan, Step, reverse},
    state::State,
};

/// Removes everything that netcord made on this host, and nothing else; returns `None` for a dry
/// run. Returns the removed objects with the reason why a network could not be removed.
///
/// # Errors
/// If the records or the kernel cannot be read, or a step failed.
pub async fn reset(host: &mut Session<'_>) -> Result<WithFailure<Option<Changed<Removed>>>> {
    let Work { mut state, endpoints, plan, mut removed } = Work::of(host).await?;
    let kept = leases::kept(endpoints.iter().map(|(_, endpoint)| endpoint));
    let mut networks: Vec<_> = state.networks().values().map(|r| r.network.clone()).collect();
    let Some(mut changed) = host.carry_out(&plan, &mut state).await? else {
        return Ok((None, None));
    };
    for (network, endpoint) in &endpoints {
        leases::end(host, network, endpoint, &kept).await?;
    }
    let staying = staying(host, &state);
    let stays = |file: &Path| staying.keys().any(|name| file == state.network_path(name));
    for file in files(&state)?.into_iter().filter(|file| !stays(file)) {
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
        removed.push(format!("record {}", file.display()));
    }
    changed |= !removed.is_empty();
    if !changed {
        host.events.note("nothing to do: this host has nothing that netcord made");
    }
    networks.retain(|network| !host.is_aside(&network.name));
    driver::left(host, state, &networks).await;
    let failure = host.check_none_aside().err();
    Ok((Some(Changed::new(changed, Removed { removed })), failure))
}

/// The networks that could not be removed.
fn staying(host: &Session<'_>, state: &State) -> Records {
    let mut records = state.networks().clone();
    records.retain(|name, _| host.is_aside(name));
    records
}

/// Describes what [`reset`] would remove.
///
/// # Errors
/// If the records or the kernel cannot be read.
pub async fn would_remove(host: &mut Session<'_>) -> Result<Vec<String>> {
    let firewall = host.firewall.take();
    host.dry_run = true;
    let work = Work::of(host).await;
    host.dry_run = false;
    host.firewall = firewall;
    Ok(work?.removed)
}

/// The objects to remove.
struct Work {
    state: State,
    endpoints: Vec<(Network, Endpoint)>,
    plan: Plan,
    /// Their descriptions.
    removed: Vec<String>,
}

impl Work {
    async fn of(host: &mut Session<'_>) -> Result<Self> {
        let mut state = host.enter(Need::Removes, Extent::to(Depth::Names)).await?;
        let mut removed = host.tidy(&mut state).await?;
        let mut endpoints: Vec<(Network, Endpoint)> =
            state.endpoints().map(|(r, e)| (r.network.clone(), e.clone())).collect();
        endpoints.retain(|(network, _)| !host.is_aside(&network.name));
        for (_, endpoint) in &endpoints {
            endpoints::open(host, endpoint);
        }
        let mut plan = recorded(host, &state, &mut removed).await?;
        for (what, step) in unrecorded(host, &state, &plan).await? {
            removed.push(what);
            plan.push(step);
        }
        for firewall in Firewall::ALL.into_iter().filter(|f| host.kernel.stands(*f)) {
            let rest = removal::leftover(&staying(host, &state), firewall);
            let missing: Plan = rest.into_iter().filter(|step| !plan.contains(step)).collect();
            plan.extend(missing);
        }
        Ok(Self { state, endpoints, plan, removed })
    }
}

/// Objects on record: all endpoints at once, then networks, then names.
async fn recorded(
    host: &mut Session<'_>,
    state: &State,
    removed: &mut Vec<String>,
) -> Result<Plan> {
    let mut after = state.networks().clone();
    let mut goes = after.clone();
    goes.retain(|name, _| !host.is_aside(name));
    let mut plan = removal::all_endpoints(&host.kernel, state, &goes, &mut after).await?;
    for NetworkRecord { network, endpoints } in goes.values() {
        let names = endpoints.iter().map(|e| format!("endpoint {}/{}", network.name, e.target));
        removed.extend(names);
    }
    // A network whose parent cannot get its configuration back fails before anything is changed,
    // and does not keep others.
    let mut networks: Vec<_> = goes.values().map(|record| &record.network).collect();
    networks.sort_by_key(|network| network.driver.uplink().is_some());
    for network in networks {
        if network.driver.is_foreign() {
            // The network's record was removed with its last endpoint.
            after.remove(&network.name);
            continue;
        }
        match driver::removal(host, &after, network).await {
            Ok(removal) => plan.extend(removal),
            Err(error) => {
                let advice = format!("netcord rm {}", network.name);
                host.set_aside(&network.name, "could not be removed", &error, &advice)?;
                continue;
            }
        }
        after.remove(&network.name);
        removed.push(format!("network {}", network.name));
    }
    for named in state.names().iter().filter(|named| named.kept) {
        plan.extend(removal::outside(reverse(&plan::name(named), |_| false)));
        removed.push(format!("name {}", named.name));
    }
    Ok(plan)
}

/// Links with our mark and without a record.
async fn unrecorded(
    host: &mut Session<'_>,
    state: &State,
    plan: &[Step],
) -> Result<Vec<(String, Step)>> {
    let falling: BTreeSet<_> = plan.iter().filter_map(|step| falling(&step.change)).collect();
    let staying = links_of(host, &staying(host, state)).await?;
    let is_known =
        |link: &Link| falling.contains(link.name.as_str()) || staying.contains(&link.name);
    let mut found = prune::unknown_links(&host.kernel, |link| !is_known(link)).await?;
    found.extend(macvlans_inside(&mut host.kernel, state).await?);
    Ok(found.into_iter().map(|(link, step)| (format!("link {link}"), step)).collect())
}

/// Returns the links of the host that belong to these networks.
async fn links_of(host: &Session<'_>, records: &Records) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for (name, NetworkRecord { network, endpoints }) in records {
        names.insert(name.to_string());
        names.extend(network.driver.parent().map(|parent| parent.link.to_string()));
        names.extend(network.tunnels().map(ToString::to_string));
        names.extend(endpoints.iter().filter_map(|e| e.host_ifname().map(ToString::to_string)));
        if let Some(bridge) = host.kernel.link(name.as_str()).await? {
            names.extend(host.kernel.ports(&bridge).await?.into_iter().map(|port| port.name));
        }
    }
    Ok(names)
}

/// Returns the link of the host that a change deletes.
fn falling(change: &Change) -> Option<&str> {
    let ends = match change {
        Change::Create(_) => [None; 2],
        Change::Delete(_) | Change::DeleteLink(_) => change.facts().ends(),
    };
    ends[0].filter(|link| link.netns.is_none()).map(|link| link.name.as_str())
}

/// Returns endpoints of macvlan networks without a record, in named namespaces. They have no mark
/// on the host.
async fn macvlans_inside(kernel: &mut Kernel, state: &State) -> Result<Vec<(String, Step)>> {
    let parents = kernel.links().await?;
    let mut found = Vec::new();
    for name in kernel.netns_names() {
        // A namespace that may not be entered was not made by us, or is about to end.
        let Ok(Some(netns)) = Netns::of_name(&name) else { continue };
        let is_known = |link: &str| {
            let mut own = state.endpoints().filter(|(_, e)| e.cookie == netns.cookie());
            own.any(|(_, e)| e.ifname.as_str() == link)
        };
        let links = netns.links().await?.into_values();
        let ours = links.filter(|l| l.kind == LinkKind::Macvlan && l.is_ours());
        for link in ours.filter(|link| !is_known(&link.name)) {
            let parent = parents.values().find(|parent| link.is_macvlan_on(parent));
            let (Some(parent), Some(mac)) = (parent, link.mac) else { continue };
            let mark = link.alias.as_deref().and_then(plan::Mark::read);
            let macvlan = LinkId::Macvlan(MacvlanId {
                netns: Some(name.clone()),
                network: mark.map_or(parent.name.as_str(), |mark| mark.network).parse()?,
                name: link.name.parse()?,
                parent: parent.name.parse()?,
                mac,
            });
            let step = Step::delete_link("a link without a record", macvlan);
            found.push((format!("{} in {name}", link.name), step));
        }
        kernel.know(name, netns);
    }
    Ok(found)
}

/// Record files that could not be read.
fn files(state: &State) -> Result<Vec<PathBuf>> {
    let dir = state.dir();
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let paths = entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "json")).collect())
}
