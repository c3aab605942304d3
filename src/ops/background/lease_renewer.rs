//! The lease renewer: renews the DHCP lease of one endpoint as long as the endpoint lives. `attach`
//! starts it. It ends by itself once the endpoint's host end is gone.
//!
//! It works on the host's side only: between two renewals it has nothing of the target open, so it
//! does not keep a dead namespace alive.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, Result, bail};
use ipnetwork::IpNetwork;
use tokio::time::sleep;

use crate::{
    agents,
    error::{Error, Kind},
    kernel::{
        Kernel, Link, LinkWatch, Netns,
        dhcp::{self, Leased},
    },
    model::{
        AgentProcess, Attachment, Endpoint, EndpointId, Lease, LinkName, Mac, Network,
        PublishedPort,
    },
    ops::{
        Session,
        lookup::liveness,
        upkeep::{
            leases::{self, known, link, record},
            need::{Depth, Extent},
            wiring,
        },
    },
    plan::{Plan, Record, Resource, Step, reverse},
    process::{self, clock, signal::Held},
    state::State,
};

/// The time to wait for each answer of a server.
const ANSWER: Duration = Duration::from_secs(10);
/// The bounds of the interval between two attempts, which is half of the remaining time.
const AGAIN: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(300)];
/// The interval at which to try to lock the records, which others lock for milliseconds.
const LOCK_INTERVAL: Duration = Duration::from_millis(20);

/// An endpoint with a lease.
#[derive(Clone, Debug)]
pub struct LeaseOf {
    /// Its network.
    pub network: LinkName,
    /// Its identity there.
    pub endpoint: EndpointId,
}

/// Renews the lease of an endpoint as long as the endpoint lives.
///
/// # Errors
/// If there is no such endpoint, or it has no lease.
pub async fn keep(host: &mut Session<'_>, args: LeaseOf) -> Result<()> {
    let mut watch = LinkWatch::new()?;
    let held = Held::new()?;
    let (mut keep, endpoint) = Keep::new(host, args).await?;
    agents::ready()?;
    // A socket of its own, since the host's is in use meanwhile.
    let watcher = Kernel::open()?;
    let end = async {
        tokio::select! {
            ended = endpoint.end(&watcher, &mut watch) => drop(ended),
            signal = held.wait() => drop(signal),
        }
    };
    tokio::pin!(end);
    let result = keep.until(host, &mut end).await;
    // An address in use is not released, even if a user ends its lease renewer.
    if let Some(current) = keep.current.take()
        && keep.is_mine
        && !endpoint.lives(&host.kernel).await?
    {
        dhcp::release(&host.kernel, &keep.link, keep.mac, &current).await?;
    }
    result
}

/// The interval at which to check whether a macvlan endpoint lives.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The link that must exist for the lease to be renewed.
enum Life {
    /// The host end, which falls with the endpoint's namespace.
    HostEnd(Link),
    /// A macvlan, which is inside the target only.
    Inside(Box<(Network, Endpoint)>),
}

impl Life {
    async fn of(kernel: &Kernel, network: &Network, endpoint: &Endpoint) -> Result<Self> {
        let life = match &endpoint.attachment {
            Attachment::Macvlan => Self::Inside(Box::new((network.clone(), endpoint.clone()))),
            Attachment::Veth { host_ifname } => {
                let host_end = kernel.link(host_ifname.as_str()).await?;
                Self::HostEnd(host_end.context("the endpoint is gone")?)
            }
        };
        if life.lives(kernel).await? { Ok(life) } else { bail!("the endpoint is gone") }
    }

    async fn lives(&self, kernel: &Kernel) -> Result<bool> {
        match self {
            Self::HostEnd(link) => kernel.has(link).await,
            Self::Inside(inside) => {
                Ok(liveness::inner(kernel, &inside.0, &inside.1).await?.is_some())
            }
        }
    }

    /// Returns when it lives no more.
    async fn end(&self, kernel: &Kernel, watch: &mut LinkWatch) -> Result<()> {
        match self {
            Self::HostEnd(link) => watch.end_of(kernel, link).await,
            Self::Inside(_) => {
                while self.lives(kernel).await? {
                    sleep(LOOK_INTERVAL).await;
                }
                Ok(())
            }
        }
    }
}

