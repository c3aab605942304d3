//! An overlay network whose hosts are in a store: `overlay --store`. netcord-agent talks to the store;
//! here is what the network becomes of its answers.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::{
    Made, OnHost, Outside, Overlay, Wanted, check_free, ensure, is_direct, overlay, with_peers,
};
/// The settings of a network in a store.
pub use crate::agents::netcord_agent::protocol::Shape as ClusterShape;
use crate::{
    agents::netcord_agent::{
        Connection,
        protocol::{Answer, Join, Leave, Offer, Request, Shape},
    },
    error::Error,
    model::{self, BackendKind, Cidr, Driver, LinkName, Network, NetworkRecord, PeerSpec, Store},
    ops::{
        Changed, Session,
        request::words::Words,
        upkeep::need::{Extent, Need},
    },
    plan,
    state::State,
};

/// The time to wait for the agent beyond what the store is given.
const PATIENCE: Duration = Duration::from_secs(5);

/// The request to join a network that is in a store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Joining {
    /// The network on this host.
    #[serde(flatten)]
    pub on_host: OnHost,
    /// The store.
    pub store: Store,
    /// The network's settings. The first host of the network decides them; what another one says
    /// must agree.
    pub shape: Shape,
    /// The time to wait for the store, in seconds.
    pub wait: u32,
}

/// Ensures that this host has a subnet of the network, and that its kernel follows the store; returns
/// `None` for a dry run.
///
/// # Errors
/// If the store does not answer or holds another network than the requested one, or those of
/// [`overlay`].
pub async fn join(host: &mut Session<'_>, args: &Joining) -> Result<Option<Changed<Made>>> {
    let (dir, hosts) = {
        let state = host.look(Extent::of(&args.on_host.name)).await?;
        (state.dir().to_owned(), hosts(host, &state, args).await?)
    };
    let mut agent = Connection::open_or_start(&dir).await?;
    let request = Join {
        network: args.on_host.name.clone(),
        store: args.store.clone(),
        hosts: hosts.clone(),
        shape: args.shape.clone(),
        wait: args.wait,
        dry_run: host.dry_run,
    };
    let limit = Duration::from_secs(args.wait.into()) + PATIENCE;
    let doing = host.events.doing_for(limit, "waiting for the store");
    let offer = match agent.ask(Request::Join(Box::new(request)), limit).await? {
        Answer::Offer(offer) => *offer,
        _ => bail!("netcord-agent made no offer"),
    };
    drop(doing);
    for skipped in &offer.skipped {
        host.events.warn(skipped);
    }
    // Until the agent follows the network, what it got of the store lasts as long as the connection.
    let Some(done) = overlay(host, &as_offered(args, &hosts, offer)).await? else {
        return Ok(None);
    };
    agent.ask(Request::Follow { network: args.on_host.name.clone() }, limit).await?;
    Ok(Some(done))
}

/// Returns this host's addresses: those on record, or as requested, or those by which the store is
/// reached.
///
/// # Errors
/// If the network cannot be made on this host, as far as that is known before the store is asked.
async fn hosts(host: &Session<'_>, state: &State, args: &Joining) -> Result<Vec<IpAddr>> {
    if let Some(NetworkRecord { network, .. }) = state.networks().get(&args.on_host.name) {
        let Some(driver) = network.driver.overlay() else {
            let (name, word) = (&network.name, network.driver.word());
            return Err(Error::conflict(format!(
                "network `{name}` exists: mode is {word}, not overlay"
            ))
            .hint(format!("remove it first: `netcord rm {name}`"))
            .into());
        };
        return Ok([Some(driver.host), driver.second].into_iter().flatten().collect());
    }
    let cluster: Vec<_> = args.shape.subnets.iter().map(|Cidr(cidr)| *cidr).collect();
    check_free(host, state, std::iter::once(&args.on_host.name), &cluster).await?;
    let stores = args.store.endpoints.iter().filter_map(|url| address_of(url));
    let store = stores.into_iter().find(|address| !address.is_loopback());
    let own = host.kernel.addresses().await?;
    let is_here = |ip: &IpAddr| own.iter().any(|address| address.address.ip() == *ip);
    let chooses = args.on_host.parent.is_some()
        || args.on_host.public_ip.is_some()
        || args.on_host.reach.is_some();
    let wanted = Wanted {
        parent: args.on_host.parent.as_ref(),
        // The other hosts reach a store on this host by an address that is good for the rest, too.
        public_ip: args.on_host.public_ip.or(store.filter(|ip| !chooses && is_here(ip))),
        reach: args.on_host.reach,
    };
    let found = Outside::find(&host.kernel, &wanted, store.filter(|ip| !is_here(ip))).await?;
    if args.on_host.public_ip.is_some_and(|ip| ip.is_ipv6()) {
        return Ok(vec![found.host]);
    }
    // Hosts know each other by IPv4 if they have it, as flannel's.
    let mut hosts: Vec<_> =
        [Some(found.host), found.second(&host.kernel).await?].into_iter().flatten().collect();
    hosts.sort_by_key(IpAddr::is_ipv6);
    Ok(hosts)
}

/// Returns the IP address in a URL.
fn address_of(url: &str) -> Option<IpAddr> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    host.trim_matches(['[', ']']).parse().ok()
}

