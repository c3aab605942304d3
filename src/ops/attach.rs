//! `attach`: the notes' steps 4 to 9, for one target or many.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use anyhow::Result;
use ipnetwork::IpNetwork;
use serde::Serialize;

use super::{
    Changed, Host, clean, find, publish,
    resolve::{Found, naming, resolve},
};
use crate::{
    cli::{self, Gateway},
    engine,
    error::Error,
    kernel::{Kernel, Link, Netns},
    model::{
        Endpoint, LinkName, Mac, NetnsName, Network, NetworkRecord, Route, Target, host_name,
        next_ifname,
    },
    plan::{self, Change, Plan, Record, Resource, Scope, Step},
    state::State,
};

/// How long an engine may take to tell which addresses it gave out.
const ENGINE_PATIENCE: Duration = Duration::from_millis(300);

#[derive(Serialize)]
struct Attached<'a> {
    network: &'a LinkName,
    endpoints: &'a [Endpoint],
}

pub(super) async fn run(host: &mut Host<'_, '_>, args: cli::Attach) -> Result<()> {
    check_flags(&args)?;
    find::check_name(host, &args.network).await?;
    let mut found = Vec::new();
    for target in &args.targets {
        found.push((target, resolve(&host.kernel, &host.output, target, args.wait).await?));
    }
    let mut state = host.state_with_rebuilt().await?;
    clean::dead(host, &mut state).await?;
    let names: Vec<_> = found.iter().map(|(_, f)| f.name.to_string()).collect();
    let wants = |ip| args.ip.iter().any(|a| a.ip == ip);
    clean::dying(host, &mut state, |e| {
        names.contains(&e.target) || e.addresses.iter().any(|a| wants(a.ip()))
    })
    .await?;
    let record = find::network(&host.kernel, &state, &args.network).await?;
    let bridge = bridge(&host.kernel, &record.network).await?;

    let mut plan = Plan::new();
    if !state.networks().contains_key(&args.network) {
        plan.push(remember(&record.network));
    }
    let mut chooser = Chooser::new(host, &args, record, bridge).await?;
    let mut endpoints = Vec::new();
    for (target, found) in found {
        let (endpoint, steps) = chooser.endpoint(host, &state, target, found).await?;
        plan.extend(steps);
        endpoints.push(endpoint);
    }
    let Some(changed) = host.carry_out(&plan, &mut state).await? else { return Ok(()) };
    let lines: Vec<_> =
        endpoints.iter().flat_map(|e| &e.addresses).map(|a| a.ip().to_string()).collect();
    let now = Attached { network: &args.network, endpoints: &endpoints };
    host.output.result(&Changed::new(changed, now), &lines)
}

fn check_flags(args: &cli::Attach) -> Result<()> {
    let one_only = [
        ("--ip", !args.ip.is_empty()),
        ("--mac", args.mac.is_some()),
        ("--host-ifname", args.host_ifname.is_some()),
        ("--name", args.name.is_some()),
        ("--publish", !args.publish.is_empty()),
    ];
    if args.targets.len() > 1
        && let Some((flag, _)) = one_only.into_iter().find(|(_, given)| *given)
    {
        let message = format!("{flag} is for one target, and {} are given", args.targets.len());
        return Err(Error::usage(message).hint("attach them one by one").into());
    }
    let twice = |is_ipv4: &dyn Fn(bool) -> usize| is_ipv4(true) > 1 || is_ipv4(false) > 1;
    if twice(&|v4| args.ip.iter().filter(|a| a.ip.is_ipv4() == v4).count()) {
        return Err(Error::usage("--ip: an endpoint has one address of each family at most").into());
    }
    let gateways = || {
        args.gateway.iter().filter_map(|g| if let Gateway::Ip(ip) = g { Some(ip) } else { None })
    };
    if twice(&|v4| gateways().filter(|g| g.is_ipv4() == v4).count())
        || (args.gateway.contains(&Gateway::None) && args.gateway.len() > 1)
    {
        return Err(Error::usage("--gateway: one of each family at most, or `none`").into());
    }
    Ok(())
}

/// The bridge of a network, which must be there.
async fn bridge(kernel: &Kernel, network: &Network) -> Result<Link> {
    let name = &network.name;
    kernel.link(name.as_str()).await?.ok_or_else(|| {
        Error::conflict(format!("network `{name}` is on record, and its bridge is gone"))
            .hint(format!("make it again with `netcord bridge {name}`"))
            .into()
    })
}

