//! `detach`: the reverse of `attach`, also of what has died.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    Changed, Session, lease_renewer,
    lookup::{find, resolve::resolve},
    upkeep::{clean, removal},
};
use crate::{
    error::Kind,
    kernel::Netns,
    model::{Endpoint, LinkName, Network, Target},
    state::State,
};

/// Which targets to detach from which network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Detach {
    /// The network.
    pub network: LinkName,
    /// The targets.
    pub targets: Vec<Target>,
    /// Only the endpoint with this inner link.
    pub ifname: Option<LinkName>,
}

/// What was detached.
#[derive(Debug, Serialize)]
pub struct Detached {
    /// The network's name.
    pub network: LinkName,
    /// The targets, as they are on record.
    pub detached: Vec<String>,
}

/// Detaches targets from a network; `None`: it was a dry run.
///
/// # Errors
/// If a target or the network is not there, or a step failed.
pub async fn detach(host: &mut Session<'_>, args: &Detach) -> Result<Option<Changed<Detached>>> {
    let mut state = host.state_with_rebuilt().await?;
    host.look_inside(&mut state, &args.network).await?;
    let record = find::network(&host.kernel, &state, &args.network).await?;
    let mut gone: Vec<Endpoint> = Vec::new();
    for target in &args.targets {
        let all = record.endpoints.iter().collect();
        let mut endpoints = Who::is(host, target).await?.among(all, |e| e)?;
        endpoints.retain(|e| args.ifname.as_ref().is_none_or(|name| *name == e.ifname));
        endpoints.retain(|e| !gone.contains(e));
        if endpoints.is_empty() {
            host.events.note(&format!("`{target}` is not attached to `{}`", args.network));
        }
        gone.extend(endpoints.into_iter().cloned());
    }
    let network = record.network.clone();
    let Some(changed) = away(host, &mut state, &network, &gone).await? else { return Ok(None) };
    clean::dead(host, &mut state).await?;
    let detached = gone.into_iter().map(|e| e.target).collect();
    let now = Detached { network: args.network.clone(), detached };
    Ok(Some(Changed::new(changed, now)))
}

/// Takes endpoints of a network away, and gives back what they leased; tells whether anything
/// changed. `None`: it was a dry run.
pub(super) async fn away(
    host: &mut Session<'_>,
    state: &mut State,
    network: &Network,
    endpoints: &[Endpoint],
) -> Result<Option<bool>> {
    for endpoint in endpoints {
        open(host, endpoint);
    }
    let plan = removal::endpoints(&host.kernel, state, network, endpoints).await?;
    let kept = lease_renewer::kept(endpoints);
    let changed = host.carry_out(&plan, state).await?;
    if changed.is_some() {
        for endpoint in endpoints {
            lease_renewer::end(host, network, endpoint, &kept).await?;
        }
    }
    Ok(changed)
}

/// Whose endpoints are meant: by the namespace, or by the name of what is dead.
enum Who {
    /// The namespace of this cookie.
    Alive(u64),
    /// What was called so; and why it cannot be found.
    Dead(String, anyhow::Error),
}

impl Who {
    async fn is(host: &Session<'_>, target: &Target) -> Result<Self> {
        match resolve(&host.kernel, host.events, target, None).await {
            Ok(found) => Ok(Self::Alive(found.netns.cookie())),
            Err(error) if matches!(Kind::of(&error), Kind::NotFound | Kind::Conflict) => {
                Ok(Self::Dead(target_label(target), error))
            }
            Err(error) => Err(error),
        }
    }

    /// Those of these that are meant.
    ///
    /// # Errors
    /// If the target is not there, and nothing of it is left on record either.
    fn among<T>(self, all: Vec<T>, endpoint: impl Fn(&T) -> &Endpoint) -> Result<Vec<T>> {
        let meant = |e: &Endpoint| match &self {
            Self::Alive(cookie) => e.cookie == *cookie,
            Self::Dead(label, _) => e.target == *label,
        };
        let meant: Vec<_> = all.into_iter().filter(|one| meant(endpoint(one))).collect();
        match self {
            Self::Dead(_, error) if meant.is_empty() => Err(error),
            _ => Ok(meant),
        }
    }
}

/// What an endpoint of this target is called on record.
fn target_label(target: &Target) -> String {
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
pub(super) fn open(host: &mut Session<'_>, endpoint: &Endpoint) {
    if let Ok(Some(netns)) = Netns::of_name(&endpoint.netns)
        && netns.cookie() == endpoint.cookie
    {
        host.kernel.know(endpoint.netns.clone(), netns);
    }
}

/// All endpoints of a target, on any network.
pub(super) async fn everywhere(
    host: &Session<'_>,
    state: &State,
    target: &Target,
) -> Result<Vec<(Network, Endpoint)>> {
    let all: Vec<_> = state.endpoints().collect();
    let meant = Who::is(host, target).await?.among(all, |(_, e)| e)?;
    Ok(meant.into_iter().map(|(record, e)| (record.network.clone(), e.clone())).collect())
}
