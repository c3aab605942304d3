//! `macvlan`, and `create -d macvlan`: a network in the physical one, on a link of the host's that
//! stays as it is.

use std::net::IpAddr;

use anyhow::Result;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::{
    bridge::Made,
    foreign, marks,
    parent::{self, Found},
    underlay,
};
use crate::{
    error::Error,
    kernel::{Kernel, Link, LinkKind},
    model::{
        self, Cidr, Driver, Firewall, Flags, LinkName, Mac, MacvlanMode, Network, Parent, Subnet,
        Vlan, network_of,
    },
    ops::{
        Changed, Session,
        lookup::{
            inside::{Inside, inside},
            ssh,
        },
        request::{differences::Differences, subnets::Asked, words::Words},
        upkeep::{
            link_attrs,
            need::{Extent, Need},
        },
    },
    plan::{self, Mark, Plan},
    state::State,
};

/// A macvlan network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Macvlan {
    /// The network's name.
    pub name: LinkName,
    /// The host's link; a VLAN link (`eth0.100`) is made if it is missing.
    pub parent: LinkName,
    /// Which endpoints reach each other.
    pub mode: MacvlanMode,
    /// Subnets, at most one of each family; else those of the parent's addresses.
    pub subnet: Vec<Cidr>,
    /// The physical network's routers; else those of the host's default routes on the parent.
    pub gateway: Vec<IpAddr>,
    /// Which addresses netcord assigns; else every free one.
    pub ip_range: Vec<Cidr>,
    /// In bytes; else the parent's.
    pub mtu: Option<u32>,
    /// Let the host and the endpoints reach each other.
    pub host_access: bool,
    /// Metadata to store with the network: keys and values.
    pub label: Vec<(String, String)>,
}

/// Ensures a macvlan network; `None`: it was a dry run.
///
/// # Errors
/// If a network or link of this name is there and differs, or the parent cannot carry macvlans.
pub async fn macvlan(host: &mut Session<'_>, args: &Macvlan) -> Result<Option<Changed<Made>>> {
    let asked = Asked::new(&args.subnet, &args.gateway, &args.ip_range)?;
    let mode = args.mode;
    if args.host_access && mode != MacvlanMode::Bridge {
        return Err(Error::usage(format!(
            "--host-access: in mode {} the endpoints do not reach a macvlan of the host's either",
            mode.as_str()
        ))
        .hint("leave out `--mode`, or `--host-access`")
        .into());
    }
    let mut state = host.enter(Need::Changes, Extent::of(&args.name)).await?;
    let network = if let Some(there) = state.networks().get(&args.name) {
        check_same(args, &asked, &there.network)?;
        there.network.clone()
    } else {
        let network = new_network(host, &state, args, &asked).await?;
        let inside = inside(&host.kernel, host.kernel.netns_names().into_iter()).await;
        if inside.iter().any(|found| found.network == network.name) {
            // Its record was lost: what was asked for now says more than the marks do.
            state.adopt_network(network.clone());
        }
        network
    };
    host.look_inside(&mut state, &network.name).await?;
    let mut plan = plan::create(&network, &plan::Uplinks::default());
    link_attrs::restore(&host.kernel, &mut plan).await?;
    let Some(changed) = host.carry_out(&plan, &mut state).await? else { return Ok(None) };
    tell(host, &network, mode).await?;
    Ok(Some(Changed::new(changed, Made { network })))
}

/// What surprises everybody once.
async fn tell(host: &Session<'_>, network: &Network, mode: MacvlanMode) -> Result<()> {
    let Some(model::Macvlan { parent, host_access, .. }) = network.driver.macvlan() else {
        return Ok(());
    };
    if mode == MacvlanMode::Passthru {
        host.events.note(&format!(
            "who is attached has `{}` to itself: the host reaches nothing by it then",
            parent.link
        ));
        if let Some(peer) = ssh::peer_by(&host.kernel, parent.link.as_str(), &[]).await? {
            host.events.warn(&format!(
                "your SSH connection from {peer} comes by `{}`: the first `netcord attach {}` cuts \
                 you off",
                parent.link, network.name
            ));
        }
    } else if host_access.is_empty() {
        host.events.note(&format!(
            "the host and the endpoints of `{}` do not reach each other by `{}`, everybody else \
             there does; `--host-access` makes them",
            network.name, parent.link
        ));
    }
    Ok(())
}

async fn new_network(
    host: &Session<'_>,
    state: &State,
    args: &Macvlan,
    asked: &Asked<'_>,
) -> Result<Network> {
    let (kernel, mode) = (&host.kernel, args.mode);
    // Our own link is there already if the record of it was lost.
    let is_own = |l: &Link| args.host_access && l.kind == LinkKind::Macvlan && l.is_ours();
    if kernel.link(args.name.as_str()).await?.is_some_and(|link| !is_own(&link)) {
        return Err(Error::conflict(format!("a link `{}` exists already", args.name))
            .hint("choose another name for the network")
            .into());
    }
    let Found { link, vlan, lower } = parent::found(kernel, state, &args.parent).await?;
    parent::check_free(state, &args.name, &args.parent, Some(mode))?;
    let subnets = parent::subnets(kernel, &args.parent, link.as_ref(), asked).await?;
    let mtu = args.mtu.unwrap_or(lower.mtu);
    if mtu > lower.mtu {
        return Err(Error::usage(format!(
            "MTU {mtu} is more than that of `{}`, {}",
            lower.name, lower.mtu
        ))
        .into());
    }
    if mtu < 1280 && subnets.iter().any(|s| s.cidr.is_ipv6()) {
        return Err(
            Error::usage(format!("MTU {mtu} is too small for IPv6, which needs 1280")).into()
        );
    }
    let host_access = match &link {
        Some(link) if args.host_access => parent::own_addresses(kernel, link, &subnets).await?,
        _ => Vec::new(),
    };
    if args.host_access && host_access.is_empty() {
        let message = format!("--host-access: the host has no address on `{}`", args.parent);
        return Err(Error::conflict(message)
            .hint(format!("give it one first: `ip addr add ADDRESS/LEN dev {}`", args.parent))
            .into());
    }
    let mac = lower.mac.unwrap_or(Mac::PLACEHOLDER);
    Ok(Network {
        name: args.name.clone(),
        driver: Driver::Macvlan(model::Macvlan {
            parent: Parent { link: args.parent.clone(), vlan },
            mode,
            host_access,
        }),
        mac: Mac::of_own_link(mac, args.name.as_str()),
        mtu,
        subnets,
        flags: Flags::default(),
        firewall: Firewall::default(),
        forward_accepts: Vec::new(),
        labels: args.label.iter().cloned().collect(),
    })
}

