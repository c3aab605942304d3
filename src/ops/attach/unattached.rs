//! Chooses an address for an engine, which assigns it to a container later.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::{Attach, chooser::Chooser, lease::Leases, pool::taken};
use crate::{
    error::Error,
    model::{Address, AddressRange, Endpoint, Interface, NetworkRecord, Subnet},
    ops::{Session, lookup::plug, upkeep::need::Extent},
};

/// The owner of an address that the engine has already.
const OWNER: &str = "docker";

/// The request for an address.
#[derive(Clone, Copy, Debug)]
pub struct Unattached<'a> {
    /// The subnet: of a network of netcord's, or of one that is yet to be made.
    pub subnet: IpNetwork,
    /// The range from which the address is chosen; by default the whole subnet.
    pub range: Option<IpNetwork>,
    /// The address; by default the lowest free one.
    pub ip: Option<IpAddr>,
    /// Whether it is to be the gateway's.
    pub is_gateway: bool,
    /// The addresses that the engine has already.
    pub taken: &'a BTreeSet<IpAddr>,
}

/// Returns a free address, with its prefix length.
///
/// # Errors
/// If it is taken, or there is none.
pub async fn unattached(host: &Session<'_>, request: &Unattached<'_>) -> Result<IpNetwork> {
    let state = host.look(Extent::of(None)).await?;
    let has_it = |r: &&NetworkRecord| r.network.subnets.iter().any(|s| s.cidr == request.subnet);
    let record = state.networks().values().find(has_it).map(|record| of_one(record, request));
    if request.is_gateway {
        let known = record.and_then(|r| r.network.subnets.first().and_then(|s| s.gateway));
        return gateway(request, known);
    }
    let Some(record) = record else { return not_made(host, request).await };
    let mut args = Attach::new(record.network.name.clone().into(), Vec::new());
    args.wiring.ip.extend(request.ip.map(|ip| Address { ip, length: None }));
    let range = request.range.map(|r| AddressRange { first: r.network(), last: r.broadcast() });
    args.wiring.ranges.extend(range);
    let bridge = plug::required(&host.kernel, &record.network).await?;
    let leases = Leases::default();
    let mut chooser = Chooser::new(host, &args, &state, &record, bridge, &leases).await?;
    chooser.pool.take(request.taken.iter().map(|ip| (*ip, OWNER.to_owned())));
    let chosen = chooser.addresses(&host.kernel, &args.wiring, None)?;
    chosen.into_iter().next().ok_or_else(|| none_left(request.subnet))
}

/// Returns an address of a network that is yet to be made, or is not netcord's.
async fn not_made(host: &Session<'_>, request: &Unattached<'_>) -> Result<IpNetwork> {
    let subnet = Subnet::new(request.subnet, None, request.range)?;
    let ip = match request.ip {
        Some(ip) if request.taken.contains(&ip) => return Err(taken(ip, OWNER)),
        Some(ip) => {
            subnet.check_host(ip, "address")?;
            ip
        }
        None => {
            let own = host.kernel.addresses().await?.into_iter().map(|own| own.address.ip());
            let taken = own.chain(request.taken.iter().copied()).collect();
            let subnet = Subnet { gateway: None, ..subnet };
            subnet.lowest_free(&taken).ok_or_else(|| none_left(request.subnet))?
        }
    };
    Ok(IpNetwork::new(ip, request.subnet.prefix())?)
}

/// The network, with the subnet only. When an engine starts, it requests the addresses again that it has: for
/// those, its own endpoints are not in the way.
fn of_one(record: &NetworkRecord, request: &Unattached<'_>) -> NetworkRecord {
    let mut record = record.clone();
    record.network.subnets.retain(|subnet| subnet.cidr == request.subnet);
    let is_its = |e: &Endpoint| {
        e.owner.as_ref().is_some_and(|owner| owner.interface == Interface::Docker)
            && e.addresses.iter().any(|address| Some(address.ip()) == request.ip)
    };
    record.endpoints.retain(|endpoint| !is_its(endpoint));
    record
}

/// Returns the requested gateway, or the network's, or the first address of the subnet.
fn gateway(request: &Unattached<'_>, known: Option<IpAddr>) -> Result<IpNetwork> {
    let subnet = Subnet::new(request.subnet, None, None)?;
    let known = known.filter(|ip| subnet.contains(*ip));
    let ip = request.ip.or(known).or(subnet.gateway).ok_or_else(|| none_left(request.subnet))?;
    subnet.check_host(ip, "gateway")?;
    if request.taken.contains(&ip) {
        return Err(taken(ip, OWNER));
    }
    Ok(IpNetwork::new(ip, request.subnet.prefix())?)
}

fn none_left(subnet: IpNetwork) -> anyhow::Error {
    Error::conflict(format!("no address of {subnet} is free")).into()
}
