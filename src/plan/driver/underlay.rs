//! The plan of an underlay network: the notes' part 3.1, without an interruption of the host's own
//! network.
//!
//! The bridge is complete before the link changes: it has carrier (from a veth pair whose ends are
//! both on the host) and the IPv6 addresses. A bridge that gains its first carrier, and a new
//! address, would drop packets for the first moments. Then one netlink message moves everything.
//! The order of the steps is also right in reverse.

use std::borrow::Cow;

use super::{bridge::link, macvlan::vlan};
use crate::{
    model::{
        Endpoint, Family, LinkConfig, LinkName, Neighbour, Network, SavedAddress, SavedRoute,
        Underlay,
    },
    plan::{
        Moved, Plan, Record, Resource, Scope, SpoofFilter, Step, SysctlKey, cable::cable, firewall,
    },
};

/// What a network's bridge takes over from a link of the host.
#[derive(Clone, Copy, Debug)]
pub struct Takeover<'a> {
    /// The network.
    pub network: &'a Network,
    /// The driver's own data.
    pub driver: &'a Underlay,
    /// The link.
    pub parent: &'a LinkName,
    /// The link's configuration.
    pub link_config: &'a LinkConfig,
    /// The link's own sysctls.
    pub switches: &'a [Switch],
    /// Whether the link still has to become a port of the bridge.
    pub plug: bool,
}

/// A value below `/proc/sys/net/FAMILY/conf/LINK/` that differs from a new link's, or that has to
/// be known because it changes for a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// The IP version.
    pub family: Family,
    /// The file's name.
    pub name: String,
    /// The file's content.
    pub value: String,
}

/// The sysctl of IPv6 for duplicate address detection.
pub const ACCEPT_DAD: &str = "accept_dad";

/// Makes an underlay network, without what it takes over.
pub(super) fn network(network: &Network, driver: &Underlay) -> Plan {
    let mut plan = bare_bridge(network, driver);
    plan.push(up(&network.name));
    plan
}

/// Makes an endpoint a port of the bridge. The host ignores router advertisements on bridges of its
/// own, but not on the one that took over its uplink.
pub(super) fn port(network: &Network, endpoint: &Endpoint) -> Plan {
    let guard = SpoofFilter::against_spoofing(network, endpoint).unwrap_or(SpoofFilter::Routers);
    cable(network, endpoint, Some(guard))
}

/// Makes the bridge, and moves the link's addresses, routes, rules and neighbours to it.
pub fn takeover(takeover: &Takeover<'_>) -> Plan {
    let Takeover { network, driver, parent, link_config, switches, plug } = *takeover;
    let bridge = &network.name;
    let there = link_config.moved(parent, bridge);
    let mut plan = bare_bridge(network, driver);
    let others = switches.iter().filter(|s| !(plug && s.name == ACCEPT_DAD));
    for Switch { family, name, value } in others {
        let why = "the bridge gets the sysctl values of the link";
        plan.push(switch(why, bridge, *family, name.clone().into(), value.clone().into()));
    }
    if plug {
        plan.extend(with_carrier(bridge));
    }
    plan.push(up(bridge));
    for address in there.addresses.iter().filter(|a| a.address.is_ipv6()) {
        plan.push(Step::create(
            "duplicate address detection (DAD) takes time, so IPv6 addresses are added early",
            moved_address(bridge, address),
        ));
    }
    plan.push(ready(bridge));
    plan.extend(cut(parent, bridge, link_config, &there));
    if plug {
        let why = "the uplink now gives the bridge carrier";
        plan.push(
            Step::delete(why, Resource::CarrierVeth(CarrierVeth::of(bridge))).until(Scope::Run),
        );
        if let Some(former) = switches.iter().find(|s| s.name == ACCEPT_DAD) {
            let (why, value) =
                ("the bridge takes over the link's own value", former.value.clone().into());
            plan.push(switch(why, bridge, Family::V6, ACCEPT_DAD.into(), value).until(Scope::Run));
        }
    }
    plan.push(ready(parent));
    for address in last_for_ever(link_config) {
        plan.push(Step::delete(
            "the bridge has this IPv6 address now",
            moved_address(parent, address),
        ));
    }
    for route in link_config.left_behind() {
        let route = Resource::Moved(Moved::Route(route.clone().into()));
        plan.push(
            Step::delete("the route would lead nowhere: its link is a bridge port now", route)
                .until(Scope::Run),
        );
    }
    plan
}

/// Makes a bridge with the link's MAC and MTU.
fn bare_bridge(network: &Network, driver: &Underlay) -> Plan {
    let mut plan = vec![Step::create(
        "record what is about to move, so that it can be moved back",
        Resource::Record(Record::Network(network.clone())),
    )];
    plan.extend(vlan(&driver.parent));
    let why = "a bridge with the link's MAC: neighbours keep their ARP entries for the host";
    plan.extend(link(why, network));
    if driver.filtered {
        plan.extend(firewall::underlay(network));
    }
    plan
}

fn up(bridge: &LinkName) -> Step {
    let why = "a link carries no frames until it is up";
    Step::create(why, Resource::Up { netns: None, link: bridge.clone() })
}

/// A veth pair with both ends on the host, one of them in a bridge, so that the bridge has carrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarrierVeth {
    /// The bridge.
    pub bridge: LinkName,
    /// The end in the bridge.
    pub port: LinkName,
    /// The other end.
    pub loose: LinkName,
}

