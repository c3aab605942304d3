//! Chooses the endpoint of a target that does not exist yet: an engine moves its inner end there.

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::{
    Attach,
    chooser::{Chooser, mac},
    lease::Leases,
};
use crate::{
    error::Error,
    kernel::Link,
    model::{
        Address, Attachment, Endpoint, Family, Flag, LinkName, LowerLink, Mac, NetworkRecord,
        Owner, stable_hash, waiting_name,
    },
    ops::{Session, request::subnets::check_mtu},
    state::State,
};

/// The request for an endpoint.
#[derive(Clone, Debug)]
pub struct HandOver {
    /// The network.
    pub network: LinkName,
    /// The engine that moves the inner end.
    pub owner: Owner,
    /// Addresses, at most one of each family; by default the lowest free ones.
    pub ip: Vec<Address>,
    /// The MAC of the inner end; by default 02:42 followed by the IPv4 address.
    pub mac: Option<Mac>,
    /// Whether the network's gateway is that of the default route.
    pub gateway: bool,
}

/// Returns the endpoint of a request, on a network with this bridge or parent.
pub(in crate::ops) async fn handed_over(
    host: &Session<'_>,
    request: &HandOver,
    state: &State,
    record: &NetworkRecord,
    bridge: Link,
) -> Result<Endpoint> {
    let network = &record.network;
    if network.is_flat() {
        return Err(Error::conflict(format!(
            "network `{}` is flat: its store gives addresses, and docker gives its own",
            network.name
        ))
        .hint("attach the container with `netcord attach`")
        .into());
    }
    let mut args = Attach::new(network.name.clone().into(), Vec::new());
    args.wiring.ip.clone_from(&request.ip);
    args.wiring.mac = request.mac;
    let leases = Leases::default();
    let mut chooser = Chooser::new(host, &args, state, record, bridge, &leases).await?;
    chooser.check_room()?;
    let addresses = chooser.addresses(&host.kernel, &args.wiring, None)?;
    let mac = match chooser.mac_of_parent() {
        Some(only) => only,
        None => mac(record, chooser.bridge.mac, request.mac, &addresses)?,
    };
    let mtu = chooser.mtu(None)?;
    check_mtu(mtu, addresses.iter().any(IpNetwork::is_ipv6))?;
    // The host end is named after the owner: there is no namespace yet.
    let (seed, ifname) = (stable_hash(&[request.owner.to_string().as_bytes()]), "eth0".parse()?);
    let host_ifname = chooser.host_ifname(&host.kernel, &args.wiring, seed, &ifname).await?;
    let link: LinkName = waiting_name(&host_ifname);
    if host.kernel.link(link.as_str()).await?.is_some() {
        return Err(Error::conflict(format!("the host already has a link `{link}`")).into());
    }
    let is_routed = request.gateway && !network.has(Flag::Internal);
    let families = Family::BOTH.into_iter().filter(|_| is_routed);
    let gateways = families.filter_map(|f| network.gateway_for(&addresses, f)).collect();
    let name = name_of(&request.owner);
    let attachment = match network.lower_link() {
        LowerLink::Bridge(_) => Attachment::Veth { host_ifname },
        LowerLink::Parent(_) => Attachment::Macvlan,
    };
    Ok(Endpoint {
        target: request.owner.name.clone().unwrap_or_else(|| name.clone()),
        netns: name.parse()?,
        cookie: 0,
        routes: chooser.routes(&args.wiring, &link, &addresses)?,
        ifname: link.clone(),
        attachment,
        mac,
        mtu,
        addresses,
        gateways,
        metric: 0,
        replaced: Vec::new(),
        raises_lo: false,
        lease: None,
        hairpin: false,
        foreign: false,
        container: None,
        owner: Some(Box::new(request.owner.clone())),
        handed_over: Some(link),
        ports: Vec::new(),
    })
}

/// As docker shortens its IDs.
fn name_of(owner: &Owner) -> String {
    let short: String = owner.id.chars().take(12).collect();
    format!("{}-{short}", owner.interface.as_str())
}
