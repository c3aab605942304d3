//! Lease renewers: each leased address has a process that renews the lease and releases it in the
//! end. Here is what starts, finds and stops that process; `lease_renewer` is what it does.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use anyhow::{Context, Result};

use crate::{
    agents::{self, Agent, Ending},
    kernel::{
        Kernel, Link,
        dhcp::{self, Leased},
    },
    model::{AgentProcess, Endpoint, EndpointId, Family, Lease, LinkName, Network},
    ops::Session,
    plan::{Record, Resource, Step},
    process::clock,
    state::State,
};

/// The maximum time for a lease renewer to release its lease.
const PATIENCE: Duration = Duration::from_secs(5);

/// Returns the record of a lease.
pub(in crate::ops) fn lease(
    leased: &Leased,
    gateways: &[IpAddr],
    renewer: Option<AgentProcess>,
) -> Lease {
    let acquired = clock::since_boot().as_secs();
    Lease {
        server: leased.server,
        router: leased.router,
        routed: leased.router.is_some_and(|r| gateways.contains(&r.into())),
        acquired,
        renews: acquired + leased.renew.as_secs(),
        expires: acquired + leased.lasts.as_secs(),
        renewer,
    }
}

/// Returns the link by which a network's DHCP server is reached.
pub(in crate::ops) async fn link(kernel: &Kernel, network: &Network) -> Result<Option<Link>> {
    kernel.link(network.lower_link().name().as_str()).await
}

/// Starts the lease renewer of an endpoint that has a lease, unless one runs; returns whether it
/// started one.
pub(in crate::ops) async fn ensure(
    host: &mut Session<'_>,
    state: &mut State,
    network: &Network,
    endpoint: &mut Endpoint,
) -> Result<bool> {
    let id = endpoint.id();
    let Some(lease) = &mut endpoint.lease else { return Ok(false) };
    if lease.renewer.is_some_and(agents::runs) {
        return Ok(false);
    }
    let agent = Agent::LeaseRenewer { network: &network.name, endpoint: &id };
    lease.renewer = Some(agent.start().context("cannot keep the lease")?);
    host.carry_out(&vec![record(&network.name, endpoint)], state).await?;
    Ok(true)
}

/// The step that updates an endpoint's record.
pub(in crate::ops) fn record(network: &LinkName, endpoint: &Endpoint) -> Step {
    let endpoint = Endpoint { ports: Vec::new(), ..endpoint.clone() };
    let record = Record::Endpoint { network: network.clone(), endpoint };
    Step::create("record the DHCP lease and the process that renews it", Resource::Record(record))
}

/// The endpoints whose lease renewers run. Call it before the endpoints are deleted: a renewer ends
/// by itself once its endpoint is gone, after it has released the lease.
pub(in crate::ops) fn kept<'e>(
    endpoints: impl IntoIterator<Item = &'e Endpoint>,
) -> BTreeSet<EndpointId> {
    let agents = agents::status();
    let renewer = |e: &Endpoint| e.lease.as_ref().and_then(|lease| lease.renewer);
    let runs = |e: &&Endpoint| renewer(e).is_some_and(|renewer| agents.has(renewer));
    let kept = endpoints.into_iter().filter(runs);
    kept.map(Endpoint::id).collect()
}

/// Waits until the renewer of a deleted endpoint has released the lease; releases it here if no
/// renewer ran.
pub(in crate::ops) async fn end(
    host: &Session<'_>,
    network: &Network,
    endpoint: &Endpoint,
    kept: &BTreeSet<EndpointId>,
) -> Result<()> {
    let Some(lease) = &endpoint.lease else { return Ok(()) };
    let text = format!("waiting for the lease of `{}` to be given back", endpoint.target);
    let _doing = host.events.doing_for(PATIENCE, text);
    let ending = match lease.renewer {
        Some(renewer) => agents::stop(renewer, PATIENCE)?,
        None => Ending::NotThere,
    };
    match ending {
        Ending::Ended => {}
        Ending::NotThere if kept.contains(&endpoint.id()) => {}
        Ending::NotThere => {
            if let Some(link) = link(&host.kernel, network).await?
                && let Some(leased) = known(endpoint, lease)
            {
                // If the release is lost, the lease expires.
                drop(dhcp::release(&host.kernel, &link, endpoint.mac, &leased).await);
            }
        }
        Ending::Stays => {
            let pid = lease.renewer.map_or(0, |k| k.pid);
            host.events.warn(&format!("process {pid}, which kept the lease, does not end"));
        }
    }
    Ok(())
}

/// Returns the lease of an endpoint on record, if it has not expired.
pub(in crate::ops) fn known(endpoint: &Endpoint, lease: &Lease) -> Option<Leased> {
    match endpoint.address(Family::V4)? {
        IpAddr::V4(address) => Leased::known(address, lease.server),
        IpAddr::V6(_) => None,
    }
}
