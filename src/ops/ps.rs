//! `ps`: lists endpoints and their states.

use std::{cell::OnceCell, collections::HashMap, time::Duration};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    Session,
    driver::underlay::Uplink,
    lookup::{find, liveness},
    upkeep::need::{Depth, Extent},
};
use crate::{
    agents,
    error::Error,
    kernel::{Kernel, Link},
    model::{
        AgentProcess, Attachment, Endpoint, EndpointState as State, Lease, LinkName, Network,
        NetworkRecord, Parent, PortRange, natural_order,
    },
    process::clock,
};

/// A lease, and whether it is being renewed. Here, times are seconds of the Unix epoch.
#[derive(Debug, Serialize)]
pub struct ShownLease {
    #[serde(flatten)]
    lease: Lease,
    #[serde(rename = "keeper")]
    renewer: Option<ShownRenewer>,
}

#[derive(Debug, Serialize)]
struct ShownRenewer {
    #[serde(flatten)]
    renewer: AgentProcess,
    running: bool,
}

impl ShownLease {
    /// Takes the lease out of an endpoint's record.
    pub(super) fn take(endpoint: &mut Endpoint, agents: &agents::Status) -> Option<Self> {
        let mut lease = *endpoint.lease.take()?;
        for time in [&mut lease.acquired, &mut lease.renews, &mut lease.expires] {
            *time = clock::since_epoch(Duration::from_secs(*time)).as_secs();
        }
        let shown = |renewer| ShownRenewer { renewer, running: agents.has(renewer) };
        Some(Self { renewer: lease.renewer.take().map(shown), lease })
    }

    /// Returns whether it is being renewed.
    pub fn is_renewed(&self) -> bool {
        self.renewer.as_ref().is_some_and(|renewer| renewer.running)
    }
}

/// The endpoints to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ps {
    /// Only those of this network.
    pub network: Option<LinkName>,
    /// Keys (target, network, state, ip, mac, publish) and values. All keys must match; of the values
    /// of one key, any.
    pub filter: Vec<(String, String)>,
}

/// The keys of filters, and docker's words for the first three.
const FILTERS: [&str; 9] =
    ["target", "network", "state", "name", "id", "status", "ip", "mac", "publish"];

/// An endpoint and its state.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// The name of its network.
    pub network: LinkName,
    /// The state.
    pub state: State,
    /// The endpoint.
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// The lease of its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<ShownLease>,
}

/// The states of endpoints, by host end, or, without one, by the link inside.
pub(super) struct States<'a> {
    kernel: &'a Kernel,
    ports: HashMap<String, Link>,
    /// Bridges by name.
    bridges: HashMap<String, Link>,
    /// The host's links, read if the state of an uplink is needed.
    links: OnceCell<HashMap<u32, Link>>,
    /// The processes that renew leases.
    pub(super) agents: agents::Status,
}

impl<'a> States<'a> {
    pub(super) async fn read(kernel: &'a Kernel) -> Result<Self> {
        let ports = kernel.ports_by_name().await?;
        let bridges = kernel.bridges().await?.into_iter().map(|b| (b.name.clone(), b)).collect();
        Ok(Self { kernel, ports, bridges, links: OnceCell::new(), agents: agents::status() })
    }

    pub(super) async fn of(&self, network: &Network, endpoint: &Endpoint) -> State {
        let link = match &endpoint.attachment {
            Attachment::Macvlan => liveness::inner(self.kernel, network, endpoint).await,
            Attachment::Veth { host_ifname } => match self.ports.get(host_ifname.as_str()) {
                Some(port) => Ok(Some(port.clone())),
                // The host end is gone, or no port of a bridge.
                None => self.kernel.link(host_ifname.as_str()).await,
            },
        };
        match link {
            Err(_) => State::Unknown,
            Ok(None) => endpoint.state_without_link(),
            Ok(Some(link)) if !link.is_running() || !self.is_plugged(network, &link) => State::Down,
            Ok(Some(_)) => match network.driver.uplink() {
                Some(parent) => self.by_uplink(network, parent).await,
                None => State::Up,
            },
        }
    }

    /// An endpoint whose uplink is down cannot reach the physical network.
    async fn by_uplink(&self, network: &Network, parent: &Parent) -> State {
        let links = match self.links.get() {
            Some(links) => links,
            None => match self.kernel.links().await {
                Ok(links) => self.links.get_or_init(|| links),
                Err(_) => return State::Unknown,
            },
        };
        let bridge = links.values().find(|link| link.name == network.name.as_str());
        let uplink = Uplink::find(links.values(), bridge, &parent.link);
        if uplink.carries() { State::Up } else { State::Down }
    }

    /// Returns whether a link is a port of the network's own bridge, if it has to be one.
    fn is_plugged(&self, network: &Network, link: &Link) -> bool {
        network.bridge().is_none_or(|bridge| {
            self.bridges.get(bridge.as_str()).is_some_and(|bridge| link.is_port_of(bridge))
        })
    }
}

/// Lists endpoints.
///
/// # Errors
/// If the network does not exist.
pub async fn ps(host: &Session<'_>, args: &Ps) -> Result<Vec<Listed>> {
    if let Some((key, _)) = args.filter.iter().find(|(key, _)| !FILTERS.contains(&key.as_str())) {
        let hint = "filters are target (or name), network, state (or status), ip, mac and publish";
        return Err(Error::usage(format!("filter `{key}` is not known")).hint(hint).into());
    }
    let extent = Extent { depth: Depth::Unattached, ..Extent::of(args.network.as_ref()).inside() };
    let state = host.look(extent).await?;
    let records: Vec<_> = match &args.network {
        Some(name) => vec![find::network(&host.kernel, &state, name).await?.into_owned()],
        None => state.networks().values().cloned().collect(),
    };
    let states = States::read(&host.kernel).await?;
    let mut listed = Vec::new();
    for NetworkRecord { network, endpoints } in records {
        for mut endpoint in endpoints {
            let state = states.of(&network, &endpoint).await;
            let lease = ShownLease::take(&mut endpoint, &states.agents);
            listed.push(Listed { network: network.name.clone(), state, endpoint, lease });
        }
    }
    listed.retain(|listed| matches(listed, &args.filter));
    listed.sort_by(|a, b| {
        natural_order(&a.endpoint.target, &b.endpoint.target)
            .then_with(|| natural_order(a.network.as_str(), b.network.as_str()))
    });
    Ok(listed)
}

/// All keys must match; of the values of one key, any.
fn matches(listed: &Listed, filters: &[(String, String)]) -> bool {
    let endpoint = &listed.endpoint;
    let one = |key: &str, value: &str| match key {
        "target" | "name" | "id" => endpoint.target == value || endpoint.netns.as_str() == value,
        "network" => listed.network.as_str() == value,
        "state" | "status" => listed.state.as_str() == value,
        "ip" => endpoint.addresses.iter().any(|a| a.ip().to_string() == value),
        "mac" => endpoint.mac.to_string() == value.to_lowercase(),
        _ => endpoint.ports.iter().any(|port| {
            let (number, protocol) = value.split_once('/').unwrap_or((value, "tcp"));
            let is_it = |number| port.host.contains(PortRange::single(number));
            port.protocol.to_string() == protocol && number.parse().is_ok_and(is_it)
        }),
    };
    filters.iter().all(|(key, _)| filters.iter().any(|(k, v)| k == key && one(k, v)))
}
