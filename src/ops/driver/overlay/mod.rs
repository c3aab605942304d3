//! `overlay`, and `create -d overlay`: a network whose endpoints reach those on other hosts by
//! their own addresses.
//!
//! - `backend`: the backend that was asked for, with the names of its links
//! - `shape`: the request, as far as it can be checked without the host
//! - `outside`: the link and the address by which this host reaches the others
//! - `flat`: a network of one subnet over all hosts: its endpoints elsewhere, and its addresses
//! - `join`: a network whose hosts are in a store, which netcord-agent follows
//! - `relay`: the process that carries the packets of the backend udp
//! - `rebuilt`: a network without a record

mod backend;
pub mod flat;
mod join;
mod outside;
mod rebuilt;
mod relay;
mod shape;

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Display,
    net::IpAddr,
};

use anyhow::Result;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use self::{
    outside::{Outside, Wanted},
    relay::Starter,
    shape::Shape,
};
use super::{
    bridge::{self, Made},
    underlay::{self, Lost},
    used::Used,
};
use crate::{
    error::{Error, Kind},
    kernel::Kernel,
    model::{
        self, BackendKind, Cidr, Driver, Endpoint, Flag, Flags, Flat, LinkName, Mac, Network,
        NetworkRecord, Peer, PeerSpec, Store, Vxlan,
    },
    ops::{
        Changed, Session,
        request::{
            differences::Differences,
            subnets::{Asked, check_mtu},
            words::Words,
        },
        upkeep::{
            firewall, forward_accepts, link_attrs,
            need::{Extent, Need},
        },
    },
    plan::{self, Plan, Resource, Step, Uplinks},
    state::State,
};

pub(super) use join::left;
pub use join::{Against, ClusterShape, Joining, follow, join, stores};
pub(super) use rebuilt::{Marks, rebuilt};
pub use relay::relayed;
pub(in crate::ops) use relay::{start_stopped, stopped};
pub use shape::{TunnelFlags, check_families};

/// The part of a request that concerns this host only.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OnHost {
    /// The network's name, and that of this host's bridge.
    pub name: LinkName,
    /// The link that leads to the other hosts; by default that of the route to the first of them, or
    /// to the store.
    pub parent: Option<LinkName>,
    /// This host's address; by default the first of the link.
    pub public_ip: Option<IpAddr>,
    /// An address that the link must lead to.
    pub reach: Option<IpAddr>,
    /// The bridge's addresses; by default the first of each of this host's subnets.
    pub gateway: Vec<IpAddr>,
    /// The ranges from which addresses are assigned; by default this host's whole subnets.
    pub ip_range: Vec<Cidr>,
    /// The MTU in bytes; by default that of the parent without the tunnel's overhead.
    pub mtu: Option<u32>,
    /// The flags; all are off by default.
    pub flags: Flags,
    /// Metadata to store with the network: keys and values.
    pub label: Vec<(String, String)>,
}

/// An overlay network with a fixed set of hosts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Overlay {
    /// The network on this host.
    #[serde(flatten)]
    pub on_host: OnHost,
    /// The subnets of the whole network, at most one of each family.
    pub subnet: Vec<Cidr>,
    /// This host's subnets, one of each family that the network has.
    pub host_subnet: Vec<Cidr>,
    /// All other hosts.
    pub peer: Vec<PeerSpec>,
    /// How packets reach the other hosts.
    pub backend: BackendKind,
    /// The VXLAN network identifier; by default 1.
    pub vni: Option<u32>,
    /// The UDP port of the tunnel; by default that of the backend in flannel.
    pub port: Option<u16>,
    /// Use no tunnel to hosts that can be the next hop themselves.
    pub direct_routing: bool,
    /// The settings of a flat network, whose hosts all have the whole subnet.
    pub flat: Option<Flat>,
    /// The store that the hosts come from, if there is one.
    pub store: Option<Store>,
}

impl Overlay {
    /// The flags that an overlay network can have.
    pub const FLAGS: [Flag; 3] = [Flag::Internal, Flag::NoMasquerade, Flag::NoSpoof];
}

