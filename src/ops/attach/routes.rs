//! Chooses the routes of an endpoint, and finds those that they displace.

use std::net::IpAddr;

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::{Chooser, Wiring};
use crate::{
    error::Error,
    kernel::{Netns, dhcp::Leased},
    model::{Family, Flag, Gateway, LinkName, Network, Route, RouteSpec, kernel_metric},
};

impl Chooser<'_> {
    /// Returns the default routes to add, those that they displace, and their metric.
    pub(super) async fn default_routes(
        &self,
        netns: &Netns,
        wiring: &Wiring,
        addresses: &[IpNetwork],
        leased: Option<&Leased>,
    ) -> Result<(Vec<IpAddr>, Vec<Route>, u32)> {
        let metric = wiring.metric.unwrap_or_default();
        if wiring.gateway.contains(&Gateway::None) {
            return Ok((Vec::new(), Vec::new(), metric));
        }
        let links = netns.links().await?;
        let all = netns.routes().await?.into_iter();
        let there = all.filter(|r| r.destination.prefix() == 0).map(|route| {
            let link = links.values().find(|link| link.carries(&route));
            let link = link.and_then(|link| link.name.parse::<LinkName>().ok());
            DefaultRoute {
                family: Family::of(route.destination.ip()),
                metric: route.metric,
                route: link.map(|link| route.by(&link)),
            }
        });
        let there: Vec<_> = there.collect();
        let leased = leased.map(|leased| Offer { router: leased.router.map(IpAddr::from) });
        let metric = if wiring.spare_default { free_metric(metric, &there) } else { metric };
        let wiring = Wiring { metric: wiring.metric.map(|_| metric), ..wiring.clone() };
        let (gateways, replaced) =
            default_routes(&self.record.network, &wiring, addresses, leased, &there)?;
        Ok((gateways, replaced, metric))
    }

    pub(super) fn routes(
        &self,
        wiring: &Wiring,
        ifname: &LinkName,
        addresses: &[IpNetwork],
    ) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for spec in &wiring.route {
            if let Some(gateway) = spec.gateway {
                check_gateway(gateway, addresses)?;
            }
            let route = spec.by(ifname.clone());
            let is_rival = |r: &&Route| is_rival(r, &route);
            if let Some(rival) = routes.iter().find(is_rival).filter(|rival| **rival != route) {
                let (one, other) = (RouteSpec::of(rival).way(), spec.way());
                let message = format!("two routes to {}: {one} and {other}", spec.destination);
                return Err(Error::usage(message)
                    .hint("of several routes to a destination, each needs a metric of its own")
                    .into());
            }
            routes.push(route);
        }
        // On an internal network, or a second one, no default route leads to other hosts.
        for route in self.record.network.routes_to_others(ifname) {
            let has_family = addresses.iter().any(|a| a.is_ipv4() == route.destination.is_ipv4());
            if has_family && routes.iter().all(|r: &Route| r.destination != route.destination) {
                routes.push(route);
            }
        }
        Ok(routes)
    }
}

/// The part of a DHCP server's offer that matters for routes.
#[derive(Clone, Copy)]
struct Offer {
    router: Option<IpAddr>,
}

/// An existing default route of a namespace.
struct DefaultRoute {
    family: Family,
    metric: u32,
    /// The route, if its link is known.
    route: Option<Route>,
}

/// Returns whether the kernel cannot have both routes.
fn is_rival(one: &Route, other: &Route) -> bool {
    one.destination == other.destination && one.kernel_metric() == other.kernel_metric()
}

/// Returns the lowest metric from this one on that no default route has.
fn free_metric(from: u32, there: &[DefaultRoute]) -> u32 {
    let is_free = |metric: &u32| {
        there.iter().all(|route| route.metric != kernel_metric(*metric, route.family))
    };
    (from..=u32::MAX).find(is_free).unwrap_or(from)
}

