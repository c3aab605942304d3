//! A flat overlay network on this host: what netcord-agent makes of the store, and the addresses that
//! endpoints get from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
    time::Duration,
};

use anyhow::{Result, bail};

use super::ensure;
use crate::{
    agents::netcord_agent::{
        Connection,
        protocol::{Answer, Claim, Request},
    },
    model::{Elsewhere, Endpoint, LinkName, Mac, Network, NetworkRecord},
    ops::{
        Session,
        upkeep::{
            endpoints,
            need::{Extent, Need},
        },
    },
    plan::{self, Change},
    state::State,
};

/// The time to wait for the store while an endpoint is attached.
const PATIENCE: Duration = Duration::from_secs(15);

/// This host's endpoints in a network: for each address, the MAC, the target, and the links of the host
/// that the endpoint needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// The MAC and the target of each address.
    pub addresses: BTreeMap<IpAddr, (Mac, String)>,
    /// The host ends.
    pub links: Vec<LinkName>,
}

/// Makes the bridge and the VXLAN link of a network on record, and says which endpoints it has here; for
/// netcord-agent. Returns `None` if this host no longer has the network.
///
/// # Errors
/// If the kernel refuses a change.
pub async fn follow(host: &mut Session<'_>, name: &LinkName) -> Result<Option<(Network, Own)>> {
    let mut state = host.enter(Need::Changes, Extent::of(name)).await?;
    let Some((network, endpoints)) = flat(&state, name) else { return Ok(None) };
    let Some(done) = ensure(host, &mut state, &network, &endpoints).await? else {
        return Ok(None);
    };
    let own = living(host, &endpoints).await?;
    Ok(Some((done.now.network, own)))
}

/// Returns which endpoints of a network this host has, without a lock; for netcord-agent. `None`: this
/// host no longer has the network.
///
/// # Errors
/// If the records cannot be read.
pub async fn own(host: &Session<'_>, name: &LinkName) -> Result<Option<Own>> {
    let state = host.look(Extent::of(name)).await?;
    let Some((_, endpoints)) = flat(&state, name) else { return Ok(None) };
    Ok(Some(living(host, &endpoints).await?))
}

fn flat(state: &State, name: &LinkName) -> Option<(Network, Vec<Endpoint>)> {
    let NetworkRecord { network, endpoints } = state.networks().get(name)?;
    network.driver.overlay()?.flat?;
    Some((network.clone(), endpoints.clone()))
}

/// The endpoints that live, or whose address waits for a stopped container.
async fn living(host: &Session<'_>, endpoints: &[Endpoint]) -> Result<Own> {
    let links = host.kernel.links().await?;
    let names: BTreeSet<_> = links.values().map(|link| link.name.as_str()).collect();
    let mut own = Own::default();
    for endpoint in endpoints {
        let is_there = endpoint.host_ifname().is_some_and(|link| names.contains(link.as_str()));
        if !is_there && !endpoint.is_stopped() {
            continue;
        }
        own.links.extend(endpoint.host_ifname().cloned());
        let whose = || (endpoint.mac, endpoint.target.clone());
        own.addresses.extend(endpoint.addresses.iter().map(|address| (address.ip(), whose())));
    }
    Ok(own)
}

/// Makes the entries for the endpoints of other hosts; for netcord-agent. With what was known before, only
/// what differs is written; otherwise the kernel's entries are read, and corrected.
///
/// # Errors
/// If the kernel refuses a change: then it has the former entries.
pub async fn program(
    host: &Session<'_>,
    network: &Network,
    former: Option<&Elsewhere>,
    now: &Elsewhere,
) -> Result<()> {
    let Some(driver) = network.driver.overlay() else { return Ok(()) };
    let (wanted, found) = match former {
        Some(former) => {
            let (former, now) = differing(former, now);
            let had = plan::elsewhere(network, driver, &former);
            let had = had.iter().filter_map(|step| step.change.resource().cloned()).collect();
            (plan::elsewhere(network, driver, &now), had)
        }
        None => (plan::elsewhere(network, driver, now), host.kernel.ways(network).await?),
    };
    let plan = plan::entry_changes(wanted, &found);
    let changes: Vec<&Change> = plan.iter().map(|step| &step.change).collect();
    host.kernel.apply_entries(&changes).await?;
    Ok(())
}

/// Leaves out what is the same on both sides. All addresses of a MAC go together, as they share an entry.
fn differing(former: &Elsewhere, now: &Elsewhere) -> (Elsewhere, Elsewhere) {
    let changed = |one: &Elsewhere, other: &Elsewhere| {
        let changed = one.endpoints.iter().filter(|(ip, at)| other.endpoints.get(ip) != Some(at));
        changed.map(|(_, at)| at.mac).collect::<BTreeSet<_>>()
    };
    let macs = &changed(former, now) | &changed(now, former);
    let of = |one: &Elsewhere| {
        let endpoints = one.endpoints.iter().filter(|(_, at)| macs.contains(&at.mac));
        let endpoints = endpoints.map(|(ip, at)| (*ip, *at)).collect();
        Elsewhere { endpoints, hosts: one.hosts.clone() }
    };
    (of(former), of(now))
}