/// Ensures an overlay network with these hosts; returns `None` for a dry run.
///
/// # Errors
/// If a network or link of this name exists and differs in more than its hosts, a subnet
/// is in use, or another host cannot be reached.
pub async fn overlay(host: &mut Session<'_>, args: &Overlay) -> Result<Option<Changed<Made>>> {
    let asked = Asked::new(&args.host_subnet, &args.on_host.gateway, &args.on_host.ip_range)?;
    let given = TunnelFlags {
        vni: args.vni.is_some(),
        port: args.port.is_some(),
        direct_routing: args.direct_routing,
    };
    given.check(args.backend)?;
    let shape = match args.flat {
        Some(_) => Shape::flat(&asked)?,
        None => Shape::new(&args.subnet, &asked, &args.peer)?,
    };
    check_families(args.backend, &shape.cluster)?;
    let mut state = host.enter(Need::Changes, Extent::of(&args.on_host.name)).await?;
    let (network, endpoints) = match state.networks().get(&args.on_host.name) {
        Some(NetworkRecord { network, endpoints }) => {
            check_same(args, &asked, &shape, network)?;
            let (there, endpoints) = (network.clone(), endpoints.clone());
            let store = args.store.clone();
            let now = with_peers(host, there, &args.peer, store, Against::Kernel).await?;
            (now, endpoints)
        }
        None => (new_network(host, &state, args, shape).await?, Vec::new()),
    };
    let starter = Starter::of(host, &network, state.dir()).await?;
    let done = ensure(host, &mut state, &network, &endpoints).await?;
    if let Some(starter) = starter {
        starter.ready(host).await;
    }
    Ok(done)
}

/// Makes the kernel and the record agree with a network; returns `None` for a dry run.
async fn ensure(
    host: &mut Session<'_>,
    state: &mut State,
    network: &Network,
    endpoints: &[Endpoint],
) -> Result<Option<Changed<Made>>> {
    let (network, mut plan) = forward_accepts::renewed(host, network)?;
    plan.extend(made(&host.kernel, &network).await?);
    plan.extend(firewall::ports(&network, endpoints));
    link_attrs::restore(&host.kernel, &mut plan).await?;
    let Some(changed) = host.carry_out(&plan, state).await? else { return Ok(None) };
    Ok(Some(Changed::new(changed, Made { network })))
}

/// Returns an existing network with these hosts, and this store. `against` is what knows how the hosts
/// are reached that it has already.
async fn with_peers(
    host: &Session<'_>,
    mut network: Network,
    named: &[PeerSpec],
    store: Option<Store>,
    against: Against,
) -> Result<Network> {
    if let Driver::Overlay(driver) = &mut network.driver {
        driver.store = store;
        let outside = outside::of_record(&host.kernel, driver).await?;
        let direct_routing = driver.backend.vxlan().is_some_and(|v| v.direct_routing);
        let (kind, store) = (driver.backend.kind(), driver.store.as_ref());
        let is_known = |spec: &&PeerSpec| against == Against::Record && has_peer(driver, spec);
        let (known, news): (Vec<_>, Vec<_>) = named.iter().partition(is_known);
        let news = peers(host, &outside, kind, direct_routing, &news, store).await?;
        let known: HashSet<_> = known.iter().filter_map(|spec| spec.hosts.first()).collect();
        driver.peers.retain(|host, _| known.contains(host));
        driver.peers.extend(news);
        check_macs(driver)?;
    }
    Ok(network)
}

fn has_peer(driver: &model::Overlay, spec: &PeerSpec) -> bool {
    let peer = spec.hosts.first().and_then(|host| driver.peers.get(host));
    peer.is_some_and(|Peer { subnets, second, macs, .. }| {
        (subnets, second.as_ref(), macs) == (&spec.subnets, spec.hosts.get(1), &spec.macs)
    })
}

async fn peers(
    host: &Session<'_>,
    outside: &Outside,
    kind: BackendKind,
    direct_routing: bool,
    named: &[&PeerSpec],
    store: Option<&Store>,
) -> Result<BTreeMap<IpAddr, Peer>> {
    if store.is_none() {
        return outside.peers(&host.kernel, kind, direct_routing, named).await;
    }
    let (peers, left_out) = outside.reachable(&host.kernel, kind, direct_routing, named).await;
    for why in left_out {
        host.events.warn(&why);
    }
    Ok(peers)
}