/// A foreign network is on record as long as something of ours is attached to it.
fn remember(network: &Network) -> Step {
    Step {
        why: "write down that something of ours is attached to this bridge",
        change: Change::Create(Resource::Record(Record::Network(network.clone()))),
        scope: Scope::Own,
    }
}

/// Makes endpoints of targets: decides everything that the user left open.
struct Chooser<'a> {
    args: &'a cli::Attach,
    record: NetworkRecord,
    bridge: Link,
    /// Addresses that are taken, and by whom.
    taken: BTreeMap<IpAddr, String>,
    hairpin: bool,
}

impl<'a> Chooser<'a> {
    async fn new(
        host: &Host<'_, '_>,
        args: &'a cli::Attach,
        record: NetworkRecord,
        bridge: Link,
    ) -> Result<Self> {
        let mut taken = BTreeMap::new();
        if record.network.foreign {
            taken.extend(host.kernel.heard_on(&bridge).await?);
            taken.extend(engine::addresses(ENGINE_PATIENCE).await);
            for own in host.kernel.addresses_of(&bridge).await? {
                taken.insert(own.ip(), format!("bridge `{}`", bridge.name));
            }
        }
        for endpoint in &record.endpoints {
            taken.extend(leases(endpoint));
        }
        let hairpin = host.kernel.bridged_frames_meet_iptables()?;
        Ok(Self { args, record, bridge, taken, hairpin })
    }

    async fn endpoint(
        &mut self,
        host: &mut Host<'_, '_>,
        state: &State,
        target: &Target,
        found: Found,
    ) -> Result<(Endpoint, Plan)> {
        let (name, named) = naming(state, &found, self.args.name.as_ref(), false)?;
        let cookie = found.netns.cookie();
        let is_it = |e: &&Endpoint| {
            e.cookie == cookie && self.args.ifname.as_ref().is_none_or(|i| *i == e.ifname)
        };
        let existing = self.record.endpoints.iter().find(is_it).cloned();
        let mut endpoint = match existing {
            Some(existing) => {
                self.check_same(target, &existing)?;
                existing
            }
            None => self.new_endpoint(&host.kernel, state, &name, &found.netns).await?,
        };
        host.kernel.know(name, found.netns);
        let network = self.record.network.clone();
        for spec in &self.args.publish {
            let ports = publish::choose(&host.kernel, state, &network, &endpoint, spec)?;
            endpoint.ports.extend(ports);
        }
        self.taken.extend(leases(&endpoint));
        self.record.endpoints.push(endpoint.clone());

        let mut plan = named.map(|n| plan::name(&n)).unwrap_or_default();
        plan.extend(plan::attach(&network, &endpoint, self.hairpin));
        Ok((endpoint, plan))
    }

    async fn new_endpoint(
        &self,
        kernel: &Kernel,
        state: &State,
        name: &NetnsName,
        netns: &Netns,
    ) -> Result<Endpoint> {
        let (args, cookie) = (self.args, netns.cookie());
        let links = netns.links().await?;
        let names: BTreeSet<_> = links.values().map(|l| l.name.clone()).collect();
        let ifname = match &args.ifname {
            Some(wanted) if names.contains(wanted.as_str()) => {
                let message = format!("`{name}` already has a link `{wanted}`");
                return Err(Error::conflict(message)
                    .hint("name the new one otherwise, or leave out `--ifname`")
                    .into());
            }
            Some(wanted) => wanted.clone(),
            None => next_ifname(&names),
        };
        let addresses = self.addresses(kernel).await?;
        let mac = match (args.mac, addresses.first()) {
            (Some(mac), _) => self.check_mac(mac)?,
            (None, Some(address)) => Mac::of(address.ip()),
            (None, None) => Mac::of([0, 0, 0, 0].into()),
        };
        let mtu = args.mtu.unwrap_or(self.bridge.mtu);
        if mtu < 1280 && addresses.iter().any(IpNetwork::is_ipv6) {
            return Err(
                Error::usage(format!("MTU {mtu} is too small for IPv6, which needs 1280")).into()
            );
        }
        let host_ifname = self.host_ifname(kernel, cookie, &ifname).await?;
        let lo_is_up = links.values().any(|l| l.name == "lo" && l.up);
        let raised = state.endpoints().any(|(_, e)| e.cookie == cookie && e.raises_lo);
        let (gateways, replaced) = self.default_routes(netns, &addresses).await?;
        Ok(Endpoint {
            target: name.to_string(),
            netns: name.clone(),
            cookie,
            routes: self.routes(&ifname, &addresses)?,
            ifname,
            host_ifname,
            mac,
            mtu,
            addresses,
            gateways,
            replaced,
            raises_lo: !lo_is_up || raised,
            ports: Vec::new(),
        })
    }

