//! The firewall: where rules of a plan become rules of the kernel.

mod iptables;

use std::fs::File;

use anyhow::Result;

use super::Outcome;
use crate::plan::{Chain, Change, Family, Resource, Rule};

/// Makes neighbouring changes so; tells of each what it came to.
pub(super) fn apply(changes: &[&Change], lock: &File) -> Result<Vec<Outcome>> {
    let mut outcomes = vec![Outcome::AlreadySo; changes.len()];
    for family in [Family::V4, Family::V6] {
        let of_family: Vec<_> =
            (0..changes.len()).filter(|i| family_of(changes[*i]) == Some(family)).collect();
        if of_family.is_empty() {
            continue;
        }
        let these: Vec<_> = of_family.iter().map(|i| changes[*i]).collect();
        match iptables::apply(family, &these, lock) {
            Ok(done) => {
                for (i, outcome) in of_family.into_iter().zip(done) {
                    outcomes[i] = outcome;
                }
            }
            Err(error) => {
                undo(&outcomes, lock);
                return Err(error);
            }
        }
    }
    Ok(outcomes)
}

/// The comments of our rules that published ports have, as far as they can be read.
pub(super) fn comments() -> Vec<String> {
    [Family::V4, Family::V6].into_iter().flat_map(iptables::comments).collect()
}

/// Whether a chain or rule of ours is in the kernel.
pub(super) fn is_there(resource: &Resource) -> Result<bool> {
    match resource {
        Resource::Chain(Chain { family, .. }) | Resource::Rule(Rule { family, .. }) => {
            iptables::is_there(*family, resource)
        }
        _ => Ok(false),
    }
}

/// Takes back what the other family got before this one failed, so that all of it or none is done.
fn undo(outcomes: &[Outcome], lock: &File) {
    let inverses: Vec<_> = outcomes.iter().rev().filter_map(Outcome::inverse).collect();
    if let Some(family) = inverses.first().and_then(|c| family_of(c)) {
        // The first error is the one that is told.
        drop(iptables::apply(family, &inverses, lock));
    }
}

fn family_of(change: &Change) -> Option<Family> {
    match change.resource() {
        Resource::Chain(chain) => Some(chain.family),
        Resource::Rule(rule) => Some(rule.family),
        _ => None,
    }
}
