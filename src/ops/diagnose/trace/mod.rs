//! `trace`: follows a packet through namespaces, bridges and firewalls.
//!
//! - `world`: the namespaces that it can reach
//! - `place`: one of them, and what its kernel answers
//! - `walk`: computes its path
//! - `live`: follows a real packet

mod live;
mod place;
mod walk;
mod world;

use std::net::IpAddr;

use anyhow::Result;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

pub(super) use self::{
    place::Reading,
    walk::{Start, walk},
    world::{HOST, World},
};
use crate::{
    error::Error,
    kernel::route::{Query, Way as Route},
    model::{
        Target, is_link_local,
        ruleset::{Met, Packet},
        trace_path::{Outcome, Stage, TraceEnd, TraceTarget, Verdict, Way},
    },
    ops::{
        Session,
        lookup::resolve::resolve,
        upkeep::need::{Depth, Extent},
    },
    picture,
};

/// The packet to trace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trace {
    /// The sender.
    pub from: TraceEnd,
    /// The destination.
    pub to: TraceTarget,
    /// Trace a real packet; by default its path is computed.
    pub live: Option<Live>,
}

/// How to trace a real packet.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Live {
    /// Wait for a matching packet instead of sending one.
    pub wait: bool,
    /// How many seconds to wait for the packet or its reply; by default 3, or 60 with `wait`.
    pub timeout: Option<u64>,
}

/// The path of a packet and of its reply.
#[derive(Debug, Serialize)]
pub struct Traced {
    /// The sender, as requested.
    pub from: String,
    /// The destination, as requested.
    pub to: String,
    /// Whether it was a real packet.
    pub live: bool,
    /// The path.
    #[serde(flatten)]
    pub way: Way,
}

/// Traces a packet's path.
///
/// # Errors
/// If the sender or the destination does not exist, or a real packet cannot be sent.
pub async fn trace(host: &Session<'_>, args: &Trace) -> Result<Traced> {
    let mut world =
        World::open(&host.kernel, &host.look(Extent::to(Depth::Unattached)).await?).await?;
    let (packet, start) = beginning(host, &mut world, &args.from, &args.to).await?;
    let walked = walk(&mut world, packet, start).await?;
    let way = match args.live {
        Some(live) => live::follow(host.events, &world, &walked, args, live).await?,
        None => walked.way,
    };
    let (from, to) = (args.from.to_string(), args.to.to_string());
    Ok(Traced { from, to, live: args.live.is_some(), way })
}

/// Returns the packet as it is sent, and where.
async fn beginning(
    host: &Session<'_>,
    world: &mut World,
    from: &TraceEnd,
    to: &TraceTarget,
) -> Result<(Packet, Start)> {
    let sender = party(host, world, from).await?;
    let receiver = party(host, world, &to.party).await?;
    let own = match sender {
        Who::Place(place) => world.places[place].view.addresses.iter().map(|a| a.address).collect(),
        Who::Address(address) => vec![IpNetwork::from(address)],
    };
    let destination = match receiver {
        Who::Address(address) => address,
        Who::Place(place) => {
            let addresses: Vec<_> =
                world.places[place].view.addresses.iter().map(|a| a.address).collect();
            let is_same = matches!(sender, Who::Place(same) if same == place);
            best(&addresses, &own, is_same).ok_or_else(|| {
                Error::not_found(format!("`{}` has no address", to.party))
                    .hint("attach it to a network: `netcord attach NETWORK TARGET`")
            })?
        }
    };
    let (source, start) = match sender {
        Who::Place(place) => (unspecified(destination), Start::Socket(place)),
        Who::Address(address) if address.is_ipv4() != destination.is_ipv4() => {
            let message = format!("{address} and {destination} are not of the same IP version");
            return Err(Error::usage(message).into());
        }
        Who::Address(address) if world.places[HOST].local.contains(&address) => {
            (address, Start::Socket(HOST))
        }
        Who::Address(address) => match world.places[HOST].way(Query::to(address)).await? {
            Route::By { index, .. } => (address, Start::Link(index)),
            Route::Here { .. } => (address, Start::Socket(HOST)),
            Route::None(_) => {
                let message = format!("no link of the host's leads to {address}");
                return Err(Error::not_found(message).into());
            }
        },
    };
    Ok((Packet::to(source, destination, to.port), start))
}

/// An end of the path.
#[derive(Clone, Copy)]
enum Who {
    Place(usize),
    Address(IpAddr),
}

async fn party(host: &Session<'_>, world: &mut World, party: &TraceEnd) -> Result<Who> {
    let target = match party {
        TraceEnd::Address(address) => return Ok(Who::Address(*address)),
        TraceEnd::Target(Target::Host) => return Ok(Who::Place(HOST)),
        TraceEnd::Target(target) => target,
    };
    let found = resolve(&host.kernel, host.events, target, None).await?;
    world.add(found.name.as_str(), found.netns).await.map(Who::Place)
}

/// Returns the address that a sender would use: one in a common subnet, else the first one, IPv4
/// before IPv6.
fn best(addresses: &[IpNetwork], sender: &[IpNetwork], is_same: bool) -> Option<IpAddr> {
    let mut usable: Vec<_> =
        addresses.iter().filter(|a| !is_link_local(a.ip()) && !a.ip().is_loopback()).collect();
    usable.sort_by_key(|a| a.is_ipv6());
    let has_family =
        |a: &IpNetwork| sender.iter().any(|s| s.is_ipv4() == a.is_ipv4() && !s.ip().is_loopback());
    let near =
        usable.iter().find(|a| sender.iter().any(|s| !s.ip().is_loopback() && a.contains(s.ip())));
    let loopback = || addresses.iter().find(|a| is_same && a.ip().is_loopback());
    near.or_else(|| usable.iter().find(|a| has_family(a)))
        .or_else(|| usable.first())
        .map(|a| a.ip())
        .or_else(|| loopback().map(IpNetwork::ip))
}

fn unspecified(of: IpAddr) -> IpAddr {
    if of.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) }
}

/// Returns the verdict if a rule dropped it.
fn verdict_of_rule(place: &str, stage: Stage, rule: Option<Met>) -> Verdict {
    let why = rule.as_ref().map(picture::trace_path::rule).unwrap_or_default();
    let text = format!("dies at {stage} of {place}: {why}");
    Verdict { outcome: Outcome::Dies, place: place.to_owned(), stage, rule, text }
}