/// Returns the gateways of an endpoint, and the default routes that they displace: those with the
/// same metric. A gateway that was not requested gives way itself: if it has no metric of its own, to
/// any other default route.
fn default_routes(
    network: &Network,
    wiring: &Wiring,
    addresses: &[IpNetwork],
    leased: Option<Offer>,
    there: &[DefaultRoute],
) -> Result<(Vec<IpAddr>, Vec<Route>)> {
    let ip = |gateway: &Gateway| if let Gateway::Ip(ip) = gateway { Some(*ip) } else { None };
    let asked = &wiring.gateway;
    let metric = |family| kernel_metric(wiring.metric.unwrap_or_default(), family);
    let mut gateways: Vec<IpAddr> = asked.iter().filter_map(ip).collect();
    let mut replaced = Vec::new();
    for gateway in &gateways {
        check_gateway(*gateway, addresses)?;
        let family = Family::of(*gateway);
        let is_rival = |r: &&DefaultRoute| r.family == family && r.metric == metric(family);
        replaced.extend(there.iter().filter(is_rival).filter_map(|r| r.route.clone()));
    }
    if network.has(Flag::Internal) {
        return Ok((gateways, replaced));
    }
    for family in [Family::V4, Family::V6] {
        if !addresses.iter().any(|a| Family::of(a.ip()) == family) {
            continue;
        }
        let is_asked = asked.iter().filter_map(ip).any(|gateway| Family::of(gateway) == family);
        let is_in_the_way = |r: &DefaultRoute| {
            r.family == family && wiring.metric.is_none_or(|_| r.metric == metric(family))
        };
        let is_given = wiring.route.iter().any(|route| {
            let is_default = route.destination.prefix() == 0;
            is_default
                && Family::of(route.destination.ip()) == family
                && kernel_metric(route.metric, family) == metric(family)
        });
        if is_asked || is_given || there.iter().any(is_in_the_way) {
            continue;
        }
        gateways.extend(match leased.filter(|_| family == Family::V4) {
            Some(Offer { router }) => router,
            None => network.gateway_for(addresses, family),
        });
    }
    Ok((gateways, replaced))
}

