//! Attaches a container again that was started anew: the endpoint on record, which waited for it, says
//! how, where the request says nothing else.

use ipnetwork::IpNetwork;

use super::{Attach, Wiring};
use crate::{
    model::{Address, Endpoint, Gateway, Mac, Network, NetworkRecord, RouteSpec, host_name},
    ops::lookup::{endpoints::is_former, resolve::Found},
};

/// How to connect one endpoint of a target.
pub(super) struct Wanted {
    pub(super) wiring: Wiring,
    /// The endpoint of the stopped container, in whose place this one comes.
    pub(super) former: Option<Endpoint>,
}

/// Returns the endpoints that a target gets on a network: usually one; of a container that was started
/// again, those that it had, if the request does not name another link.
pub(super) fn wanted(args: &Attach, record: &NetworkRecord, found: &Found) -> Vec<Wanted> {
    let is_asked =
        |e: &&Endpoint| args.wiring.ifname.as_ref().is_none_or(|ifname| *ifname == e.ifname);
    let is_former = |e: &&Endpoint| {
        e.is_stopped()
            && !e.foreign
            && found.container.as_ref().is_some_and(|now| is_former(e, now))
    };
    let mut wanted: Vec<_> = record
        .endpoints
        .iter()
        .filter(is_asked)
        .filter(is_former)
        .map(|former| Wanted {
            wiring: again(&args.wiring, &record.network, former),
            former: Some(former.clone()),
        })
        .collect();
    let cookie = found.netns.cookie();
    let is_there =
        record.endpoints.iter().filter(is_asked).any(|e| e.cookie == cookie && !e.is_stopped());
    if wanted.is_empty() || is_there {
        wanted.insert(0, Wanted { wiring: args.wiring.clone(), former: None });
    }
    wanted
}

/// Returns the wiring that a request and the record of a stopped container's endpoint make together.
fn again(asked: &Wiring, network: &Network, former: &Endpoint) -> Wiring {
    let is_leased = former.lease.is_some();
    let is_asked = |ip: &IpNetwork| asked.ip.iter().any(|a| a.ip.is_ipv4() == ip.is_ipv4());
    let by_server = |ip: &IpNetwork| ip.is_ipv4() && is_leased;
    let kept = former.addresses.iter().filter(|ip| !is_asked(ip) && !by_server(ip));
    let kept = kept.map(|ip| Address { ip: ip.ip(), length: Some(ip.prefix()) });
    // The name of its link is only a wish: the engine may have given it to a link of its own.
    let mut wiring = Wiring { ifname: None, ..asked.clone() };
    wiring.ip.extend(kept);
    wiring.dhcp |= is_leased && !asked.ip.iter().any(|a| a.ip.is_ipv4());
    if asked.gateway.is_empty() && asked.ip.is_empty() {
        let own = former.gateways.iter().filter(|ip| !(is_leased && ip.is_ipv4()));
        wiring.gateway = own.copied().map(Gateway::Ip).collect();
        if former.gateways.is_empty() {
            wiring.gateway.push(Gateway::None);
        }
    }
    let has_own_mac =
        is_leased || former.addresses.first().map(|a| Mac::of(a.ip())) != Some(former.mac);
    if has_own_mac && !network.driver.is_passthru() {
        wiring.mac = wiring.mac.or(Some(former.mac));
    }
    wiring.host_ifname = wiring.host_ifname.or_else(|| {
        let is_derived = |attempt| {
            let name = host_name(&network.name, former.cookie, &former.ifname, attempt);
            former.has_host_end(name.as_str())
        };
        former.host_ifname().filter(|_| !(0..=u8::MAX).any(is_derived)).cloned()
    });
    wiring.mtu = wiring.mtu.or((former.mtu != network.mtu).then_some(former.mtu));
    let derived: Vec<_> = network.routes_to_others(&former.ifname).collect();
    let is_new = |route: &RouteSpec| asked.route.iter().all(|r| r.destination != route.destination);
    let own = former.routes.iter().filter(|route| !derived.contains(route));
    let own = own.map(RouteSpec::of);
    wiring.route.extend(own.filter(is_new));
    wiring.metric = wiring.metric.or(Some(former.metric).filter(|metric| *metric != 0));
    wiring.name = wiring.name.or_else(|| Some(former.netns.clone()));
    wiring
}
