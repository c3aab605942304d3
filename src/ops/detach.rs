//! `detach`: the reverse of `attach`, also for dead endpoints.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    Changed, Session,
    lookup::{endpoints::Who, find},
    upkeep::{
        endpoints,
        need::{Extent, Need},
    },
};
use crate::model::{Endpoint, LinkName, Target};

/// The request to detach targets from a network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Detach {
    /// The network.
    pub network: LinkName,
    /// The targets.
    pub targets: Vec<Target>,
    /// Only the endpoint with this inner link.
    pub ifname: Option<LinkName>,
}

/// The detached targets.
#[derive(Debug, Serialize)]
pub struct Detached {
    /// The network's name.
    pub network: LinkName,
    /// The targets, as on record.
    pub detached: Vec<String>,
}

/// Detaches targets from a network; returns `None` for a dry run.
///
/// # Errors If a target or the network does not exist, or a step failed.
pub async fn detach(host: &mut Session<'_>, args: &Detach) -> Result<Option<Changed<Detached>>> {
    let mut state = host.enter(Need::Removes, Extent::of(&args.network).inside()).await?;
    let record = find::network(&host.kernel, &state, &args.network).await?;
    let mut gone: Vec<Endpoint> = Vec::new();
    for target in &args.targets {
        let all = record.endpoints.iter().collect();
        let mut meant = Who::is(host, target).await?.among(all, |e| e)?;
        meant.retain(|e| args.ifname.as_ref().is_none_or(|name| *name == e.ifname));
        meant.retain(|e| !gone.contains(e));
        if meant.is_empty() {
            host.events.note(&format!("`{target}` is not attached to `{}`", args.network));
        }
        gone.extend(meant.into_iter().cloned());
    }
    let network = record.network.clone();
    let Some(changed) = endpoints::away(host, &mut state, &network, &gone).await? else {
        return Ok(None);
    };
    host.tidy(&mut state).await?;
    let detached = gone.into_iter().map(|e| e.target).collect();
    let now = Detached { network: args.network.clone(), detached };
    Ok(Some(Changed::new(changed, now)))
}
