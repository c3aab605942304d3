//! Makes the endpoint of a target, and chooses everything that the user left open.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::{Attach, Wiring, former::Wanted, lease::Leases, pool::Pool};
use crate::{
    engine,
    error::{Error, Kind},
    kernel::{Kernel, Link, Netns},
    model::{
        Attachment, Endpoint, EndpointSummary, Gateway, LinkName, LowerLink, Mac, NetnsName,
        NetworkRecord, Route, Target, client_mac, host_name, next_ifname,
    },
    ops::{
        Session,
        lookup::resolve::{Found, naming},
        publish,
        request::subnets::check_mtu,
        upkeep::{containers, default_routes, leases, link_attrs, wiring},
    },
    plan::{self, Change, Plan},
    state::State,
};

/// How long to wait for an engine's list of addresses.
const ENGINE_PATIENCE: Duration = Duration::from_millis(300);

/// Makes endpoints of targets, and chooses everything that the user left open.
pub(super) struct Chooser<'a> {
    pub(super) args: &'a Attach,
    pub(super) record: &'a NetworkRecord,
    /// Endpoints made by this value.
    made: Vec<Endpoint>,
    pub(super) bridge: Link,
    leases: &'a Leases,
    pub(super) pool: Pool<'a>,
}

impl<'a> Chooser<'a> {
    pub(super) async fn new(
        host: &Session<'_>,
        args: &'a Attach,
        state: &State,
        record: &'a NetworkRecord,
        bridge: Link,
        leases: &'a Leases,
    ) -> Result<Self> {
        let mut taken = BTreeMap::new();
        if record.network.is_shared() {
            taken.extend(host.kernel.heard_on(&bridge).await?);
            taken.extend(engine::addresses(ENGINE_PATIENCE).await);
            for own in host.kernel.addresses_of(&bridge).await? {
                let owner = match record.network.lower_link() {
                    LowerLink::Parent(parent) => format!("the host, on `{}`", parent.link),
                    LowerLink::Bridge(name) => format!("bridge `{name}`"),
                };
                taken.insert(own.ip(), owner);
            }
        }
        taken.extend(on_record(state, record));
        // On a network of this host's own nobody else assigns addresses, and without carrier there is
        // nobody to ask.
        let asks = record.network.is_shared() && bridge.carrier;
        let pool = Pool::new(&record.network, asks, taken).within(&args.wiring.ranges);
        Ok(Self { args, record, made: Vec::new(), bridge, leases, pool })
    }

