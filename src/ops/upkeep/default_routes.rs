//! Default routes that displaced others: which of a target's is in force, and which returns when
//! that one is deleted.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::Result;
use ipnetwork::IpNetwork;

use crate::{
    kernel::{Kernel, Netns, TableRoute},
    model::{Endpoint, NetnsName, NetworkRecord, Records, Route},
    plan::{Change, Plan, Record, Resource, Step},
};

fn defaults(endpoint: &Endpoint) -> Vec<Route> {
    endpoint.default_routes().collect()
}

/// Returns whether routes are the same, whatever their origin and metric.
fn is_same(one: &Route, other: &Route) -> bool {
    let what = |r: &Route| (r.destination, r.gateway, r.link.clone());
    what(one) == what(other)
}

fn took(successor: &Endpoint, route: &Route) -> bool {
    successor.replaced.iter().any(|replaced| is_same(replaced, route))
}

/// Returns the network whose endpoint displaced a default route of this one.
pub(in crate::ops) fn successor<'r>(
    mut all: impl Iterator<Item = (&'r NetworkRecord, &'r Endpoint)>,
    endpoint: &Endpoint,
    change: &Change,
) -> Option<&'r NetworkRecord> {
    let Change::Create(Resource::Route { route, .. }) = change else { return None };
    all.find(|(_, other)| other.cookie == endpoint.cookie && took(other, route))
        .map(|(record, _)| record)
}

/// Sorts endpoints so that they can be attached in this order: a default route is displaced by a
/// later one.
pub(in crate::ops) fn in_turn<T>(endpoints: &mut [T], endpoint: impl Fn(&T) -> &Endpoint) {
    let all: Vec<_> = endpoints.iter().map(|e| endpoint(e).clone()).collect();
    endpoints.sort_by_key(|e| predecessors(&all, endpoint(e), all.len()));
}

/// Returns the number of endpoints that must exist before this one.
fn predecessors(all: &[Endpoint], endpoint: &Endpoint, most: usize) -> usize {
    let Some(most) = most.checked_sub(1).filter(|_| !endpoint.replaced.is_empty()) else {
        return 0;
    };
    let is_before = |other: &&Endpoint| {
        other.cookie == endpoint.cookie && defaults(other).iter().any(|r| took(endpoint, r))
    };
    let before = all.iter().filter(is_before);
    before.map(|other| 1 + predecessors(all, other, most)).max().unwrap_or_default()
}

/// When an endpoint goes, the successor of its default route takes over the route that it had
/// displaced, which returns later. Returns what remains to be restored now, and the records that
/// change; `after` are the records of the others.
pub(in crate::ops) fn inherited(after: &mut Records, endpoint: &Endpoint) -> (Vec<Route>, Plan) {
    let (mut left, mut plan) = (endpoint.replaced.clone(), Plan::new());
    for route in defaults(endpoint) {
        let all = after.values_mut().flat_map(|record| {
            let network = record.network.name.clone();
            record.endpoints.iter_mut().map(move |e| (network.clone(), e))
        });
        for (network, successor) in all.filter(|(_, e)| e.cookie == endpoint.cookie) {
            if !took(successor, &route) {
                continue;
            }
            successor.replaced.retain(|replaced| !is_same(replaced, &route));
            let of_family = |r: &Route| r.destination == route.destination;
            successor.replaced.extend(left.iter().filter(|r| of_family(r)).cloned());
            left.retain(|r| !of_family(r));
            let recorded = Endpoint { ports: Vec::new(), ..successor.clone() };
            plan.push(Step::create(
                "record that the replaced default route will not come back",
                Resource::Record(Record::Endpoint { network, endpoint: recorded }),
            ));
        }
    }
    (left, plan)
}

/// Removes from a reverse plan the routes that cannot return: their link is gone, or another route
/// was set since.
pub(in crate::ops) async fn can_return(kernel: &Kernel, plan: &mut Plan) -> Result<()> {
    let mut places = BTreeMap::new();
    for (name, _) in plan.iter().filter_map(returning) {
        if let (false, Some(netns)) = (places.contains_key(name), kernel.target(name)) {
            places.insert(name.clone(), Place::read(netns).await?);
        }
    }
    drop_hopeless(plan, &places);
    Ok(())
}

