//! Finds the endpoints of a target, also of a dead one.

use anyhow::Result;

use crate::{
    error::{Error, Kind, mistyped},
    model::{Endpoint, EngineContainer, Network, NetworkRecord, Owner, Target},
    ops::{
        Session,
        lookup::{liveness::lives, resolve::resolve},
    },
    state::State,
};

/// Returns all endpoints of a target, on all networks.
pub(in crate::ops) async fn everywhere(
    host: &Session<'_>,
    state: &State,
    target: &Target,
) -> Result<Vec<(Network, Endpoint)>> {
    let all: Vec<_> = state.endpoints().collect();
    let meant = Who::is(host, target).await?.among(all, |(_, e)| e)?;
    Ok(meant.into_iter().map(|(record, e)| (record.network.clone(), e.clone())).collect())
}

/// Returns the endpoint that an engine owns, with the record of its network.
pub(in crate::ops) fn of_owner<'s>(
    state: &'s State,
    owner: &Owner,
) -> Option<(&'s NetworkRecord, &'s Endpoint)> {
    state.endpoints().find(|(_, e)| e.owner.as_deref().is_some_and(|there| there.is(owner)))
}

/// Identifies endpoints: by the namespace, or by the name of a dead target.
pub(in crate::ops) enum Who {
    /// The namespace with this cookie, and the container in it.
    Alive(u64, Option<EngineContainer>),
    /// A dead target, and the error of looking it up.
    Dead(Target, anyhow::Error),
}

impl Who {
    pub(in crate::ops) async fn is(host: &Session<'_>, target: &Target) -> Result<Self> {
        match resolve(&host.kernel, host.events, target, None).await {
            Ok(found) => Ok(Self::Alive(found.netns.cookie(), found.container)),
            Err(error) if matches!(Kind::of(&error), Kind::NotFound | Kind::Conflict) => {
                Ok(Self::Dead(target.clone(), error))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns those that belong to the target.
    ///
    /// # Errors
    /// If the target does not exist, and nothing of it is on record either.
    pub(in crate::ops) fn among<T>(
        self,
        all: Vec<T>,
        endpoint: impl Fn(&T) -> &Endpoint,
    ) -> Result<Vec<T>> {
        let labels: Vec<_> = all.iter().map(|one| endpoint(one).target.clone()).collect();
        let has_label = |target: &Target| labels.contains(&target_label(target));
        let is_meant = |e: &Endpoint| match &self {
            Self::Alive(cookie, container) => {
                e.cookie == *cookie || container.as_ref().is_some_and(|c| is_former(e, c))
            }
            Self::Dead(target, _) => is_called(e, target, has_label(target)),
        };
        let meant: Vec<_> = all.into_iter().filter(|one| is_meant(endpoint(one))).collect();
        match self {
            Self::Dead(target, error) if meant.is_empty() => {
                Err(unless_mistyped(error, &target_label(&target), &labels))
            }
            _ => Ok(meant),
        }
    }
}

/// Returns whether an endpoint waits for this container: that was started again, or made anew with
/// its name.
pub(in crate::ops) fn is_former(endpoint: &Endpoint, container: &EngineContainer) -> bool {
    let is_its = |former: &EngineContainer| container.is_or_follows(former);
    endpoint.container.as_deref().is_some_and(is_its) && !lives(endpoint)
}

/// Returns whether a dead target is an endpoint's: by its name on record, which comes first, or as
/// its engine calls it.
fn is_called(endpoint: &Endpoint, target: &Target, is_label: bool) -> bool {
    match (target, endpoint.container.as_deref()) {
        (Target::Container(engine, name), Some(container)) => {
            container.engine == *engine && container.is_called(name)
        }
        (Target::Name(name), Some(container)) if !is_label => container.is_called(name),
        _ => endpoint.target == target_label(target),
    }
}

/// A target that has ended may be the one that is meant, which only records know.
fn unless_mistyped(error: anyhow::Error, label: &str, labels: &[String]) -> anyhow::Error {
    let meant = mistyped(label, labels.iter().map(String::as_str));
    match (error.downcast::<Error>(), meant) {
        (Ok(own), Some(name)) if own.is_absent => {
            Error { is_absent: false, ..own }.hint(format!("did you mean `{name}`?")).into()
        }
        (Ok(own), _) => own.into(),
        (Err(error), _) => error,
    }
}

/// Returns a target's name in records.
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
