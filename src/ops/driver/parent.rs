//! The parent of an underlay or macvlan network: a link of the host, with its subnets and router.

use std::net::IpAddr;

use anyhow::Result;
use ipnetwork::IpNetwork;

use crate::{
    error::{Error, did_you_mean},
    kernel::{Kernel, Link, LinkKind},
    model::{Family, LinkName, MacvlanMode, Network, Subnet, Vlan, is_link_local, network_of},
    ops::request::subnets::Asked,
    state::State,
};

/// A parent: an existing link, or a VLAN to make.
pub(super) struct Found {
    /// The parent, if it exists.
    pub link: Option<Link>,
    /// The VLAN, if netcord makes and removes it.
    pub vlan: Option<Vlan>,
    /// The parent, or the trunk of a missing VLAN.
    pub lower: Link,
}

/// Finds a parent, or the VLAN to make.
///
/// # Errors
/// Those of [`link`] and [`vlan`].
pub(super) async fn found(kernel: &Kernel, state: &State, name: &LinkName) -> Result<Found> {
    if kernel.link(name.as_str()).await?.is_none()
        && let Some((vlan, trunk)) = vlan(kernel, name).await?
    {
        return Ok(Found { link: None, vlan: Some(vlan), lower: trunk });
    }
    let link = link(kernel, name).await?;
    // A VLAN that another network of ours made is removed with the last network on it.
    let parents = state.networks().values().filter_map(|r| r.network.driver.parent());
    let vlan = parents.filter(|p| p.link == *name).find_map(|p| p.vlan.clone());
    Ok(Found { lower: link.clone(), link: Some(link), vlan })
}

/// Reads a parent.
///
/// # Errors
/// If there is no such link, or it cannot be a parent: the loopback, a link that is not
/// Ethernet, a bridge port.
pub(super) async fn link(kernel: &Kernel, name: &LinkName) -> Result<Link> {
    let Some(link) = kernel.link(name.as_str()).await? else {
        return Err(missing(kernel, name).await);
    };
    let unusable = |why: &str| Error::conflict(format!("link `{name}` cannot be a parent: {why}"));
    if *name == LinkName::loopback() || link.mac.is_none() {
        let why = "it leads to no Ethernet, where each has a MAC of its own";
        return Err(unusable(why).hint("take the link that leads to the physical network").into());
    }
    if let Some(master) = link.master {
        let master = kernel.links().await?.remove(&master);
        let master = master.map_or("another link".into(), |m| format!("`{}`", m.name));
        return Err(unusable(&format!("it is a port of {master}, which takes all its frames"))
            .hint(format!("make {master} the parent"))
            .into());
    }
    if link.kind == LinkKind::Macvlan {
        let why = "it is a macvlan itself, and the kernel would take the link below it";
        return Err(unusable(why).hint("make the link below it the parent").into());
    }
    Ok(link)
}

pub(super) async fn missing(kernel: &Kernel, name: &LinkName) -> anyhow::Error {
    let links = kernel.links().await.unwrap_or_default();
    let names: Vec<_> = links.into_values().map(|l| l.name).filter(|n| n != "lo").collect();
    let hint = did_you_mean(name.as_str(), names.iter().map(String::as_str))
        .unwrap_or_else(|| "see the host's links with `ip -br link`".into());
    Error::not_found(format!("no link `{name}` to be the parent")).hint(hint).into()
}

/// Returns the VLAN for the name of a missing parent, `TRUNK.ID`, if the trunk can be a parent
/// itself.
pub(super) async fn vlan(kernel: &Kernel, name: &LinkName) -> Result<Option<(Vlan, Link)>> {
    let Some((trunk, id)) = name.as_str().rsplit_once('.') else { return Ok(None) };
    let (Ok(trunk), Ok(id)) = (trunk.parse::<LinkName>(), id.parse::<u16>()) else {
        return Ok(None);
    };
    // `eth0.0100` would be another name of the same VLAN.
    if name.as_str() != format!("{trunk}.{id}") {
        return Ok(None);
    }
    if !(1..=4094).contains(&id) {
        return Err(Error::usage(format!("`{name}`: {id} is no VLAN, those are 1 to 4094")).into());
    }
    if kernel.link(trunk.as_str()).await?.is_none() {
        return Err(missing(kernel, &trunk).await);
    }
    let link = link(kernel, &trunk).await?;
    if !link.up {
        return Err(Error::conflict(format!("link `{trunk}` is down, and its VLANs with it"))
            .hint(format!("bring it up first: `ip link set {trunk} up`"))
            .into());
    }
    Ok(Some((Vlan { trunk, id }, link)))
}

