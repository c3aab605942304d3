//! Asks the other hosts of an overlay network by echo requests: to their own addresses, and through the
//! network, also with packets as large as it takes. A reply through the tunnel shows that its port is
//! open both ways.

use std::{net::IpAddr, time::Duration};

use anyhow::Result;
use ipnetwork::IpNetwork;
use serde::Serialize;

use super::Listed;
use crate::{
    kernel::echo::{Echo, echoes},
    model::{Network, Overlay, Peer, Subnet},
};

/// The time to wait for replies.
const LIMIT: Duration = Duration::from_millis(1500);
/// The length of a packet that passes everywhere.
const SMALL: u32 = 64;

/// How far packets to another host get; the worst comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// It answers.
    Answers,
    /// It answers, but not to packets as large as the network's MTU.
    SmallOnly,
    /// It answers, but not through the network: packets of the tunnel, or with addresses of endpoints,
    /// are dropped on the way.
    Filtered,
    /// It does not answer at all.
    Silent,
}

/// What was found out about another host.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Reached {
    /// How far packets get.
    pub reach: Reach,
    /// The time until the reply through the network, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<f64>,
}

/// Asks all other hosts at once.
pub(super) async fn ask(network: &Network, overlay: &Overlay, listed: &mut [Listed]) -> Result<()> {
    let mut requests = Vec::new();
    let mut owners = Vec::new();
    for (number, other) in listed.iter().enumerate() {
        if overlay.flat.is_some() && !other.is_self {
            requests.extend(to_host(network, overlay, other.host));
            owners.push(number);
        }
        let Some(peer) = overlay.peers.get(&other.host) else { continue };
        for subnet in &peer.subnets {
            if let Some(asked) = questions(network, overlay, other.host, peer, subnet) {
                requests.extend(asked);
                owners.push(number);
            }
        }
    }
    let replies = echoes(&requests, LIMIT).await?;
    for (number, replies) in owners.into_iter().zip(replies.chunks(3)) {
        let found = judged(replies);
        let worse = listed[number].reach.is_none_or(|before| before.reach < found.reach);
        if worse {
            listed[number].reach = Some(found);
        }
    }
    Ok(())
}

/// The requests to another host of a flat network, where no host has an address of its own: to the host
/// itself, also as large as a packet of the network is in the tunnel.
fn to_host(network: &Network, overlay: &Overlay, host: IpAddr) -> [Echo; 3] {
    let echo = |length| Echo { from: overlay.host, to: host, length };
    [echo(SMALL), echo(SMALL), echo(network.mtu + overlay.overhead())]
}

/// The requests about one subnet of another host: to the host itself, through the network, and through
/// the network as large as it takes.
fn questions(
    network: &Network,
    overlay: &Overlay,
    host: IpAddr,
    peer: &Peer,
    subnet: &IpNetwork,
) -> Option<[Echo; 3]> {
    let is_same = |own: &&Subnet| own.cidr.is_ipv4() == subnet.is_ipv4();
    let own = network.subnets.iter().find(is_same)?;
    let (outer, from, to) = if let Some(next_hop) = peer.next_hop(subnet) {
        // The bridge of a host has the first address of its subnet.
        (next_hop, own.gateway?, subnet.iter().nth(1)?)
    } else {
        let end = match overlay.backend.udp() {
            Some(_) => host,
            None => overlay.vtep(host, peer, subnet.is_ipv4())?.host,
        };
        (end, own.cidr.network(), subnet.network())
    };
    let ends = [Some(overlay.host), overlay.second];
    let outer_from = ends.into_iter().flatten().find(|own| own.is_ipv4() == outer.is_ipv4())?;
    let inner = |length| Echo { from, to, length };
    Some([Echo { from: outer_from, to: outer, length: SMALL }, inner(SMALL), inner(network.mtu)])
}

fn judged(replies: &[Option<Duration>]) -> Reached {
    let [outer, small, large] = [0, 1, 2].map(|k| replies.get(k).copied().flatten());
    let reach = match (outer, small, large) {
        (_, _, Some(_)) => Reach::Answers,
        (_, Some(_), None) => Reach::SmallOnly,
        (Some(_), None, None) => Reach::Filtered,
        (None, None, None) => Reach::Silent,
    };
    let milliseconds = small.or(large).map(|time| (time.as_secs_f64() * 1e5).round() / 100.0);
    Reached { reach, milliseconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_tell_how_far_packets_get() {
        let some = Some(Duration::from_micros(412));
        let reach = |replies: [Option<Duration>; 3]| judged(&replies).reach;
        assert_eq!(reach([some, some, some]), Reach::Answers);
        assert_eq!(reach([None, some, some]), Reach::Answers, "who answers to nobody outside");
        assert_eq!(reach([some, some, None]), Reach::SmallOnly);
        assert_eq!(reach([some, None, None]), Reach::Filtered);
        assert_eq!(reach([None, None, None]), Reach::Silent);
        assert_eq!(judged(&[some, some, some]).milliseconds, Some(0.41));
        assert!(Reach::Answers < Reach::Silent);
    }
}