impl CarrierVeth {
    fn of(bridge: &LinkName) -> Self {
        let [port, loose] = bridge.carrier_names();
        Self { bridge: bridge.clone(), port, loose }
    }
}

/// Deletes the veth pair that an earlier run left.
pub fn without_carrier(network: &Network) -> Step {
    Step::delete(
        "a leftover veth pair: the bridge no longer needs carrier from it",
        Resource::CarrierVeth(CarrierVeth::of(&network.name)),
    )
}

fn with_carrier(bridge: &LinkName) -> Plan {
    let why = "the bridge shares the link's link-local address, so DAD would report a duplicate";
    let mut plan = vec![switch(why, bridge, Family::V6, ACCEPT_DAD.into(), "0".into())];
    let carrier = CarrierVeth::of(bridge);
    let why = "a veth pair with both ends on the host: it gives the bridge carrier before the move";
    plan.push(Step::create(why, Resource::CarrierVeth(carrier.clone())));
    let ends = [carrier.port, carrier.loose];
    for end in &ends {
        let why = "the veth pair must send no IPv6 packets of its own";
        plan.push(switch(why, end, Family::V6, "disable_ipv6".into(), "1".into()));
    }
    for end in ends {
        let why = "a veth pair has carrier when both ends are up";
        plan.push(Step::create(why, Resource::Up { netns: None, link: end }));
    }
    plan.into_iter().map(|step| step.until(Scope::Run)).collect()
}

/// The changes that have to happen in one message.
fn cut(parent: &LinkName, bridge: &LinkName, here: &LinkConfig, there: &LinkConfig) -> Plan {
    let mut plan = vec![Step::create(
        "the link becomes a bridge port: the bridge receives its frames from now on",
        Resource::Moved(Moved::Port { link: parent.clone(), bridge: bridge.clone() }),
    )];
    let neighbour = |link: &LinkName, n: &Neighbour| {
        Resource::Moved(Moved::Neighbour { link: link.clone(), neighbour: n.clone() })
    };
    let (set, learned): (Vec<_>, Vec<_>) = here.neighbours.iter().partition(|n| n.permanent);
    // The kernel deletes these with a link's last address. Delete them before it, so that a
    // rollback can restore them, which it then does after the address.
    for one in &set {
        let why = "a permanent neighbour entry moves from the link";
        plan.push(Step::delete(why, neighbour(parent, one)));
    }
    for one in &learned {
        let why = "known neighbours are copied, so that they need no new ARP or NDP request";
        plan.push(Step::create(why, neighbour(bridge, one)));
    }
    for rule in &there.rules {
        let why = "the policy rule names the link: the bridge needs the same rule";
        plan.push(Step::create(why, Resource::Moved(Moved::Rule(rule.clone().into()))));
    }
    let route = |route: &SavedRoute| Resource::Moved(Moved::Route(route.clone().into()));
    for one in in_order(&here.routes).into_iter().rev() {
        plan.push(Step::delete("the route moves from the link", route(one)));
    }
    // Of the addresses of one subnet the first is primary. Deleting it deletes the others.
    for address in here.addresses.iter().rev().filter(|a| a.address.is_ipv4()) {
        plan.push(Step::delete("the address moves from the link", moved_address(parent, address)));
    }
    for address in there.addresses.iter().filter(|a| a.address.is_ipv4()) {
        plan.push(Step::create("the address moves to the bridge", moved_address(bridge, address)));
    }
    for one in in_order(&there.routes) {
        plan.push(Step::create("the route moves to the bridge", route(one)));
    }
    for one in &set {
        plan.push(Step::create(
            "the permanent neighbour entry moves to the bridge",
            neighbour(bridge, one),
        ));
    }
    for rule in &here.rules {
        let why = "the policy rule for the link no longer matches any packet";
        plan.push(Step::delete(why, Resource::Moved(Moved::Rule(rule.clone().into()))));
    }
    for one in &learned {
        let why = "a bridge port needs no neighbour entries";
        plan.push(Step::delete(why, neighbour(parent, one)));
    }
    plan
}

/// Sorts on-link routes before routes by a gateway, which need one of them.
fn in_order(routes: &[SavedRoute]) -> Vec<&SavedRoute> {
    let mut ordered: Vec<_> = routes.iter().collect();
    ordered.sort_by_key(|route| route.has_gateway());
    ordered
}

/// Returns the IPv6 addresses, permanent ones last: the route to the subnet goes with the last of
/// them.
fn last_for_ever(link_config: &LinkConfig) -> Vec<&SavedAddress> {
    let ipv6 = link_config.addresses.iter().rev().filter(|a| a.address.is_ipv6());
    let mut ordered: Vec<_> = ipv6.collect();
    ordered.sort_by_key(|address| address.lifetime.is_none());
    ordered
}

fn moved_address(link: &LinkName, address: &SavedAddress) -> Resource {
    Resource::Moved(Moved::Address { link: link.clone(), address: address.clone().into() })
}

fn ready(link: &LinkName) -> Step {
    let why = "wait for carrier and for duplicate address detection (DAD)";
    Step::create(why, Resource::WaitReady { link: link.clone() })
}

fn switch(
    why: &'static str,
    link: &LinkName,
    family: Family,
    option: Cow<'static, str>,
    value: Cow<'static, str>,
) -> Step {
    let key = SysctlKey::of_link(family, link, option);
    Step::create(why, Resource::Sysctl { netns: None, key, value, reset: None })
}
