//! Finds and opens a target as typed.

use std::{
    iter,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use tokio::time::{Instant, sleep};

use crate::{
    engine::{self, Answer, Container, NetworkMode},
    error::{Error, Kind, did_you_mean},
    kernel::{Kernel, NETNS_DIR, Netns, named},
    model::{Endpoint, Engine, EngineContainer, NamedNetns, NetnsName, Source, Target},
    ops::Events,
    state::{Load, State},
};

/// A target that was found.
#[derive(Debug)]
pub(in crate::ops) struct Found {
    /// Its namespace, open.
    pub netns: Netns,
    /// The name for it if it has none in `/run/netns`.
    pub name: NetnsName,
    /// A path to its namespace that is valid as long as the target lives.
    pub file: PathBuf,
    /// The container that an engine named, if the engine can start it again.
    pub container: Option<EngineContainer>,
}

impl Found {
    /// Opens it again.
    ///
    /// # Errors
    /// If it has ended.
    pub(in crate::ops) fn reopened(&self) -> Result<Self> {
        let netns = Netns::of_path(&self.file)?;
        if netns.cookie() != self.netns.cookie() {
            let message = format!("target `{}` ended meanwhile", self.name);
            return Err(Error::not_found(message).hint("try again").into());
        }
        let Self { name, file, container, .. } = self;
        Ok(Self { netns, name: name.clone(), file: file.clone(), container: container.clone() })
    }
}

/// The time to wait for an engine that the user named.
const NAMED: Duration = Duration::from_secs(10);
/// The time to wait if only an engine can know the name.
const SEARCH: Duration = Duration::from_secs(2);
/// The time to wait if the name was found already, and an engine may know it, too.
const ASIDE: Duration = Duration::from_millis(200);
/// The interval at which to look for a target that may appear.
const INTERVAL: Duration = Duration::from_millis(20);

/// Finds a target, and waits for it if requested. It must not be the host itself.
pub(in crate::ops) async fn resolve(
    kernel: &Kernel,
    events: &dyn Events,
    target: &Target,
    wait: Option<u64>,
) -> Result<Found> {
    let wait = wait.map(Duration::from_secs);
    let until = wait.map(|wait| Instant::now() + wait);
    let appears = || format!("waiting for `{target}` to appear");
    let _doing = wait.map(|wait| events.doing_for(wait, appears()));
    let found = loop {
        match find(kernel, events, target).await {
            Err(error) if Kind::of(&error) == Kind::NotFound => match until {
                None => return Err(error),
                Some(until) if Instant::now() < until => sleep(INTERVAL).await,
                Some(_) => {
                    let message = format!("target `{target}` did not appear in time: {error:#}");
                    return Err(Error::new(Kind::Timeout, message).into());
                }
            },
            found => break found?,
        }
    };
    if found.netns.cookie() == kernel.cookie() {
        return Err(Error::conflict(format!("target `{target}` is in the host's own namespace"))
            .hint("there is nothing to attach: it has the host's own links and addresses")
            .into());
    }
    Ok(found)
}

async fn find(kernel: &Kernel, events: &dyn Events, target: &Target) -> Result<Found> {
    match target {
        Target::Host => Err(Error::conflict("target `host` is the host itself")
            .hint("see `netcord host`")
            .into()),
        Target::Pid(pid) => of_process(*pid, &pid.to_string()),
        Target::Path(path) => of_path(path),
        Target::Netns(name) => match of_name(name)? {
            Some(found) => Ok(found),
            None => Err(no_such(kernel, name.as_str()).await),
        },
        Target::Container(engine, reference) => {
            let _doing = events.doing_for(NAMED, format!("asking {engine} for `{reference}`"));
            match engine::find(*engine, reference, NAMED).await {
                Answer::Found(container) => of_container(events, &container),
                Answer::NotFound => {
                    let names = engine::names(SEARCH).await;
                    let names = || names.iter().map(String::as_str);
                    let mut error =
                        Error::not_found(format!("{engine} has no container `{reference}`"));
                    error.hint = did_you_mean(reference, names());
                    Err(error.absent(reference, names()).into())
                }
                Answer::Silent(error) => Err(error),
            }
        }
        Target::Name(name) => anywhere(kernel, events, name).await,
    }
}

/// Finds a bare name in `/run/netns` and in all engines. A name in more than one place is an error.
async fn anywhere(kernel: &Kernel, events: &dyn Events, name: &str) -> Result<Found> {
    let here = match name.parse::<NetnsName>() {
        Ok(name) => of_name(&name)?,
        Err(_) => None,
    };
    let patience = if here.is_some() { ASIDE } else { SEARCH };
    let mut found: Vec<_> =
        here.into_iter().map(|found| (format!("netns:{name}"), found)).collect();
    let (mut silent, mut refused): (Option<(Engine, anyhow::Error)>, _) = (None, None);
    let _doing = events.doing_for(patience, format!("asking the engines for `{name}`"));
    for (engine, answer) in engine::find_anywhere(name, patience).await {
        match answer {
            Answer::Found(container) => match of_container(events, &container) {
                // The same target under two names, as when netcord named the container's namespace.
                Ok(one) => {
                    match found.iter_mut().find(|(_, f)| f.netns.cookie() == one.netns.cookie()) {
                        Some((_, same)) => same.container = one.container,
                        None => found.push((format!("{engine}:{name}"), one)),
                    }
                }
                Err(error) => refused = Some(error),
            },
            Answer::NotFound => {}
            Answer::Silent(error) if Kind::of(&error) == Kind::Missing => {}
            Answer::Silent(error) => silent = Some((engine, error)),
        }
    }
    if found.len() > 1 {
        let candidates: Vec<_> = found.iter().map(|(candidate, _)| candidate.as_str()).collect();
        return Err(Error::conflict(format!("`{name}` is found in more than one place"))
            .hint(format!("write one of: {}", candidates.join(", ")))
            .into());
    }
    if let Some((_, only)) = found.pop() {
        return Ok(only);
    }
    if let Some(owned) = of_owner(kernel, name)? {
        return Ok(owned);
    }
    match (refused, silent) {
        (Some(error), _) => Err(error),
        (None, Some((_, error))) if Kind::of(&error) == Kind::Conflict => Err(error),
        (None, Some((engine, error))) => Err(Error::not_found(format!(
            "no name `{name}` in {NETNS_DIR}, and {engine} could not be asked: {error:#}"
        ))
        .into()),
        (None, None) => Err(no_such(kernel, name).await),
    }
}

async fn no_such(kernel: &Kernel, name: &str) -> anyhow::Error {
    let mut names: Vec<_> = kernel.netns_names().iter().map(ToString::to_string).collect();
    if names.iter().any(|there| there == name) {
        let message = format!("no target `{name}`: {NETNS_DIR}/{name} leads to no namespace");
        let hint = format!("remove it: `netcord prune`, or `rm {NETNS_DIR}/{name}`");
        return Error::not_found(message).hint(hint).into();
    }
    names.extend(engine::names(SEARCH).await);
    let hint = did_you_mean(name, names.iter().map(String::as_str)).unwrap_or_else(|| {
        "a target is a PID, a name in /run/netns, a container, or a namespace file".into()
    });
    Error::not_found(format!(
        "no target `{name}`: neither a name in {NETNS_DIR} nor a running container"
    ))
    .hint(hint)
    .absent(name, names.iter().map(String::as_str))
    .into()
}

fn of_process(pid: u32, name: &str) -> Result<Found> {
    let netns = Netns::of_process(pid)?;
    let file = PathBuf::from(format!("/proc/{pid}/ns/net"));
    Ok(Found { netns, name: name.parse()?, file, container: None })
}

fn of_name(name: &NetnsName) -> Result<Option<Found>> {
    let Some(netns) = Netns::of_name(name)? else { return Ok(None) };
    Ok(Some(Found { netns, name: name.clone(), file: named(name), container: None }))
}

/// Finds a target by the name that its owner has for it, such as the name of a pod.
fn of_owner(kernel: &Kernel, name: &str) -> Result<Option<Found>> {
    let state = State::read(kernel.cookie(), Load::All)?;
    let is_its = |e: &Endpoint| e.owner.is_some() && e.target == name;
    for (_, endpoint) in state.endpoints().filter(|(_, endpoint)| is_its(endpoint)) {
        let found = of_name(&endpoint.netns)?.filter(|f| f.netns.cookie() == endpoint.cookie);
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn of_path(path: &Path) -> Result<Found> {
    let parts: Vec<_> = path.iter().filter_map(|p| p.to_str()).collect();
    if let ["/", "proc", pid, "ns", "net"] = parts[..]
        && let Ok(pid) = pid.parse()
    {
        return of_process(pid, &pid.to_string());
    }
    let netns = Netns::of_path(path)?;
    let name = parts.last().copied().unwrap_or_default().parse::<NetnsName>().map_err(|e| {
        Error::usage(format!("{} gives its namespace no name: {e}", path.display()))
            .hint("name it with `netcord none NAME --of FILE`, or `--name`")
    })?;
    Ok(Found { netns, name, file: std::path::absolute(path)?, container: None })
}

fn of_container(events: &dyn Events, container: &Container) -> Result<Found> {
    let Container { engine, name, .. } = container;
    let shown = format!("{engine} container `{name}`");
    let Some(pid) = container.pid else {
        return Err(Error::conflict(format!("{shown} is not running, so it has no namespace"))
            .hint(format!("start it: `{engine} start {name}`"))
            .absent(name, iter::empty())
            .into());
    };
    match &container.network {
        NetworkMode::Host => {
            let message = format!("{shown} is in host mode: its namespace is the host's own");
            return Err(Error::conflict(message)
                .hint("run it with `--network=none` to give it one")
                .into());
        }
        NetworkMode::Of(other) => {
            let other = other.get(..12).unwrap_or(other);
            events.note(&format!("{shown} shares the namespace of container `{other}`"));
        }
        NetworkMode::Own => {}
    }
    let kept = EngineContainer {
        engine: *engine,
        id: container.id.clone(),
        name: name.clone(),
        stopped: false,
    };
    let container = (!container.auto_remove).then_some(kept);
    Ok(Found { container, ..of_process(pid, name)? })
}

/// Returns the name in `/run/netns` that a target has or will have, with the record for making it:
/// `None` if another program made the name.
pub(in crate::ops) fn naming(
    state: &State,
    found: &Found,
    wanted: Option<&NetnsName>,
    kept: bool,
) -> Result<(NetnsName, Option<NamedNetns>)> {
    let cookie = found.netns.cookie();
    let leads_there =
        |name| Netns::of_name(name).is_ok_and(|n| n.is_some_and(|n| n.cookie() == cookie));
    let ours: Vec<_> = state.names().iter().filter(|n| n.cookie == cookie).collect();
    // The name as typed, if it is one; otherwise the one that we gave it before.
    let name = match (wanted, ours.first()) {
        (Some(wanted), _) => wanted,
        (None, Some(first)) if !leads_there(&found.name) => &first.name,
        (None, _) => &found.name,
    };
    if let Some(ours) = ours.iter().find(|n| n.name == *name) {
        let kept = kept || ours.kept;
        return Ok((name.clone(), Some(NamedNetns { kept, ..(*ours).clone() })));
    }
    if leads_there(name) {
        return Ok((name.clone(), None));
    }
    if let Ok(Some(_)) = Netns::of_name(name) {
        let message = format!("the name `{name}` in {NETNS_DIR} is another namespace's");
        return Err(Error::conflict(message).hint("choose another with `--name`").into());
    }
    let source = Source::Link(found.file.clone());
    Ok((name.clone(), Some(NamedNetns { name: name.clone(), cookie, source, kept })))
}