fn check_gateway(gateway: IpAddr, addresses: &[IpNetwork]) -> Result<()> {
    if addresses.iter().any(|a| a.ip() == gateway) {
        return Err(Error::usage(format!("gateway {gateway} is the endpoint's own address")).into());
    }
    if !addresses.iter().any(|a| a.contains(gateway)) {
        let own: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        return Err(Error::usage(format!(
            "gateway {gateway} cannot be reached from {}",
            own.join(", ")
        ))
        .hint("a gateway must be in a subnet of the endpoint's")
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Flags,
        ops::fixtures::{ip, network},
    };

    fn there(gateway: &str, metric: u32) -> DefaultRoute {
        let route = Route::default_by(ip(gateway), "eth9".parse().unwrap());
        let family = Family::of(route.destination.ip());
        DefaultRoute { family, metric, route: Some(route) }
    }

    fn asking(gateway: &[Gateway]) -> Wiring {
        Wiring { gateway: gateway.to_vec(), ..Wiring::default() }
    }

    #[test]
    fn a_default_route_is_the_networks_where_there_is_none_and_else_what_was_asked_for() {
        let dual = &["10.0.0.2/24", "fd00::2/64"][..];
        let own = || vec![there("192.0.2.1", 0)];
        let both = || vec![there("192.0.2.1", 0), there("2001:db8::1", 1024)];
        for (what, asked, leased, before, gateways, replaced) in [
            ("none yet", &[][..], None, vec![], &["10.0.0.1", "fd00::1"][..], 0),
            ("an IPv4 route is there", &[], None, own(), &["fd00::1"], 0),
            ("both are there", &[], None, both(), &[], 0),
            ("asked for", &["10.0.0.9"], None, own(), &["10.0.0.9", "fd00::1"], 1),
            ("both asked for", &["10.0.0.9", "fd00::9"], None, both(), &["10.0.0.9", "fd00::9"], 2),
            (
                "of another metric",
                &["10.0.0.9"],
                None,
                vec![there("192.0.2.1", 100)],
                &["10.0.0.9", "fd00::1"],
                0,
            ),
            ("leased", &[], Some(Some("10.0.0.254")), vec![], &["10.0.0.254", "fd00::1"], 0),
            ("leased without a router", &[], Some(None), vec![], &["fd00::1"], 0),
        ] {
            let network = network("lab0", "bridge", &["10.0.0.0/24", "fd00::/64"]);
            let asked: Vec<_> = asked.iter().map(|gateway| Gateway::Ip(ip(gateway))).collect();
            let addresses: Vec<_> = dual.iter().map(|a| a.parse().unwrap()).collect();
            let leased = leased.map(|router: Option<&str>| Offer { router: router.map(ip) });
            let found =
                default_routes(&network, &asking(&asked), &addresses, leased, &before).unwrap();
            let expected: Vec<_> = gateways.iter().map(|gateway| ip(gateway)).collect();
            assert_eq!((found.0, found.1.len()), (expected, replaced), "{what}");
        }
    }

    #[test]
    fn default_routes_of_different_metrics_do_not_rival() {
        let network = network("lab0", "bridge", &["10.0.0.0/24"]);
        let addresses = ["10.0.0.2/24".parse().unwrap()];
        for (metric, asked, routes, before, gateways, replaced) in [
            (Some(50), None, &[][..], vec![there("192.0.2.1", 0)], 1, 0),
            (Some(50), None, &[], vec![there("192.0.2.1", 50)], 0, 0),
            (Some(50), Some("10.0.0.1"), &[], vec![there("192.0.2.1", 50)], 1, 1),
            (None, Some("10.0.0.1"), &[], vec![there("192.0.2.1", 1024)], 1, 0),
            (None, None, &["default,10.0.0.9"], vec![], 0, 0),
            (None, None, &["unreachable:default"], vec![], 0, 0),
            (None, None, &["default,10.0.0.9,metric=50"], vec![], 1, 0),
            (Some(50), None, &["default,10.0.0.9,metric=50"], vec![], 0, 0),
        ] {
            let gateway = asked.map(|gateway| Gateway::Ip(ip(gateway))).into_iter().collect();
            let route = routes.iter().map(|route| route.parse().unwrap()).collect();
            let wiring = Wiring { gateway, metric, route, ..Wiring::default() };
            let found = default_routes(&network, &wiring, &addresses, None, &before).unwrap();
            assert_eq!((found.0.len(), found.1.len()), (gateways, replaced), "{wiring:?}");
        }
    }

    #[test]
    fn a_spare_default_route_has_the_next_free_metric() {
        let v6 = |metric| DefaultRoute { family: Family::V6, metric, route: None };
        for (there, expected) in [
            (vec![], 100),
            (vec![there("10.9.0.1", 100)], 101),
            (vec![there("10.9.0.1", 100), v6(101)], 102),
            (vec![there("10.9.0.1", 101), there("10.9.0.1", 99)], 100),
        ] {
            assert_eq!(free_metric(100, &there), expected);
        }
    }

    #[test]
    fn an_internal_network_brings_only_what_was_asked_for() {
        let mut network = network("lab0", "bridge", &["10.0.0.0/24"]);
        network.flags = Flags::of(|flag| flag == Flag::Internal);
        let addresses = ["10.0.0.2/24".parse().unwrap()];
        let found =
            |asked: &[Gateway]| default_routes(&network, &asking(asked), &addresses, None, &[]);
        assert_eq!(found(&[]).unwrap(), (Vec::new(), Vec::new()));
        assert_eq!(found(&[Gateway::Ip(ip("10.0.0.9"))]).unwrap().0, [ip("10.0.0.9")]);
    }

    #[test]
    fn a_gateway_is_a_neighbour() {
        let network = network("lab0", "bridge", &["10.0.0.0/24"]);
        let addresses = ["10.0.0.2/24".parse().unwrap()];
        for wrong in ["10.0.0.2", "10.0.1.1", "fd00::1"] {
            let asked = [Gateway::Ip(ip(wrong))];
            assert!(
                default_routes(&network, &asking(&asked), &addresses, None, &[]).is_err(),
                "{wrong}"
            );
        }
    }
}
