//! Reverse plans: the plans that were carried out, in reverse, without what others still need.

use std::net::IpAddr;

use anyhow::Result;

use crate::{
    kernel::Kernel,
    model::{
        Endpoint, EndpointId, Family, Filter, Firewall, LinkName, NamedNetns, Network,
        NetworkRecord, PublishedPort, Records,
    },
    ops::upkeep::default_routes,
    plan::{
        self, BridgedFrames, Change, Class, Plan, Record, Resource, Scope, Step, Uplinks, reverse,
    },
    state::State,
};

/// Returns the plan that removes endpoints of a network, and what existed only for them: their
/// names, and the record of a foreign network.
///
/// Steps inside a namespace that is gone or may not be entered are left out.
pub(in crate::ops) async fn endpoints(
    kernel: &Kernel,
    state: &State,
    network: &Network,
    endpoints: &[Endpoint],
) -> Result<Plan> {
    let mut after = state.networks().clone();
    let plans = endpoints.iter().map(|e| endpoint(kernel, state, network, e, &mut after));
    in_turn(kernel, plans.flatten().collect()).await
}

/// Returns the plan that removes all endpoints of these networks; they are also removed from
/// `after`, the records.
pub(in crate::ops) async fn all_endpoints(
    kernel: &Kernel,
    state: &State,
    of: &Records,
    after: &mut Records,
) -> Result<Plan> {
    let all = of.values().flat_map(|record| record.endpoints.iter().map(move |e| (record, e)));
    let plans = all.map(|(record, e)| endpoint(kernel, state, &record.network, e, after));
    in_turn(kernel, plans.flatten().collect()).await
}

async fn in_turn(kernel: &Kernel, mut plan: Plan) -> Result<Plan> {
    default_routes::can_return(kernel, &mut plan).await?;
    plan.sort_by_key(|step| turn(&step.change));
    Ok(plan)
}

/// Returns the position of a change in the plan, so that changes of one kind are adjacent: rules,
/// tracked connections, links, and records, which come last. Changes inside namespaces come before
/// links.
fn turn(change: &Change) -> u8 {
    match change.facts().class {
        Class::Firewall(_) => 0,
        Class::Flows => 1,
        Class::Other | Class::Entry(_) | Class::Moved(_) => 2,
        Class::Link { id, .. } if id.as_ref().is_none_or(|id| !id.is_batched()) => 2,
        Class::Link { .. } => 3,
        Class::Name => 4,
        Class::Record(_) => 5,
    }
}

/// Returns the plan that removes an endpoint; it is also removed from `after`, the records.
fn endpoint(
    kernel: &Kernel,
    state: &State,
    network: &Network,
    endpoint: &Endpoint,
    after: &mut Records,
) -> Plan {
    let (mut endpoint, id) = (endpoint.clone(), endpoint.id());
    let mut last_of_network = false;
    if let Some(record) = after.get_mut(&network.name) {
        if let Some(at) = record.endpoints.iter().position(|e| e.is(&id)) {
            // An endpoint that was removed before may have left it a displaced route.
            endpoint.replaced = record.endpoints.swap_remove(at).replaced;
        }
        last_of_network = record.endpoints.is_empty();
    }
    let mut others = after.values().flat_map(|r| &r.endpoints);
    let alone = !others.clone().any(|e| e.cookie == endpoint.cookie);
    let is_named_for_others = others.any(|e| e.netns == endpoint.netns);

    let (replaced, mut plan) = default_routes::inherited(after, &endpoint);
    endpoint.replaced = replaced;
    let mut wiring = plan::attach(network, &endpoint, BridgedFrames::PassBy);
    if !alone {
        // Others in the same namespace use its lo.
        wiring.retain(|step| !is_of_lo(&step.change));
    }
    plan.extend(last_jumps(state.networks(), network, after));
    plan.extend(reverse(&wiring, |step| is_needed(step, after, network, Some(&id))));
    if network.driver.is_foreign() && last_of_network {
        plan.push(Step::delete(
            "netcord has no endpoint on this bridge any more",
            Resource::Record(Record::Network(network.clone())),
        ));
    }
    let name = state.names().iter().find(|n| n.name == endpoint.netns && !n.kept);
    if let (Some(name), false) = (name, is_named_for_others) {
        plan.extend(reverse(&plan::name(name), |_| false));
    }
    plan.retain(|step| step.change.facts().place.is_none_or(|name| kernel.target(name).is_some()));
    plan
}

