//! `rm`: networks that nothing is attached to, and namespaces that `none` made.

use std::borrow::Cow;

use anyhow::Result;
use serde::Serialize;

use super::{Changed, Host, clean, find, removal, underlay};
use crate::{
    cli,
    error::Error,
    model::{LinkName, Mode, NetnsName},
    plan::{self, Plan, reverse},
    state::State,
};

#[derive(Serialize)]
struct Removed {
    removed: Vec<String>,
}

pub(super) async fn run(host: &mut Host<'_, '_>, args: cli::Rm) -> Result<()> {
    let mut state = host.state_with_rebuilt().await?;
    clean::dead(host, &mut state).await?;
    let (mut removed, mut failure, mut printed) = (Vec::new(), None, Plan::new());
    // One that cannot be removed does not keep the others.
    for name in &args.names {
        let plan = match removal_plan(host, &state, name).await {
            Ok(plan) => plan,
            Err(error) => {
                failure = Some(failure.unwrap_or(error));
                continue;
            }
        };
        if host.dry_run {
            printed.extend(plan);
            continue;
        }
        match host.carry_out(&plan, &mut state).await {
            Ok(_) => removed.push(name.to_string()),
            Err(error) => failure = Some(failure.unwrap_or(error)),
        }
    }
    if host.dry_run {
        host.print(&printed).await?;
    } else {
        let lines = removed.clone();
        host.output.result(&Changed::new(!lines.is_empty(), Removed { removed }), &lines)?;
    }
    failure.map_or(Ok(()), Err)
}

async fn removal_plan(host: &Host<'_, '_>, state: &State, name: &NetnsName) -> Result<Plan> {
    let link = name.as_str().parse::<LinkName>().ok();
    let record = link.as_ref().and_then(|l| state.networks().get(l));
    if let (None, Some(named)) = (record, state.names().iter().find(|n| n.name == *name)) {
        let mut attached = state.endpoints().filter(|(_, e)| e.cookie == named.cookie);
        if let Some((record, _)) = attached.next() {
            let message =
                format!("namespace `{name}` is attached to network `{}`", record.network.name);
            let hint = format!("detach it first: `netcord detach {} {name}`", record.network.name);
            return Err(Error::conflict(message).hint(hint).into());
        }
        // What is in a namespace ends with it; and if it does not, it is not ours to change.
        return Ok(removal::outside(reverse(&plan::name(named), |_| false)));
    }
    let Some(link) = link else {
        return Err(find::no_network(&host.kernel, state, name.as_str()).await);
    };
    let record = match record {
        Some(record) => Cow::Borrowed(record),
        None => find::network(&host.kernel, state, &link).await?,
    };
    if record.network.foreign {
        return Err(Error::conflict(format!(
            "bridge `{name}` is not netcord's, and is left alone"
        ))
        .hint(format!("who made it removes it, or `ip link del {name}`"))
        .into());
    }
    if !record.endpoints.is_empty() {
        let names: Vec<_> = record.endpoints.iter().map(|e| e.target.as_str()).collect();
        let message = format!("network `{name}` has endpoints: {}", names.join(", "));
        let hint = format!("detach them first: `netcord detach {name} {}`", names.join(" "));
        return Err(Error::conflict(message).hint(hint).into());
    }
    match record.network.mode {
        Mode::Underlay => underlay::removal(host, state.networks(), &record.network).await,
        _ => Ok(removal::network(state.networks(), &record.network)),
    }
}
