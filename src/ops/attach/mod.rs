//! `attach`: the notes' steps 4 to 9, for one or many targets.

mod addresses;
mod chooser;
mod claims;
mod former;
mod handed_over;
mod lease;
mod macvlan;
mod pool;
mod routes;
mod same;
mod unattached;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

use anyhow::Result;
use serde::{Deserialize, Serialize};

pub(super) use self::handed_over::handed_over;
use self::{chooser::Chooser, claims::Claims, former::Wanted, lease::Leases};
pub use self::{
    handed_over::HandOver,
    unattached::{Unattached, unattached},
};
use super::{
    Changed, Session,
    lookup::{
        find, plug,
        resolve::{Found, resolve},
    },
    peers,
    publish::{self, Publish},
    upkeep::{
        firewall, forward_accepts,
        need::{Depth, Extent, Need},
        removal,
    },
};
use crate::{
    error::Error,
    model::{
        Address, AddressRange, Endpoint, EndpointId, EndpointSummary, Filter, Gateway, LinkName,
        Mac, NetnsName, Network, NetworkRecord, NetworkRef, Owner, PortSpec, PublishedPort,
        RouteSpec, Target,
    },
    ops::upkeep::leases,
    plan::{Change, Plan, Record, Resource, Step},
    state::{Load, State},
};

/// The request to attach targets to a network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attach {
    /// The network: one of netcord's, any bridge of this host, or a bridge network of an engine.
    pub network: NetworkRef,
    /// The targets.
    pub targets: Vec<Target>,
    /// How to connect them.
    pub wiring: Wiring,
    /// Wait for the targets to appear, at most this many seconds.
    pub wait: Option<u64>,
}

impl Attach {
    /// Attaches targets with netcord's choice of addresses and names, and without waiting.
    pub fn new(network: NetworkRef, targets: Vec<Target>) -> Self {
        Self { network, targets, wiring: Wiring::default(), wait: None }
    }
}

/// How to connect an endpoint. By default, netcord chooses everything.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct Wiring {
    /// Addresses; by default the lowest free one of each subnet.
    pub ip: Vec<Address>,
    /// Assign no address: programs inside do.
    pub no_address: bool,
    /// The ranges of the network's subnets from which to choose the others; by default its own. From a
    /// subnet of which a range is given, one is chosen even if `ip` has an address of the same family.
    pub ranges: Vec<AddressRange>,
    /// Lease the IPv4 address from the network's DHCP server, and keep renewing it.
    pub dhcp: bool,
    /// The gateways of the default routes; by default the network's, if the target has no default
    /// route yet.
    pub gateway: Vec<Gateway>,
    /// The MAC of the inner link; by default 02:42 followed by the IPv4 address.
    pub mac: Option<Mac>,
    /// The name of the inner link; by default the next free ethN.
    pub ifname: Option<LinkName>,
    /// The name of the host end; by default nc and a hash.
    pub host_ifname: Option<LinkName>,
    /// The MTU of both links in bytes; by default the bridge's.
    pub mtu: Option<u32>,
    /// The metric of the default routes; by default the kernel's.
    pub metric: Option<u32>,
    /// If the target has a default route of that metric, take the next free one, instead of giving way: the
    /// route is used when the other one goes.
    pub spare_default: bool,
    /// Additional routes inside the target.
    pub route: Vec<RouteSpec>,
    /// Ports to publish.
    pub publish: Vec<PortSpec>,
    /// The target's name in `/run/netns`; by default the PID, or the container's name.
    pub name: Option<NetnsName>,
    /// Let its bridge port send frames back where they came from (hairpin mode). Published ports do not
    /// need it.
    pub hairpin: bool,
    /// The engine for which the endpoint is made.
    pub owner: Option<Owner>,
    /// In a flat network: take the addresses from the hosts that have them.
    pub takeover: bool,
}

impl Wiring {
    /// Returns whether netcord chooses the addresses.
    fn leaves_addresses_open(&self) -> bool {
        self.ip.is_empty() && !self.dhcp && !self.no_address
    }
}

/// The attached targets.
#[derive(Debug, Serialize)]
pub struct Attached {
    /// The network's name.
    pub network: LinkName,
    /// The endpoints, in the order of the targets.
    pub endpoints: Vec<Endpoint>,
}

/// Attaches targets to a network; returns `None` for a dry run.
///
/// # Errors
/// If a target or the network does not exist, an address or a name is taken, or a step
/// failed, in which case all steps before it were undone.
pub async fn attach(host: &mut Session<'_>, request: &Attach) -> Result<Option<Changed<Attached>>> {
    let Some((network, endpoints, changed)) = wire(host, request).await? else { return Ok(None) };
    let now = Attached { network: network.name, endpoints };
    Ok(Some(Changed::new(changed, now)))
}