/// Returns the plan that removes what is left on the host of an endpoint whose container has stopped,
/// and records that: its address and its ports stay reserved, and no rule leads to it. What its
/// network shares stays, since the record still needs it.
pub(in crate::ops) fn stopped(state: &State, network: &Network, endpoint: &Endpoint) -> Plan {
    let Some(stopped) = endpoint.stopped() else { return Plan::new() };
    let wiring = plan::attach(network, endpoint, BridgedFrames::PassBy);
    let mut plan = outside(reverse(&wiring, |step| step.scope != Scope::Own));
    let is_its =
        |n: &&NamedNetns| n.name == endpoint.netns && n.cookie == endpoint.cookie && !n.kept;
    if let Some(name) = state.names().iter().find(is_its) {
        plan.extend(outside(reverse(&plan::name(name), |_| false)));
    }
    plan.retain(|step| match &step.change {
        Change::Delete(Resource::Record(record)) => matches!(record, Record::Name(_)),
        _ => true,
    });
    plan.push(Step::create(
        "record that the container has stopped: its address and its ports stay reserved",
        Resource::Record(Record::Endpoint { network: network.name.clone(), endpoint: stopped }),
    ));
    plan
}

/// Returns the plan that removes published ports of an endpoint; records come last.
pub(in crate::ops) fn ports(
    state: &State,
    network: &Network,
    endpoint: &Endpoint,
    ports: &[PublishedPort],
) -> Plan {
    let (mut after, id) = (state.networks().clone(), endpoint.id());
    if let Some(record) = after.get_mut(&network.name) {
        for e in record.endpoints.iter_mut().filter(|e| e.is(&id)) {
            e.ports.retain(|p| !ports.contains(p));
        }
    }
    let mut plan = last_jumps(state.networks(), network, &after);
    // Hairpin mode is turned off even if it was not needed: then it is off already.
    plan.extend(reverse(
        &plan::publish(network, endpoint, ports, BridgedFrames::MeetIptables),
        |step| is_needed(step, &after, network, Some(&id)),
    ));
    plan.sort_by_key(|step| turn(&step.change));
    plan
}

/// Returns the plan that removes a network of ours without endpoints.
pub(in crate::ops) fn network(records: &Records, network: &Network) -> Plan {
    let mut after = records.clone();
    after.remove(&network.name);
    let mut plan = last_jumps(records, network, &after);
    plan.extend(of(records, network, &plan::create(network, &Uplinks::default())));
    plan
}

/// Returns the reverse of the plan that made a network.
pub(in crate::ops) fn of(records: &Records, network: &Network, plan: &Plan) -> Plan {
    let mut after = records.clone();
    after.remove(&network.name);
    reverse(plan, |step| is_needed(step, &after, network, None))
}

/// Returns the plan that removes jumps to our chains that only other networks have on record, when
/// the chains are about to be deleted: a chain with a jump to it cannot be.
fn last_jumps(records: &Records, network: &Network, after: &Records) -> Plan {
    let others = records.values().flat_map(|r| &r.network.forward_accepts);
    let missing: Vec<_> =
        others.filter(|g| !network.forward_accepts.contains(g)).copied().collect();
    let is_last = |step: &Step| {
        let family = step.change.facts().firewall().and_then(|part| part.family);
        family.is_some() && !is_needed(step, after, network, None)
    };
    plan::remove_accepts(network, &missing).into_iter().filter(is_last).collect()
}

/// Returns the plan that removes what networks share in a firewall, if none needs it.
pub(in crate::ops) fn leftover(records: &Records, firewall: Firewall) -> Plan {
    let is_needed = |family| records.values().any(|r| needs(r, firewall, family));
    let families = Family::BOTH.into_iter();
    match firewall {
        Firewall::Nftables if is_needed(None) => Plan::new(),
        Firewall::Nftables => reverse(&plan::shared(firewall, Family::V4), |_| false),
        Firewall::Iptables => families
            .filter(|family| !is_needed(Some(*family)))
            .flat_map(|family| {
                let shared = plan::shared(firewall, family).into_iter();
                reverse(&shared.chain(plan::jumps(family)).collect::<Plan>(), |_| false)
            })
            .collect(),
    }
}

/// Returns whether the effect of a step is needed afterwards.
fn is_needed(
    step: &Step,
    after: &Records,
    network: &Network,
    endpoint: Option<&EndpointId>,
) -> bool {
    let endpoints = || after.get(&network.name).into_iter().flat_map(|r| &r.endpoints);
    let mut ports = endpoints().flat_map(|e| &e.ports);
    let part = step.change.facts().firewall();
    let family = part.and_then(|part| part.family);
    match step.scope {
        Scope::Own | Scope::Run => false,
        Scope::Host => true,
        Scope::EndpointPorts => {
            endpoints().any(|e| endpoint.is_some_and(|id| e.is(id)) && !e.ports.is_empty())
        }
        Scope::NetworkPorts => ports.any(|p| is_of(family, p.host_ip)),
        Scope::LoopbackPorts => ports.any(PublishedPort::reaches_loopback),
        Scope::Parent => {
            let parent = |network: &Network| network.driver.parent().map(|p| p.link.clone());
            after.values().any(|r| parent(&r.network) == parent(network))
        }
        Scope::Firewall => {
            part.is_some_and(|part| after.values().any(|r| needs(r, part.firewall, family)))
        }
    }
}

/// Returns whether a network has rules in this firewall, for one IP version or any.
pub(in crate::ops) fn needs(
    record: &NetworkRecord,
    firewall: Firewall,
    family: Option<Family>,
) -> bool {
    record.network.firewall == firewall && needs_firewall(record, family)
}

