//! Neighbour tables and bridge forwarding tables: reads which addresses are in use on a foreign
//! bridge, and sets permanent entries.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::{Context, Result};
use nix::libc;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
};

use super::{Kernel, Link, Netns, address::family, link, rtnl::Rtnl};
use crate::model::{LinkName, Mac, Route};

/// A neighbour, or an entry of a forwarding table.
pub(super) struct Neighbour {
    pub(super) index: u32,
    pub(super) address: Option<IpAddr>,
    pub(super) mac: Option<Mac>,
    /// Of an entry of a VXLAN link's forwarding table: the host that the MAC is at.
    pub(super) host: Option<IpAddr>,
    pub(super) state: NeighbourState,
    /// Its origin (`NDA_PROTOCOL`), if it has one.
    pub(super) protocol: Option<u8>,
    /// Whether the host answers for it (proxy).
    pub(super) proxy: bool,
    /// Whether it is in the link's own forwarding table, and not in that of the link's bridge.
    pub(super) of_link: bool,
}

/// Addresses in a bridge's neighbour and forwarding tables. Equivalent to
/// `ip neigh show dev BRIDGE; bridge fdb show br BRIDGE`.
pub(super) async fn heard(rtnl: &Rtnl, bridge: u32) -> Result<BTreeMap<IpAddr, String>> {
    let mut forwarding = NeighbourMessage::default();
    forwarding.header.family = AddressFamily::Bridge;
    forwarding.attributes.push(NeighbourAttribute::Controller(bridge));
    // Permanent entries are the MACs of the ports themselves, not of hosts behind them.
    let learned: BTreeSet<Mac> = read(rtnl, forwarding)
        .await?
        .into_iter()
        .filter(|n| n.state != NeighbourState::Permanent)
        .filter_map(|n| n.mac)
        .collect();

    // Docker used to derive MACs from addresses, as we do: 02:42 and the address.
    let mut heard: BTreeMap<_, _> =
        learned.iter().filter_map(|mac| Some((mac.derived_from()?, mac.to_string()))).collect();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut neighbours = NeighbourMessage::default();
        neighbours.header.family = family;
        neighbours.attributes.push(NeighbourAttribute::IfIndex(bridge));
        for neighbour in read(rtnl, neighbours).await? {
            let (Some(address), Some(mac)) = (neighbour.address, neighbour.mac) else { continue };
            // A stale entry of an endpoint of ours that is gone.
            let remnant = mac.derived_from() == Some(address) && !learned.contains(&mac);
            if !remnant && is_somebody(neighbour.state) {
                heard.insert(address, mac.to_string());
            }
        }
    }
    Ok(heard)
}

/// Returns the MAC of an address on a link, if known, and the entry's state as `ip neigh` names it.
/// Equivalent to `ip neigh get ADDRESS dev LINK`.
pub(super) async fn mac_of(
    rtnl: &Rtnl,
    index: u32,
    address: IpAddr,
) -> Result<Option<(Mac, &'static str)>> {
    let mut look = message(index, address);
    look.header.state = NeighbourState::None;
    let there = get(rtnl, look).await?.filter(|n| is_somebody(n.state));
    Ok(there.and_then(|n| {
        let how = match n.state {
            NeighbourState::Permanent => "permanent",
            NeighbourState::Reachable => "reachable",
            _ => "stale",
        };
        Some((n.mac?, how))
    }))
}

/// Returns whether the host answers for another's address on a link. Equivalent to `ip neigh show
/// proxy to ADDRESS`.
pub(super) async fn answers_for(rtnl: &Rtnl, index: u32, address: IpAddr) -> Result<bool> {
    let mut look = NeighbourMessage::default();
    look.header.family = family(address);
    look.header.flags = NeighbourFlags::Proxy;
    // An entry without a link applies to all links.
    let is_it =
        |n: Neighbour| n.proxy && n.address == Some(address) && (n.index == index || n.index == 0);
    Ok(read(rtnl, look).await?.into_iter().any(is_it))
}

/// Returns the port by which a bridge sends frames for a MAC; the bridge's own index if the MAC is
/// its own. Equivalent to `bridge fdb get MAC br BRIDGE`.
pub(super) async fn port_of(rtnl: &Rtnl, bridge: u32, mac: Mac) -> Result<Option<u32>> {
    let mut look = NeighbourMessage::default();
    look.header.family = AddressFamily::Bridge;
    look.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()));
    look.attributes.push(NeighbourAttribute::Controller(bridge));
    // The MAC of a port is also the bridge's: frames for it are not forwarded.
    Ok(get(rtnl, look).await?.map(|n| match n.state {
        NeighbourState::Permanent => bridge,
        _ => n.index,
    }))
}

