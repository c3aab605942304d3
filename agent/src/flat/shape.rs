//! The configuration of a flat network in its store, and the one that was asked for.

use std::net::IpAddr;

use anyhow::Result;
use ipnetwork::IpNetwork;
use netcord::{
    agents::netcord_agent::protocol::Join,
    error::{Error, Kind},
    model::{BackendKind, Cidr, Network, Subnet, Vxlan},
};
use netcord_agent::store::flat::{Config, New};

/// Returns the network that the first host makes.
///
/// # Errors
/// If there is no subnet, or one cannot be used.
pub(super) fn new(join: &Join) -> Result<New> {
    let shape = &join.shape;
    if shape.backend.is_some_and(|kind| kind != BackendKind::Vxlan) {
        return Err(Error::usage("--flat: a flat network has the backend vxlan").into());
    }
    let mut cidrs: Vec<_> = shape.subnets.iter().map(|Cidr(cidr)| network(*cidr)).collect();
    cidrs.sort_by_key(IpNetwork::is_ipv6);
    if cidrs.windows(2).any(|pair| pair[0].is_ipv4() == pair[1].is_ipv4()) {
        return Err(Error::usage("--subnet: there are two of one IP family").into());
    }
    if let Some(stray) =
        shape.gateways.iter().find(|ip| !cidrs.iter().any(|cidr| cidr.contains(**ip)))
    {
        return Err(Error::usage(format!("--gateway {stray}: it is in no subnet")).into());
    }
    let gateway = |cidr: &IpNetwork| -> Result<IpAddr> {
        let given = shape.gateways.iter().copied().find(|ip| cidr.contains(*ip));
        let subnet = Subnet::new(*cidr, given, None)?;
        let none = || Error::usage(format!("subnet {cidr} has no room for a gateway"));
        Ok(subnet.gateway.ok_or_else(none)?)
    };
    let gateways = cidrs.iter().map(gateway).collect::<Result<_>>()?;
    Ok(New {
        subnets: cidrs,
        gateways,
        vni: shape.vni,
        port: shape.port.unwrap_or(Vxlan::PORT),
        flat: shape.flat.unwrap_or_default(),
    })
}

/// Checks that the store's configuration is as requested.
///
/// # Errors
/// If it differs.
pub(super) fn check(join: &Join, there: &Config) -> Result<()> {
    let shape = &join.shape;
    let mut differences = Vec::new();
    let mut compare = |name: &str, wanted: Option<String>, found: String| {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
            differences.push(format!("{name} is {found}, not {wanted}"));
        }
    };
    let mut asked: Vec<_> = shape.subnets.iter().map(|Cidr(cidr)| network(*cidr)).collect();
    asked.sort_by_key(IpNetwork::is_ipv6);
    let asked = Some(asked).filter(|asked| !asked.is_empty());
    compare("subnet", asked.map(|asked| joined(&asked)), joined(&there.subnets));
    let gateways = Some(&shape.gateways).filter(|asked| !asked.is_empty());
    compare("gateway", gateways.map(|asked| joined(asked)), joined(&there.gateways));
    let backend = shape.backend.map(|kind| kind.as_str().to_owned());
    compare("backend", backend, BackendKind::Vxlan.as_str().to_owned());
    compare("VNI", shape.vni.map(|vni| vni.to_string()), there.vni.to_string());
    compare("port", shape.port.map(|port| port.to_string()), there.port.to_string());
    compare(
        "multicast",
        shape.flat.map(|flat| flat.multicast.to_string()),
        there.flat.multicast.to_string(),
    );
    compare("direct-routing", shape.direct_routing.then(|| true.to_string()), false.to_string());
    if differences.is_empty() {
        return Ok(());
    }
    let prefix = &join.store.prefix;
    Err(Error::conflict(format!(
        "the network in the store, under `{prefix}`, differs: {}",
        differences.join("; ")
    ))
    .hint("leave out what its first host has decided, or give the network a `--prefix` of its own")
    .into())
}

/// Checks that a network on record has this configuration.
///
/// # Errors
/// If it has another one.
pub(super) fn check_record(network: &Network, there: &Config) -> Result<()> {
    let Some(overlay) = network.driver.overlay() else {
        return Err(Error::conflict("it is no overlay network").into());
    };
    let own: Vec<_> = network.subnets.iter().map(|subnet| subnet.cidr).collect();
    let gateways: Vec<_> = network.subnets.iter().filter_map(|subnet| subnet.gateway).collect();
    let vxlan = overlay.backend.vxlan().map(|vxlan| (vxlan.vni, vxlan.port));
    let is_same = own == there.subnets
        && gateways == there.gateways
        && vxlan == Some((there.vni, there.port))
        && overlay.flat == Some(there.flat);
    if is_same {
        return Ok(());
    }
    Err(Error::new(
        Kind::Conflict,
        "the network's configuration was changed: remove the network, and join again",
    )
    .into())
}

fn joined<T: ToString>(parts: &[T]) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn network(cidr: IpNetwork) -> IpNetwork {
    IpNetwork::new(cidr.network(), cidr.prefix()).unwrap_or(cidr)
}
