//! `detach`: the reverse of `attach`, also for dead endpoints.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    Changed, Session,
    driver::overlay::flat,
    lookup::{endpoints::Who, find},
    upkeep::{
        endpoints,
        need::{Extent, Need},
    },
};
use crate::{
    error::Error,
    model::{Endpoint, LinkName, NetworkRef, PublishedPort, Target},
    plan::Plan,
};

/// The request to detach targets from a network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Detach {
    /// The network.
    pub network: NetworkRef,
    /// The targets.
    pub targets: Vec<Target>,
    /// Only the endpoint with this inner link.
    pub ifname: Option<LinkName>,
    /// Also endpoints that an engine attached. The engine is not notified.
    pub force: bool,
}

/// The detached targets.
#[derive(Debug, Serialize)]
pub struct Detached {
    /// The network's name.
    pub network: String,
    /// The targets, as on record.
    pub detached: Vec<String>,
}

/// Detaches targets from a network; returns `None` for a dry run.
///
/// # Errors
/// If a target or the network does not exist, or a step failed.
pub async fn detach(host: &mut Session<'_>, args: &Detach) -> Result<Option<Changed<Detached>>> {
    let network = match find::link(host, &args.network).await {
        Ok(network) => network,
        Err(error) => {
            host.nothing_to_do(error)?;
            return nothing(host, args).await;
        }
    };
    let mut state = host.enter(Need::Removes, Extent::of(&network).inside()).await?;
    let found = find::network_before(host, &state, &network, &args.targets, "detach").await;
    let record = match found {
        Ok(record) => record,
        Err(error) => {
            host.nothing_to_do(error)?;
            return nothing(host, args).await;
        }
    };
    let mut gone: Vec<Endpoint> = Vec::new();
    for target in &args.targets {
        let all = record.endpoints.iter().collect();
        let mut meant = match Who::is(host, target).await?.among(all, |e| e) {
            Ok(meant) => meant,
            Err(error) => {
                host.nothing_to_do(error)?;
                continue;
            }
        };
        meant.retain(|e| args.ifname.as_ref().is_none_or(|name| *name == e.ifname));
        check_own(&network, target, &meant)?;
        if !args.force {
            check_engine(&network, target, &meant)?;
        }
        meant.retain(|e| !e.foreign);
        meant.retain(|e| !gone.contains(e));
        if meant.is_empty() {
            host.events.note(&format!("nothing to do: `{target}` is not attached to `{network}`"));
        }
        gone.extend(meant.into_iter().cloned());
    }
    let on_record = record.network.clone();
    let Some(changed) = endpoints::away(host, &mut state, &on_record, &gone).await? else {
        return Ok(None);
    };
    host.tidy(&mut state).await?;
    let dir = state.dir().to_owned();
    drop(state);
    flat::settle(host, &dir, &on_record).await;
    let detached = gone.into_iter().map(|e| e.target).collect();
    let now = Detached { network: network.to_string(), detached };
    Ok(Some(Changed::new(changed, now)))
}

/// What another program attached, that program detaches.
fn check_own(network: &LinkName, target: &Target, meant: &[&Endpoint]) -> Result<()> {
    let [first, ..] = meant else { return Ok(()) };
    if meant.iter().any(|e| !e.foreign) {
        return Ok(());
    }
    let ports: Vec<_> = first.ports.iter().map(PublishedPort::spec).collect();
    Err(Error::conflict(format!(
        "another program attached `{target}` to `{network}`, and netcord only publishes {}",
        ports.join(", ")
    ))
    .hint(format!("close its ports: `netcord unpublish {target} --all`"))
    .into())
}

/// What an engine attached through a plugin interface, it detaches itself.
fn check_engine(network: &LinkName, target: &Target, meant: &[&Endpoint]) -> Result<()> {
    let Some(owner) = meant.iter().find_map(|e| e.owner.as_ref()) else { return Ok(()) };
    let (interface, engines) = (owner.interface, &owner.network);
    Err(Error::conflict(format!(
        "{interface} attached `{target}` to `{network}`, for its network `{engines}`, and detaches it"
    ))
    .hint(format!(
        "end the container; if {interface} has forgotten it: `netcord detach --force {network} {target}`"
    ))
    .into())
}

/// The outcome if the network does not exist.
async fn nothing(host: &Session<'_>, args: &Detach) -> Result<Option<Changed<Detached>>> {
    if host.dry_run {
        host.print(&Plan::new()).await?;
        return Ok(None);
    }
    let now = Detached { network: args.network.to_string(), detached: Vec::new() };
    Ok(Some(Changed::new(false, now)))
}
