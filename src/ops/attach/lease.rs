//! Requests DHCP leases for new endpoints. A plan needs the address, so the request comes first,
//! and without the lock, as a server may take seconds.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;

use super::{Attach, Wiring, chooser::check_mac, claims, former};
use crate::{
    error::{Error, Kind},
    kernel::{
        Kernel, Link,
        dhcp::{self, Leased},
    },
    model::{
        Endpoint, EndpointSummary, LinkName, Mac, NetworkRecord, Target, client_mac, next_ifname,
    },
    ops::{
        Session,
        lookup::{endpoints::is_former, find, plug, resolve::Found},
        upkeep::{
            leases,
            need::{Depth, Extent, Need},
        },
    },
};

/// How long servers may take to answer. A server that probes the address takes three seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Leases, by the cookie of their target's namespace.
#[derive(Default)]
pub(super) struct Leases {
    link: Option<Link>,
    got: Vec<(u64, Mac, Leased)>,
}

impl Leases {
    /// Requests an address for each target that is not attached yet.
    pub(super) async fn acquire(
        host: &mut Session<'_>,
        args: &Attach,
        network: &LinkName,
        targets: &[(&Target, Found)],
    ) -> Result<Self> {
        let mut leases = Self::default();
        if !args.wiring.dhcp && !continues_a_lease(host, network, targets).await? {
            return Ok(leases);
        }
        if host.dry_run {
            let message = "--dry-run: the address that --dhcp will get is known only by asking";
            return Err(Error::usage(message)
                .hint("replace `--dhcp` by an address: `--ip ADDRESS`")
                .into());
        }
        let record = Self::prepare(host, args, network, targets).await?;
        claims::check_source(args, &record)?;
        let link = plug::required(&host.kernel, &record.network).await?;
        let asked = leases::link(&host.kernel, &record.network).await?.unwrap_or(link.clone());
        for (_, found) in targets {
            let mut wirings = former::wanted(args, &record, found).into_iter().map(|w| w.wiring);
            let Some(wiring) = wirings.find(|wiring| wiring.dhcp) else { continue };
            if let Some(mac) = mac(&wiring, &record, &link, found).await? {
                match ask(host, &asked, mac).await {
                    Ok(got) => leases.got.push((found.netns.cookie(), mac, got)),
                    Err(error) => {
                        leases.link = Some(asked);
                        leases.release_all(&host.kernel).await;
                        return Err(error);
                    }
                }
            }
        }
        leases.link = Some(asked);
        Ok(leases)
    }

    /// Release the leases of dead endpoints first: the server may grant the same address again.
    async fn prepare(
        host: &mut Session<'_>,
        args: &Attach,
        network: &LinkName,
        targets: &[(&Target, Found)],
    ) -> Result<NetworkRecord> {
        let in_the_way = |e: &EndpointSummary<'_>| {
            targets.iter().any(|(_, found)| found.name.as_str() == e.target)
                || Some(e.mac) == args.wiring.mac
        };
        let extent = Extent { in_the_way: Some(&in_the_way), ..Extent::of(None) };
        let state = host.enter(Need::Changes, extent).await?;
        Ok(find::network(&host.kernel, &state, network).await?.into_owned())
    }

    /// Returns the lease for a namespace, with its MAC.
    pub(super) fn of(&self, wiring: &Wiring, cookie: u64) -> Result<Option<(Mac, &Leased)>> {
        let found = self.got.iter().find(|(of, ..)| *of == cookie);
        let found = found.map(|(_, mac, leased)| (*mac, leased));
        if !wiring.dhcp {
            return Ok(None);
        }
        if found.is_none() {
            let message = "the target was detached while it was being attached";
            return Err(Error::conflict(message).hint("try again").into());
        }
        Ok(found)
    }

    /// Releases leases that no endpoint uses.
    pub(super) async fn release_unused(&mut self, host: &Session<'_>) -> Result<()> {
        if !self.got.is_empty() {
            let state = host.look(Extent::to(Depth::Unattached)).await?;
            let used: BTreeSet<_> =
                state.endpoints().filter(|(_, e)| e.lease.is_some()).map(|(_, e)| e.mac).collect();
            self.got.retain(|(_, mac, _)| !used.contains(mac));
        }
        self.release_all(&host.kernel).await;
        Ok(())
    }

    async fn release_all(&self, kernel: &Kernel) {
        for (_, mac, leased) in &self.got {
            if let Some(link) = &self.link {
                // If the release is lost, the lease expires.
                drop(dhcp::release(kernel, link, *mac, leased).await);
            }
        }
    }
}

/// Returns whether a target is a container that had a leased address before it was started again.
async fn continues_a_lease(
    host: &Session<'_>,
    network: &LinkName,
    targets: &[(&Target, Found)],
) -> Result<bool> {
    let containers: Vec<_> = targets.iter().filter_map(|(_, f)| f.container.as_ref()).collect();
    if containers.is_empty() {
        return Ok(false);
    }
    let state = host.look(Extent::of(network)).await?;
    let record = state.networks().get(network);
    let mut leased = record.into_iter().flat_map(|r| &r.endpoints).filter(|e| e.lease.is_some());
    Ok(leased.any(|e| containers.iter().any(|now| is_former(e, now))))
}

/// Returns the MAC of a new endpoint; `None` if the target is attached already.
async fn mac(
    wiring: &Wiring,
    record: &NetworkRecord,
    bridge: &Link,
    found: &Found,
) -> Result<Option<Mac>> {
    let cookie = found.netns.cookie();
    let is_it = |e: &Endpoint| {
        e.cookie == cookie
            && !e.is_stopped()
            && wiring.ifname.as_ref().is_none_or(|i| *i == e.ifname)
    };
    if record.endpoints.iter().any(is_it) {
        return Ok(None);
    }
    if let Some(mac) = wiring.mac {
        let stopped = |e: &Endpoint| e.is_stopped() && e.mac == mac;
        if record.endpoints.iter().any(stopped) {
            return Ok(Some(mac));
        }
        return check_mac(record, bridge.mac, mac).map(Some);
    }
    if record.network.driver.is_passthru() {
        // The link is the parent, whose MAC the endpoint must have.
        return Ok(bridge.mac);
    }
    let taken = found.netns.links().await?.into_values().map(|l| l.name).collect();
    let ifname = wiring.ifname.clone().unwrap_or_else(|| next_ifname(&taken));
    Ok(Some(client_mac(&record.network.name, cookie, &ifname)))
}

async fn ask(host: &Session<'_>, link: &Link, mac: Mac) -> Result<Leased> {
    let text = format!("waiting for a DHCP server's answer on `{}`", link.name);
    let _doing = host.events.doing_for(PATIENCE, text);
    dhcp::acquire(&host.kernel, link, mac, PATIENCE).await?.ok_or_else(|| {
        let message = format!(
            "no DHCP server answered on `{}` within {} seconds",
            link.name,
            PATIENCE.as_secs()
        );
        Error::new(Kind::Timeout, message)
            .hint(format!(
                "see with `ip link show {}` that it is up, or give an address with `--ip`",
                link.name
            ))
            .into()
    })
}