/// Returns the route that a step restores, with its namespace.
fn returning(step: &Step) -> Option<(&NetnsName, &Route)> {
    match &step.change {
        Change::Create(Resource::Route { netns: Some(name), route }) => Some((name, route)),
        _ => None,
    }
}

/// The links of a namespace, and the routes of its main table.
#[derive(Debug, Default)]
struct Place {
    links: BTreeSet<String>,
    routes: Vec<There>,
}

/// A route that is in force.
#[derive(Debug)]
struct There {
    destination: IpNetwork,
    gateway: Option<IpAddr>,
    metric: u32,
    link: Option<String>,
}

impl Place {
    async fn read(netns: &Netns) -> Result<Self> {
        let links = netns.links().await?;
        let there = |route: TableRoute| There {
            link: links.values().find(|link| link.carries(&route)).map(|link| link.name.clone()),
            destination: route.destination,
            gateway: route.gateway,
            metric: route.metric,
        };
        let routes = netns.routes().await?.into_iter().map(there).collect();
        Ok(Self { links: links.into_values().map(|link| link.name).collect(), routes })
    }
}

impl There {
    fn is(&self, route: &Route) -> bool {
        (self.destination, self.gateway) == (route.destination, route.gateway)
            && self.link.as_deref() == Some(route.link.as_str())
    }
}

