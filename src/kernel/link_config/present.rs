//! The addresses, routes and other settings that move, read before and after: they show the outcome of
//! changes whose answers were lost.

use std::collections::{BTreeSet, HashSet};

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::{
    super::{link, rtnl::Rtnl},
    read::read,
};
use crate::{
    model::{LinkConfig, LinkName, Neighbour, PolicyRule, SavedRoute},
    plan::{Change, Class, Moved},
};

/// The configuration of the links that some changes concern.
#[derive(Debug, Default)]
pub(super) struct Present {
    ports: HashSet<(LinkName, LinkName)>,
    addresses: HashSet<(LinkName, IpNetwork)>,
    routes: HashSet<SavedRoute>,
    rules: HashSet<PolicyRule>,
    neighbours: HashSet<(LinkName, Neighbour)>,
}

impl Present {
    /// Reads all links that these changes concern.
    pub(super) async fn read(rtnl: &Rtnl, changes: &[&Change]) -> Result<Self> {
        let links = link::all(rtnl, None).await?;
        let names: BTreeSet<_> = changes.iter().flat_map(|change| links_of(change)).collect();
        let mut present = Self::default();
        for name in names {
            let Some(link) = links.values().find(|l| l.name == name.as_str()) else { continue };
            if let Some(bridge) = link.master.and_then(|master| links.get(&master)) {
                present.ports.insert((name.clone(), bridge.name.parse()?));
            }
            present.add(name, read(rtnl, link, &links).await?);
        }
        Ok(present)
    }

    fn add(&mut self, link: &LinkName, there: LinkConfig) {
        let addresses = there.addresses.into_iter().map(|a| (link.clone(), a.address));
        self.addresses.extend(addresses);
        let routes = there.routes.into_iter().chain(there.subnet_routes);
        self.routes.extend(routes.map(|route| route.timeless()));
        self.rules.extend(there.rules);
        self.neighbours.extend(there.neighbours.into_iter().map(|n| (link.clone(), n)));
    }

    /// Returns whether a change is made.
    pub(super) fn holds(&self, change: &Change) -> bool {
        let Class::Moved(moved) = change.facts().class else { return false };
        self.has(moved) == matches!(change, Change::Create(_))
    }

    fn has(&self, moved: &Moved) -> bool {
        match moved {
            Moved::Port { link, bridge } => self.ports.contains(&(link.clone(), bridge.clone())),
            Moved::Address { link, address } => {
                self.addresses.contains(&(link.clone(), address.address))
            }
            Moved::Route(route) => self.routes.contains(&route.timeless()),
            Moved::Rule(rule) => self.rules.contains(&**rule),
            Moved::Neighbour { link, neighbour } => {
                self.neighbours.contains(&(link.clone(), neighbour.clone()))
            }
        }
    }
}

fn links_of(change: &Change) -> Vec<&LinkName> {
    match change.facts().class {
        Class::Moved(Moved::Port { link, bridge }) => vec![link, bridge],
        Class::Moved(Moved::Address { link, .. } | Moved::Neighbour { link, .. }) => vec![link],
        Class::Moved(Moved::Route(route)) => route.hops.iter().map(|hop| &hop.link).collect(),
        Class::Moved(Moved::Rule(rule)) => rule.iif.iter().chain(&rule.oif).collect(),
        _ => Vec::new(),
    }
}

/// The outcome of changes whose answers were lost, from the state before them, if known, and the
/// state now: whether each changed anything; `None` for one that was not made.
pub(super) fn outcomes(
    changes: &[&Change],
    before: Option<&Present>,
    after: &Present,
) -> Vec<Option<bool>> {
    let outcome = |(i, change): (usize, &&Change)| {
        if after.holds(change) || is_overtaken(change, &changes[i + 1..]) {
            // A rollback does not delete what may have existed before.
            return Some(before.is_some_and(|before| !before.holds(change)));
        }
        // Learned neighbours are learned again; nothing depends on them.
        let is_learned = matches!(
            change.facts().class,
            Class::Moved(Moved::Neighbour { neighbour, .. }) if !neighbour.permanent
        );
        is_learned.then_some(false)
    };
    changes.iter().enumerate().map(outcome).collect()
}

/// Returns whether a later change concerns the same object: a route by a third link whose source
/// address moves is deleted and created again.
fn is_overtaken(change: &Change, later: &[&Change]) -> bool {
    later.iter().any(|other| other.resource() == change.resource())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Resource;

    fn neighbour(last: u8, permanent: bool) -> Resource {
        let (link, address) = ("eth0".parse().unwrap(), [192, 0, 2, last].into());
        let mac = Some("02:00:00:00:00:01".parse().unwrap());
        Resource::Moved(Moved::Neighbour { link, neighbour: Neighbour { address, mac, permanent } })
    }

    fn with(resources: &[&Resource]) -> Present {
        let mut present = Present::default();
        for resource in resources {
            if let Resource::Moved(Moved::Neighbour { link, neighbour }) = resource {
                present.neighbours.insert((link.clone(), neighbour.clone()));
            }
        }
        present
    }

    #[test]
    fn what_is_there_tells_what_came_of_it() {
        let [one, two] = [neighbour(1, true), neighbour(2, true)];
        let changes = [Change::Create(one.clone()), Change::Delete(two.clone())];
        let changes: Vec<_> = changes.iter().collect();
        let of = |before: Option<&[&Resource]>, after: &[&Resource]| {
            outcomes(&changes, before.map(with).as_ref(), &with(after))
        };
        assert_eq!(of(Some(&[&two]), &[&one]), [Some(true), Some(true)], "both are news");
        assert_eq!(of(Some(&[&one]), &[&one]), [Some(false), Some(false)], "both were so");
        assert_eq!(of(None, &[&one]), [Some(false), Some(false)], "nobody knows: left alone");
        assert_eq!(of(Some(&[&two]), &[&two]), [None, None], "neither is made");
    }

    #[test]
    fn of_two_changes_of_one_thing_the_later_one_counts() {
        let one = neighbour(1, true);
        let changes = [Change::Delete(one.clone()), Change::Create(one.clone())];
        let changes: Vec<_> = changes.iter().collect();
        let there = with(&[&one]);
        assert_eq!(outcomes(&changes, Some(&there), &there), [Some(true), Some(false)]);
        assert_eq!(outcomes(&changes, Some(&there), &with(&[]))[1], None);
    }

    #[test]
    fn a_learned_neighbour_may_be_lost() {
        let learned = Change::Create(neighbour(1, false));
        assert_eq!(outcomes(&[&learned], None, &Present::default()), [Some(false)]);
    }
}
