//! `peers`: lists the hosts of an overlay network, and whether the kernel has the entries for each.

mod flat;
mod reach;

use std::{collections::HashSet, net::IpAddr, path::Path};

use anyhow::Result;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::{Session, lookup::find, upkeep::need::Extent};
use crate::{
    agents::netcord_agent::{
        self,
        protocol::{self, Member},
    },
    error::Error,
    kernel::{
        Kernel, Link,
        route::{Query, Way},
    },
    model::{BackendKind, LinkName, Mac, Network, Overlay, Peer},
    plan::{self, Entry, Plan, Resource},
};

pub use self::reach::{Reach, Reached};

/// The request to list hosts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Peers {
    /// Its name.
    pub network: LinkName,
    /// Whether to send packets to the other hosts.
    pub check: bool,
}

/// A host of an overlay network.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// Its address.
    pub host: IpAddr,
    /// The subnets of its endpoints. Of another host of a flat network, none.
    pub subnets: Vec<IpNetwork>,
    /// In a flat network, the number of addresses of its endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<usize>,
    /// The backend.
    pub backend: BackendKind,
    /// Whether it is this host.
    pub is_self: bool,
    /// The links by which packets reach it; for this host, its VTEP or the parent.
    pub via: Vec<LinkName>,
    /// The MAC of its VTEP, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Whether packets can reach it.
    pub state: State,
    /// The missing entries, as commands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Whether the other host answers, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reach: Option<Reached>,
    /// For this host, in a network with a store: what the agent reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<Following>,
    /// For this host, in a network with the backend udp: the relay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<Relay>,
}

/// The process that carries the packets of a network.
#[derive(Clone, Debug, Serialize)]
pub struct Relay {
    /// Whether it runs: a process has the TUN link open.
    pub runs: bool,
    /// Whether netcord-agent runs, which starts it again if it ends.
    pub has_agent: bool,
    /// Its process, if the agent started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// What it uses of the kernel, if it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uses: Option<protocol::RelayUse>,
    /// Why it ended, or uses less than before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How this host follows the store of a network.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "agent")]
pub enum Following {
    /// The agent follows it.
    Follows(Member),
    /// The agent runs, and does not follow it.
    DoesNotFollow,
    /// No agent runs.
    DoesNotRun,
}

/// Whether packets can reach a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The kernel has all entries.
    Ok,
    /// An entry is missing.
    Incomplete,
    /// No route leads to the host itself.
    Unreachable,
}

