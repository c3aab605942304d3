//! The hosts of a flat network. Of them, a host knows single endpoints, which netcord-agent reads in the
//! store; if it does not run, the kernel's entries say which hosts have endpoints.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use anyhow::Result;

use super::{Listed, State};
use crate::{
    kernel::{
        Kernel,
        route::{Query, Way},
    },
    model::{Elsewhere, Mac, Network, Overlay, Remote},
    ops::driver::overlay::flat,
    plan::{self, Entry, Resource},
};

/// Returns the other hosts; `found` are the kernel's entries.
pub(super) async fn others(
    kernel: &Kernel,
    network: &Network,
    overlay: &Overlay,
    dir: &Path,
    found: &[Resource],
) -> Result<Vec<Listed>> {
    let known = flat::elsewhere(dir, &network.name).await?;
    let elsewhere = known.unwrap_or_else(|| of_kernel(found));
    let entries: HashSet<_> = found.iter().filter_map(Entry::of).collect();
    let mut listed = Vec::new();
    for (host, name) in &elsewhere.hosts {
        let is_there = |at: &Remote| at.host == *host;
        let endpoints = elsewhere.endpoints.iter().filter(|(_, at)| is_there(at));
        let of_host = Elsewhere {
            endpoints: endpoints.map(|(ip, at)| (*ip, *at)).collect(),
            hosts: BTreeMap::from([(*host, name.clone())]),
        };
        let mut missing = plan::elsewhere(network, overlay, &of_host);
        plan::lacking(&mut missing, |entry| entries.contains(entry));
        let is_reached = matches!(kernel.way(Query::to(*host)).await?, Way::By { .. });
        let state = match missing.is_empty() {
            _ if !is_reached => State::Unreachable,
            true => State::Ok,
            false => State::Incomplete,
        };
        listed.push(Listed {
            host: *host,
            subnets: Vec::new(),
            endpoints: Some(of_host.endpoints.len()),
            backend: overlay.backend.kind(),
            is_self: false,
            via: overlay.tunnels().cloned().collect(),
            mac: Some(Mac::of_tunnel_end(*host)),
            state,
            missing: missing.iter().filter_map(plan::command).collect(),
            reach: None,
            store: None,
            relay: None,
        });
    }
    Ok(listed)
}

/// Returns what the kernel's entries say.
fn of_kernel(found: &[Resource]) -> Elsewhere {
    let mut elsewhere = Elsewhere::default();
    let mut macs = BTreeMap::new();
    for resource in found {
        match Entry::of(resource) {
            Some(Entry::Fdb { mac, host, .. }) => drop(macs.insert(mac, host)),
            Some(Entry::Replica { host, .. }) => {
                elsewhere.hosts.entry(host).or_default();
            }
            _ => {}
        }
    }
    for resource in found {
        if let Some(Entry::Neighbour { address, mac, .. }) = Entry::of(resource)
            && let Some(host) = macs.get(&mac).copied()
        {
            elsewhere.endpoints.insert(address, Remote { mac, host });
            elsewhere.hosts.entry(host).or_default();
        }
    }
    elsewhere
}