/// Returns whether a network has rules, for one IP version or any.
pub(in crate::ops) fn needs_firewall(record: &NetworkRecord, family: Option<Family>) -> bool {
    match record.network.driver.filter() {
        Filter::Traffic if record.network.is_without_subnet() => {
            record.network.firewall == Firewall::Iptables
        }
        Filter::Traffic => record.network.subnets.iter().any(|s| is_of(family, s.cidr.network())),
        Filter::Ports => {
            record.endpoints.iter().flat_map(|e| &e.ports).any(|p| is_of(family, p.host_ip))
        }
        Filter::Bridged => true,
        Filter::Nothing => false,
    }
}

fn is_of(family: Option<Family>, address: IpAddr) -> bool {
    family.is_none_or(|family| Family::of(address) == family)
}

/// Leaves out steps inside namespaces, for names that only lose their meaning.
pub(in crate::ops) fn outside(mut plan: Plan) -> Plan {
    plan.retain(|step| step.change.facts().place.is_none());
    plan
}

fn is_of_lo(change: &Change) -> bool {
    change.facts().part_of.is_some_and(|link| *link.name == LinkName::loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{PortRange, Protocol},
        ops::fixtures::{self, record},
    };

    const FIREWALLS: [Firewall; 2] = [Firewall::Nftables, Firewall::Iptables];

    fn records(networks: &[Network]) -> Records {
        networks.iter().map(|n| (n.name.clone(), record(n.clone(), Vec::new()))).collect()
    }

    fn bridge(name: &str, firewall: Firewall, subnets: &[&str]) -> Network {
        Network { firewall, ..fixtures::network(name, "bridge", subnets) }
    }

    /// How many of the shared parts of a firewall a plan deletes, and how many there are.
    fn shared(plan: &Plan, firewall: Firewall, family: Family) -> (usize, usize) {
        let parts = reverse(&plan::shared(firewall, family), |_| false);
        let deleted = parts.iter().filter(|part| plan.iter().any(|s| s.change == part.change));
        (deleted.count(), parts.len())
    }

    #[test]
    fn the_last_network_takes_along_what_networks_share() {
        for firewall in FIREWALLS {
            let [a, b] = ["a", "b"].map(|name| bridge(name, firewall, &["10.0.0.0/24"]));
            let both = records(&[a.clone(), b.clone()]);
            let (deleted, all) = shared(&network(&both, &a), firewall, Family::V4);
            assert!(deleted == 0 && all > 0, "{firewall}: {deleted} of {all}");
            let one = records(std::slice::from_ref(&b));
            let (deleted, all) = shared(&network(&one, &b), firewall, Family::V4);
            assert_eq!(deleted, all, "{firewall}");
        }
    }

    #[test]
    fn the_other_firewall_and_the_other_ip_version_need_nothing() {
        let v4 = bridge("a", Firewall::Iptables, &["10.0.0.0/24"]);
        let v6 = bridge("b", Firewall::Iptables, &["fd00::/64"]);
        let other = bridge("c", Firewall::Nftables, &["10.0.1.0/24"]);
        let all = records(&[v4.clone(), v6, other]);
        let plan = network(&all, &v4);
        let (deleted, parts) = shared(&plan, Firewall::Iptables, Family::V4);
        assert_eq!(deleted, parts);
        assert_eq!(shared(&plan, Firewall::Iptables, Family::V6).0, 0);
        assert_eq!(shared(&plan, Firewall::Nftables, Family::V4).0, 0);
        assert!(leftover(&all, Firewall::Nftables).is_empty());
        assert!(!leftover(&records(&[v4]), Firewall::Nftables).is_empty());
    }

    #[test]
    fn a_port_needs_the_network_and_not_the_other_way_round() {
        let port = |host_ip: &str| PublishedPort {
            host_ip: fixtures::ip(host_ip),
            host: PortRange::single(80),
            address: fixtures::ip("10.0.0.2"),
            container: PortRange::single(80),
            protocol: Protocol::Tcp,
            chosen: false,
        };
        let foreign = fixtures::network("br0", "foreign", &["10.0.0.0/24"]);
        let mut endpoint = fixtures::endpoint("web", 7, "eth0", &[]);
        for (ports, v4, v6) in [
            (&[][..], false, false),
            (&["0.0.0.0"], true, false),
            (&["::"], false, true),
            (&["0.0.0.0", "::"], true, true),
        ] {
            endpoint.ports = ports.iter().map(|host_ip| port(host_ip)).collect();
            let record = record(foreign.clone(), vec![endpoint.clone()]);
            let needs = |family| needs_firewall(&record, family);
            assert_eq!((needs(Some(Family::V4)), needs(Some(Family::V6))), (v4, v6), "{ports:?}");
            assert_eq!(needs(None), v4 || v6);
            assert!(!super::needs(&record, Firewall::Iptables, None), "it is in the other one");
        }
    }
}