impl State {
    /// Returns the word that users read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Incomplete => "incomplete",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Lists the hosts of an overlay network, this one first.
///
/// # Errors
/// If there is no such network, or it is not an overlay network.
pub async fn peers(host: &Session<'_>, args: &Peers) -> Result<Vec<Listed>> {
    let state = host.look(Extent::of(&args.network)).await?;
    let record = find::network(&host.kernel, &state, &args.network).await?;
    let network = &record.network;
    let Some(overlay) = network.driver.overlay() else {
        return Err(Error::usage(format!(
            "network `{}` ({}) is on this host only and has no peers",
            network.name,
            network.driver.word()
        ))
        .hint("`netcord overlay` makes networks of several hosts")
        .into());
    };
    let mut listed = of(&host.kernel, network, overlay, state.dir()).await?;
    if args.check {
        reach::ask(network, overlay, &mut listed).await?;
    }
    Ok(listed)
}

/// Returns the hosts of an overlay network, this one first; `dir` is that of the host's records.
pub(in crate::ops) async fn of(
    kernel: &Kernel,
    network: &Network,
    overlay: &Overlay,
    dir: &Path,
) -> Result<Vec<Listed>> {
    let ways = kernel.ways(network).await?;
    let found: HashSet<_> = ways.iter().filter_map(Entry::of).collect();
    let own = overlay.own_vteps().next();
    let own_link = overlay.tunnels().next().unwrap_or(&overlay.parent);
    let mut listed = vec![Listed {
        host: overlay.host,
        subnets: network.subnets.iter().map(|subnet| subnet.cidr).collect(),
        endpoints: None,
        backend: overlay.backend.kind(),
        is_self: true,
        via: vec![own_link.clone()],
        mac: own.map(|end| end.mac),
        state: own_state(kernel, network, own_link).await?,
        missing: Vec::new(),
        reach: None,
        store: follows(network, dir).await.transpose()?,
        relay: relay(kernel, network, overlay, dir).await?,
    }];
    if network.is_flat() {
        listed.extend(flat::others(kernel, network, overlay, dir, &ways).await?);
    }
    for (address, peer) in &overlay.peers {
        let way = plan::way(network, overlay, *address, peer);
        listed.push(self::listed(kernel, overlay, *address, peer, way, &found).await?);
    }
    Ok(listed)
}

/// Checks that this host still has its subnets of a network, as far as its agent knows. The store is not
/// asked: containers can be attached while it does not answer.
///
/// # Errors
/// If another host has them: addresses of theirs would be assigned twice.
pub(in crate::ops) async fn check_subnets(network: &Network, dir: &Path) -> Result<()> {
    match follows(network, dir).await {
        Some(Ok(Following::Follows(Member { lost: Some(why), .. }))) => {
            let name = &network.name;
            Err(Error::conflict(format!("network `{name}` has no addresses for this host: {why}"))
                .hint(format!(
                    "detach its endpoints, remove it with `netcord rm {name}`, and join again"
                ))
                .into())
        }
        _ => Ok(()),
    }
}

/// Returns how this host follows the store of a network; `None` if the network has no store.
pub(in crate::ops) async fn follows(network: &Network, dir: &Path) -> Option<Result<Following>> {
    network.driver.overlay()?.store.as_ref()?;
    Some(following(&network.name, dir).await)
}

async fn following(network: &LinkName, dir: &Path) -> Result<Following> {
    let Some(status) = netcord_agent::status(dir).await? else {
        return Ok(Following::DoesNotRun);
    };
    let member = status.members.into_iter().find(|member| member.network == *network);
    Ok(member.map_or(Following::DoesNotFollow, Following::Follows))
}

/// Returns the relay of a network; `None` if it has none.
async fn relay(
    kernel: &Kernel,
    network: &Network,
    overlay: &Overlay,
    dir: &Path,
) -> Result<Option<Relay>> {
    let Some(udp) = overlay.backend.udp() else { return Ok(None) };
    let link = kernel.link(udp.device.as_str()).await?;
    let status = netcord_agent::status(dir).await?;
    let has_agent = status.is_some();
    let known = status.and_then(|s| s.relays.into_iter().find(|r| r.network == network.name));
    let (pid, uses, problem) =
        known.map_or((None, None, None), |known| (known.pid, known.uses, known.problem));
    // A TUN link has carrier as long as a process has it open.
    let runs = link.is_some_and(|link| link.carrier);
    Ok(Some(Relay { runs, has_agent, pid, uses, problem }))
}

/// Returns whether this host's VTEP is as it was made, and it or the link to the other hosts is up.
async fn own_state(kernel: &Kernel, network: &Network, link: &LinkName) -> Result<State> {
    for tunnel in plan::tunnels_of(network) {
        if kernel.is_other_tunnel(&tunnel).await? {
            return Ok(State::Incomplete);
        }
    }
    let link = kernel.link(link.as_str()).await?;
    // As a port of a flat network's bridge it learns nothing, and gets no frames for unknown MACs.
    let is_open = |link: &Link| network.is_flat() && (link.port.learns || link.port.floods);
    let is_ok = link.is_some_and(|link| link.up && !is_open(&link));
    Ok(if is_ok { State::Ok } else { State::Incomplete })
}

async fn listed(
    kernel: &Kernel,
    overlay: &Overlay,
    host: IpAddr,
    peer: &Peer,
    mut missing: Plan,
    found: &HashSet<Entry<'_>>,
) -> Result<Listed> {
    let mut via: Vec<LinkName> = Vec::new();
    for step in &missing {
        if let Some(Resource::Route { route, .. }) = step.change.resource()
            && !via.contains(&route.link)
        {
            via.push(route.link.clone());
        }
    }
    plan::lacking(&mut missing, |entry| found.contains(entry));
    let is_reached = matches!(kernel.way(Query::to(host)).await?, Way::By { .. });
    let state = match missing.is_empty() {
        _ if !is_reached => State::Unreachable,
        true => State::Ok,
        false => State::Incomplete,
    };
    Ok(Listed {
        host,
        subnets: peer.subnets.clone(),
        endpoints: None,
        backend: overlay.backend.kind(),
        is_self: false,
        via,
        mac: overlay
            .vtep(host, peer, peer.subnets.iter().any(IpNetwork::is_ipv4))
            .map(|end| end.mac),
        state,
        missing: missing.iter().filter_map(plan::command).collect(),
        reach: None,
        store: None,
        relay: None,
    })
}
