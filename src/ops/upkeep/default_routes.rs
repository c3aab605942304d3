//! Default routes that took the place of others: which of a target's is in force, and which comes
//! back when that one goes.

use anyhow::Result;

use crate::{
    kernel::{Kernel, TableRoute},
    model::{Endpoint, LinkName, NetworkRecord, Records, Route},
    plan::{Change, Plan, Record, Resource, Step},
};

/// The default routes that an endpoint brought.
fn defaults(endpoint: &Endpoint) -> Vec<Route> {
    let by = |gateway| Route::default_by(gateway, endpoint.ifname.clone());
    endpoint.gateways.iter().copied().map(by).collect()
}

/// The same, whoever made it and with which metric.
fn is_same(one: &Route, other: &Route) -> bool {
    let what = |r: &Route| (r.destination, r.gateway, r.link.clone());
    what(one) == what(other)
}

fn took(successor: &Endpoint, route: &Route) -> bool {
    successor.replaced.iter().any(|replaced| is_same(replaced, route))
}

/// The network whose endpoint took the place of a default route of this one.
pub(in crate::ops) fn successor<'r>(
    mut all: impl Iterator<Item = (&'r NetworkRecord, &'r Endpoint)>,
    endpoint: &Endpoint,
    change: &Change,
) -> Option<&'r NetworkRecord> {
    let Change::Create(Resource::Route { route, .. }) = change else { return None };
    all.find(|(_, other)| other.cookie == endpoint.cookie && took(other, route))
        .map(|(record, _)| record)
}

/// Puts endpoints into an order in which they can be attached: a default route gives way to one
/// that comes later.
pub(in crate::ops) fn in_turn<T>(endpoints: &mut [T], endpoint: impl Fn(&T) -> &Endpoint) {
    let all: Vec<_> = endpoints.iter().map(|e| endpoint(e).clone()).collect();
    endpoints.sort_by_key(|e| predecessors(&all, endpoint(e), all.len()));
}

/// How many have to be there before this one.
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

/// Who took the place of an endpoint that goes takes what that one had replaced as its own: it
/// comes back later. Returns what is left for now, and the records that change; `after` is what
/// others have.
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

/// Leaves out of a reverse plan the routes that cannot come back: their link is gone, or somebody
/// has set another one since.
pub(in crate::ops) async fn can_return(kernel: &Kernel, plan: &mut Plan) -> Result<()> {
    let (mut leaving, mut hopeless) = (Vec::new(), Vec::new());
    for step in plan.iter() {
        let Some(Resource::Route { netns: Some(name), route }) = step.change.resource() else {
            continue;
        };
        if matches!(step.change, Change::Delete(_)) {
            leaving.push((name, route));
            continue;
        }
        let Some(netns) = kernel.target(name) else { continue };
        let links = netns.links().await?;
        let named = |link: &LinkName| links.values().find(|l| l.name == link.as_str());
        let leaves = |there: &TableRoute| {
            leaving.iter().any(|(place, r)| {
                *place == name
                    && (r.destination, r.gateway) == (there.destination, there.gateway)
                    && named(&r.link).is_some_and(|link| link.carries(there))
            })
        };
        let is_rival = |there: &TableRoute| {
            there.destination == route.destination
                && there.metric == metric(route)
                && !leaves(there)
        };
        if named(&route.link).is_none() || netns.routes().await?.iter().any(is_rival) {
            hopeless.push(step.change.clone());
        }
    }
    plan.retain(|step| !hopeless.contains(&step.change));
    Ok(())
}

/// The metric that a route has in the kernel's table: none is 1024 for IPv6 (`IP6_RT_PRIO_USER`).
fn metric(route: &Route) -> u32 {
    if route.metric == 0 && route.destination.is_ipv6() { 1024 } else { route.metric }
}