/// Attaches a container that was started again, as its endpoint on record was; where its engine does
/// that, publishes its ports again. Returns its addresses; `None` if nothing had to be done.
///
/// # Errors
/// As [`attach`].
pub(super) async fn again(
    host: &mut Session<'_>,
    network: &LinkName,
    target: Target,
    former: &Endpoint,
) -> Result<Option<Vec<IpAddr>>> {
    if former.foreign {
        // Its ports were published again with it; the answer shows those that are asked for.
        let ports = former.ports.iter().filter_map(|port| port.spec().parse().ok()).collect();
        let request = Publish { target, ports, owner: None };
        let done = publish::publish(host, &request).await?.filter(|done| done.changed);
        let addresses = |ports: Vec<PublishedPort>| ports.into_iter().map(|p| p.address);
        let addresses = done.map(|done| addresses(done.now.ports).collect::<BTreeSet<_>>());
        return Ok(addresses.map(|all| all.into_iter().collect()));
    }
    let mut request = Attach::new(network.clone().into(), vec![target]);
    request.wiring.ifname = Some(former.ifname.clone());
    let done = attach(host, &request).await?.filter(|done| done.changed);
    let addresses = |e: Endpoint| e.addresses.into_iter().map(|a| a.ip());
    Ok(done.map(|done| done.now.endpoints.into_iter().flat_map(addresses).collect()))
}

/// The endpoints that exist now, and whether anything changed.
type Wired = (Network, Vec<Endpoint>, bool);

/// Attaches targets; returns `None` for a dry run.
pub(super) async fn wire(host: &mut Session<'_>, args: &Attach) -> Result<Option<Wired>> {
    check_flags(args)?;
    let network = &find::named(host, &args.network, &args.targets).await?;
    let mut found = Vec::new();
    let doing = host.events.doing("looking for the targets");
    for target in &args.targets {
        found.push((target, resolve(&host.kernel, host.events, target, args.wait).await?));
    }
    drop(doing);
    let mut leases = Leases::acquire(host, args, network, &found).await?;
    let mut claims = None;
    let result = loop {
        match attach_found(host, args, network, found, &leases, claims.as_ref()).await {
            Ok(Attempt::Done(wired)) => break Ok(wired.map(|wired| *wired)),
            Ok(Attempt::Unclaimed(unclaimed)) => {
                claims = Some(Claims::get(host, args, &unclaimed).await?);
                found = unclaimed.found;
            }
            Err(error) => break Err(error),
        }
    };
    leases.release_unused(host).await?;
    result
}

/// How far an attempt has come.
enum Attempt<'t> {
    /// The outcome; `None`: a dry run.
    Done(Option<Box<Wired>>),
    /// The network is flat, and its store gives the addresses. Nothing is locked, and nothing was changed.
    Unclaimed(Box<Unclaimed<'t>>),
}

/// What has to be known to ask for addresses.
struct Unclaimed<'t> {
    record: NetworkRecord,
    /// The directory of the records.
    dir: PathBuf,
    /// The addresses on record, with their owners.
    taken: BTreeMap<IpAddr, String>,
    found: Vec<(&'t Target, Found)>,
    parts: Vec<Vec<Wanted>>,
}

