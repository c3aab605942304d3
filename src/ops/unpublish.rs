//! `unpublish`: takes published ports back.

use anyhow::Result;

use super::{Changed, Host, clean, detach::everywhere, publish::Ports, removal};
use crate::{cli, model::PublishedPort, plan::Plan};

pub(super) async fn run(host: &mut Host<'_, '_>, args: cli::Unpublish) -> Result<()> {
    let mut state = host.state_with_rebuilt().await?;
    clean::dead(host, &mut state).await?;
    let endpoints = everywhere(host, &state, &args.target).await?;
    for spec in &args.ports {
        if !endpoints.iter().any(|(_, e)| e.ports.iter().any(|p| is_meant(p, spec))) {
            host.output.note(&format!("port {spec} of `{}` is not published", args.target));
        }
    }
    let (mut changed, mut gone, mut printed) = (false, Vec::new(), Plan::new());
    for (network, endpoint) in &endpoints {
        let meant = |p: &&PublishedPort| args.all || args.ports.iter().any(|s| is_meant(p, s));
        let ports: Vec<_> = endpoint.ports.iter().filter(meant).cloned().collect();
        let plan = removal::ports(&state, network, endpoint, &ports);
        gone.extend(ports);
        if host.dry_run {
            printed.extend(plan);
        } else {
            changed |= host.carry_out(&plan, &mut state).await?.unwrap_or_default();
        }
    }
    if host.dry_run {
        return host.print(&printed).await;
    }
    let target = args.target.to_string();
    host.output.result(&Changed::new(changed, Ports { target: &target, ports: &gone }), &[])
}

/// As it was published; or, with the target's port alone, wherever that is published.
fn is_meant(port: &PublishedPort, spec: &crate::model::PortSpec) -> bool {
    let anywhere = spec.host == crate::model::HostPorts::Any
        && spec.host_ip.is_none_or(|ip| ip == port.host_ip)
        && port.protocol == spec.protocol
        && port.container.first >= spec.container.first
        && port.container.last <= spec.container.last;
    anywhere || port.is_of(spec)
}