/// Removes from a reverse plan the routes that cannot return to these namespaces.
fn drop_hopeless(plan: &mut Plan, places: &BTreeMap<NetnsName, Place>) {
    let mut leaving: Vec<(NetnsName, Route)> = Vec::new();
    plan.retain(|step| {
        if let Change::Delete(Resource::Route { netns: Some(name), route }) = &step.change {
            leaving.push((name.clone(), route.clone()));
        }
        let Some((name, route)) = returning(step) else { return true };
        let Some(place) = places.get(name) else { return true };
        let is_rival = |there: &There| {
            there.destination == route.destination
                && there.metric == route.kernel_metric()
                && !leaving.iter().any(|(at, leaving)| at == name && there.is(leaving))
        };
        place.links.contains(route.link.as_str()) && !place.routes.iter().any(is_rival)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::fixtures::{endpoint, network, record};

    /// Three endpoints of a target, of which each displaced the default route of the one before, and
    /// one of another target.
    fn chain() -> [Endpoint; 4] {
        let mut all = [("eth0", "10.0.0.1"), ("eth1", "10.0.1.1"), ("eth2", "10.0.2.1")]
            .map(|(ifname, gateway)| endpoint("web", 7, ifname, &[gateway]));
        for i in 1..all.len() {
            all[i].replaced = defaults(&all[i - 1]);
        }
        let [first, second, third] = all;
        [first, second, third, endpoint("db", 8, "eth0", &["10.0.0.1"])]
    }

    fn records(endpoints: &[Endpoint]) -> Records {
        let networks = endpoints.iter().zip(["a", "b", "c", "d"]);
        let record = |(e, name): (&Endpoint, &str)| {
            (name.parse().unwrap(), record(network(name, "bridge", &[]), vec![e.clone()]))
        };
        networks.map(record).collect()
    }

    #[test]
    fn endpoints_are_attached_before_those_that_displace_them() {
        let [first, second, third, other] = chain();
        for mut order in [
            [&third, &second, &first, &other],
            [&second, &other, &third, &first],
            [&first, &second, &third, &other],
        ] {
            in_turn(&mut order, |e| *e);
            let at = |e: &Endpoint| order.iter().position(|o| **o == *e).unwrap();
            assert!(at(&first) < at(&second) && at(&second) < at(&third));
        }
    }

    #[test]
    fn two_that_displaced_each_other_are_put_into_some_order() {
        let [mut first, second, ..] = chain();
        first.replaced = defaults(&second);
        let mut order = [first, second];
        in_turn(&mut order, |e| e);
        assert_eq!(order.len(), 2);
    }

    #[test]
    fn a_route_has_the_endpoint_that_displaced_it_as_successor() {
        let [first, second, _, other] = chain();
        let records = records(&chain());
        let all = || records.values().flat_map(|r| r.endpoints.iter().map(move |e| (r, e)));
        let of = |e: &Endpoint| {
            let (netns, route) = (Some(e.netns.clone()), defaults(e).remove(0));
            let change = Change::Create(Resource::Route { netns, route });
            successor(all(), e, &change).map(|record| record.network.name.to_string())
        };
        assert_eq!(of(&first).as_deref(), Some("b"));
        assert_eq!(of(&second).as_deref(), Some("c"));
        assert_eq!(of(&other), None, "another target's");
    }

    #[test]
    fn who_displaced_an_endpoint_that_goes_inherits_what_it_had_displaced() {
        let [first, second, third, _] = chain();
        let mut after = records(&chain());
        after.remove(&"b".parse().unwrap());
        let (left, plan) = inherited(&mut after, &second);
        assert_eq!((left, plan.len()), (Vec::new(), 1));
        assert_eq!(after[&"c".parse().unwrap()].endpoints[0].replaced, defaults(&first));
        // The last one gives back what it displaced at once.
        after.remove(&"c".parse().unwrap());
        let (left, plan) = inherited(&mut after, &third);
        assert_eq!((left, plan.len()), (defaults(&second), 0));
    }

    #[test]
    fn a_route_returns_unless_its_link_is_gone_or_another_has_its_place() {
        let [first, second, ..] = chain();
        let (netns, own) = (first.netns.clone(), defaults(&first).remove(0));
        let at =
            |route: &Route| Resource::Route { netns: Some(netns.clone()), route: route.clone() };
        let there = |gateway: &str, link: &str| There {
            destination: own.destination,
            gateway: Some(gateway.parse().unwrap()),
            metric: 0,
            link: Some(link.to_owned()),
        };
        let leaving = defaults(&second).remove(0);
        for (links, routes, returns) in [
            (&["eth0", "eth1"][..], vec![], true),
            (&["eth0", "eth1"], vec![there("10.0.1.1", "eth1")], true),
            (&["eth0", "eth1"], vec![there("10.0.9.1", "eth1")], false),
            (&["eth0", "eth1"], vec![there("10.0.1.1", "eth0")], false),
            (&["eth0", "eth1"], vec![There { link: None, ..there("10.0.1.1", "") }], false),
            (&["eth0", "eth1"], vec![There { metric: 5, ..there("10.0.9.1", "eth1") }], true),
            (&["eth1"], vec![], false),
        ] {
            let mut plan = vec![Step::delete("", at(&leaving)), Step::create("", at(&own))];
            let links = links.iter().map(ToString::to_string).collect();
            let case = format!("{links:?} {routes:?}");
            drop_hopeless(&mut plan, &[(netns.clone(), Place { links, routes })].into());
            assert_eq!(plan.len(), if returns { 2 } else { 1 }, "{case}");
        }
        let mut plan = vec![Step::create("", at(&own))];
        drop_hopeless(&mut plan, &BTreeMap::new());
        assert_eq!(plan.len(), 1, "a namespace that is not open is not judged");
    }

    #[test]
    fn each_ip_version_is_inherited_by_itself() {
        let [mut first, mut second, ..] = chain();
        first.replaced = defaults(&endpoint("web", 7, "eth9", &["192.0.2.1", "2001:db8::1"]));
        second.replaced = defaults(&first);
        let mut after = records(&[first.clone(), second]);
        after.remove(&"a".parse().unwrap());
        let (left, _) = inherited(&mut after, &first);
        assert!(left.iter().all(|route| route.destination.is_ipv6()) && left.len() == 1);
        let replaced = &after[&"b".parse().unwrap()].endpoints[0].replaced;
        assert!(replaced.iter().all(|route| route.destination.is_ipv4()) && replaced.len() == 1);
    }
}