/// A network that is there must be as was asked for: nothing is changed to fit.
fn check_same(args: &Macvlan, asked: &Asked<'_>, there: &Network) -> Result<()> {
    let mut differences = Differences::of_mode("macvlan", there);
    let cidrs: Vec<_> = there.subnets.iter().map(|s| s.cidr).collect();
    let wanted = if asked.has_subnets() {
        asked.subnets(Subnet::physical)?
    } else {
        asked.of(&cidrs, Subnet::physical)?
    };
    asked.compare(&wanted, there, &mut differences);
    if let Some(driver) = there.driver.macvlan() {
        differences.compare("parent", &args.parent, &driver.parent.link);
        differences.compare("macvlan mode", args.mode.as_str(), driver.mode.as_str());
        differences.compare("host-access", args.host_access, !driver.host_access.is_empty());
    }
    if let Some(mtu) = args.mtu {
        differences.compare("MTU", mtu, there.mtu);
    }
    differences.labels(&args.label, there);
    differences.refuse_network(there)
}

/// The plan that repairs a network: its parent is set up if it is there.
pub(super) async fn repair(
    kernel: &Kernel,
    network: &Network,
    driver: &model::Macvlan,
) -> Result<Plan> {
    let mut plan = plan::create(network, &plan::Uplinks::default());
    if kernel.link(driver.parent.link.as_str()).await?.is_some() {
        plan.push(underlay::up(&driver.parent.link));
    }
    Ok(plan)
}

/// A network whose record is lost, as far as its endpoints tell; `None` if its parent cannot be
/// told.
pub(super) async fn rebuilt(
    kernel: &Kernel,
    name: &LinkName,
    endpoints: &[Inside],
) -> Result<Option<Network>> {
    let Some(Inside { netns, link: first, .. }) = endpoints.first() else { return Ok(None) };
    let between = kernel.between(netns).await?;
    let links = kernel.links().await?;
    let lower = links.values().find(|lower| between.is_on(first, lower));
    let (Some(lower), Some(mode)) = (lower, first.macvlan_mode()) else { return Ok(None) };
    let looks = foreign::network(kernel, name, lower, Firewall::default()).await?;
    let subnets = subnets(kernel, lower, endpoints).await?;
    let is_own = |l: &&Link| l.kind == LinkKind::Macvlan && l.is_ours() && l.name == name.as_str();
    let host_access = match links.values().find(is_own) {
        Some(_) => parent::own_addresses(kernel, lower, &subnets).await?,
        None => Vec::new(),
    };
    let vlan = own_vlan(lower, &links.values().collect::<Vec<_>>());
    let parent = Parent { link: lower.name.parse()?, vlan };
    let mut network = Network {
        driver: Driver::Macvlan(model::Macvlan { parent, mode, host_access }),
        mac: Mac::of_own_link(looks.mac, name.as_str()),
        subnets,
        ..looks
    };
    if let Some(mark) = first.alias.as_deref().and_then(Mark::read) {
        marks::add_ranges(&mut network, mark);
    }
    Ok(Some(network))
}

/// The VLAN that a parent of ours is.
fn own_vlan(lower: &Link, links: &[&Link]) -> Option<Vlan> {
    let trunk = links.iter().find(|trunk| lower.is_upper_of(trunk))?;
    let is_ours = lower.kind == LinkKind::Vlan && lower.is_ours();
    is_ours.then_some(Vlan { trunk: trunk.name.parse().ok()?, id: lower.vlan_id()? })
}

/// The subnets of the parent's addresses, and of those that endpoints have besides.
async fn subnets(kernel: &Kernel, lower: &Link, endpoints: &[Inside]) -> Result<Vec<Subnet>> {
    let own = kernel.addresses_of(lower).await?;
    let mut theirs = Vec::new();
    for endpoint in endpoints {
        theirs.extend(endpoint.netns.addresses(&endpoint.link).await?);
    }
    let mut cidrs: Vec<IpNetwork> = Vec::new();
    // What an endpoint has it was given: the parent's own may be another.
    for address in theirs.iter().chain(&own) {
        if cidrs.iter().all(|cidr| cidr.is_ipv4() != address.is_ipv4()) {
            cidrs.push(network_of(*address));
        }
    }
    cidrs.sort_by_key(IpNetwork::is_ipv6);
    parent::known_subnets(kernel, lower, &cidrs).await
}

/// The command that makes a network.
pub(super) fn command(network: &Network, driver: &model::Macvlan) -> Words {
    Words::new(["macvlan", network.name.as_str()])
        .flag("--parent", &driver.parent.link)
        .flag("--mode", driver.mode.as_str())
        .switch("--host-access", !driver.host_access.is_empty())
        .subnets_of(network)
        .rest_of(network)
}
