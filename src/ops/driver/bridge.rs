//! `bridge`, and `create -d bridge`: a network.

use std::{fs, net::IpAddr};

use anyhow::Result;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::{foreign, marks};
use crate::{
    error::{Error, Kind},
    kernel::{Kernel, Link, TableRoute},
    model::{
        Cidr, Driver, Firewall, Flag, Flags, LinkName, Mac, Network, NetworkRecord, Subnet,
        overlap, pools, unique_local_prefix,
    },
    ops::{
        Changed, Session,
        lookup::resolver,
        request::{differences::Differences, subnets::Asked, words::Words},
        upkeep::{
            firewall, forward_accepts, link_attrs,
            need::{Extent, Need},
        },
    },
    plan::{self, Mark, Uplinks},
    state::State,
};

/// Where there is no default route to take it from.
const MTU: u32 = 1500;

/// A bridge network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bridge {
    /// The network's name, and the bridge's.
    pub name: LinkName,
    /// Subnets, at most one of each family; else the lowest free one of docker's pools.
    pub subnet: Vec<Cidr>,
    /// The bridge's addresses; else the first of each subnet.
    pub gateway: Vec<IpAddr>,
    /// Which parts of the subnets addresses are assigned from; else all.
    pub ip_range: Vec<Cidr>,
    /// In bytes; else that of the link with the host's default route.
    pub mtu: Option<u32>,
    /// Add an IPv6 subnet, if none is given: a /64 of this host's unique local prefix.
    pub ipv6: bool,
    /// Flags; all are off by default.
    pub flags: Flags,
    /// Metadata to store with the network: keys and values.
    pub label: Vec<(String, String)>,
}

impl Bridge {
    /// A network with netcord's choice of subnet and MTU.
    pub fn new(name: LinkName) -> Self {
        Self {
            name,
            subnet: Vec::new(),
            gateway: Vec::new(),
            ip_range: Vec::new(),
            mtu: None,
            ipv6: false,
            flags: Flags::default(),
            label: Vec::new(),
        }
    }
}

/// The network that is there now.
#[derive(Debug, Serialize)]
pub struct Made {
    /// The network.
    pub network: Network,
}

/// Ensures a bridge network; `None`: it was a dry run.
///
/// # Errors
/// If a network or link of this name is there and differs, or its subnet is in use.
pub async fn bridge(host: &mut Session<'_>, args: &Bridge) -> Result<Option<Changed<Made>>> {
    let asked = Asked::new(&args.subnet, &args.gateway, &args.ip_range)?;
    let wanted = asked.subnets(Subnet::new)?;
    let mut state = host.enter(Need::Changes, Extent::of(&args.name)).await?;
    let (network, endpoints) = match state.networks().get(&args.name) {
        Some(NetworkRecord { network, endpoints }) => {
            check_same(args, &asked, &wanted, network)?;
            (network.clone(), endpoints.clone())
        }
        None => (new_network(host, &state, args, wanted).await?, Vec::new()),
    };
    let (network, mut plan) = forward_accepts::renewed(host, &network)?;
    plan.extend(plan::create(&network, &uplinks(&host.kernel, &network).await?));
    // Where somebody took our rules away, ports were among them.
    plan.extend(firewall::ports(&network, &endpoints));
    link_attrs::restore(&host.kernel, &mut plan).await?;
    let Some(changed) = host.carry_out(&plan, &mut state).await? else { return Ok(None) };
    Ok(Some(Changed::new(changed, Made { network })))
}

