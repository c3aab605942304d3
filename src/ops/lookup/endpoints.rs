//! The endpoints of a target, also of one that has died.

use anyhow::Result;

use crate::{
    error::Kind,
    model::{Endpoint, Network, Target},
    ops::{Session, lookup::resolve::resolve},
    state::State,
};

/// All endpoints of a target, on any network.
pub(in crate::ops) async fn everywhere(
    host: &Session<'_>,
    state: &State,
    target: &Target,
) -> Result<Vec<(Network, Endpoint)>> {
    let all: Vec<_> = state.endpoints().collect();
    let meant = Who::is(host, target).await?.among(all, |(_, e)| e)?;
    Ok(meant.into_iter().map(|(record, e)| (record.network.clone(), e.clone())).collect())
}

/// Whose endpoints are meant: by the namespace, or by the name of what is dead.
pub(in crate::ops) enum Who {
    /// The namespace of this cookie.
    Alive(u64),
    /// What was called so; and why it cannot be found.
    Dead(String, anyhow::Error),
}

impl Who {
    pub(in crate::ops) async fn is(host: &Session<'_>, target: &Target) -> Result<Self> {
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
    pub(in crate::ops) fn among<T>(
        self,
        all: Vec<T>,
        endpoint: impl Fn(&T) -> &Endpoint,
    ) -> Result<Vec<T>> {
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
