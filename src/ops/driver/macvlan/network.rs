//! A macvlan network: made from a request, rebuilt from its endpoints, repaired, and as a command.

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::Macvlan;
use crate::{
    error::Error,
    kernel::{Kernel, Link, LinkKind},
    model::{
        self, Driver, Firewall, Flags, LinkName, Mac, Network, Parent, Subnet, Vlan, network_of,
    },
    ops::{
        Session,
        driver::{
            foreign, marks,
            parent::{self, Found},
            underlay,
        },
        lookup::inside::Inside,
        request::{
            subnets::{Asked, check_mtu},
            words::Words,
        },
    },
    plan::{self, Mark, Plan},
    state::State,
};

/// Makes the network of a request.
pub(super) async fn new_network(
    host: &Session<'_>,
    state: &State,
    args: &Macvlan,
    asked: &Asked<'_>,
) -> Result<Network> {
    let (kernel, mode) = (&host.kernel, args.mode);
    // Our own link exists already if its record was lost.
    let is_own = |l: &Link| args.host_access && l.kind == LinkKind::Macvlan && l.is_ours();
    if kernel.link(args.name.as_str()).await?.is_some_and(|link| !is_own(&link)) {
        return Err(Error::conflict(format!("a link `{}` exists already", args.name))
            .hint("choose another name for the network")
            .into());
    }
    let Found { link, vlan, lower } = parent::found(kernel, state, &args.parent).await?;
    parent::check_free(state, &args.name, &args.parent, Some(mode))?;
    let subnets = if args.no_subnet {
        Vec::new()
    } else {
        parent::subnets(kernel, &args.parent, link.as_ref(), asked).await?
    };
    let mtu = args.mtu.unwrap_or(lower.mtu);
    if mtu > lower.mtu {
        return Err(Error::usage(format!(
            "MTU {mtu} is more than that of `{}`, {}",
            lower.name, lower.mtu
        ))
        .into());
    }
    check_mtu(mtu, subnets.iter().any(|s| s.cidr.is_ipv6()))?;
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

/// Returns the plan that repairs a network: sets its parent up, if that exists.
pub(in crate::ops::driver) async fn repair(
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

/// Rebuilds a network without a record from its endpoints; returns `None` if its parent cannot be
/// found.
pub(in crate::ops::driver) async fn rebuilt(
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

/// Returns the VLAN that a parent of ours is.
fn own_vlan(lower: &Link, links: &[&Link]) -> Option<Vlan> {
    let trunk = links.iter().find(|trunk| lower.is_upper_of(trunk))?;
    let is_ours = lower.kind == LinkKind::Vlan && lower.is_ours();
    is_ours.then_some(Vlan { trunk: trunk.name.parse().ok()?, id: lower.vlan_id()? })
}

/// Returns the subnets of the parent's addresses, and those of endpoints.
async fn subnets(kernel: &Kernel, lower: &Link, endpoints: &[Inside]) -> Result<Vec<Subnet>> {
    let own = kernel.addresses_of(lower).await?;
    let mut theirs = Vec::new();
    for endpoint in endpoints {
        theirs.extend(endpoint.netns.addresses(&endpoint.link).await?);
    }
    let mut cidrs: Vec<IpNetwork> = Vec::new();
    // The prefix length of an endpoint's address was assigned; the parent's may differ.
    for address in theirs.iter().chain(&own) {
        if cidrs.iter().all(|cidr| cidr.is_ipv4() != address.is_ipv4()) {
            cidrs.push(network_of(*address));
        }
    }
    cidrs.sort_by_key(IpNetwork::is_ipv6);
    parent::known_subnets(kernel, lower, &cidrs).await
}

/// Returns the command that makes a network.
pub(in crate::ops::driver) fn command(network: &Network, driver: &model::Macvlan) -> Words {
    Words::new(["macvlan", network.name.as_str()])
        .flag("--parent", &driver.parent.link)
        .flag("--mode", driver.mode.as_str())
        .switch("--host-access", !driver.host_access.is_empty())
        .subnets_of(network)
        .rest_of(network)
}