/// Refuses a parent that another network of ours uses in a way that cannot be shared.
///
/// A link can have one macvlan in passthru mode, or many in other modes.
pub(super) fn check_free(
    state: &State,
    network: &LinkName,
    parent: &LinkName,
    mode: Option<MacvlanMode>,
) -> Result<()> {
    let others = state.networks().values().map(|r| &r.network);
    let same_parent =
        |n: &&Network| n.name != *network && n.driver.parent().is_some_and(|p| p.link == *parent);
    for other in others.filter(same_parent) {
        let theirs = other.driver.macvlan().map(|driver| driver.mode);
        let shares = |m: Option<MacvlanMode>| m.is_some_and(|m| m != MacvlanMode::Passthru);
        if !(shares(mode) && shares(theirs)) {
            let message = format!(
                "link `{parent}` is the parent of network `{}` ({}) and cannot be shared",
                other.name,
                theirs.map_or(other.driver.word(), MacvlanMode::as_str)
            );
            return Err(Error::conflict(message)
                .hint(format!(
                    "take another link, or remove the other: `netcord rm {}`",
                    other.name
                ))
                .into());
        }
    }
    Ok(())
}

/// Returns the subnets of a network on this parent: the requested ones, or those of the parent's
/// own addresses; each with the requested gateway, or the host's own router there.
///
/// # Errors
/// If there is none.
pub(super) async fn subnets(
    kernel: &Kernel,
    parent: &LinkName,
    link: Option<&Link>,
    asked: &Asked<'_>,
) -> Result<Vec<Subnet>> {
    let mut subnets = if asked.has_subnets() {
        asked.subnets(Subnet::physical)?
    } else {
        let own = match link {
            Some(link) => kernel.addresses_of(link).await?,
            None => Vec::new(),
        };
        let routers = match link {
            Some(link) => routers(kernel, link).await?,
            None => Vec::new(),
        };
        let best = |family: Family| {
            // An address with a full prefix length (DHCPv6 assigns /128) has no subnet.
            let longest = match family {
                Family::V4 => 31,
                Family::V6 => 127,
            };
            let is_of = |a: &&IpNetwork| Family::of(a.ip()) == family;
            let telling = own.iter().filter(is_of).filter(|a| a.prefix() <= longest);
            // Of several, the requested one, or the one with the host's own router.
            telling.min_by_key(|a| {
                let has_router = routers.iter().any(|router| a.contains(*router));
                (!asked.speaks_of(**a), !has_router)
            })
        };
        let derived: Vec<_> =
            Family::BOTH.into_iter().filter_map(best).map(|a| network_of(*a)).collect();
        if derived.is_empty() {
            return Err(Error::usage(format!(
                "link `{parent}` has no address to tell a subnet by"
            ))
            .hint("choose one with `--subnet`")
            .into());
        }
        asked.of(&derived, Subnet::physical)?
    };
    if let Some(link) = link {
        add_routers(kernel, link, &mut subnets).await?;
    }
    Ok(subnets)
}

/// Returns the subnets on this link, which exist already.
pub(super) async fn known_subnets(
    kernel: &Kernel,
    link: &Link,
    cidrs: &[IpNetwork],
) -> Result<Vec<Subnet>> {
    let subnet =
        |cidr: &IpNetwork| Subnet { cidr: *cidr, gateway: None, ip_range: None, outbound: None };
    let mut subnets: Vec<_> = cidrs.iter().map(subnet).collect();
    add_routers(kernel, link, &mut subnets).await?;
    Ok(subnets)
}

/// Sets the gateway of subnets without one to the host's own router there.
async fn add_routers(kernel: &Kernel, link: &Link, subnets: &mut [Subnet]) -> Result<()> {
    let routers = routers(kernel, link).await?;
    for subnet in subnets.iter_mut().filter(|s| s.gateway.is_none()) {
        let near = |g: &&IpAddr| {
            subnet.contains(**g) || (g.is_ipv4() == subnet.cidr.is_ipv4() && is_link_local(**g))
        };
        subnet.gateway = routers.iter().find(near).copied();
    }
    Ok(())
}

/// Returns the gateways of the host's default routes by a link, the preferred one first.
async fn routers(kernel: &Kernel, link: &Link) -> Result<Vec<IpAddr>> {
    let mut defaults = kernel.routes().await?;
    defaults.retain(|r| r.destination.prefix() == 0 && link.carries(r));
    defaults.sort_by_key(|r| r.metric);
    Ok(defaults.into_iter().filter_map(|r| r.gateway).collect())
}

/// Returns the host's own address in each of these subnets, on this link.
pub(super) async fn own_addresses(
    kernel: &Kernel,
    link: &Link,
    subnets: &[Subnet],
) -> Result<Vec<IpAddr>> {
    let own = kernel.addresses_of(link).await?;
    let inside = |s: &Subnet| own.iter().map(IpNetwork::ip).find(|ip| s.contains(*ip));
    Ok(subnets.iter().filter_map(inside).collect())
}
