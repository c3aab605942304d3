//! Chooses the routes of an endpoint, and finds those that they displace.

use std::net::IpAddr;

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::{Chooser, Wiring};
use crate::{
    error::Error,
    kernel::{Netns, dhcp::Leased},
    model::{Family, Flag, Gateway, LinkName, Network, Route, RouteSpec},
};

impl Chooser<'_> {
    /// Returns the default routes to add, and those that they displace.
    pub(super) async fn default_routes(
        &self,
        netns: &Netns,
        wiring: &Wiring,
        addresses: &[IpNetwork],
        leased: Option<&Leased>,
    ) -> Result<(Vec<IpAddr>, Vec<Route>)> {
        let asked = &wiring.gateway;
        if asked.contains(&Gateway::None) {
            return Ok((Vec::new(), Vec::new()));
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
        default_routes(&self.record.network, asked, addresses, leased, &there)
    }

    pub(super) fn routes(
        &self,
        wiring: &Wiring,
        ifname: &LinkName,
        addresses: &[IpNetwork],
    ) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for RouteSpec { destination, gateway } in &wiring.route {
            if let Some(gateway) = gateway {
                check_gateway(*gateway, addresses)?;
            }
            let on_link = Route::on(ifname.clone(), *destination);
            routes.push(Route { gateway: *gateway, ..on_link });
        }
        // On an internal network, or a second one, no default route leads to other hosts.
        for route in self.record.network.routes_to_others(ifname) {
            let has_family = addresses.iter().any(|a| a.is_ipv4() == route.destination.is_ipv4());
            if has_family && routes.iter().all(|r| r.destination != route.destination) {
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

/// Returns the gateways of an endpoint, and the default routes that they displace: those with the
/// same metric. A gateway that was not requested gives way itself.
fn default_routes(
    network: &Network,
    asked: &[Gateway],
    addresses: &[IpNetwork],
    leased: Option<Offer>,
    there: &[DefaultRoute],
) -> Result<(Vec<IpAddr>, Vec<Route>)> {
    let ip = |gateway: &Gateway| if let Gateway::Ip(ip) = gateway { Some(*ip) } else { None };
    let mut gateways: Vec<IpAddr> = asked.iter().filter_map(ip).collect();
    let mut replaced = Vec::new();
    for gateway in &gateways {
        check_gateway(*gateway, addresses)?;
        // 1024 is IPv6's default metric.
        let is_rival =
            |r: &&DefaultRoute| r.family == Family::of(*gateway) && matches!(r.metric, 0 | 1024);
        replaced.extend(there.iter().filter(is_rival).filter_map(|r| r.route.clone()));
    }
    if network.has(Flag::Internal) {
        return Ok((gateways, replaced));
    }
    for address in addresses {
        let family = Family::of(address.ip());
        let is_asked = asked.iter().filter_map(ip).any(|gateway| Family::of(gateway) == family);
        if is_asked || there.iter().any(|r| r.family == family) {
            continue;
        }
        gateways.extend(match leased.filter(|_| family == Family::V4) {
            Some(Offer { router }) => router,
            None => network.subnet_of(address.ip()).and_then(|subnet| subnet.gateway),
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
            let found = default_routes(&network, &asked, &addresses, leased, &before).unwrap();
            let expected: Vec<_> = gateways.iter().map(|gateway| ip(gateway)).collect();
            assert_eq!((found.0, found.1.len()), (expected, replaced), "{what}");
        }
    }

    #[test]
    fn an_internal_network_brings_only_what_was_asked_for() {
        let mut network = network("lab0", "bridge", &["10.0.0.0/24"]);
        network.flags = Flags::of(|flag| flag == Flag::Internal);
        let addresses = ["10.0.0.2/24".parse().unwrap()];
        let found = |asked: &[Gateway]| default_routes(&network, asked, &addresses, None, &[]);
        assert_eq!(found(&[]).unwrap(), (Vec::new(), Vec::new()));
        assert_eq!(found(&[Gateway::Ip(ip("10.0.0.9"))]).unwrap().0, [ip("10.0.0.9")]);
    }

    #[test]
    fn a_gateway_is_a_neighbour() {
        let network = network("lab0", "bridge", &["10.0.0.0/24"]);
        let addresses = ["10.0.0.2/24".parse().unwrap()];
        for wrong in ["10.0.0.2", "10.0.1.1", "fd00::1"] {
            let asked = [Gateway::Ip(ip(wrong))];
            assert!(default_routes(&network, &asked, &addresses, None, &[]).is_err(), "{wrong}");
        }
    }
}