fn as_offered(args: &Joining, hosts: &[IpAddr], offer: Offer) -> Overlay {
    let (has_vni, has_port) =
        (offer.backend == BackendKind::Vxlan, offer.backend.default_port().is_some());
    // A network of both families has a tunnel for each; that of IPv6 takes more. A flat one has one.
    let has_two = offer.flat.is_none() && offer.cluster.len() > 1;
    let end = if has_two { hosts.last() } else { hosts.first() };
    let overhead = end.map_or(0, |end| offer.backend.overhead(*end));
    let mtu = offer.parent_mtu.map(|mtu| mtu.saturating_sub(overhead));
    Overlay {
        on_host: OnHost {
            parent: None,
            public_ip: hosts.first().copied(),
            reach: None,
            gateway: match offer.flat {
                Some(_) => offer.gateways,
                None => args.on_host.gateway.clone(),
            },
            mtu: args.on_host.mtu.or(mtu),
            ..args.on_host.clone()
        },
        subnet: offer.cluster.into_iter().map(Cidr).collect(),
        host_subnet: offer.subnets.into_iter().map(Cidr).collect(),
        peer: offer.peers,
        backend: offer.backend,
        vni: has_vni.then_some(offer.vni),
        port: has_port.then_some(offer.port),
        direct_routing: has_vni && offer.direct_routing,
        flat: offer.flat,
        store: Some(args.store.clone()),
    }
}

/// What the hosts that a store names are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// The record: only what concerns a host that has changed is read and written.
    Record,
    /// The kernel: everything is read, and what it lacks is made.
    Kernel,
}

/// Makes the kernel and the record agree with the hosts that a store names; for netcord-agent.
/// Returns the network, or `None` if this host no longer has it.
///
/// # Errors
/// If the kernel refuses a change.
pub async fn follow(
    host: &mut Session<'_>,
    name: &LinkName,
    peers: &[PeerSpec],
    against: Against,
) -> Result<Option<Network>> {
    let need = match against {
        // Housekeeping looks at everything.
        Against::Record => Need::Removes,
        Against::Kernel => Need::Changes,
    };
    let mut state = host.enter(need, Extent::of(name)).await?;
    let Some(NetworkRecord { network: had, endpoints }) = state.networks().get(name).cloned()
    else {
        return Ok(None);
    };
    let Driver::Overlay(driver) = &had.driver else { return Ok(None) };
    let store = driver.store.clone();
    if driver.flat.is_some() {
        return Ok(None);
    }
    let network = with_peers(host, had.clone(), peers, store, against).await?;
    let now = network.driver.overlay();
    // The first host that is a next hop needs more than its entries.
    if against == Against::Kernel || now.is_some_and(|now| is_direct(now) != is_direct(driver)) {
        let done = ensure(host, &mut state, &network, &endpoints).await?;
        return Ok(done.map(|done| done.now.network));
    }
    host.carry_out(&plan::changed(&had, &network), &mut state).await?;
    Ok(Some(network))
}

/// Returns the networks on record whose hosts are in a store; for netcord-agent.
///
/// # Errors
/// If the records cannot be read.
pub async fn stores(host: &Session<'_>) -> Result<Vec<Network>> {
    let state = host.look(Extent::of(None)).await?;
    let networks = state.networks().values().map(|record| &record.network);
    let has_store =
        |network: &&Network| network.driver.overlay().is_some_and(|o| o.store.is_some());
    Ok(networks.filter(has_store).cloned().collect())
}

/// Gives this host's subnet back to the store, after the network was removed. A failure is a warning:
/// the lease ends by itself.
pub(in crate::ops::driver) async fn left(
    host: &Session<'_>,
    dir: &Path,
    network: &Network,
    driver: &model::Overlay,
) {
    let Some(store) = driver.store.clone() else { return };
    let ttl = store.ttl;
    let leave = Leave { network: network.name.clone(), store, host: driver.host };
    let what = if driver.flat.is_some() { "addresses" } else { "subnet" };
    let doing = format!("giving the {what} back to the store");
    let _doing = host.events.doing_for(PATIENCE, doing);
    let result = async {
        let mut agent = Connection::open_or_start(dir).await?;
        agent.ask(Request::Leave(Box::new(leave)), PATIENCE).await
    };
    if let Err(error) = result.await {
        host.events.warn(&format!(
            "the {what} of `{}` may not be free in the store yet: {error:#}; this host's lease ends by \
             itself, {ttl} s after the last sign of life",
            network.name
        ));
    }
}

/// Adds the flags that name a store.
pub(super) fn words(words: Words, store: &Store) -> Words {
    let Store { endpoints, prefix, ca, identity, user, ttl, subnet_file } = store;
    let path = |path: &PathBuf| path.display().to_string();
    words
        .flag("--store", &endpoints.join(","))
        .flag("--prefix", prefix)
        .flags("--ca", ca.as_ref().map(path))
        .flags("--cert", identity.as_ref().map(|own| path(&own.cert)))
        .flags("--key", identity.as_ref().map(|own| path(&own.key)))
        .flags("--user", user.as_ref().map(|user| &user.name))
        .flags("--password-file", user.as_ref().map(|user| path(&user.password_file)))
        .flags("--ttl", (*ttl != Store::TTL).then_some(ttl))
        .flags("--subnet-file", subnet_file.as_ref().map(path))
}
