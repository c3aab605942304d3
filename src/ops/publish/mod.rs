//! `publish`: publishes ports of a target on the host.

mod choice;

use std::net::IpAddr;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use self::choice::{Host, Search};
use super::{
    Changed, Session,
    lookup::{
        endpoints::{self, is_former},
        foreign, plug,
        resolve::{Found, naming, resolve},
    },
    upkeep::{
        containers, firewall,
        need::{Depth, Extent, Need},
        reservation::is_reservation,
        wiring,
    },
};
use crate::{
    error::Error,
    kernel::{
        Kernel,
        ports::{Free, ephemeral, is_free},
        sockets::owner,
    },
    model::{
        Endpoint, EndpointId, EndpointSummary, Family, Flag, HostPorts, Network, Owner, PortSpec,
        Protocol, PublishedPort, Target,
    },
    plan::{self, Change, Plan, Resource, once},
    state::State,
};

/// The request to publish ports of a target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Publish {
    /// The target that has the ports.
    pub target: Target,
    /// The ports.
    pub ports: Vec<PortSpec>,
    /// The engine for which they are published, of an endpoint that another program made.
    pub owner: Option<Owner>,
}

/// The ports of a target.
#[derive(Debug, Serialize)]
pub struct Ports {
    /// The target, as on record.
    pub target: String,
    /// The ports.
    pub ports: Vec<PublishedPort>,
}

/// Publishes ports of a target on the host; returns `None` for a dry run.
///
/// # Errors
/// If no network of the target can publish, or a port is taken.
pub async fn publish(host: &mut Session<'_>, args: &Publish) -> Result<Option<Changed<Ports>>> {
    let found = resolve(&host.kernel, host.events, &args.target, None).await?;
    let in_the_way = |e: &EndpointSummary<'_>| e.target == found.name.as_str();
    let extent = Extent::to(Depth::Ports).publishing(&args.ports);
    let extent = Extent { in_the_way: Some(&in_the_way), ..extent };
    let mut state = host.enter(Need::Changes, extent).await?;
    let mut published = published(host, &state, args, &found).await?;
    if published.endpoint.foreign && args.owner.is_some() {
        published.endpoint.owner = args.owner.clone().map(Box::new);
    }
    open(host, &mut state, published, &args.ports).await
}

/// Publishes ports of an endpoint that an engine owns.
pub(super) async fn of_owner(
    host: &mut Session<'_>,
    owner: &Owner,
    ports: &[PortSpec],
) -> Result<Option<Changed<Ports>>> {
    let mut state = host.enter(Need::Changes, Extent::to(Depth::Ports)).await?;
    let (record, endpoint) = endpoints::of_owner(&state, owner)
        .ok_or_else(|| Error::not_found(format!("no endpoint is {owner}")))?;
    let (network, endpoint) = (record.network.clone(), endpoint.clone());
    let published = Published { network, endpoint, before: Plan::new() };
    open(host, &mut state, published, ports).await
}

/// Opens ports that lead to an endpoint.
async fn open(
    host: &mut Session<'_>,
    state: &mut State,
    Published { network, mut endpoint, before }: Published,
    ports: &[PortSpec],
) -> Result<Option<Changed<Ports>>> {
    host.check_aside(&network.name)?;
    plug::required(&host.kernel, &network).await?;
    let (network, again) = firewall::again(host, &network)?;
    let mut plan = before;
    plan.extend(again);
    if endpoint.foreign {
        plan.extend(wiring::attach(&host.kernel, &network, &endpoint)?);
    }
    let mut shown = Vec::new();
    for spec in ports {
        let (there, fresh) = split(&host.kernel, state, &network, &endpoint, spec, None)?;
        shown.extend(there);
        shown.extend(fresh.iter().cloned());
        endpoint.ports.extend(fresh);
    }
    // Restore the rules of ports on record, if they were deleted.
    plan.extend(wiring::publish(&host.kernel, &network, &endpoint, &shown)?);
    // Many ports go on record at once, and open at once.
    let mut plan = once(plan);
    plan.sort_by_key(|step| match &step.change {
        // Remove accept rules that are no longer needed while they are still on record.
        Change::Delete(Resource::Rule(_)) => 0,
        Change::Create(Resource::Record(_)) | Change::Delete(Resource::Record(_)) => 1,
        Change::Delete(Resource::Flows(_)) => 3,
        _ => 2,
    });
    let Some(changed) = host.carry_out(&plan, state).await? else { return Ok(None) };
    warn_of_no_forwarding(host, &network, &shown)?;
    Ok(Some(Changed::new(changed, Ports { target: endpoint.target, ports: shown })))
}

