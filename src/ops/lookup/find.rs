//! Finds a network by its name: one of ours, or a foreign bridge.

use std::borrow::Cow;

use anyhow::Result;

use crate::{
    error::{Error, Kind, did_you_mean},
    kernel::{Kernel, LinkKind, Netns},
    model::{LinkName, NetworkRecord, NetworkRef, Target},
    ops::{
        Session,
        driver::foreign,
        lookup::engine_network,
        upkeep::{
            firewall,
            need::{Depth, Extent},
        },
    },
    state::State,
};

/// Finds a network: on record, or as a foreign bridge.
pub(in crate::ops) async fn network<'s>(
    kernel: &Kernel,
    state: &'s State,
    name: &LinkName,
) -> Result<Cow<'s, NetworkRecord>> {
    if let Some(record) = state.networks().get(name) {
        return Ok(Cow::Borrowed(record));
    }
    match kernel.link(name.as_str()).await? {
        Some(link) if link.kind == LinkKind::Bridge => {
            let firewall = firewall::of_networks(kernel, state);
            let network = foreign::network(kernel, name, &link, firewall).await?;
            Ok(Cow::Owned(NetworkRecord { network, endpoints: Vec::new() }))
        }
        Some(link) if link.kind == LinkKind::Macvlan && link.is_ours() => {
            Err(Error::not_found(format!("the record of network `{name}` was lost"))
                .hint("run the command that made the network again; its endpoints are found then")
                .into())
        }
        Some(_) => {
            Err(Error::not_found(format!("`{name}` is a link but not a bridge, so no network"))
                .hint("make a network with `netcord bridge NETWORK`")
                .into())
        }
        None => Err(no_network(kernel, state, name.as_str()).await),
    }
}

/// Returns the name under which this host has a network, before targets are looked up.
///
/// # Errors
/// If there is no such network.
pub(in crate::ops) async fn named(
    host: &Session<'_>,
    typed: &NetworkRef,
    targets: &[Target],
) -> Result<LinkName> {
    let name = link(host, typed).await?;
    if !host.kernel.has_link(&name) {
        let state = host.look(Extent::to(Depth::Names)).await?;
        network_before(host, &state, &name, targets, "attach").await?;
    }
    Ok(name)
}

/// Returns the name under which this host has a network: as typed, or the bridge of an engine's
/// network. A name that nobody has is returned as typed.
///
/// # Errors
/// If the engine that was named has no such bridge network.
pub(in crate::ops) async fn link(host: &Session<'_>, typed: &NetworkRef) -> Result<LinkName> {
    match typed {
        NetworkRef::Engine(engine, name) => engine_network::bridge_of(host, *engine, name).await,
        NetworkRef::Name(name) => {
            let link = name.parse::<LinkName>();
            if let Ok(link) = &link {
                let is_there = host.kernel.has_link(link);
                if is_there
                    || host.look(Extent::to(Depth::Names)).await?.networks().contains_key(link)
                {
                    return Ok(link.clone());
                }
            }
            match engine_network::bridge_anywhere(host, name).await? {
                Some(bridge) => Ok(bridge),
                None => Ok(link?),
            }
        }
    }
}

/// Finds the network that a verb names before its targets.
///
/// # Errors
/// Also if the network was written after the target.
pub(in crate::ops) async fn network_before<'s>(
    host: &Session<'_>,
    state: &'s State,
    name: &LinkName,
    targets: &[Target],
    verb: &str,
) -> Result<Cow<'s, NetworkRecord>> {
    let error = match network(&host.kernel, state, name).await {
        Err(error) if Kind::of(&error) == Kind::NotFound => error,
        found => return found,
    };
    for target in targets {
        // What is a target too may be meant as one.
        let Target::Name(word) = target else { continue };
        let is_netns =
            word.parse().is_ok_and(|word| Netns::of_name(&word).is_ok_and(|n| n.is_some()));
        let Ok(other) = word.parse::<LinkName>() else { continue };
        if !is_netns && network(&host.kernel, state, &other).await.is_ok() {
            return Err(Error::not_found(format!("no network `{name}`, but `{other}` is one"))
                .hint(format!("the network comes first: `netcord {verb} {other} {name}`"))
                .into());
        }
    }
    Err(error)
}

/// Returns the error for a network that does not exist.
pub(in crate::ops) async fn no_network(
    kernel: &Kernel,
    state: &State,
    name: &str,
) -> anyhow::Error {
    let mut names: Vec<_> = state.networks().keys().map(ToString::to_string).collect();
    if let Ok(bridges) = kernel.bridges().await {
        names.extend(bridges.into_iter().map(|l| l.name));
    }
    let hint = did_you_mean(name, names.iter().map(String::as_str))
        .unwrap_or_else(|| format!("make it with `netcord bridge {name}`, or see `netcord ls`"));
    Error::not_found(format!("no network `{name}`"))
        .hint(hint)
        .absent(name, names.iter().map(String::as_str))
        .into()
}
