//! `rm`: removes networks without endpoints, and namespaces that `none` made.

use std::borrow::Cow;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    Changed, Session, WithFailure, driver,
    lookup::find,
    upkeep::{
        containers,
        need::{Extent, Need},
        removal,
    },
};
use crate::{
    error::{Error, did_you_mean},
    kernel::{Kernel, Netns},
    model::{Endpoint, LinkName, NamedNetns, NetnsName, Network, NetworkRecord, Removable},
    plan::{self, Plan, once, reverse},
    state::State,
};

/// The request to remove networks and namespaces.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rm {
    /// Networks, or namespaces that `none` made.
    pub names: Vec<Removable>,
}

/// What was removed.
#[derive(Debug, Serialize)]
pub struct Removed {
    /// Descriptions.
    pub removed: Vec<String>,
}

/// Removes networks without endpoints, and namespaces that netcord made; returns `None` for a dry
/// run. A failure does not keep the others: it is returned beside them.
///
/// # Errors
/// If the records or the kernel cannot be read.
pub async fn rm(
    host: &mut Session<'_>,
    args: &Rm,
) -> Result<WithFailure<Option<Changed<Removed>>>> {
    let mut state = host.enter(Need::Changes, Extent::of(None)).await?;
    let (mut removed, mut failure, mut printed) = (Vec::new(), None, Plan::new());
    let mut left = Vec::new();
    // A network that cannot be removed does not keep the others.
    for name in &args.names {
        if let Some(network) = without_bridge(&state, name) {
            host.look_inside(&mut state, &network).await?;
        }
        let (plan, network) = match removal_plan(host, &state, name).await {
            Ok(found) => found,
            Err(error) => {
                if let Err(error) = host.nothing_to_do(error) {
                    failure = Some(failure.unwrap_or(error));
                }
                continue;
            }
        };
        if host.dry_run {
            printed.extend(plan);
            continue;
        }
        match host.carry_out(&plan, &mut state).await {
            Ok(_) => {
                removed.push(name_of(name));
                left.extend(network);
            }
            Err(error) => failure = Some(failure.unwrap_or(error)),
        }
    }
    if host.dry_run {
        host.print(&printed).await?;
        return Ok((None, failure));
    }
    driver::left(host, state, &left).await;
    Ok((Some(Changed::new(!removed.is_empty(), Removed { removed })), failure))
}

/// Returns the network of a name if it has no bridge: its endpoints are inside their targets only, and
/// one may be on no record.
fn without_bridge(state: &State, asked: &Removable) -> Option<LinkName> {
    let network = name_of(asked).parse().ok()?;
    let record = state.networks().get(&network)?;
    record.network.bridge().is_none().then_some(network)
}

fn name_of(asked: &Removable) -> String {
    match asked {
        Removable::Any(name) | Removable::Netns(name) => name.to_string(),
        Removable::Network(name) => name.to_string(),
    }
}

/// The object that a name means.
enum Meant<'s> {
    Network(Box<NetworkRecord>),
    Namespace(&'s NamedNetns),
}

async fn meant<'s>(host: &Session<'_>, state: &'s State, asked: &Removable) -> Result<Meant<'s>> {
    let (kernel, named) =
        (&host.kernel, |name: &NetnsName| state.names().iter().find(|n| n.name == *name));
    match asked {
        Removable::Network(name) => find::network(kernel, state, name).await.map(whole),
        Removable::Netns(name) => {
            named(name).map(Meant::Namespace).ok_or_else(|| foreign(kernel, name))
        }
        Removable::Any(name) => {
            let link = name.as_str().parse::<LinkName>().ok();
            let network = match &link {
                Some(link) => find::network(kernel, state, link).await,
                None => Err(find::no_network(kernel, state, name.as_str()).await),
            };
            match (network, named(name)) {
                // Also if the namespace is not ours: the user may mean it.
                (Ok(_), Some(_)) => Err(ambiguous(name)),
                (Ok(_), None) if is_there(name) => Err(ambiguous(name)),
                (Ok(record), None) => Ok(whole(record)),
                (Err(_), Some(named)) => Ok(Meant::Namespace(named)),
                (Err(error), None) => Err(target(state, name).unwrap_or(error)),
            }
        }
    }
}

