//! Checks that the kernel has the entries for the other hosts of an overlay network.

use super::snapshot::Snapshot;
use crate::{
    agents::netcord_agent::protocol::RelayUse,
    model::{AgentTask, Finding, LinkName},
    ops::peers::{Following, Listed, Relay, State},
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

/// Finds networks whose store is not followed, or has problems.
pub(super) fn unfollowed(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let hosts = snapshot.hosts.iter();
    hosts
        .flat_map(|(network, hosts)| {
            let followed = hosts.iter().filter_map(|host| host.store.as_ref());
            followed.flat_map(move |followed| unfollowed_by(network, followed))
        })
        .collect()
}

fn unfollowed_by(network: &LinkName, followed: &Following) -> Vec<Finding> {
    let gone = |what: &str| {
        let what =
            format!("{what}: hosts that join or leave are not noticed, and this host's lease ends");
        vec![Finding::warning(network.as_str(), what).mended_by(REMEDY)]
    };
    match followed {
        Following::DoesNotRun => {
            gone("netcord-agent, which follows the network's store, does not run")
        }
        Following::DoesNotFollow => gone("netcord-agent does not follow the network's store"),
        Following::Follows(member) => {
            let problems = member.problems.iter().map(|problem| format!("the store: {problem}"));
            let skipped = member.skipped.iter().map(|what| format!("skipped in the store: {what}"));
            problems.chain(skipped).map(|what| Finding::warning(network.as_str(), what)).collect()
        }
    }
}

/// Finds networks whose packets no process carries, or carries slowly.
pub(super) fn unrelayed(snapshot: &Snapshot<'_>) -> Vec<Finding> {
    let hosts = snapshot.hosts.iter();
    hosts
        .filter_map(|(network, hosts)| {
            // Without its link, there is no relay.
            let mut with_link = hosts.iter().filter(|host| host.state == State::Ok);
            let own = with_link.find_map(|host| Some((host.via.first()?, host.relay.as_ref()?)));
            own.and_then(|(link, relay)| unrelayed_by(network, link, relay))
        })
        .collect()
}

fn unrelayed_by(network: &LinkName, link: &LinkName, relay: &Relay) -> Option<Finding> {
    let Relay { runs, has_agent, uses, problem, .. } = relay;
    let name = network.as_str();
    let said = |finding: Finding| match problem {
        Some(problem) => finding.shown_by(problem.clone()),
        None => finding,
    };
    if !runs {
        let what = "the network's relay does not run: no packets reach other hosts";
        let finding = Finding::error(name, what).shown_by(format!("ip link show dev {link}"));
        return Some(said(finding).mended_by(REMEDY));
    }
    if !has_agent {
        let undone = AgentTask::Relay.undone();
        let what = format!("{undone}: if the relay ends, it is not started again");
        return Some(Finding::warning(name, what).mended_by(REMEDY));
    }
    let lacks = uses.as_ref().and_then(RelayUse::lacks).or(problem.clone())?;
    Some(Finding::warning(name, format!("the network's relay: {lacks}")))
}

fn finding(network: &LinkName, host: &Listed) -> Option<Finding> {
    let Listed { host: address, via, missing, is_self, state, .. } = host;
    let links: Vec<_> = via.iter().map(|link| format!("`{link}`")).collect();
    let links = links.join(" and ");
    match (state, is_self) {
        (State::Ok, _) => None,
        (_, true) => {
            let what = format!(
                "{links} is missing or down, or is not as it was made: other hosts of the network are not reached"
            );
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
