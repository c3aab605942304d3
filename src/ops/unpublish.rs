//! `unpublish`: removes published ports.

use std::collections::BTreeSet;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    Changed, Session,
    lookup::endpoints::everywhere,
    publish::Ports,
    upkeep::{
        need::{Extent, Need},
        removal,
    },
};
use crate::{
    error::Error,
    model::{HostPorts, PortSpec, PublishedPort, Target},
    plan::Plan,
};

/// The request to remove published ports of a target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unpublish {
    /// The target that has the ports.
    pub target: Target,
    /// The ports, as they were published.
    pub ports: Vec<PortSpec>,
    /// All ports of the target.
    pub all: bool,
}

/// Removes published ports of a target; returns `None` for a dry run.
///
/// # Errors
/// If the target does not exist, or a bare number is a host port of another published
/// port.
pub async fn unpublish(host: &mut Session<'_>, args: &Unpublish) -> Result<Option<Changed<Ports>>> {
    let mut state = host.enter(Need::Changes, Extent::of(None)).await?;
    let endpoints = match everywhere(host, &state, &args.target).await {
        Ok(endpoints) => endpoints,
        Err(error) => {
            host.nothing_to_do(error)?;
            return nothing(host, args).await;
        }
    };
    let all: Vec<_> = endpoints.iter().flat_map(|(_, e)| e.ports.iter().cloned()).collect();
    let target = args.target.to_string();
    let mut meant = Vec::new();
    for spec in &args.ports {
        let ports = asked_for(&all, spec, &target)?;
        if ports.is_empty() {
            let others = all.iter().filter(|p| is_near(p, spec)).collect::<Vec<_>>();
            let but =
                if others.is_empty() { String::new() } else { format!(", {} is", specs(others)) };
            host.events
                .note(&format!("nothing to do: port {spec} of `{target}` is not published{but}"));
        }
        meant.extend(ports);
    }
    if args.all && all.is_empty() {
        host.events.note(&format!("nothing to do: `{target}` has no published ports"));
    }
    let (mut changed, mut gone, mut printed) = (false, Vec::new(), Plan::new());
    for (network, endpoint) in &endpoints {
        let is_meant = |p: &&PublishedPort| args.all || meant.contains(p);
        let ports: Vec<_> = endpoint.ports.iter().filter(is_meant).cloned().collect();
        // The endpoint of another program is on record for its ports only.
        let plan = if endpoint.foreign && ports.len() == endpoint.ports.len() {
            removal::endpoints(&host.kernel, &state, network, std::slice::from_ref(endpoint))
                .await?
        } else {
            removal::ports(&state, network, endpoint, &ports)
        };
        gone.extend(ports);
        if host.dry_run {
            printed.extend(plan);
        } else {
            changed |= host.carry_out(&plan, &mut state).await?.unwrap_or_default();
        }
    }
    if host.dry_run {
        host.print(&printed).await?;
        return Ok(None);
    }
    Ok(Some(Changed::new(changed, Ports { target, ports: gone })))
}

/// The outcome if the target does not exist.
async fn nothing(host: &Session<'_>, args: &Unpublish) -> Result<Option<Changed<Ports>>> {
    if host.dry_run {
        host.print(&Plan::new()).await?;
        return Ok(None);
    }
    let now = Ports { target: args.target.to_string(), ports: Vec::new() };
    Ok(Some(Changed::new(false, now)))
}

/// Returns the ports that `spec` means: as it was published; or for a port alone, those that lead
/// to it, else those with this host port.
///
/// # Errors
/// If it is ambiguous, or a similar port is published, which would stay open.
fn asked_for<'a>(
    all: &'a [PublishedPort],
    spec: &PortSpec,
    target: &str,
) -> Result<Vec<&'a PublishedPort>> {
    let of = |is_it: &dyn Fn(&PublishedPort) -> bool| -> Vec<_> {
        all.iter().filter(|p| p.protocol == spec.protocol && is_it(p)).collect()
    };
    let on_address = |p: &PublishedPort| spec.host_ip.is_none_or(|ip| ip == p.host_ip);
    let exact = of(&|p| p.is_of(spec));
    match spec.host {
        HostPorts::Range(host) => {
            // Another address of the host is another port; all addresses include each of them.
            let clashes = |p: &PublishedPort| {
                p.host.overlaps(host)
                    && (on_address(p)
                        || p.host_ip.is_unspecified()
                            && spec.host_ip.is_some_and(|ip| ip.is_ipv4() == p.host_ip.is_ipv4()))
            };
            // One of many ports of the host may not be the one that is meant.
            let others = of(&|p| host.count() == spec.container.count() && clashes(p));
            if exact.is_empty() && !others.is_empty() {
                return Err(differs(spec, target, others));
            }
            Ok(exact)
        }
        HostPorts::Any => {
            let inside = of(&|p| on_address(p) && spec.container.contains(p.container));
            let outside = of(&|p| on_address(p) && spec.container.contains(p.host));
            if !inside.is_empty() && outside.iter().any(|p| !inside.contains(p)) {
                let message = format!(
                    "port {spec} of `{target}` can be read in two ways: one is the target's, one the host's"
                );
                let both = inside.into_iter().chain(outside);
                return Err(Error::conflict(message)
                    .hint(format!("write which is meant: {}", specs(both)))
                    .into());
            }
            let meant = if inside.is_empty() { outside } else { inside };
            let part = of(&|p| {
                on_address(p)
                    && (p.container.overlaps(spec.container) || p.host.overlaps(spec.container))
            });
            if meant.is_empty() && !part.is_empty() {
                return Err(differs(spec, target, part));
            }
            Ok(meant)
        }
    }
}

fn differs(spec: &PortSpec, target: &str, there: Vec<&PublishedPort>) -> anyhow::Error {
    let there = specs(there);
    Error::conflict(format!("port {spec} of `{target}` is not published; {there} is"))
        .hint(format!("take back what there is: `netcord unpublish {target} {there}`"))
        .into()
}

/// Returns whether a port is published that the user may mean by `spec`.
fn is_near(port: &PublishedPort, spec: &PortSpec) -> bool {
    let numbers = match spec.host {
        HostPorts::Range(host) => host,
        HostPorts::Any => spec.container,
    };
    port.host.overlaps(numbers) || port.container.overlaps(spec.container)
}

/// Returns ports in `-p` syntax, those of both IP versions once.
fn specs<'a>(ports: impl IntoIterator<Item = &'a PublishedPort>) -> String {
    let specs: BTreeSet<_> = ports.into_iter().map(PublishedPort::spec).collect();
    specs.into_iter().collect::<Vec<_>>().join(" ")
}