async fn attach_found<'t>(
    host: &mut Session<'_>,
    args: &Attach,
    name: &LinkName,
    found: Vec<(&'t Target, Found)>,
    leases: &Leases,
    claims: Option<&Claims>,
) -> Result<Attempt<'t>> {
    let cookies: Vec<_> = found.iter().map(|(_, f)| f.netns.cookie()).collect();
    let in_the_way = |e: &EndpointSummary<'_>| {
        let wants = |ip| args.wiring.ip.iter().any(|a| a.ip == ip);
        let is_called = |found: &Found| {
            found.name.as_str() == e.target
                || args.wiring.name.as_ref().is_some_and(|name| name.as_str() == e.netns)
        };
        found.iter().any(|(_, found)| is_called(found)) || e.addresses.iter().any(|a| wants(a.ip()))
    };
    let has_container = found.iter().any(|(_, found)| found.container.is_some());
    let publishes_perhaps = has_container || !args.wiring.publish.is_empty();
    let extent = Extent {
        load: if has_container { Load::All } else { load(args, &cookies) },
        depth: if publishes_perhaps { Depth::Ports } else { Depth::Links },
        in_the_way: Some(&in_the_way),
        ..Extent::of(name).inside().publishing(&args.wiring.publish)
    };
    let mut state = host.enter(Need::Changes, extent).await?;
    if state.networks().get(name).is_none_or(|r| r.network.is_shared()) {
        host.complete(&mut state).await?;
    }
    let mut record = find::network(&host.kernel, &state, name).await?.into_owned();
    if record.network.driver.is_foreign() && !state.networks().contains_key(name) {
        record.network.firewall = firewall::of_host(host, &state);
    }
    macvlan::check_flags(args, &record.network)?;
    let bridge = plug::required(&host.kernel, &record.network).await?;

    claims::check_takeover(args, &record)?;
    let mut plan = Plan::new();
    let mut parts: Vec<_> =
        found.iter().map(|(_, found)| former::wanted(args, &record, found)).collect();
    match claims {
        Some(claims) => claims.apply(&record, &found, &mut parts)?,
        None if record.network.is_flat() => {
            let (dir, taken) = (state.dir().to_owned(), chooser::on_record(&state, &record));
            let unclaimed = Unclaimed { record, dir, taken, found, parts };
            return Ok(Attempt::Unclaimed(Box::new(unclaimed)));
        }
        None => {}
    }
    let formers: Vec<_> = parts.iter().flatten().filter_map(|part| part.former.clone()).collect();
    // What they have is free for those that come in their place.
    record.endpoints.retain(|e| formers.iter().all(|former| !former.is(&e.id())));
    let publishes = record.network.driver.is_foreign()
        && (!args.wiring.publish.is_empty() || formers.iter().any(|e| !e.ports.is_empty()));
    if publishes {
        (record.network, plan) = forward_accepts::renewed(host, &record.network)?;
    }
    if publishes || !state.networks().contains_key(name) {
        plan.push(remember(&record.network));
    }
    let network = record.network.clone();
    let chooser = Chooser::new(host, args, &state, &record, bridge, leases).await?;
    let (mut endpoints, steps) = choose(host, &state, chooser, found, &parts).await?;
    plan.extend(steps);
    let is_there = |e: &Endpoint| record.endpoints.iter().any(|o| o.is(&e.id()));
    if claims.is_none() && !endpoints.iter().all(is_there) {
        peers::check_subnets(&network, state.dir()).await?;
    }
    if network.driver.filter() == Filter::Traffic && endpoints.iter().all(is_there) {
        // A user may attach again because the network's rules were deleted.
        plan.extend(firewall::again(host, &network)?.1);
    }
    plan.sort_by_key(turn);
    let is_leased = endpoints.iter().any(|e| e.lease.is_some());
    let there: Vec<_> = if is_leased || !network.has_range() {
        state.endpoints().map(|(_, e)| e.id()).collect()
    } else {
        Vec::new()
    };
    let is_new = endpoints.iter().any(|e| !there.contains(&e.id())) && formers.is_empty();
    if is_new && !network.has_range() && args.wiring.leaves_addresses_open() {
        host.events.warn(&format!(
            "nobody answers for the address, but who runs the network of `{}` may give it to \
             another: make the network with `--ip-range`, or attach with `--ip` or `--dhcp`",
            network.name
        ));
    }
    let Some(mut changed) = host.carry_out(&plan, &mut state).await? else {
        return Ok(Attempt::Done(None));
    };
    if is_leased {
        changed |= keep_or_undo(host, &mut state, &network, &mut endpoints, &there).await?;
    }
    Ok(Attempt::Done(Some(Box::new((network, endpoints, changed)))))
}

/// Makes sure that every lease has a lease renewer; otherwise removes the endpoints that were not there
/// before.
async fn keep_or_undo(
    host: &mut Session<'_>,
    state: &mut State,
    network: &Network,
    endpoints: &mut Vec<Endpoint>,
    there: &[EndpointId],
) -> Result<bool> {
    let kept = keep(host, state, network, endpoints).await;
    if kept.is_err() {
        endpoints.retain(|e| !there.contains(&e.id()));
        let plan = removal::endpoints(&host.kernel, state, network, endpoints).await?;
        let renewed = leases::kept(&*endpoints);
        host.carry_out(&plan, state).await?;
        for endpoint in endpoints {
            leases::end(host, network, endpoint, &renewed).await?;
        }
    }
    kept
}