async fn new_network(
    host: &Session<'_>,
    state: &State,
    args: &Bridge,
    mut subnets: Vec<Subnet>,
) -> Result<Network> {
    let kernel = &host.kernel;
    if kernel.link(args.name.as_str()).await?.is_some() {
        return Err(Error::conflict(format!("a link `{}` exists and is not netcord's", args.name))
            .hint(
                "choose another name; a bridge of somebody else's needs no `bridge`, only `attach`",
            )
            .into());
    }
    let wants_ipv6 = args.ipv6 || subnets.iter().any(|s| s.cidr.is_ipv6());
    if wants_ipv6 && kernel.sysctl("net/ipv6/conf/all/forwarding")?.is_none() {
        return Err(Error::new(Kind::Missing, "the kernel has no IPv6")
            .hint("leave out `--ipv6` and IPv6 subnets")
            .into());
    }
    let used = Used::read(kernel, state).await?;
    for subnet in &subnets {
        used.check(host, subnet.cidr)?;
    }
    if subnets.is_empty() {
        let free = pools().find(|pool| used.is_free(*pool)).ok_or_else(|| {
            Error::conflict("all of docker's 31 default pools are in use on this host")
                .hint("choose one with `--subnet`")
        })?;
        subnets.push(Subnet::new(free, None, None)?);
    }
    if args.ipv6 && !subnets.iter().any(|s| s.cidr.is_ipv6()) {
        let id = host_id()?;
        let mut prefixes = (0..=u16::MAX).filter_map(|index| unique_local_prefix(&id, index));
        let free = prefixes.find(|prefix| used.is_free(*prefix));
        let free = free.ok_or_else(|| Error::conflict("no unique local prefix is free"))?;
        subnets.push(Subnet::new(free, None, None)?);
    }
    let mtu = match args.mtu {
        Some(mtu) => mtu,
        None => default_mtu(kernel).await?,
    };
    if mtu < 1280 && wants_ipv6 {
        return Err(
            Error::usage(format!("MTU {mtu} is too small for IPv6, which needs 1280")).into()
        );
    }
    let gateway = subnets.iter().find_map(|s| s.gateway).unwrap_or_else(|| [0, 0, 0, 0].into());
    Ok(Network {
        name: args.name.clone(),
        driver: Driver::Bridge,
        mac: Mac::of(gateway),
        mtu,
        subnets,
        flags: args.flags,
        firewall: firewall::of_host(host, state),
        forward_accepts: Vec::new(),
        labels: args.label.iter().cloned().collect(),
    })
}

/// What identifies this machine, for its unique local prefix.
fn host_id() -> Result<Vec<u8>> {
    let id = fs::read("/etc/machine-id").ok().filter(|id| id.len() > 16);
    Ok(match id {
        Some(id) => id,
        None => fs::read("/proc/sys/kernel/random/boot_id")?,
    })
}

/// Blocks of addresses that are in use on this host.
struct Used {
    networks: Vec<(LinkName, IpNetwork)>,
    addresses: Vec<IpNetwork>,
    routes: Vec<TableRoute>,
    nameservers: Vec<IpAddr>,
}

impl Used {
    async fn read(kernel: &Kernel, state: &State) -> Result<Self> {
        let networks = state
            .networks()
            .values()
            .flat_map(|r| r.network.subnets.iter().map(|s| (r.network.name.clone(), s.cidr)));
        Ok(Self {
            networks: networks.collect(),
            addresses: kernel.addresses().await?.into_iter().map(|a| a.address).collect(),
            routes: kernel.routes().await?,
            nameservers: resolver::nameservers(resolver::HOSTS),
        })
    }

    /// A subnet that was asked for must not take addresses that the host reaches otherwise.
    fn check(&self, host: &Session<'_>, cidr: IpNetwork) -> Result<()> {
        let taken = |by: String| {
            Err(Error::conflict(format!("subnet {cidr} overlaps with {by}"))
                .hint("choose another with `--subnet`, or leave it out to use a free one")
                .into())
        };
        if let Some((name, other)) = self.networks.iter().find(|(_, n)| overlap(*n, cidr)) {
            return taken(format!("network `{name}` ({other})"));
        }
        if let Some(address) = self.addresses.iter().find(|a| overlap(**a, cidr)) {
            return taken(format!("the host's own address {address}"));
        }
        if let Some(server) = self.nameservers.iter().find(|n| cidr.contains(**n)) {
            return taken(format!("the host's nameserver {server}"));
        }
        for route in self
            .routes
            .iter()
            .filter(|r| r.destination.prefix() > 0 && overlap(r.destination, cidr))
        {
            match route.gateway {
                None => return taken(format!("the host's route to {}", route.destination)),
                Some(gateway) => host.events.warn(&format!(
                    "subnet {cidr} hides a part of what the host reaches by its route to {} via {gateway}",
                    route.destination
                )),
            }
        }
        Ok(())
    }

    /// A subnet that is chosen overlaps with nothing at all; a route to half the Internet (a VPN's)
    /// is no reason to give up, though.
    fn is_free(&self, cidr: IpNetwork) -> bool {
        self.networks.iter().all(|(_, n)| !overlap(*n, cidr))
            && self.addresses.iter().all(|a| !overlap(*a, cidr))
            && self.nameservers.iter().all(|n| !cidr.contains(*n))
            && self
                .routes
                .iter()
                .all(|r| r.destination.prefix() <= 1 || !overlap(r.destination, cidr))
    }
}