    /// One address of each family that the network has: the one that was asked for, or the lowest
    /// free one.
    async fn addresses(&self, kernel: &Kernel) -> Result<Vec<IpNetwork>> {
        let network = &self.record.network;
        let mut addresses = Vec::new();
        for asked in &self.args.ip {
            addresses.push(self.asked_for(kernel, asked).await?);
        }
        for subnet in &network.subnets {
            if addresses.iter().any(|a: &IpNetwork| a.is_ipv4() == subnet.cidr.is_ipv4()) {
                continue;
            }
            let taken = self.taken.keys().copied().collect();
            let free = subnet.lowest_free(&taken).ok_or_else(|| {
                let range = subnet.ip_range.unwrap_or(subnet.cidr);
                Error::conflict(format!(
                    "network `{}` has no free address left in {range}",
                    network.name
                ))
                .hint("detach something, or make another network")
            })?;
            addresses.push(IpNetwork::new(free, subnet.cidr.prefix())?);
        }
        addresses.sort_by_key(IpNetwork::is_ipv6);
        if addresses.is_empty() {
            return Err(Error::usage(format!(
                "bridge `{}` has no subnet to choose an address from",
                network.name
            ))
            .hint("say which address, with its length: --ip 10.0.0.2/24")
            .into());
        }
        Ok(addresses)
    }

    async fn asked_for(&self, kernel: &Kernel, asked: &cli::Address) -> Result<IpNetwork> {
        let (network, cli::Address { ip, length }) = (&self.record.network, *asked);
        let length = match (network.subnet_of(ip), length) {
            (Some(subnet), length) => {
                subnet.check_host(ip, "address")?;
                if length.is_some_and(|l| l != subnet.cidr.prefix()) {
                    return Err(Error::usage(format!(
                        "address {ip} is in subnet {}, whose length is another",
                        subnet.cidr
                    ))
                    .hint(format!("write {ip}, or {ip}/{}", subnet.cidr.prefix()))
                    .into());
                }
                subnet.cidr.prefix()
            }
            (None, Some(length))
                if network.subnets.iter().all(|s| s.cidr.is_ipv4() != ip.is_ipv4())
                    && network.foreign =>
            {
                length
            }
            (None, _) => {
                let subnets: Vec<_> = network.subnets.iter().map(|s| s.cidr.to_string()).collect();
                let has = if subnets.is_empty() { "none".to_owned() } else { subnets.join(", ") };
                return Err(Error::usage(format!(
                    "address {ip} is in no subnet of network `{}`",
                    network.name
                ))
                .hint(format!("its subnets: {has}"))
                .into());
            }
        };
        let is_gateway = network.subnets.iter().any(|s| s.gateway == Some(ip));
        let owner = match self.taken.get(&ip) {
            Some(owner) => Some(owner.clone()),
            None if is_gateway => Some("the network's gateway".into()),
            // Who answers for it on a bridge that others use too?
            None if network.foreign && self.bridge.carrier => {
                kernel.who_has(&self.bridge, ip).await?
            }
            None => None,
        };
        if let Some(owner) = owner {
            return Err(Error::conflict(format!("address {ip} is taken by {owner}"))
                .hint("leave out `--ip` to have a free one chosen")
                .into());
        }
        Ok(IpNetwork::new(ip, length)?)
    }

    fn check_mac(&self, mac: Mac) -> Result<Mac> {
        let owner =
            self.record.endpoints.iter().find(|e| e.mac == mac).map(|e| format!("`{}`", e.target));
        let bridge = (self.bridge.mac == Some(mac)).then(|| "the bridge itself".to_owned());
        match owner.or(bridge) {
            Some(owner) => Err(Error::conflict(format!("MAC {mac} is taken by {owner}"))
                .hint("leave out `--mac` to have one derived from the address")
                .into()),
            None => Ok(mac),
        }
    }

    async fn host_ifname(
        &self,
        kernel: &Kernel,
        cookie: u64,
        ifname: &LinkName,
    ) -> Result<LinkName> {
        if let Some(wanted) = &self.args.host_ifname {
            if kernel.link(wanted.as_str()).await?.is_some() {
                return Err(
                    Error::conflict(format!("the host already has a link `{wanted}`")).into()
                );
            }
            return Ok(wanted.clone());
        }
        for attempt in 0..=u8::MAX {
            let name = host_name(&self.record.network.name, cookie, ifname, attempt);
            if kernel.link(name.as_str()).await?.is_none() {
                return Ok(name);
            }
        }
        Err(Error::conflict("no free name for the host end")
            .hint("name it with `--host-ifname`")
            .into())
    }

