//! `doctor`: finds out why packets do not flow. The state is read once; each check is a function of it,
//! and each finding has its evidence and the command that repairs it.
//!
//! - `snapshot`, `namespace_view`: the state of the host, and of namespaces
//! - `links`, `isolation`, `addresses`, `routing`, `peers`, `wire`, `forward`, `firewalls`, `rules`,
//!   `ports`, `served`, `names`, `host`: the checks
//! - `paths`: follows packets as `trace` does; `outside`: between which addresses
//! - `judged`: evaluates nftables rules for a new connection
//! - `remedy`: the commands that make a network again

mod addresses;
mod firewalls;
mod forward;
mod host;
mod isolation;
mod judged;
mod links;
mod names;
mod namespace_view;
mod outside;
mod paths;
mod peers;
mod ports;
mod remedy;
mod routing;
mod rules;
mod served;
mod snapshot;
mod wire;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use self::snapshot::Snapshot;
use crate::{error::Kind, model::Finding, ops::Session};

/// A check: its code, which never changes, and its function.
struct Check {
    id: &'static str,
    look: Look,
}

enum Look {
    /// A check of the snapshot only.
    At(fn(&Snapshot<'_>) -> Vec<Finding>),
    /// A check that reads more from the kernel.
    Into(fn(&Snapshot<'_>) -> Result<Vec<Finding>>),
    /// A check for what the checks before it did not find.
    Else(fn(&Snapshot<'_>, &[Found]) -> Vec<Finding>),
}

const fn at(id: &'static str, look: fn(&Snapshot<'_>) -> Vec<Finding>) -> Check {
    Check { id, look: Look::At(look) }
}

const fn into(id: &'static str, look: fn(&Snapshot<'_>) -> Result<Vec<Finding>>) -> Check {
    Check { id, look: Look::Into(look) }
}

const fn otherwise(id: &'static str, look: fn(&Snapshot<'_>, &[Found]) -> Vec<Finding>) -> Check {
    Check { id, look: Look::Else(look) }
}

/// All checks, from layer 1 upwards.
const CHECKS: [Check; 43] = [
    at("bridge-missing", links::missing),
    at("parent-missing", links::parents),
    at("link-down", links::down),
    at("no-carrier", links::carrier),
    at("not-in-bridge", links::in_bridge),
    at("bridge-full", links::full),
    at("port-isolated", isolation::isolated),
    at("port-blocked", isolation::blocked),
    at("not-attached", links::attached),
    at("container-restarted", names::restarted),
    at("loopback-down", links::loopback),
    at("managed-elsewhere", links::managed),
    at("mac-duplicate", wire::duplicate_macs),
    at("mac-changed", wire::changed_macs),
    at("mtu-mismatch", wire::mtus),
    at("address-missing", addresses::missing),
    at("address-clash", addresses::clashes),
    at("route-missing", routing::unrouted),
    at("peer-missing", peers::lost),
    at("store-not-followed", peers::unfollowed),
    at("relay-missing", peers::unrelayed),
    at("default-route", addresses::default_route),
    at("rp-filter", addresses::reverse_path),
    into("forwarding-off", forward::forwarding),
    at("forward-drop", forward::drops),
    at("input-drop", firewalls::input),
    at("output-drop", firewalls::output),
    at("target-drop", firewalls::inside),
    into("bridge-netfilter", forward::bridged),
    at("masquerade-missing", rules::masquerade),
    at("rules-missing", rules::rules),
    into("conntrack-full", host::conntrack),
    at("port-missing", ports::missing),
    at("port-shadowed", ports::shadowed),
    at("port-address", served::addressless),
    at("port-unserved", served::unserved),
    at("port-unheard", served::unheard),
    at("port-listener", ports::listened_to),
    at("name-dangling", names::dangling),
    at("endpoint-dead", names::dead),
    at("lease-not-renewed", names::leases),
    at("resolver-loopback", names::resolvers),
    otherwise("path-broken", paths::broken),
];

/// The request to check a host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Doctor {
    /// A network or a target; by default everything on this host.
    pub name: Option<String>,
}

/// A finding, with the code of its check.
#[derive(Debug, Serialize)]
pub struct Found {
    /// The code of the check, which never changes.
    pub id: &'static str,
    /// The finding.
    #[serde(flatten)]
    pub finding: Finding,
}

/// The findings, and what was checked.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The findings, errors first.
    pub findings: Vec<Found>,
    /// The codes of the checks that were carried out.
    pub checked: Vec<&'static str>,
    /// What could not be checked, with the reason.
    pub unchecked: Vec<String>,
    /// Whether a privilege was missing for one of these.
    #[serde(skip)]
    pub is_refused: bool,
}

/// Finds out why packets do not flow.
///
/// # Errors
/// If there is no such network or target, or the kernel cannot be read.
pub async fn doctor(host: &Session<'_>, args: &Doctor) -> Result<Report> {
    // Faults of the host concern everything on it.
    let about = args.name.as_deref().filter(|name| *name != "host");
    let mut snapshot = snapshot::read(host, about).await?;
    paths::follow(&mut snapshot).await;
    let mut found: Vec<Found> = Vec::new();
    let mut checked = Vec::new();
    for check in &CHECKS {
        let findings = match check.look {
            Look::At(look) => Ok(look(&snapshot)),
            Look::Into(look) => look(&snapshot),
            Look::Else(look) => Ok(look(&snapshot, &found)),
        };
        match findings {
            Ok(findings) => {
                checked.push(check.id);
                for finding in findings {
                    add(&mut found, check.id, finding);
                }
            }
            Err(error) if Kind::of(&error) == Kind::Permission => {
                snapshot.is_refused = true;
                snapshot.unchecked.push(format!("{}: {error:#}", check.id));
            }
            Err(error) => return Err(error),
        }
    }
    found.sort_by_key(|found| found.finding.severity);
    let Snapshot { unchecked, is_refused, .. } = snapshot;
    Ok(Report { findings: found, checked, unchecked, is_refused })
}

/// Adds a finding. The same fault is reported once, with the evidence of both.
fn add(found: &mut Vec<Found>, id: &'static str, finding: Finding) {
    match found.iter_mut().find(|there| there.id == id && there.finding.is_as(&finding)) {
        Some(there) => {
            for evidence in finding.evidence {
                if !there.finding.evidence.contains(&evidence) {
                    there.finding.evidence.push(evidence);
                }
            }
        }
        None => found.push(Found { id, finding }),
    }
}