async fn default_mtu(kernel: &Kernel) -> Result<u32> {
    let routes = kernel.routes().await?;
    let default = routes.iter().filter(|r| r.destination.prefix() == 0).min_by_key(|r| r.metric);
    Ok(match default {
        Some(route) => kernel.link_of(route).await?.map_or(MTU, |link| link.mtu),
        None => MTU,
    })
}

/// What the host's links to the outside need, for this network to reach it.
pub(super) async fn uplinks(kernel: &Kernel, network: &Network) -> Result<Uplinks> {
    if network.has(Flag::Internal) {
        return Ok(Uplinks::default());
    }
    let routes = kernel.routes().await?;
    let is_default = |r: &&TableRoute| r.destination.prefix() == 0;
    let defaults: Vec<_> = routes.iter().filter(is_default).collect();
    if defaults.is_empty() {
        return Ok(Uplinks::default());
    }
    let links = kernel.links().await?;
    let named = |leads: &dyn Fn(&TableRoute) -> bool| -> Vec<LinkName> {
        let is_one = |l: &&Link| defaults.iter().any(|r| l.carries(r) && leads(r));
        links.values().filter(is_one).filter_map(|l| l.name.parse().ok()).collect()
    };
    let mut uplinks = Uplinks::default();
    if network.has_ipv6() {
        uplinks.advertised = named(&|route| route.is_by_router_advertisement());
    }
    // Off for all of them, it is turned on for all of them.
    if kernel.sysctl("net/ipv4/ip_forward")?.as_deref() == Some("1") {
        for link in named(&|route| route.destination.is_ipv4()) {
            let value = kernel.sysctl(&format!("net/ipv4/conf/{link}/forwarding"))?;
            if value.as_deref() == Some("0") {
                uplinks.closed.push(link);
            }
        }
    }
    Ok(uplinks)
}

/// A network that is there must be as was asked for: nothing is changed to fit.
fn check_same(args: &Bridge, asked: &Asked<'_>, wanted: &[Subnet], there: &Network) -> Result<()> {
    let name = &there.name;
    if there.driver.is_foreign() {
        return Err(Error::conflict(format!("bridge `{name}` is not netcord's"))
            .hint("choose another name; to use it, `attach` is enough")
            .into());
    }
    let mut differences = Differences::of_mode(Driver::Bridge.word(), there);
    asked.compare(wanted, there, &mut differences);
    let mut compare =
        |what: &str, wanted: String, found: String| differences.compare(what, wanted, found);
    if args.ipv6 && !there.has_ipv6() {
        compare("IPv6", "wanted".into(), "off".into());
    }
    if let Some(mtu) = args.mtu {
        compare("MTU", mtu.to_string(), there.mtu.to_string());
    }
    differences.flags(args.flags, there);
    differences.labels(&args.label, there);
    differences.refuse_network(there)
}

/// A network whose record is lost, as far as its bridge tells.
pub(super) async fn rebuilt(
    kernel: &Kernel,
    name: &LinkName,
    bridge: &Link,
    firewall: Firewall,
) -> Result<Network> {
    let mark = bridge.alias.as_deref().and_then(Mark::read);
    let looks = foreign::network(kernel, name, bridge, firewall).await?;
    let flags = Flags::of(|flag| mark.is_some_and(|mark| mark.says(flag.word())));
    let mut network = Network { driver: Driver::Bridge, flags, ..looks };
    if let Some(mark) = mark {
        add_subnets(&mut network, mark);
        marks::add_ranges(&mut network, mark);
    }
    Ok(network)
}

/// Subnets of which the bridge has lost its address.
fn add_subnets(network: &mut Network, mark: Mark<'_>) {
    for gateway in mark.values("subnet").filter_map(|gateway| gateway.parse().ok()) {
        let subnet = Subnet::of_bridge_address(gateway);
        if network.subnets.iter().all(|s| s.cidr.is_ipv4() != subnet.cidr.is_ipv4()) {
            network.subnets.push(subnet);
        }
    }
    network.subnets.sort_by_key(|s| s.cidr.is_ipv6());
}

/// The command that makes what is missing of a network, and nothing else.
pub(super) fn again(network: &Network) -> Words {
    Words::new(["bridge", network.name.as_str()]).flags_of(network)
}

/// The command that makes a network.
pub(super) fn command(network: &Network) -> Words {
    Words::new(["--firewall", &network.firewall.to_string(), "bridge", network.name.as_str()])
        .subnets_of(network)
        .rest_of(network)
}
