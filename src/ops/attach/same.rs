//! Compares an existing endpoint with the request.

use anyhow::Result;

use super::Chooser;
use crate::{
    model::{Address, Endpoint, Gateway, LinkName, RouteSpec, Target},
    ops::request::differences::Differences,
};

impl Chooser<'_> {
    /// Checks that an existing endpoint is as requested. It is not changed to fit.
    pub(super) fn check_same(&self, target: &Target, there: &Endpoint) -> Result<()> {
        let args = self.args;
        let mut differences = Differences::default();
        let mut compare =
            |what: &str, wanted: String, found: String| differences.compare(what, wanted, found);
        for is_ipv4 in [true, false] {
            let asked: Vec<_> =
                args.wiring.ip.iter().filter(|asked| asked.ip.is_ipv4() == is_ipv4).collect();
            if asked.is_empty() {
                continue;
            }
            // A length is compared where one is given.
            let found = there.addresses.iter().filter(|a| a.is_ipv4() == is_ipv4);
            let found = found.map(|found| {
                let like = asked.iter().find(|a| a.ip == found.ip()).or(asked.first());
                let length = like.and_then(|a| a.length).map(|_| found.prefix());
                Address { ip: found.ip(), length }
            });
            compare("address", listed(asked.iter().copied().copied()), listed(found));
        }
        for gateway in &args.wiring.gateway {
            match gateway {
                Gateway::None => {
                    let found = there.gateways.first().map_or("none".into(), ToString::to_string);
                    compare("gateway", "none".into(), found);
                }
                Gateway::Ip(ip) => {
                    let found = there.gateways.iter().find(|g| g.is_ipv4() == ip.is_ipv4());
                    compare(
                        "gateway",
                        ip.to_string(),
                        found.map_or("none".into(), ToString::to_string),
                    );
                }
            }
        }
        let is_spare = |metric: &u32| args.wiring.spare_default && there.metric > *metric;
        if let Some(metric) = args.wiring.metric.filter(|metric| !is_spare(metric)) {
            compare("metric", metric.to_string(), there.metric.to_string());
        }
        if let Some(mac) = args.wiring.mac {
            compare("MAC", mac.to_string(), there.mac.to_string());
        }
        if let Some(mtu) = args.wiring.mtu {
            compare("MTU", mtu.to_string(), there.mtu.to_string());
        }
        if let Some(name) = &args.wiring.host_ifname {
            let found = there.host_ifname().map_or("none", LinkName::as_str);
            compare("host link", name.to_string(), found.to_owned());
        }
        if let Some(name) = &args.wiring.name {
            compare("name", name.to_string(), there.netns.to_string());
        }
        for route in &args.wiring.route {
            let like = there.routes.iter().map(RouteSpec::of);
            let like: Vec<_> = like.filter(|r| r.destination == route.destination).collect();
            let found = like.iter().find(|r| r.metric == route.metric).or(like.first());
            let found = found.map_or("missing".into(), RouteSpec::way);
            compare(&format!("route to {}", route.destination), route.way(), found);
        }
        if let Some(owner) = &args.wiring.owner {
            let found = there.owner.as_ref().filter(|there| there.is(owner));
            let shown = there.owner.as_ref().map_or("none".into(), ToString::to_string);
            compare("owner", owner.to_string(), found.map_or(shown, |_| owner.to_string()));
        }
        if args.wiring.dhcp {
            let found = if there.lease.is_some() { "leased" } else { "given by hand" };
            compare("address", "leased".into(), found.into());
        }
        let network = &self.record.network.name;
        differences.refuse(
            &format!("`{target}` is attached to `{network}`"),
            &format!("detach it first: `netcord detach {network} {target}`"),
        )
    }
}

/// Returns addresses in a text, in an order of their own.
fn listed(addresses: impl Iterator<Item = Address>) -> String {
    let mut all: Vec<_> = addresses.collect();
    all.sort_by_key(|address| address.ip);
    let all: Vec<_> = all.iter().map(ToString::to_string).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}