/// Makes the endpoints of all targets.
async fn choose(
    host: &mut Session<'_>,
    state: &State,
    mut chooser: Chooser<'_>,
    found: Vec<(&Target, Found)>,
    parts: &[Vec<Wanted>],
) -> Result<(Vec<Endpoint>, Plan)> {
    let _doing = host.events.doing(if chooser.record.network.is_shared() {
        "asking the wire which addresses are free"
    } else {
        "choosing addresses"
    });
    let (mut endpoints, mut plan) = (Vec::new(), Plan::new());
    for ((target, found), parts) in found.into_iter().zip(parts) {
        let Some((last, others)) = parts.split_last() else { continue };
        for part in others {
            let (endpoint, steps) =
                chooser.endpoint(host, state, target, found.reopened()?, part).await?;
            plan.extend(steps);
            endpoints.push(endpoint);
        }
        let (endpoint, steps) = chooser.endpoint(host, state, target, found, last).await?;
        plan.extend(steps);
        endpoints.push(endpoint);
    }
    Ok((endpoints, plan))
}

/// Returns the position of a step in the plan. Records come first, so that the record of a killed run
/// lists everything that it may have made.
fn turn(step: &Step) -> u8 {
    match &step.change {
        // Remove accept rules that are no longer needed while they are still on record.
        Change::Delete(Resource::Rule(_)) => 0,
        Change::Create(Resource::Record(Record::Name(_))) => 1,
        // The ports, too: in one write, they go from a stopped container's endpoint to the next.
        Change::Create(Resource::Record(_)) | Change::Delete(Resource::Record(_)) => 2,
        _ => 3,
    }
}

/// Returns which endpoints to read in full: those of the targets, or all if more than the addresses
/// of the others matters.
fn load<'c>(args: &Attach, cookies: &'c [u64]) -> Load<'c> {
    let Wiring { dhcp, mac, publish, .. } = &args.wiring;
    if *dhcp || mac.is_some() || !publish.is_empty() { Load::All } else { Load::Of(cookies) }
}

/// Makes sure that every lease has a lease renewer.
async fn keep(
    host: &mut Session<'_>,
    state: &mut State,
    network: &Network,
    endpoints: &mut [Endpoint],
) -> Result<bool> {
    let mut changed = false;
    for endpoint in endpoints {
        changed |= leases::ensure(host, state, network, endpoint).await?;
    }
    Ok(changed)
}

fn check_flags(args: &Attach) -> Result<()> {
    let one_only = [
        ("--ip", !args.wiring.ip.is_empty()),
        ("--mac", args.wiring.mac.is_some()),
        ("--host-ifname", args.wiring.host_ifname.is_some()),
        ("--name", args.wiring.name.is_some()),
        ("--publish", !args.wiring.publish.is_empty()),
    ];
    if args.targets.len() > 1
        && let Some((flag, _)) = one_only.into_iter().find(|(_, given)| *given)
    {
        let message = format!("{flag} is for one target, and {} are given", args.targets.len());
        return Err(Error::usage(message).hint("attach them one by one").into());
    }
    if args.wiring.dhcp && args.wiring.ip.iter().any(|a| a.ip.is_ipv4()) {
        return Err(Error::usage("--ip: with --dhcp the server assigns the IPv4 address")
            .hint("give an IPv6 address, or leave out one of them")
            .into());
    }
    check_addresses(&args.wiring.ip)?;
    let twice = |is_ipv4: &dyn Fn(bool) -> usize| is_ipv4(true) > 1 || is_ipv4(false) > 1;
    let gateways = || {
        args.wiring
            .gateway
            .iter()
            .filter_map(|g| if let Gateway::Ip(ip) = g { Some(ip) } else { None })
    };
    if twice(&|v4| gateways().filter(|g| g.is_ipv4() == v4).count())
        || (args.wiring.gateway.contains(&Gateway::None) && args.wiring.gateway.len() > 1)
    {
        return Err(Error::usage("--gateway: at most one per IP family, or `none`").into());
    }
    Ok(())
}

fn check_addresses(asked: &[Address]) -> Result<()> {
    for (at, Address { ip, .. }) in asked.iter().enumerate() {
        if asked[..at].iter().any(|before| before.ip == *ip) {
            return Err(Error::usage(format!("--ip: {ip} is given twice")).into());
        }
    }
    if asked.len() > Endpoint::MAX_ADDRESSES {
        let most = Endpoint::MAX_ADDRESSES;
        let message = format!("--ip: an endpoint has at most {most} addresses");
        return Err(Error::usage(message).hint("attach the target a second time").into());
    }
    Ok(())
}

/// A foreign network is on record as long as it has an endpoint.
fn remember(network: &Network) -> Step {
    Step::create(
        "record that netcord has an endpoint on this bridge",
        Resource::Record(Record::Network(network.clone())),
    )
}