/// Reads one entry; returns `None` if there is none.
pub(super) async fn get(rtnl: &Rtnl, look: NeighbourMessage) -> Result<Option<Neighbour>> {
    match rtnl.get(RouteNetlinkMessage::GetNeighbour(look)).await {
        Ok(replies) => Ok(replies.into_iter().find_map(parse)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => Ok(None),
        Err(e) => Err(e).context("cannot read a neighbour"),
    }
}

/// Returns the message of a permanent entry with our mark. Equivalent to `ip neigh replace ADDRESS
/// lladdr MAC dev LINK nud permanent protocol PROTOCOL`.
pub(super) fn permanent(index: u32, address: IpAddr, mac: Mac) -> NeighbourMessage {
    let mut message = message(index, address);
    message.header.state = NeighbourState::Permanent;
    let octets = mac.octets().to_vec();
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(octets));
    message.attributes.push(NeighbourAttribute::Protocol(Route::PROTOCOL.into()));
    message
}

/// Returns whether a permanent entry exists.
pub(super) async fn is_there(
    rtnl: &Rtnl,
    name: &LinkName,
    address: IpAddr,
    mac: Mac,
) -> Result<bool> {
    let Some(link) = link::get(rtnl, name.as_str()).await? else { return Ok(false) };
    Ok(permanent_mac(rtnl, link.index, address).await? == Some(mac))
}

/// Returns the MAC of a permanent entry.
pub(super) async fn permanent_mac(rtnl: &Rtnl, index: u32, address: IpAddr) -> Result<Option<Mac>> {
    let mut look = message(index, address);
    look.header.state = NeighbourState::None;
    let there = get(rtnl, look).await?.filter(|n| n.state == NeighbourState::Permanent);
    Ok(there.and_then(|n| n.mac))
}

/// Returns the message that names an address of a link.
pub(super) fn message(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = index;
    message.attributes.push(NeighbourAttribute::Destination(address.into()));
    message
}

/// Returns whether this state means that the address is in use.
pub(super) fn is_somebody(state: NeighbourState) -> bool {
    use NeighbourState::{Delay, Permanent, Probe, Reachable, Stale};
    matches!(state, Reachable | Stale | Delay | Probe | Permanent)
}

pub(super) async fn read(rtnl: &Rtnl, request: NeighbourMessage) -> Result<Vec<Neighbour>> {
    let replies = rtnl
        .dump(RouteNetlinkMessage::GetNeighbour(request))
        .await
        .context("cannot read neighbours")?;
    Ok(replies.into_iter().filter_map(parse).collect())
}

fn parse(reply: RouteNetlinkMessage) -> Option<Neighbour> {
    let RouteNetlinkMessage::NewNeighbour(message) = reply else { return None };
    let header = &message.header;
    let mut found = Neighbour {
        index: header.ifindex,
        address: None,
        mac: None,
        host: None,
        state: header.state,
        protocol: None,
        proxy: header.flags.contains(NeighbourFlags::Proxy),
        of_link: header.flags.contains(NeighbourFlags::Own),
    };
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                found.address = Some(v4.into());
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                found.address = Some(v6.into());
            }
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                found.host = host(&bytes);
            }
            NeighbourAttribute::Protocol(protocol) => found.protocol = Some(protocol.into()),
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                found.mac = Mac::try_from(bytes.as_slice()).ok();
            }
            _ => {}
        }
    }
    Some(found)
}

/// A host's address: in the forwarding table its length tells the family.
fn host(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// Returns whether an entry of the neighbour table has our mark.
pub(super) fn is_ours(message: &NeighbourMessage) -> bool {
    message.attributes.contains(&NeighbourAttribute::Protocol(Route::PROTOCOL.into()))
}

impl Kernel {
    /// Addresses in the neighbour and forwarding tables of a bridge, and who has them, as far as
    /// the kernel knows.
    pub async fn heard_on(&self, bridge: &Link) -> Result<BTreeMap<IpAddr, String>> {
        heard(&self.rtnl, bridge.index).await
    }
}

impl Netns {
    /// Returns the MAC that it has for an address on a link, and the entry's state.
    pub async fn mac_of(
        &self,
        link: &Link,
        address: IpAddr,
    ) -> Result<Option<(Mac, &'static str)>> {
        mac_of(self.rtnl(), link.index, address).await
    }

    /// Returns whether it answers on a link for another's address (`ip neigh add proxy`).
    pub async fn answers_for(&self, link: u32, address: IpAddr) -> Result<bool> {
        answers_for(self.rtnl(), link, address).await
    }

    /// Returns the index of the port by which a bridge sends frames for a MAC; the bridge's own
    /// index if they are for itself; `None` if the MAC is unknown, so that frames are flooded.
    pub async fn port_of(&self, bridge: &Link, mac: Mac) -> Result<Option<u32>> {
        port_of(self.rtnl(), bridge.index, mac).await
    }
}
