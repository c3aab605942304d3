//! How bridges treat their ports: those that are isolated where their network is not, or the other
//! way round, and those that get no frames.

use anyhow::Result;

use super::snapshot::{End, Segment, Snapshot};
use crate::{
    kernel::{Link, Netns},
    model::{Family, Finding, Flag, LinkName},
    ops::driver::underlay::Uplink,
};

/// Endpoints that somebody cut off from the others, or let at them.
pub(super) fn isolated(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for end in snapshot.examined().filter(|end| end.endpoint.is_some()) {
        let (Some(segment), Some(port)) = (snapshot.segment_of(end), &end.outer) else { continue };
        let wanted = segment.network().has(Flag::Isolate);
        if port.isolated == wanted || !segment.bridge.as_ref().is_some_and(|b| port.is_port_of(b)) {
            continue;
        }
        let (what, is, word) = if wanted {
            ("it reaches other endpoints, although its network isolates endpoints", "off", "on")
        } else {
            ("it does not reach other isolated ports: its own port is isolated, too", "on", "off")
        };
        found.push(
            Finding::error(snapshot.place(end), what)
                .shown_by(format!("{}: isolated {is}", port.name))
                .mended_by(format!("bridge link set dev {} isolated {word}", port.name)),
        );
    }
    found
}

/// Host ends by which nobody is found: their bridge does not learn who is there, was not told, and
/// sends them nothing that is for a MAC that it does not know.
pub(super) async fn unknown<'e>(
    own: &Netns,
    segments: &[Segment],
    ends: impl Iterator<Item = &'e End>,
) -> Result<Vec<LinkName>> {
    let mut unknown = Vec::new();
    for end in ends {
        let (Some(endpoint), Some(port)) = (&end.endpoint, &end.outer) else { continue };
        let mut bridges = segments.iter().filter_map(|segment| segment.bridge.as_ref());
        let Some(bridge) = bridges.find(|bridge| port.is_port_of(bridge)) else { continue };
        let mac = end.inner.as_ref().and_then(|inner| inner.link.mac).unwrap_or(endpoint.mac);
        if !port.port.learns && !port.port.floods && own.port_of(bridge, mac).await?.is_none() {
            unknown.extend(endpoint.host_ifname().cloned());
        }
    }
    Ok(unknown)
}

/// Ports that their bridge sends nothing, or not what is needed to find who is there.
pub(super) fn blocked(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let ends = snapshot.examined().filter_map(|end| {
        let port = end.endpoint.as_ref().and(end.outer.as_ref())?;
        Some((snapshot.place(end), snapshot.segment_of(end)?, port))
    });
    let parents = snapshot.segments.iter().filter_map(|segment| {
        let parent = segment.network().driver.parent()?;
        match snapshot.uplink(segment, &parent.link) {
            Uplink::Port(port) | Uplink::Renamed(port) => {
                Some((segment.name().to_owned(), segment, port))
            }
            Uplink::Out(_) | Uplink::Gone => None,
        }
    });
    let mut found = Vec::new();
    for (place, segment, port) in ends.chain(parents) {
        let Some(bridge) = &segment.bridge else { continue };
        // The state of what is down is that.
        if !bridge.up || !port.operates || !port.is_port_of(bridge) {
            continue;
        }
        let name = &port.name;
        if !port.forwards() {
            let what = format!(
                "`{}` neither accepts frames from `{name}` nor sends any to it",
                bridge.name
            );
            let state =
                Finding::error(&place, what).shown_by(format!("{name}: state {}", port.port.state));
            found.push(if bridge.stp {
                // It decides by itself, and refuses another's word.
                state.shown_by(format!("{}: stp_state 1", bridge.name))
            } else {
                state.mended_by(format!("bridge link set dev {name} state 3"))
            });
        }
        for (flags, what) in withheld(snapshot, segment, port) {
            let what = format!("`{}` does not send `{name}` {what}", bridge.name);
            let off: Vec<_> = flags.iter().map(|flag| format!("{flag} off")).collect();
            let on: Vec<_> = flags.iter().map(|flag| format!("{flag} on")).collect();
            found.push(
                Finding::error(&place, what)
                    .shown_by(format!("{name}: {}", off.join(" ")))
                    .mended_by(format!("bridge link set dev {name} {}", on.join(" "))),
            );
        }
    }
    found
}

/// The flags of a port that are off, and what it does not get therefore.
fn withheld(
    snapshot: &Snapshot<'_>,
    segment: &Segment,
    port: &Link,
) -> Vec<(&'static [&'static str], &'static str)> {
    let families = segment.families();
    let mut withheld: Vec<(&[&str], _)> = Vec::new();
    if !port.port.broadcasts && families.contains(&Family::V4) {
        withheld.push((
            &["bcast_flood"],
            "broadcasts: it gets no ARP requests, so neighbours do not learn its MAC",
        ));
    }
    if !port.port.multicasts && families.contains(&Family::V6) {
        let what =
            "multicasts: it gets no neighbour solicitations, so neighbours do not learn its MAC";
        withheld.push((&["mcast_flood"], what));
    }
    if snapshot.unknown_ports.iter().any(|unknown| unknown.as_str() == port.name) {
        let what = "frames to unknown MACs, and does not learn MACs from it";
        withheld.push((&["learning", "flood"], what));
    }
    withheld
}
