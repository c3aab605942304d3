//! Which routes an endpoint brings, and which give way to them.

use std::net::IpAddr;

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::Chooser;
use crate::{
    error::Error,
    kernel::{Netns, dhcp::Leased},
    model::{Flag, Gateway, LinkName, Route, RouteSpec},
};

impl Chooser<'_> {
    /// The default routes to bring, and those that have to give way for them.
    pub(super) async fn default_routes(
        &self,
        netns: &Netns,
        addresses: &[IpNetwork],
        leased: Option<&Leased>,
    ) -> Result<(Vec<IpAddr>, Vec<Route>)> {
        let asked: Vec<IpAddr> = self
            .args
            .wiring
            .gateway
            .iter()
            .filter_map(|g| if let Gateway::Ip(ip) = g { Some(*ip) } else { None })
            .collect();
        if self.args.wiring.gateway.contains(&Gateway::None) {
            return Ok((Vec::new(), Vec::new()));
        }
        let links = netns.links().await?;
        let defaults: Vec<_> =
            netns.routes().await?.into_iter().filter(|r| r.destination.prefix() == 0).collect();
        let (mut gateways, mut replaced) = (Vec::new(), Vec::new());
        for gateway in &asked {
            Self::check_gateway(*gateway, addresses)?;
            gateways.push(*gateway);
            // What would share its metric with ours: 1024 is IPv6's default.
            let rivals = defaults.iter().filter(|r| {
                r.destination.is_ipv4() == gateway.is_ipv4() && matches!(r.metric, 0 | 1024)
            });
            for rival in rivals {
                let link = links.values().find(|l| l.carries(rival));
                if let Some(link) = link.and_then(|l| l.name.parse::<LinkName>().ok()) {
                    replaced.push(rival.clone().by(&link));
                }
            }
        }
        if self.record.network.has(Flag::Internal) {
            return Ok((gateways, replaced));
        }
        for address in addresses {
            let is_ipv4 = address.is_ipv4();
            let same = |ip: &IpAddr| ip.is_ipv4() == is_ipv4;
            if asked.iter().any(same) || defaults.iter().any(|r| r.destination.is_ipv4() == is_ipv4)
            {
                continue;
            }
            match leased.filter(|_| is_ipv4) {
                Some(leased) => gateways.extend(leased.router.map(IpAddr::from)),
                None => gateways
                    .extend(self.record.network.subnet_of(address.ip()).and_then(|s| s.gateway)),
            }
        }
        Ok((gateways, replaced))
    }

    fn check_gateway(gateway: IpAddr, addresses: &[IpNetwork]) -> Result<()> {
        if addresses.iter().any(|a| a.ip() == gateway) {
            return Err(
                Error::usage(format!("gateway {gateway} is the endpoint's own address")).into()
            );
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

    pub(super) fn routes(&self, ifname: &LinkName, addresses: &[IpNetwork]) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for RouteSpec { destination, gateway } in &self.args.wiring.route {
            if let Some(gateway) = gateway {
                Self::check_gateway(*gateway, addresses)?;
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