/// On a foreign bridge, forwarding of IPv6 is left to the bridge's owner.
fn warn_of_no_forwarding(
    host: &Session<'_>,
    network: &Network,
    ports: &[PublishedPort],
) -> Result<()> {
    let key = "net/ipv6/conf/all/forwarding";
    let wants_ipv6 = network.driver.is_foreign() && ports.iter().any(|p| p.host_ip.is_ipv6());
    if wants_ipv6 && host.kernel.sysctl(key)?.as_deref() == Some("0") {
        host.events.warn(&format!("the host forwards no IPv6: `sysctl -w {key}=1` opens [::]"));
    }
    Ok(())
}

/// The endpoint that published ports lead to.
struct Published {
    network: Network,
    endpoint: Endpoint,
    /// The steps that name its namespace, and forget its former endpoint.
    before: Plan,
}

/// Returns the endpoint of a target that published ports lead to: one on record, else one that
/// another program made.
async fn published(
    host: &Session<'_>,
    state: &State,
    args: &Publish,
    found: &Found,
) -> Result<Published> {
    let target = &args.target;
    let on_record = on_record(state, found.netns.cookie(), args);
    let publishes = |network: &Network| network.driver.forwards() && !network.has(Flag::Internal);
    if on_record.as_ref().is_none_or(|(network, _)| !publishes(network)) {
        let (name, named) = naming(state, found, None, false)?;
        let there = foreign::endpoint(&host.kernel, state, &name, &found.netns).await?;
        if let Some((mut network, endpoint)) = there {
            if !state.networks().contains_key(&network.name) {
                network.firewall = firewall::of_host(host, state);
            }
            let mut before = named.map(|named| plan::name(&named)).unwrap_or_default();
            let endpoint = take_over(host, state, &network, endpoint, found, &mut before)?;
            return Ok(Published { network, endpoint, before });
        }
    }
    let Some((network, endpoint)) = on_record else {
        return Err(Error::not_found(format!("target `{target}` is attached to no network"))
            .hint(format!("attach it first: `netcord attach NETWORK {target}`"))
            .into());
    };
    Ok(Published { network, endpoint, before: Plan::new() })
}

/// Gives the endpoint of a container that was started again the ports that its former one had.
fn take_over(
    host: &Session<'_>,
    state: &State,
    network: &Network,
    mut endpoint: Endpoint,
    found: &Found,
    plan: &mut Plan,
) -> Result<Endpoint> {
    let Some(container) = &found.container else { return Ok(endpoint) };
    endpoint.container = Some(Box::new(container.clone()));
    let is_former = |e: &Endpoint| e.foreign && is_former(e, container);
    for (record, former) in state.endpoints().filter(|(_, e)| is_former(e)) {
        for port in &former.ports {
            let ports = again(&host.kernel, state, network, &endpoint, port, former)?;
            endpoint.ports.extend(ports);
        }
        plan.push(containers::forgotten(&record.network, former));
    }
    Ok(endpoint)
}

/// Returns the endpoint on record that published ports lead to: the one that has them already, else
/// the one with the default route, else the first.
fn on_record(state: &State, cookie: u64, args: &Publish) -> Option<(Network, Endpoint)> {
    let has_it = |e: &Endpoint| {
        args.ports.iter().any(|spec| e.ports.iter().any(|published| published.is_of(spec)))
    };
    let mut own: Vec<_> =
        state.endpoints().filter(|(_, e)| e.cookie == cookie && !e.is_stopped()).collect();
    own.sort_by_key(|(record, e)| {
        (!has_it(e), record.network.has(Flag::Internal), e.gateways.is_empty())
    });
    own.first().map(|(record, endpoint)| (record.network.clone(), (*endpoint).clone()))
}

/// Returns a port of a stopped container's endpoint as the endpoint in its place has it, if it is
/// still free.
pub(super) fn again(
    kernel: &Kernel,
    state: &State,
    network: &Network,
    endpoint: &Endpoint,
    port: &PublishedPort,
    former: &Endpoint,
) -> Result<Vec<PublishedPort>> {
    let PublishedPort { host_ip, host, container, protocol, chosen, .. } = *port;
    let host = HostPorts::Range(host);
    let spec = PortSpec { host_ip: Some(host_ip), host, container, protocol };
    let former = Some(former.id());
    let (_, fresh) = split(kernel, state, network, endpoint, &spec, former.as_ref())?;
    Ok(fresh.into_iter().map(|port| PublishedPort { chosen, ..port }).collect())
}