    /// Returns the network's endpoints that were read, and the new ones.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.record.endpoints.iter().chain(&self.made)
    }

    pub(super) async fn endpoint(
        &mut self,
        host: &mut Session<'_>,
        state: &State,
        target: &Target,
        found: Found,
        wanted: &Wanted,
    ) -> Result<(Endpoint, Plan)> {
        let Wanted { wiring, former } = wanted;
        let cookie = found.netns.cookie();
        let is_it = |e: &&Endpoint| {
            former.is_none()
                && e.cookie == cookie
                && !e.foreign
                && wiring.ifname.as_ref().is_none_or(|i| *i == e.ifname)
        };
        let existing = self.endpoints().find(is_it).cloned();
        // An existing endpoint keeps its name.
        let name = existing.as_ref().map(|e| &e.netns).or(wiring.name.as_ref());
        let (name, named) = naming(state, &found, name, false)?;
        let is_new = existing.is_none();
        let forgotten = former.iter().map(|f| containers::forgotten(&self.record.network, f));
        let mut plan: Plan = forgotten.collect();
        let mut endpoint = match existing {
            Some(existing) => {
                self.check_same(target, &existing)?;
                existing
            }
            None => self
                .new_endpoint(&host.kernel, state, &name, &found.netns, wanted)
                .await
                .map_err(|error| self.of_former(error, former.as_ref()))?,
        };
        let container = found.container.map(Box::new);
        endpoint.container = container.or(endpoint.container);
        host.kernel.know(name, found.netns);
        let network = self.record.network.clone();
        if let Some(former) = former {
            for known in &former.ports {
                let ports =
                    publish::again(&host.kernel, state, &network, &endpoint, known, former)?;
                endpoint.ports.extend(ports);
            }
        }
        for spec in &wiring.publish {
            let ports = publish::choose(&host.kernel, state, &network, &endpoint, spec)?;
            endpoint.ports.extend(ports);
        }
        self.pool.take(addresses_of(EndpointSummary::of(&endpoint)));
        self.made.push(endpoint.clone());

        plan.extend(named.map(|n| plan::name(&n)).unwrap_or_default());
        let mut wiring = wiring::attach(&host.kernel, &network, &endpoint)?;
        wiring.retain(|step| !self.gave_way(host, state, &endpoint, &step.change));
        if !is_new {
            link_attrs::restore(&host.kernel, &mut wiring).await?;
        }
        plan.extend(wiring);
        Ok((endpoint, plan))
    }

    /// Says how a container that was started again can be attached, if what it had is taken.
    fn of_former(&self, error: anyhow::Error, former: Option<&Endpoint>) -> anyhow::Error {
        let Some(former) = former.filter(|_| self.args.wiring.ip.is_empty()) else { return error };
        match error.downcast::<Error>() {
            Ok(own) if own.kind == Kind::Conflict => {
                let (network, target) = (&self.record.network.name, &former.target);
                let hint = format!(
                    "`{target}` had that before it was started again: give another with `--ip`, or \
                     forget it with `netcord detach {network} {target}`"
                );
                own.hint(hint).into()
            }
            Ok(own) => own.into(),
            Err(error) => error,
        }
    }

    /// Returns whether a change is a default route that another network's default route displaced.
    /// Attaching again does not restore it; a user who names it gets a note.
    fn gave_way(
        &self,
        host: &Session<'_>,
        state: &State,
        endpoint: &Endpoint,
        change: &Change,
    ) -> bool {
        let Some(by) = default_routes::successor(state.endpoints(), endpoint, change) else {
            return false;
        };
        if self.args.wiring.gateway.iter().any(|gateway| matches!(gateway, Gateway::Ip(_))) {
            let (own, other) = (&self.record.network.name, &by.network.name);
            host.events.note(&format!(
                "the default route by `{own}` gave way to that by `{other}`; it comes back with \
                 `netcord detach {other} {}`",
                endpoint.target
            ));
        }
        true
    }

    async fn new_endpoint(
        &mut self,
        kernel: &Kernel,
        state: &State,
        name: &NetnsName,
        netns: &Netns,
        Wanted { wiring, former }: &Wanted,
    ) -> Result<Endpoint> {
        let cookie = netns.cookie();
        self.check_room()?;
        let links = netns.links().await?;
        let names: BTreeSet<_> = links.values().map(|l| l.name.clone()).collect();
        let former_name =
            former.as_ref().map(|e| &e.ifname).filter(|n| !names.contains(n.as_str()));
        let ifname = ifname(wiring.ifname.as_ref().or(former_name), &names, name)?;
        let asked = self.leases.of(wiring, cookie)?;
        let leased = asked.map(|(_, leased)| leased);
        let addresses = self.addresses(kernel, wiring, leased)?;
        let own = || client_mac(&self.record.network.name, cookie, &ifname);
        let wanted = wiring.mac.or(asked.map(|(mac, _)| mac));
        let wanted = wanted.or_else(|| addresses.is_empty().then(own));
        let mac = match (self.mac_of_parent(), wanted) {
            (Some(only), _) => only,
            (None, wanted) => mac(self.record, self.bridge.mac, wanted, &addresses)?,
        };
        let mtu = self.mtu(wiring.mtu)?;
        check_mtu(mtu, addresses.iter().any(IpNetwork::is_ipv6))?;
        let attachment = match self.record.network.lower_link() {
            LowerLink::Bridge(_) => Attachment::Veth {
                host_ifname: self.host_ifname(kernel, wiring, cookie, &ifname).await?,
            },
            LowerLink::Parent(_) => Attachment::Macvlan,
        };
        let lo_is_up = links.values().any(|l| l.name == "lo" && l.up);
        let raised = state.endpoints().any(|(_, e)| e.cookie == cookie && e.raises_lo);
        let (gateways, mut replaced, metric) =
            self.default_routes(netns, wiring, &addresses, leased).await?;
        if let Some(former) = former {
            // Which of netcord's default routes displaced which stays as it was.
            replaced.retain(|r| r.protocol != Route::PROTOCOL && !former.replaced.contains(r));
            replaced.extend(former.replaced.iter().cloned());
        }
        Ok(Endpoint {
            target: wiring
                .owner
                .as_ref()
                .and_then(|o| o.name.clone())
                .unwrap_or_else(|| name.to_string()),
            netns: name.clone(),
            cookie,
            routes: self.routes(wiring, &ifname, &addresses)?,
            ifname,
            attachment,
            mac,
            mtu,
            addresses,
            replaced,
            lease: leased.map(|l| Box::new(leases::lease(l, &gateways, None))),
            hairpin: wiring.hairpin,
            container: None,
            owner: wiring.owner.clone().map(Box::new),
            handed_over: None,
            gateways,
            metric,
            raises_lo: !lo_is_up || raised,
            foreign: false,
            ports: Vec::new(),
        })
    }

    pub(super) async fn host_ifname(
        &self,
        kernel: &Kernel,
        wiring: &Wiring,
        cookie: u64,
        ifname: &LinkName,
    ) -> Result<LinkName> {
        if let Some(wanted) = &wiring.host_ifname {
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
}

/// The name of an endpoint's link: the one that was asked for, or the next free `ethN`.
fn ifname(
    wanted: Option<&LinkName>,
    taken: &BTreeSet<String>,
    netns: &NetnsName,
) -> Result<LinkName> {
    match wanted {
        Some(wanted) if taken.contains(wanted.as_str()) => {
            let message = format!("`{netns}` already has a link `{wanted}`");
            Err(Error::conflict(message)
                .hint("choose another name, or leave out `--ifname`")
                .into())
        }
        Some(wanted) => Ok(wanted.clone()),
        None => Ok(next_ifname(taken)),
    }
}

/// The MAC of an endpoint: the one that was asked for, or one that is made of its address.
pub(super) fn mac(
    record: &NetworkRecord,
    bridge: Option<Mac>,
    wanted: Option<Mac>,
    addresses: &[IpNetwork],
) -> Result<Mac> {
    match (wanted, addresses.first()) {
        (Some(mac), _) => check_mac(record, bridge, mac),
        (None, Some(address)) => Ok(Mac::of(address.ip())),
        (None, None) => Ok(Mac::PLACEHOLDER),
    }
}

/// Checks that no other endpoint has a requested MAC.
pub(super) fn check_mac(record: &NetworkRecord, bridge: Option<Mac>, mac: Mac) -> Result<Mac> {
    let owner = record.endpoints.iter().find(|e| e.mac == mac).map(|e| format!("`{}`", e.target));
    let bridge = (bridge == Some(mac)).then(|| "the bridge itself".to_owned());
    match owner.or(bridge) {
        Some(owner) => Err(Error::conflict(format!("MAC {mac} is taken by {owner}"))
            .hint("leave out `--mac` to use a MAC derived from the address")
            .into()),
        None => Ok(mac),
    }
}

/// Returns the addresses of a network's endpoints, with their owners.
pub(super) fn on_record(state: &State, record: &NetworkRecord) -> BTreeMap<IpAddr, String> {
    let others = state.others(&record.network.name);
    let all = record.endpoints.iter().map(EndpointSummary::of).chain(others);
    all.flat_map(addresses_of).chain(reserved(record)).collect()
}

fn addresses_of(summary: EndpointSummary<'_>) -> impl Iterator<Item = (IpAddr, String)> {
    summary.addresses.iter().map(move |a| (a.ip(), format!("`{}`", summary.target)))
}

/// The addresses that are reserved for stopped containers.
fn reserved(record: &NetworkRecord) -> impl Iterator<Item = (IpAddr, String)> {
    let stopped = record.endpoints.iter().filter(|e| e.is_stopped());
    let network = &record.network.name;
    stopped.flat_map(move |e| {
        let owner = format!(
            "`{target}`, whose container has stopped (`netcord detach {network} {target}` frees it)",
            target = e.target
        );
        e.addresses.iter().map(move |a| (a.ip(), owner.clone()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::fixtures::{endpoint, network, record};

    #[test]
    fn the_next_link_is_the_lowest_ethn_that_is_free() {
        let name: NetnsName = "web".parse().unwrap();
        for (wanted, taken, expected) in [
            (None, &["lo"][..], "eth0"),
            (None, &["lo", "eth0", "eth2"], "eth1"),
            (Some("lan"), &["lo", "eth0"], "lan"),
            (Some("eth0"), &["lo", "eth0"], "`web` already has a link `eth0`"),
        ] {
            let wanted = wanted.map(|name: &str| name.parse().unwrap());
            let taken = taken.iter().map(|name| (*name).to_owned()).collect();
            let chosen = ifname(wanted.as_ref(), &taken, &name);
            let chosen = chosen.map_or_else(|error| error.to_string(), |name| name.to_string());
            assert_eq!(chosen, expected, "{wanted:?} {taken:?}");
        }
    }

    #[test]
    fn a_mac_is_made_of_the_address_or_asked_for_and_nobody_elses() {
        let mut web = endpoint("web", 1, "eth0", &[]);
        web.mac = "02:00:00:00:00:02".parse().unwrap();
        let record = record(network("lab0", "bridge", &["10.0.0.0/24"]), vec![web]);
        let bridge = Some("02:00:00:00:00:01".parse().unwrap());
        for (wanted, addresses, expected) in [
            (None, &["10.0.0.7/24", "fd00::7/64"][..], "02:42:0a:00:00:07"),
            (None, &[], "02:42:00:00:00:00"),
            (Some("02:00:00:00:00:03"), &["10.0.0.7/24"], "02:00:00:00:00:03"),
            (Some("02:00:00:00:00:02"), &[], "MAC 02:00:00:00:00:02 is taken by `web`"),
            (Some("02:00:00:00:00:01"), &[], "MAC 02:00:00:00:00:01 is taken by the bridge itself"),
        ] {
            let wanted = wanted.map(|mac: &str| mac.parse().unwrap());
            let addresses: Vec<_> = addresses.iter().map(|a| a.parse().unwrap()).collect();
            let chosen = mac(&record, bridge, wanted, &addresses);
            let chosen = chosen.map_or_else(|error| error.to_string(), |mac| mac.to_string());
            assert_eq!(chosen, expected);
        }
    }
}