fn whole(record: Cow<'_, NetworkRecord>) -> Meant<'static> {
    Meant::Network(Box::new(record.into_owned()))
}

fn ambiguous(name: &NetnsName) -> anyhow::Error {
    Error::conflict(format!("`{name}` is a network and a namespace"))
        .hint(format!("write one of: network:{name}, netns:{name}"))
        .into()
}

fn is_there(name: &NetnsName) -> bool {
    Netns::of_name(name).is_ok_and(|there| there.is_some())
}

/// Returns the error for the name of a target, which is no network.
fn target(state: &State, name: &NetnsName) -> Option<anyhow::Error> {
    let of_it = |e: &Endpoint| e.target == name.as_str() || e.netns == *name;
    if let Some((record, _)) = state.endpoints().find(|(_, e)| of_it(e)) {
        let network = &record.network.name;
        let message = format!("no network `{name}`: it is a target, attached to `{network}`");
        let hint = format!("detach it: `netcord detach {network} {name}`");
        return Some(Error::not_found(message).hint(hint).into());
    }
    is_there(name).then(|| {
        Error::not_found(format!("no network `{name}`: it is a namespace, and not netcord's"))
            .hint(format!("remove it with the program that made it, or with `ip netns del {name}`"))
            .into()
    })
}

fn foreign(kernel: &Kernel, name: &NetnsName) -> anyhow::Error {
    if is_there(name) {
        return Error::conflict(format!("namespace `{name}` is not netcord's, and is left alone"))
            .hint(format!("remove it with the program that made it, or with `ip netns del {name}`"))
            .into();
    }
    let names: Vec<_> = kernel.netns_names().iter().map(ToString::to_string).collect();
    let names = || names.iter().map(String::as_str);
    let hint = did_you_mean(name.as_str(), names())
        .unwrap_or_else(|| "`ip netns list` shows the names of namespaces".to_owned());
    Error::not_found(format!("no namespace `{name}` made by netcord"))
        .hint(hint)
        .absent(name.as_str(), names())
        .into()
}

/// Returns the plan, and the network if it is one.
async fn removal_plan(
    host: &mut Session<'_>,
    state: &State,
    asked: &Removable,
) -> Result<(Plan, Option<Network>)> {
    let record = match meant(host, state, asked).await? {
        Meant::Network(record) => record,
        Meant::Namespace(named) => return Ok((removal_of_name(state, named)?, None)),
    };
    let name = &record.network.name;
    host.check_aside(name)?;
    if record.network.driver.is_foreign() {
        return Err(Error::conflict(format!(
            "bridge `{name}` is not netcord's, and is left alone"
        ))
        .hint(format!("remove it with the program that made it, or with `ip link del {name}`"))
        .into());
    }
    let (living, stopped) = containers::split(host, state, name, &record.endpoints).await?;
    if !living.is_empty() {
        let names: Vec<_> = living.iter().map(|e| e.target.as_str()).collect();
        let message = format!("network `{name}` has endpoints: {}", names.join(", "));
        let hint = format!("detach them first: `netcord detach {name} {}`", names.join(" "));
        return Err(Error::conflict(message).hint(hint).into());
    }
    // As with docker, stopped containers do not keep a network.
    let mut plan = removal::endpoints(&host.kernel, state, &record.network, &stopped).await?;
    let mut after = state.networks().clone();
    if let Some(record) = after.get_mut(name) {
        record.endpoints.clear();
    }
    plan.extend(driver::removal(host, &after, &record.network).await?);
    Ok((once(plan), Some(record.network)))
}

fn removal_of_name(state: &State, named: &NamedNetns) -> Result<Plan> {
    let name = &named.name;
    let mut attached = state.endpoints().filter(|(_, e)| e.cookie == named.cookie);
    if let Some((record, _)) = attached.next() {
        let message =
            format!("namespace `{name}` is attached to network `{}`", record.network.name);
        let hint = format!("detach it first: `netcord detach {} {name}`", record.network.name);
        return Err(Error::conflict(message).hint(hint).into());
    }
    // The links in a namespace end with it; and if it lives on, they are not ours to change.
    Ok(removal::outside(reverse(&plan::name(named), |_| false)))
}
