//! `doctor`: why packets do not flow. Everything is read once; each check is a function of that, and
//! what it finds has its evidence and the command that mends it.
//!
//! - `snapshot`, `inside`: what is looked at
//! - `links`, `isolation`, `addresses`, `routing`, `wire`, `forward`, `firewalls`, `rules`, `ports`,
//!   `served`, `names`, `host`: the checks
//! - `fate`: what becomes of a packet in listed rules; `judged`: in those of nftables
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

/// A check: the code of what it finds, which never changes, and how it finds it.
struct Check {
    id: &'static str,
    look: Look,
}

enum Look {
    /// All of it was read.
    At(fn(&Snapshot<'_>) -> Vec<Finding>),
    /// It reads more.
    Into(fn(&Snapshot<'_>) -> Result<Vec<Finding>>),
}

const fn at(id: &'static str, look: fn(&Snapshot<'_>) -> Vec<Finding>) -> Check {
    Check { id, look: Look::At(look) }
}

const fn into(id: &'static str, look: fn(&Snapshot<'_>) -> Result<Vec<Finding>>) -> Check {
    Check { id, look: Look::Into(look) }
}

/// All of them, from the wire up.
const CHECKS: [Check; 38] = [
    at("bridge-missing", links::missing),
    at("parent-missing", links::parents),
    at("link-down", links::down),
    at("no-carrier", links::carrier),
    at("not-in-bridge", links::in_bridge),
    at("bridge-full", links::full),
    at("port-isolated", isolation::isolated),
    at("port-blocked", isolation::blocked),
    at("not-attached", links::attached),
    at("loopback-down", links::loopback),
    at("managed-elsewhere", links::managed),
    at("mac-duplicate", wire::duplicate_macs),
    at("mac-changed", wire::changed_macs),
    at("mtu-mismatch", wire::mtus),
    at("address-missing", addresses::missing),
    at("address-clash", addresses::clashes),
    at("route-missing", routing::unrouted),
    at("default-route", addresses::default_route),
    at("rp-filter", addresses::reverse_path),
    into("forwarding-off", forward::forwarding),
    into("forward-drop", forward::drops),
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
];

/// What to look at.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Doctor {
    /// A network or a target; else everything on this host.
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

/// What was found, and what was looked at.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The findings, errors first.
    pub findings: Vec<Found>,
    /// The codes of the checks that were made.
    pub checked: Vec<&'static str>,
    /// What could not be looked at, and why.
    pub unchecked: Vec<String>,
}

/// Finds out why packets do not flow.
///
/// # Errors
/// If there is no such network or target, or the kernel cannot be read.
pub async fn doctor(host: &Session<'_>, args: &Doctor) -> Result<Report> {
    // The host's troubles are of all that is on it.
    let about = args.name.as_deref().filter(|name| *name != "host");
    let mut snapshot = snapshot::read(host, about).await?;
    let mut found: Vec<Found> = Vec::new();
    let mut checked = Vec::new();
    for check in &CHECKS {
        let findings = match check.look {
            Look::At(look) => Ok(look(&snapshot)),
            Look::Into(look) => look(&snapshot),
        };
        match findings {
            Ok(findings) => {
                checked.push(check.id);
                for finding in findings {
                    add(&mut found, check.id, finding);
                }
            }
            Err(error) if Kind::of(&error) == Kind::Permission => {
                snapshot.unchecked.push(format!("{}: {error:#}", check.id));
            }
            Err(error) => return Err(error),
        }
    }
    found.sort_by_key(|found| found.finding.severity);
    Ok(Report { findings: found, checked, unchecked: snapshot.unchecked })
}

/// What is one trouble is told once, with the evidence of both.
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