/// Detaches the endpoints of a network whose addresses other hosts have now; for netcord-agent. Returns
/// their targets.
///
/// # Errors
/// If the kernel refuses a change.
pub async fn evict(
    host: &mut Session<'_>,
    name: &LinkName,
    lost: &[IpAddr],
) -> Result<Vec<String>> {
    let mut state = host.enter(Need::Removes, Extent::of(name).inside()).await?;
    let Some((network, mut endpoints)) = flat(&state, name) else { return Ok(Vec::new()) };
    endpoints.retain(|e| e.addresses.iter().any(|address| lost.contains(&address.ip())));
    endpoints::away(host, &mut state, &network, &endpoints).await?;
    host.tidy(&mut state).await?;
    Ok(endpoints.into_iter().map(|e| e.target).collect())
}

/// Addresses that the store has given to this host for endpoints that are on no record yet.
#[derive(Debug)]
pub(in crate::ops) struct Claims(Connection);

impl Claims {
    /// Connects to the agent of the host whose records are in this directory.
    ///
    /// # Errors
    /// If it does not start.
    pub(in crate::ops) async fn open(dir: &Path) -> Result<Self> {
        Ok(Self(Connection::open_or_start(dir).await?))
    }

    /// Returns the addresses of an endpoint. They are given back when this value is dropped, unless the
    /// endpoint is on record then.
    ///
    /// # Errors
    /// If an address is taken, none is free, or the store does not answer.
    pub(in crate::ops) async fn claim(
        &mut self,
        host: &Session<'_>,
        claim: Claim,
    ) -> Result<Vec<IpAddr>> {
        let _doing = host.events.doing_for(PATIENCE, "asking the store for an address");
        match self.0.ask(Request::Claim(Box::new(claim)), PATIENCE).await? {
            Answer::Claimed { addresses } => Ok(addresses),
            _ => bail!("netcord-agent gave no addresses"),
        }
    }
}

/// Gives the addresses of detached endpoints back to the store. A failure is a warning: the agent does it
/// once it can. The records must not be locked.
pub(in crate::ops) async fn settle(host: &Session<'_>, dir: &Path, network: &Network) {
    if !network.is_flat() || host.dry_run {
        return;
    }
    let _doing = host.events.doing_for(PATIENCE, "giving addresses back to the store");
    let settled = async {
        let mut agent = Connection::open_or_start(dir).await?;
        agent.ask(Request::Settle { network: network.name.clone() }, PATIENCE).await
    };
    if let Err(error) = settled.await {
        host.events.warn(&format!(
            "the addresses were not given back to the store yet: {error:#}; netcord-agent tries again"
        ));
    }
}

/// Returns what is on the other hosts of a network, as netcord-agent knows it; `None` if it does not run,
/// or has not read the store yet.
///
/// # Errors
/// If it does not answer.
pub(in crate::ops) async fn elsewhere(dir: &Path, name: &LinkName) -> Result<Option<Elsewhere>> {
    let Some(mut agent) = Connection::open(dir).await? else { return Ok(None) };
    match agent.ask(Request::Elsewhere { network: name.clone() }, PATIENCE).await {
        Ok(Answer::Elsewhere(elsewhere)) => Ok(Some(elsewhere)),
        Ok(_) => bail!("netcord-agent did not say what is on other hosts"),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Remote;

    fn elsewhere(all: &[(&str, &str, &str)]) -> Elsewhere {
        let of = |(ip, mac, host): &(&str, &str, &str)| {
            (ip.parse().unwrap(), Remote { mac: mac.parse().unwrap(), host: host.parse().unwrap() })
        };
        Elsewhere { endpoints: all.iter().map(of).collect(), hosts: BTreeMap::new() }
    }

    #[test]
    fn what_differs_goes_with_the_other_addresses_of_its_mac() {
        let (one, two) = ("02:00:00:00:00:01", "02:00:00:00:00:02");
        let former = elsewhere(&[
            ("10.5.0.2", one, "192.0.2.2"),
            ("fd00::2", one, "192.0.2.2"),
            ("10.5.0.3", two, "192.0.2.2"),
        ]);
        let now = elsewhere(&[("fd00::2", one, "192.0.2.2"), ("10.5.0.3", two, "192.0.2.2")]);
        let (had, has) = differing(&former, &now);
        let addresses =
            |of: &Elsewhere| of.endpoints.keys().map(IpAddr::to_string).collect::<Vec<_>>();
        assert_eq!(addresses(&had), ["10.5.0.2", "fd00::2"]);
        assert_eq!(addresses(&has), ["fd00::2"], "which keeps the entry of the MAC");
        assert_eq!(differing(&now, &now).0.endpoints.len(), 0);
    }
}
