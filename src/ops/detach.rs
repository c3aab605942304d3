//! `detach`: the reverse of `attach`, also of what has died.

use anyhow::Result;
use serde::Serialize;

use super::{Changed, Host, find, removal, resolve::resolve};
use crate::{
    cli,
    error::Kind,
    kernel::Netns,
    model::{Endpoint, LinkName, NetworkRecord, Target},
    plan::Plan,
    state::State,
};

#[derive(Serialize)]
struct Detached<'a> {
    network: &'a LinkName,
    detached: Vec<&'a str>,
}

pub(super) async fn run(host: &mut Host<'_, '_>, args: cli::Detach) -> Result<()> {
    let mut state = host.state_with_rebuilt().await?;
    let record = find::network(&host.kernel, &state, &args.network).await?;
    let mut gone: Vec<Endpoint> = Vec::new();
    for target in &args.targets {
        let mut endpoints = of_target(host, &record, target).await?;
        endpoints.retain(|e| args.ifname.as_ref().is_none_or(|name| *name == e.ifname));
        endpoints.retain(|e| !gone.contains(e));
        if endpoints.is_empty() {
            host.output.note(&format!("`{target}` is not attached to `{}`", args.network));
        }
        gone.extend(endpoints);
    }
    // Each plan is made when the one before is done: who goes last takes more away.
    let mut changed = false;
    let mut printed = Plan::new();
    for endpoint in &gone {
        open(host, endpoint);
        let plan = removal::endpoint(&host.kernel, &state, &record.network, endpoint);
        if host.dry_run {
            printed.extend(plan);
            continue;
        }
        changed |= host.carry_out(&plan, &mut state).await?.unwrap_or_default();
    }
    super::clean::dead(host, &mut state).await?;
    if host.dry_run {
        return host.print(&printed).await;
    }
    let detached = gone.iter().map(|e| e.target.as_str()).collect();
    let now = Detached { network: &args.network, detached };
    host.output.result(&Changed::new(changed, now), &[])
}

/// The endpoints of a target on a network: by its namespace, or by its name if it is dead.
async fn of_target(
    host: &Host<'_, '_>,
    record: &NetworkRecord,
    target: &Target,
) -> Result<Vec<Endpoint>> {
    let cookie = match resolve(&host.kernel, &host.output, target, None).await {
        Ok(found) => found.netns.cookie(),
        Err(error) => {
            let label = target_label(target);
            let dead = record.endpoints.iter().filter(|e| e.target == label);
            let dead: Vec<_> = dead.cloned().collect();
            let is_gone = matches!(Kind::of(&error), Kind::NotFound | Kind::Conflict);
            return if is_gone && !dead.is_empty() { Ok(dead) } else { Err(error) };
        }
    };
    Ok(record.endpoints.iter().filter(|e| e.cookie == cookie).cloned().collect())
}

/// What an endpoint of this target is called on record.
pub(super) fn target_label(target: &Target) -> String {
    match target {
        Target::Container(_, name) => name.clone(),
        Target::Netns(name) => name.to_string(),
        Target::Path(path) => match path.to_str().and_then(|p| p.strip_prefix("/proc/")) {
            Some(rest) => rest.split('/').next().unwrap_or_default().to_owned(),
            None => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        },
        other => other.to_string(),
    }
}

/// Opens the endpoint's namespace by its name, if it is still there and still the same.
pub(super) fn open(host: &mut Host<'_, '_>, endpoint: &Endpoint) {
    if let Ok(Some(netns)) = Netns::of_name(&endpoint.netns)
        && netns.cookie() == endpoint.cookie
    {
        host.kernel.know(endpoint.netns.clone(), netns);
    }
}

/// Used by verbs that want all endpoints of a target, on any network.
pub(super) async fn everywhere(
    host: &Host<'_, '_>,
    state: &State,
    target: &Target,
) -> Result<Vec<(NetworkRecord, Endpoint)>> {
    if state.networks().is_empty() {
        // A target that is not there is an error, whether or not anything could be attached.
        resolve(&host.kernel, &host.output, target, None).await?;
    }
    let mut all = Vec::new();
    for record in state.networks().values() {
        for endpoint in of_target(host, record, target).await? {
            all.push((record.clone(), endpoint));
        }
    }
    Ok(all)
}