    /// The default routes to bring, and those that have to give way for them.
    async fn default_routes(
        &self,
        netns: &Netns,
        addresses: &[IpNetwork],
    ) -> Result<(Vec<IpAddr>, Vec<Route>)> {
        let asked: Vec<IpAddr> = self
            .args
            .gateway
            .iter()
            .filter_map(|g| if let Gateway::Ip(ip) = g { Some(*ip) } else { None })
            .collect();
        if self.args.gateway.contains(&Gateway::None) {
            return Ok((Vec::new(), Vec::new()));
        }
        let links = netns.links().await?;
        let defaults: Vec<_> =
            netns.routes().await?.into_iter().filter(|r| r.destination.prefix() == 0).collect();
        let (mut gateways, mut replaced) = (Vec::new(), Vec::new());
        for gateway in &asked {
            self.check_gateway(*gateway, addresses)?;
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
        if self.record.network.internal {
            return Ok((gateways, replaced));
        }
        for address in addresses {
            let is_ipv4 = address.is_ipv4();
            let same = |ip: &IpAddr| ip.is_ipv4() == is_ipv4;
            if asked.iter().any(same) || defaults.iter().any(|r| r.destination.is_ipv4() == is_ipv4)
            {
                continue;
            }
            gateways.extend(self.record.network.subnet_of(address.ip()).and_then(|s| s.gateway));
        }
        Ok((gateways, replaced))
    }

    fn check_gateway(&self, gateway: IpAddr, addresses: &[IpNetwork]) -> Result<()> {
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

    fn routes(&self, ifname: &LinkName, addresses: &[IpNetwork]) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for cli::RouteSpec { destination, gateway } in &self.args.route {
            if let Some(gateway) = gateway {
                self.check_gateway(*gateway, addresses)?;
            }
            routes.push(Route {
                destination: *destination,
                gateway: *gateway,
                link: ifname.clone(),
                metric: 0,
                protocol: Route::PROTOCOL,
            });
        }
        Ok(routes)
    }

    /// An endpoint that is there must be as was asked for: nothing is changed to fit.
    fn check_same(&self, target: &Target, there: &Endpoint) -> Result<()> {
        let args = self.args;
        let mut differences = Vec::new();
        let mut compare = |what: &str, wanted: String, found: String| {
            if wanted != found {
                differences.push(format!("{what} is {found}, not {wanted}"));
            }
        };
        for asked in &args.ip {
            let found = there.addresses.iter().find(|a| a.is_ipv4() == asked.ip.is_ipv4());
            let wanted = match asked.length {
                Some(length) => format!("{}/{length}", asked.ip),
                None => asked.ip.to_string(),
            };
            let found = match (found, asked.length) {
                (Some(found), Some(_)) => found.to_string(),
                (Some(found), None) => found.ip().to_string(),
                (None, _) => "none".into(),
            };
            compare("address", wanted, found);
        }
        for gateway in &args.gateway {
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
        if let Some(mac) = args.mac {
            compare("MAC", mac.to_string(), there.mac.to_string());
        }
        if let Some(mtu) = args.mtu {
            compare("MTU", mtu.to_string(), there.mtu.to_string());
        }
        if let Some(name) = &args.host_ifname {
            compare("host link", name.to_string(), there.host_ifname.to_string());
        }
        if let Some(name) = &args.name {
            compare("name", name.to_string(), there.netns.to_string());
        }
        for route in &args.route {
            let found = there.routes.iter().find(|r| r.destination == route.destination);
            let shown = |gateway: Option<IpAddr>| {
                gateway.map_or("on the link".into(), |g| format!("by {g}"))
            };
            let found = found.map_or("missing".into(), |r| shown(r.gateway));
            compare(&format!("route to {}", route.destination), shown(route.gateway), found);
        }
        if differences.is_empty() {
            return Ok(());
        }
        let network = &self.record.network.name;
        let message = format!(
            "`{target}` is attached to `{network}`, and differs: {}",
            differences.join("; ")
        );
        Err(Error::conflict(message)
            .hint(format!("detach it first: `netcord detach {network} {target}`"))
            .into())
    }
}

fn leases(endpoint: &Endpoint) -> impl Iterator<Item = (IpAddr, String)> + '_ {
    endpoint.addresses.iter().map(|a| (a.ip(), format!("`{}`", endpoint.target)))
}
