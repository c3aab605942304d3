//! Checks that the kernel has the entries for the other hosts of an overlay network.

use super::snapshot::Snapshot;
use crate::{
    model::{Finding, LinkName},
    ops::peers::{Listed, State},
};

/// The command that restores links, routes and entries.
const REMEDY: &str = "netcord repair";

/// Finds other hosts that packets cannot reach.
pub(super) fn lost(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let hosts = snapshot.hosts.iter();
    hosts
        .flat_map(|(network, hosts)| hosts.iter().filter_map(|host| finding(network, host)))
        .collect()
}

fn finding(network: &LinkName, host: &Listed) -> Option<Finding> {
    let Listed { host: address, via, missing, is_self, state, .. } = host;
    let links: Vec<_> = via.iter().map(|link| format!("`{link}`")).collect();
    let links = links.join(" and ");
    match (state, is_self) {
        (State::Ok, _) => None,
        (_, true) => {
            let what =
                format!("{links} is missing or down: no other host of the network is reached");
            let shown = via.iter().map(|link| format!("ip link show dev {link}"));
            Some(
                shown
                    .fold(Finding::error(network.as_str(), what), Finding::shown_by)
                    .mended_by(REMEDY),
            )
        }
        (State::Unreachable, _) => {
            let what = format!("no route leads to {address}, a host of the network");
            Some(Finding::error(network.as_str(), what).shown_by(format!("ip route get {address}")))
        }
        (State::Incomplete, _) => {
            let what = format!(
                "entries for {address}, a host of the network, are missing: packets to its endpoints \
                 do not reach it"
            );
            let lost = missing.iter().map(|command| format!("missing: {command}"));
            Some(
                lost.fold(Finding::error(network.as_str(), what), Finding::shown_by)
                    .mended_by(REMEDY),
            )
        }
    }
}