/// A lease, and what is needed to renew it.
struct Keep {
    args: LeaseOf,
    me: AgentProcess,
    network: Network,
    /// The link by which the server is reached.
    link: Link,
    mac: Mac,
    /// The current lease; `None` once it has expired.
    current: Option<Leased>,
    /// When renewal begins, since boot.
    renews: Duration,
    /// When the lease expires, since boot.
    expires: Duration,
    /// The published ports of an expired address, which the next address gets.
    closed: Vec<PublishedPort>,
    /// Whether no other lease renewer has taken over.
    is_mine: bool,
}

impl Keep {
    async fn new(host: &Session<'_>, args: LeaseOf) -> Result<(Self, Life)> {
        let state = host.look(Extent::to(Depth::Unattached)).await?;
        let (network, endpoint) = find(&state, &args)
            .with_context(|| format!("there is no endpoint `{}` on record", args.endpoint))?;
        let lease = endpoint.lease.as_ref().context("the endpoint has no lease")?;
        let link = link(&host.kernel, &network).await?.context("the network is gone")?;
        let life = Life::of(&host.kernel, &network, &endpoint).await?;
        let (pid, started) = process::own()?;
        let keep = Self {
            me: AgentProcess { pid, started },
            network,
            link,
            mac: endpoint.mac,
            current: known(&endpoint, lease),
            renews: Duration::from_secs(lease.renews),
            expires: Duration::from_secs(lease.expires),
            closed: Vec::new(),
            is_mine: true,
            args,
        };
        Ok((keep, life))
    }