async fn new_network(
    host: &Session<'_>,
    state: &State,
    args: &Overlay,
    Shape { cluster, subnets }: Shape,
) -> Result<Network> {
    let kernel = &host.kernel;
    let mut backend = backend::of(args)?;
    let links = std::iter::once(&args.on_host.name).chain(backend.devices());
    let blocks = match args.flat {
        Some(_) => subnets.iter().map(|subnet| subnet.cidr).collect(),
        None => cluster.clone(),
    };
    check_free(host, state, links, &blocks).await?;

    let has_ipv6 = blocks.iter().any(IpNetwork::is_ipv6);
    let first = args.peer.iter().find_map(|peer| peer.hosts.first()).copied();
    let wanted = Wanted {
        parent: args.on_host.parent.as_ref(),
        public_ip: args.on_host.public_ip,
        reach: args.on_host.reach,
    };
    let outside = Outside::find(kernel, &wanted, first).await?;
    let second = match args.store {
        // A host that the others reach by IPv6 has one tunnel for both families, as in a flat network.
        Some(_) if args.flat.is_none() && outside.host.is_ipv4() => outside.second(kernel).await?,
        Some(_) | None => None,
    };
    if second.is_none() {
        backend.join_tunnels();
    }
    if let Some(first) = first
        && first.is_ipv4() != outside.host.is_ipv4()
    {
        return Err(Error::usage(format!(
            "this host's address {} is of another IP family than host {first}",
            outside.host
        ))
        .hint("choose this host's address with `--public-ip`")
        .into());
    }
    let (kind, store) = (args.backend, args.store.as_ref());
    let named: Vec<_> = args.peer.iter().collect();
    let peers = peers(host, &outside, kind, args.direct_routing, &named, store).await?;
    let has_second = backend.vxlan().is_some_and(|vxlan| vxlan.second_device.is_some());
    let ends = [Some(outside.host), second.filter(|_| has_second)];
    let mtu = mtu(args, &outside, ends.into_iter().flatten(), has_ipv6)?;
    let driver = model::Overlay {
        backend,
        cluster,
        parent: outside.parent,
        host: outside.host,
        second,
        peers,
        flat: args.flat,
        store: args.store.clone(),
    };
    check_macs(&driver)?;
    let network = Network {
        name: args.on_host.name.clone(),
        driver: Driver::Overlay(Box::new(driver)),
        mac: Mac::of_bridge(args.on_host.name.as_str(), &subnets),
        mtu,
        subnets,
        flags: args.on_host.flags,
        firewall: firewall::of_host(host, state),
        forward_accepts: Vec::new(),
        labels: args.on_host.label.iter().cloned().collect(),
    };
    for tunnel in plan::tunnels_of(&network) {
        kernel.check_vni(&tunnel).await?;
    }
    relay::check(&network, state)?;
    Ok(network)
}

/// Checks that a network can be made: that links of these names and the subnets are free.
async fn check_free<'n>(
    host: &Session<'_>,
    state: &State,
    links: impl Iterator<Item = &'n LinkName>,
    cluster: &[IpNetwork],
) -> Result<()> {
    let kernel = &host.kernel;
    for name in links {
        if kernel.link(name.as_str()).await?.is_some() {
            let message = format!("a link `{name}` exists and is not this network's");
            return Err(Error::conflict(message).hint("choose another name").into());
        }
    }
    let has_ipv6 = cluster.iter().any(IpNetwork::is_ipv6);
    if has_ipv6 && kernel.sysctl("net/ipv6/conf/all/forwarding")?.is_none() {
        return Err(Error::new(Kind::Missing, "the kernel has no IPv6")
            .hint("leave out IPv6 subnets")
            .into());
    }
    let used = Used::read(kernel, state).await?;
    for block in cluster {
        used.check(host, "subnet", *block)?;
        used.check_routed(*block)?;
    }
    Ok(())
}