/// Returns the ports that an endpoint still needs for these specifications.
pub(super) fn choose(
    kernel: &Kernel,
    state: &State,
    network: &Network,
    endpoint: &Endpoint,
    spec: &PortSpec,
) -> Result<Vec<PublishedPort>> {
    split(kernel, state, network, endpoint, spec, None).map(|(_, fresh)| fresh)
}

/// Splits the ports of a specification into published ones and new ones. Those of `former` are free.
fn split(
    kernel: &Kernel,
    state: &State,
    network: &Network,
    endpoint: &Endpoint,
    spec: &PortSpec,
    former: Option<&EndpointId>,
) -> Result<(Vec<PublishedPort>, Vec<PublishedPort>)> {
    if network.is_without_gateway() {
        return Err(Error::conflict(format!(
            "network `{}` has no gateway: the host has no address there to send packets from",
            network.name
        ))
        .hint("attach the target to a network with a gateway too, and publish there")
        .into());
    }
    if network.has(Flag::Internal) {
        return Err(Error::conflict(format!(
            "network `{}` is internal: nothing outside reaches it",
            network.name
        ))
        .hint("attach the target to another network too, and publish there")
        .into());
    }
    if network.is_without_subnet() {
        return Err(Error::conflict(format!(
            "network `{}` has no subnet: the host has no address there to send packets to",
            network.name
        ))
        .hint("attach the target to a network with a subnet too, and publish there")
        .into());
    }
    if !network.driver.forwards() {
        return Err(Error::conflict(format!(
            "network `{}` is the physical one: `{}` has an address there, and nothing to publish",
            network.name, endpoint.target
        ))
        .hint("use the endpoint's own address")
        .into());
    }
    let addresses = host_addresses(kernel, network, endpoint, spec)?;
    let is_other = |e: &Endpoint| former.is_none_or(|former| !e.is(former));
    let others: Vec<_> = state.endpoints().filter(|(_, e)| is_other(e)).collect();
    let check_socket = |ip, port, protocol| check_socket(endpoint, ip, port, protocol);
    let host = Host { others: &others, ephemeral: &ephemeral, check_socket: &check_socket };
    Search { host, endpoint, spec }.split(addresses)
}

/// Pairs the host's addresses with the endpoint's, one pair a family.
fn host_addresses(
    kernel: &Kernel,
    network: &Network,
    endpoint: &Endpoint,
    spec: &PortSpec,
) -> Result<Vec<(IpAddr, IpAddr)>> {
    let Some(host_ip) = spec.host_ip else {
        let to = |family: Family| Some((family.unspecified(), endpoint.address(family)?));
        return Ok(Family::BOTH.into_iter().filter_map(to).collect());
    };
    let family = Family::of(host_ip);
    let Some(address) = endpoint.address(family) else {
        return Err(Error::conflict(format!(
            "{host_ip} cannot lead to `{}`, which has no {family} address",
            endpoint.target
        ))
        .into());
    };
    if host_ip.is_ipv6() && host_ip.is_loopback() {
        return Err(Error::usage(
            "a port of ::1 cannot be published: the kernel keeps ::1 off other links",
        )
        .hint("publish on 127.0.0.1, or on all addresses")
        .into());
    }
    if network.driver.is_foreign() && host_ip.is_loopback() {
        let key = format!("net/ipv4/conf/{}/route_localnet", network.name);
        if kernel.sysctl(&key)?.as_deref() != Some("1") {
            return Err(Error::conflict(format!(
                "127.0.0.1 does not lead to `{}`: its bridge is not netcord's, and is never changed",
                network.name
            ))
            .hint("publish on another address of the host, or attach to a network of netcord's")
            .into());
        }
    }
    Ok(vec![(host_ip, address)])
}

fn check_socket(endpoint: &Endpoint, host_ip: IpAddr, port: u16, protocol: Protocol) -> Result<()> {
    match is_free(host_ip, port, protocol)? {
        Free::Yes => Ok(()),
        Free::NoSuchAddress => Err(Error::not_found(format!("the host has no address {host_ip}"))
            .hint("see its addresses with `ip addr`")
            .into()),
        Free::Taken => {
            let owner = owner(host_ip, port, protocol);
            if owner.is_some_and(|owner| is_reservation(endpoint, owner)) {
                return Ok(());
            }
            let owner = owner.map_or_else(|| "a process".into(), |owner| owner.to_string());
            let message = format!("port {port}/{protocol} of the host is taken by {owner}");
            Err(Error::conflict(message).hint("choose another port, or stop what listens").into())
        }
    }
}