    /// Renews the lease until `end` completes, or another lease renewer takes over.
    async fn until(
        &mut self,
        host: &mut Session<'_>,
        end: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<()> {
        while self.is_mine {
            let Some(slept) = or_end(end, clock::sleep_until(self.renews)).await else {
                return Ok(());
            };
            slept.context("cannot wait for the renewal")?;
            // The link may have been recreated with another index.
            if let Some(link) = link(&host.kernel, &self.network).await? {
                self.link = link;
            }
            let left = self.left();
            let patience = if left.is_zero() { ANSWER } else { left.min(ANSWER) };
            let asking = dhcp::acquire(&host.kernel, &self.link, self.mac, patience);
            let Some(answer) = or_end(end, asking).await else { return Ok(()) };
            let leased = answer.unwrap_or_default();
            let expired = self.current.is_some() && self.left().is_zero();
            let mut retry = true;
            if leased.is_some() || expired {
                let Some(state) = or_end(end, lock(host)).await else { return Ok(()) };
                // From here to the end of the plan, only the plan handles signals.
                match self.change(host, state?, leased).await {
                    Ok(is_renewed) => retry = !is_renewed,
                    Err(error)
                        if matches!(Kind::of(&error), Kind::Terminated | Kind::Interrupted) =>
                    {
                        return Ok(());
                    }
                    // Everything is as before, and it is tried again.
                    Err(_) => {}
                }
            }
            if retry {
                let [soonest, latest] = AGAIN;
                let left = if self.current.is_some() { self.left() } else { ANSWER * 2 };
                self.renews = clock::since_boot() + (left / 2).clamp(soonest, latest);
            }
        }
        Ok(())
    }

    fn left(&self) -> Duration {
        self.expires.saturating_sub(clock::since_boot())
    }

    /// Records the server's answer, and gives the endpoint another address, or none, if that
    /// changed; returns whether there is a lease.
    async fn change(
        &mut self,
        host: &mut Session<'_>,
        mut state: State,
        leased: Option<Leased>,
    ) -> Result<bool> {
        host.adopt(&mut state, Depth::Links).await?;
        // The host end lives, or this would have ended: whatever the record lost, it is here.
        let (network, old) = find(&state, &self.args).context("the endpoint's record is lost")?;
        let other = old.lease.as_ref().and_then(|l| l.renewer).filter(|k| *k != self.me);
        if other.is_some_and(agents::runs) {
            self.is_mine = false;
            return Ok(false);
        }
        let new = self.endpoint(&old, leased.as_ref());
        let mut plan = vec![record(&network.name, &new)];
        if new.addresses != old.addresses || new.gateways != old.gateways {
            plan.extend(Self::differences(host, &network, &old, &new)?);
        }
        let done = host.carry_out(&plan, &mut state).await;
        host.kernel.forget(&old.netns);
        done?;
        if let Some(leased) = &leased {
            self.renews = clock::since_boot() + leased.renew;
            self.expires = clock::since_boot() + leased.lasts;
        }
        let is_renewed = leased.is_some();
        self.closed = match leased {
            Some(_) => Vec::new(),
            None => old.ports.into_iter().filter(|p| p.address.is_ipv4()).collect(),
        };
        self.current = leased;
        Ok(is_renewed)
    }

    /// The endpoint with what is leased now.
    fn endpoint(&self, old: &Endpoint, leased: Option<&Leased>) -> Endpoint {
        let mut new = old.clone();
        new.addresses.retain(IpNetwork::is_ipv6);
        if let Some(leased) = leased {
            new.addresses.insert(0, leased.address.into());
        }
        let lease = old.lease.as_ref();
        new.ports.extend(self.closed.iter().cloned());
        new.ports.retain(|p| p.address.is_ipv6() || leased.is_some());
        for port in new.ports.iter_mut().filter(|p| p.address.is_ipv4()) {
            port.address = leased.map_or(port.address, Leased::ip);
        }
        let routed = lease.is_some_and(|l| l.routed);
        if routed {
            let former = lease.and_then(|l| l.router).map(IpAddr::from);
            new.gateways.retain(|g| Some(*g) != former);
            new.gateways.extend(leased.and_then(|l| l.router).map(IpAddr::from));
        }
        // Routes by a gateway in the former subnet are useless.
        let reached = |ip: IpAddr| ip.is_ipv6() || new.addresses.iter().any(|a| a.contains(ip));
        new.gateways.retain(|g| reached(*g));
        new.routes.retain(|r| r.gateway.is_none_or(reached));
        new.lease = match (leased, lease) {
            (Some(leased), _) => Some(Lease {
                routed: routed || lease.is_none(),
                ..leases::lease(leased, &new.gateways, Some(self.me))
            }),
            (None, Some(former)) => Some(Lease { renewer: Some(self.me), ..Lease::clone(former) }),
            (None, None) => None,
        }
        .map(Box::new);
        new
    }

    /// Returns the changes in the endpoint's namespace, and in the firewall.
    fn differences(
        host: &mut Session<'_>,
        network: &Network,
        old: &Endpoint,
        new: &Endpoint,
    ) -> Result<Plan> {
        match Netns::of_name(&old.netns)? {
            Some(netns) if netns.cookie() == old.cookie => {
                host.kernel.know(old.netns.clone(), netns);
            }
            _ => bail!(Error::not_found(format!("the namespace `{}` has no name", old.netns))),
        }
        let before = wiring::attach(&host.kernel, network, old)?;
        let after = wiring::attach(&host.kernel, network, new)?;
        let only = |these: &Plan, those: &Plan| -> Plan {
            let differs = |s: &&Step| match s.change.resource() {
                Some(Resource::Record(record)) => matches!(record, Record::Port { .. }),
                // The kernel drops them with the last address.
                Some(Resource::Route { route, .. }) if route.destination.is_ipv4() => true,
                _ => !those.contains(s),
            };
            these.iter().filter(differs).cloned().collect()
        };
        let mut plan = reverse(&only(&before, &after), |_| false);
        plan.extend(only(&after, &before));
        Ok(plan)
    }
}

fn find(state: &State, args: &LeaseOf) -> Option<(Network, Endpoint)> {
    let record = state.networks().get(&args.network)?;
    let endpoint = record.endpoints.iter().find(|e| e.is(&args.endpoint))?;
    Some((record.network.clone(), endpoint.clone()))
}

/// The records, locked. Never waits where it cannot be interrupted.
async fn lock(host: &Session<'_>) -> Result<State> {
    loop {
        match State::try_locked(host.kernel.cookie())? {
            Some(state) => return Ok(state),
            None => sleep(LOCK_INTERVAL).await,
        }
    }
}

/// The outcome of a future, or `None` if the end comes before.
async fn or_end<T>(
    end: &mut (impl Future<Output = ()> + Unpin),
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        () = end => None,
        done = work => Some(done),
    }
}