fn check_macs(driver: &model::Overlay) -> Result<()> {
    match driver.same_macs() {
        Some((one, other)) => Err(Error::conflict(format!(
            "hosts {one} and {other} would have the same MAC at their end of the tunnel"
        ))
        .hint("give one of them another address")
        .into()),
        None => Ok(()),
    }
}

/// Returns the requested MTU, or the largest that passes the tunnels between such addresses.
fn mtu(
    args: &Overlay,
    outside: &Outside,
    ends: impl Iterator<Item = IpAddr>,
    has_ipv6: bool,
) -> Result<u32> {
    let overhead = ends.map(|end| args.backend.overhead(end)).max().unwrap_or_default();
    let greatest = outside.link.mtu.saturating_sub(overhead);
    let mtu = args.on_host.mtu.unwrap_or(greatest);
    if mtu > greatest {
        return Err(Error::usage(format!(
            "MTU {mtu} is more than {greatest}, that of `{}` less {overhead} bytes for the tunnel",
            outside.parent
        ))
        .into());
    }
    check_mtu(mtu, has_ipv6)?;
    Ok(mtu)
}

/// Returns the plan that makes a network, and deletes entries for hosts that no longer belong to
/// it.
async fn made(kernel: &Kernel, network: &Network) -> Result<Plan> {
    let mut plan = plan::create(network, &uplinks(kernel, network).await?);
    let mut first = Plan::new();
    // The entries of a flat network are those that netcord-agent has read in the store.
    if let Some(driver) = network.driver.overlay().filter(|driver| driver.flat.is_none()) {
        first = plan::stale(network, driver, &kernel.ways(network).await?);
    }
    for tunnel in plan::tunnels_of(network) {
        if kernel.is_other_tunnel(&tunnel).await? {
            first.push(Step::delete("the tunnel was changed", Resource::Vxlan(tunnel)));
        }
    }
    // The record comes first, so that a later run can finish.
    plan.splice(1..1, first);
    Ok(plan)
}

/// Returns the plan that repairs a network, and the reason if its parent is gone: then the part that
/// needs no other host is restored.
pub(super) async fn repair(
    kernel: &Kernel,
    network: &Network,
    driver: &model::Overlay,
) -> Result<(Plan, Option<Lost>)> {
    if kernel.link(driver.parent.as_str()).await?.is_none() {
        let own = plan::own_part(network, &bridge::uplinks(kernel, network).await?);
        return Ok((own, Some(underlay::gone(network))));
    }
    let mut plan = made(kernel, network).await?;
    // After the record, and before the routes: a link that is down takes none.
    plan.insert(1, underlay::up(&driver.parent));
    Ok((plan, None))
}

/// Returns what has to change on the host's uplinks, so that this network reaches the outside and
/// other hosts.
async fn uplinks(kernel: &Kernel, network: &Network) -> Result<Uplinks> {
    let mut uplinks = bridge::uplinks(kernel, network).await?;
    let Some(driver) = network.driver.overlay() else { return Ok(uplinks) };
    if is_direct(driver)
        && !uplinks.closed.contains(&driver.parent)
        && kernel.sysctl("net/ipv4/ip_forward")?.as_deref() == Some("1")
    {
        let value = kernel.sysctl(&format!("net/ipv4/conf/{}/forwarding", driver.parent))?;
        if value.as_deref() == Some("0") {
            uplinks.closed.push(driver.parent.clone());
        }
    }
    Ok(uplinks)
}

/// Returns whether packets to any other host leave by the parent without a tunnel.
fn is_direct(driver: &model::Overlay) -> bool {
    driver.peers.values().any(|peer| !peer.next_hops.is_empty())
}

