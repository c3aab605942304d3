//! Who is on a bridge that is not ours: its neighbours and its forwarding table.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::{Context, Result};
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
};

use super::rtnl::Rtnl;
use crate::model::Mac;

struct Neighbour {
    address: Option<IpAddr>,
    mac: Option<Mac>,
    state: NeighbourState,
}

/// Addresses that a bridge's neighbours and forwarding table tell of. Equivalent to
/// `ip neigh show dev BRIDGE; bridge fdb show br BRIDGE`.
pub(super) async fn heard(rtnl: &Rtnl, bridge: u32) -> Result<BTreeMap<IpAddr, String>> {
    let mut forwarding = NeighbourMessage::default();
    forwarding.header.family = AddressFamily::Bridge;
    forwarding.attributes.push(NeighbourAttribute::Controller(bridge));
    // Permanent entries are the ports' own addresses, not those of who is behind them.
    let learned: BTreeSet<Mac> = read(rtnl, forwarding)
        .await?
        .into_iter()
        .filter(|n| n.state != NeighbourState::Permanent)
        .filter_map(|n| n.mac)
        .collect();

    // Docker used to make MACs of addresses, as we do: 02:42 and the address.
    let mut heard: BTreeMap<_, _> =
        learned.iter().filter_map(|mac| Some((mac.derived_from()?, mac.to_string()))).collect();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut neighbours = NeighbourMessage::default();
        neighbours.header.family = family;
        neighbours.attributes.push(NeighbourAttribute::IfIndex(bridge));
        for neighbour in read(rtnl, neighbours).await? {
            let (Some(address), Some(mac)) = (neighbour.address, neighbour.mac) else { continue };
            // What is left in the cache of an endpoint of ours that is gone.
            let remnant = mac.derived_from() == Some(address) && !learned.contains(&mac);
            if !remnant && is_somebody(neighbour.state) {
                heard.insert(address, mac.to_string());
            }
        }
    }
    Ok(heard)
}

fn is_somebody(state: NeighbourState) -> bool {
    use NeighbourState::{Delay, Permanent, Probe, Reachable, Stale};
    matches!(state, Reachable | Stale | Delay | Probe | Permanent)
}

async fn read(rtnl: &Rtnl, request: NeighbourMessage) -> Result<Vec<Neighbour>> {
    let replies = rtnl
        .dump(RouteNetlinkMessage::GetNeighbour(request))
        .await
        .context("cannot read neighbours")?;
    Ok(replies.into_iter().filter_map(parse).collect())
}

fn parse(reply: RouteNetlinkMessage) -> Option<Neighbour> {
    let RouteNetlinkMessage::NewNeighbour(message) = reply else { return None };
    let mut found = Neighbour { address: None, mac: None, state: message.header.state };
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                found.address = Some(v4.into());
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                found.address = Some(v6.into());
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                found.mac = Mac::try_from(bytes.as_slice()).ok();
            }
            _ => {}
        }
    }
    Some(found)
}