/// Checks that an existing network is as requested, except for the other hosts.
fn check_same(args: &Overlay, asked: &Asked<'_>, shape: &Shape, there: &Network) -> Result<()> {
    let name = &there.name;
    let mut differences = Differences::default();
    differences.compare("mode", "overlay", there.driver.word());
    if let Some(driver) = there.driver.overlay() {
        let flat = |flat: Option<Flat>| match flat {
            Some(Flat { multicast: true }) => "flat, with multicast",
            Some(Flat { multicast: false }) => "flat",
            None => "routed",
        };
        differences.compare("shape", flat(args.flat), flat(driver.flat));
        differences.compare("subnet", joined(&shape.cluster), joined(&driver.cluster));
        let cidrs = |subnets: &[model::Subnet]| joined(subnets.iter().map(|s| s.cidr));
        let (wanted, found) = (cidrs(&shape.subnets), cidrs(&there.subnets));
        differences.compare("host-subnet", &wanted, &found);
        if wanted == found {
            asked.compare(&shape.subnets, there, &mut differences);
        }
        let kind = driver.backend.kind();
        differences.compare("backend", args.backend.as_str(), kind.as_str());
        if let Some(vxlan) = driver.backend.vxlan().filter(|_| args.backend == kind) {
            differences.compare("VNI", args.vni.unwrap_or(Vxlan::VNI), vxlan.vni);
            differences.compare("direct-routing", args.direct_routing, vxlan.direct_routing);
        }
        if let Some(port) = driver.backend.port().filter(|_| args.backend == kind) {
            differences.compare("port", args.port.or(kind.default_port()).unwrap_or(port), port);
        }
        if let Some(parent) = &args.on_host.parent {
            differences.compare("parent", parent, &driver.parent);
        }
        if let Some(host) = args.on_host.public_ip {
            differences.compare("public-ip", host, driver.host);
        }
    }
    if let Some(mtu) = args.on_host.mtu {
        differences.compare("MTU", mtu, there.mtu);
    }
    if let Some(driver) = there.driver.overlay() {
        let store = |store: Option<&Store>| store.map_or("none".to_owned(), store_word);
        differences.compare("store", store(args.store.as_ref()), store(driver.store.as_ref()));
    }
    differences.flags(args.on_host.flags, there);
    differences.labels(&args.on_host.label, there);
    differences.refuse(
        &format!("network `{name}` exists"),
        &format!("only its peers can change; to change more, remove it first: `netcord rm {name}`"),
    )
}

fn store_word(store: &Store) -> String {
    format!("{}{}", store.endpoints.join(","), store.prefix)
}

fn joined<T: Display>(parts: impl IntoIterator<Item = T>) -> String {
    parts.into_iter().map(|part| part.to_string()).collect::<Vec<_>>().join(",")
}

/// Returns the command that makes a network.
pub(super) fn command(network: &Network, driver: &model::Overlay) -> Words {
    let firewall = network.firewall.to_string();
    let words = Words::new(["--firewall", &firewall, "overlay", network.name.as_str()]);
    let words = match &driver.store {
        Some(store) => flat_words(join::words(words, store), network, driver),
        None => hosts(words, network, driver),
    };
    words.flag("--public-ip", &driver.host).flag("--mtu", &network.mtu).rest_of(network)
}

/// Adds the flags by which the first host of a flat network makes it.
fn flat_words(words: Words, network: &Network, driver: &model::Overlay) -> Words {
    let Some(Flat { multicast }) = driver.flat else { return words };
    words
        .switch("--flat", true)
        .flags("--subnet", network.subnets.iter().map(|subnet| subnet.cidr))
        .flags("--vni", driver.backend.vxlan().map(|vxlan| vxlan.vni))
        .flags("--port", driver.backend.port())
        .switch("--multicast", multicast)
}

fn hosts(words: Words, network: &Network, driver: &model::Overlay) -> Words {
    let vxlan = driver.backend.vxlan();
    let peers = driver.peers.iter().map(|(host, peer)| PeerSpec {
        subnets: peer.subnets.clone(),
        hosts: [Some(*host), peer.second].into_iter().flatten().collect(),
        macs: peer.macs.clone(),
    });
    words
        .flags("--subnet", &driver.cluster)
        .flags("--host-subnet", network.subnets.iter().map(|s| s.cidr))
        .flag("--backend", driver.backend.kind().as_str())
        .flags("--vni", vxlan.map(|v| v.vni))
        .flags("--port", driver.backend.port())
        .switch("--direct-routing", vxlan.is_some_and(|v| v.direct_routing))
        .flags("--peer", peers)
}
