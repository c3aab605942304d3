//! `ps`: endpoints, and whether they live.

use std::{cell::OnceCell, collections::HashMap};

use anyhow::Result;
use serde::Serialize;

use super::{Host, find, liveness, underlay::Uplink};
use crate::{
    agents, cli,
    kernel::{Kernel, Link},
    model::{
        Endpoint, EndpointState as State, Keeper, Lease, LinkName, Mode, Network, NetworkRecord,
    },
    output::{Row, SCHEMA_VERSION, natural_order},
};

/// A lease, and whether anybody renews it.
#[derive(Serialize)]
pub(super) struct ShownLease {
    #[serde(flatten)]
    lease: Lease,
    keeper: Option<ShownKeeper>,
}

#[derive(Serialize)]
struct ShownKeeper {
    #[serde(flatten)]
    keeper: Keeper,
    running: bool,
}

impl ShownLease {
    /// What an endpoint's record tells of its lease, taken out of it.
    pub(super) fn take(endpoint: &mut Endpoint) -> Option<Self> {
        let mut lease = *endpoint.lease.take()?;
        let shown = |keeper| ShownKeeper { keeper, running: agents::runs(keeper) };
        Some(Self { keeper: lease.keeper.take().map(shown), lease })
    }

    /// What a row says of it, behind the address.
    fn word(&self) -> &'static str {
        match &self.keeper {
            Some(keeper) if keeper.running => "(dhcp)",
            _ => "(dhcp, not renewed)",
        }
    }
}

#[derive(Serialize)]
struct Listed {
    schema_version: u32,
    network: LinkName,
    state: State,
    #[serde(flatten)]
    endpoint: Seen,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<ShownLease>,
}

/// An endpoint as users see it.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Seen {
    /// As it is on record.
    Whole(Box<Endpoint>),
    /// Without the host end that it does not have.
    Inside(serde_json::Value),
}

impl Seen {
    pub(super) fn new(network: &Network, endpoint: Endpoint) -> Result<Self> {
        if network.mode != Mode::Macvlan {
            return Ok(Self::Whole(Box::new(endpoint)));
        }
        let mut value = serde_json::to_value(endpoint)?;
        if let Some(fields) = value.as_object_mut() {
            fields.remove("host_ifname");
        }
        Ok(Self::Inside(value))
    }
}

/// The state of each endpoint, by its host end, or, where it has none, by the link inside.
pub(super) struct States<'a> {
    kernel: &'a Kernel,
    ports: HashMap<String, Link>,
    /// By name.
    bridges: HashMap<String, Link>,
    /// The host's links, where the state of an uplink is asked for.
    links: OnceCell<HashMap<u32, Link>>,
}

impl<'a> States<'a> {
    pub(super) async fn read(kernel: &'a Kernel) -> Result<Self> {
        let ports = kernel.ports_by_name().await?;
        let bridges = kernel.bridges().await?.into_iter().map(|b| (b.name.clone(), b)).collect();
        Ok(Self { kernel, ports, bridges, links: OnceCell::new() })
    }

    pub(super) async fn of(&self, network: &Network, endpoint: &Endpoint) -> State {
        let name = endpoint.host_ifname.as_str();
        let link = match (network.mode, self.ports.get(name)) {
            (Mode::Macvlan, _) => liveness::inner(self.kernel, network, endpoint).await,
            (_, Some(port)) => Ok(Some(port.clone())),
            // Gone, or out of its bridge.
            (_, None) => self.kernel.link(name).await,
        };
        match link {
            Err(_) => State::Unknown,
            Ok(None) => State::Dead,
            Ok(Some(link)) if !link.is_running() || !self.is_plugged(network, &link) => State::Down,
            Ok(Some(_)) if network.mode == Mode::Underlay => self.by_uplink(network).await,
            Ok(Some(_)) => State::Up,
        }
    }

    /// What is in the physical network by a link that does not carry is as good as down.
    async fn by_uplink(&self, network: &Network) -> State {
        let Some(parent) = &network.parent else { return State::Unknown };
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

    /// Whether a link is a port of the network's own bridge, where it has to be one.
    fn is_plugged(&self, network: &Network, link: &Link) -> bool {
        let bridge = self.bridges.get(network.name.as_str());
        network.mode == Mode::Macvlan || bridge.is_some_and(|bridge| link.is_port_of(bridge))
    }
}

pub(super) async fn run(host: &Host<'_, '_>, args: cli::Ps) -> Result<()> {
    let mut state = host.look().await?;
    if let Some(name) = &args.network {
        host.look_inside(&mut state, name).await?;
    }
    let records: Vec<_> = match &args.network {
        Some(name) => vec![find::network(&host.kernel, &state, name).await?.into_owned()],
        None => state.networks().values().cloned().collect(),
    };
    let states = States::read(&host.kernel).await?;
    let mut rows = Vec::new();
    for NetworkRecord { network, endpoints } in records {
        for endpoint in endpoints {
            let state = states.of(&network, &endpoint).await;
            rows.push(row(&network, state, endpoint)?);
        }
    }
    rows.sort_by(|a, b| {
        natural_order(&a.cells[0], &b.cells[0])
            .then_with(|| natural_order(&a.cells[1], &b.cells[1]))
    });
    let header = ["TARGET", "NETWORK", "LINK", "ADDRESS", "MAC", "HOST-LINK", "PORTS", "STATE"];
    host.output.list(&header, &rows)
}

fn row(network: &Network, state: State, mut endpoint: Endpoint) -> Result<Row<Listed>> {
    let lease = ShownLease::take(&mut endpoint);
    let host_link = match network.mode {
        Mode::Macvlan => "-".into(),
        Mode::Bridge | Mode::Underlay => endpoint.host_ifname.to_string(),
    };
    Ok(Row {
        cells: vec![
            endpoint.target.clone(),
            network.name.to_string(),
            endpoint.ifname.to_string(),
            addresses(&endpoint, lease.as_ref()),
            endpoint.mac.to_string(),
            host_link,
            // Docker's form: what it leads to is the row's own address.
            joined(
                &endpoint
                    .ports
                    .iter()
                    .map(|p| {
                        let host = p.to_string();
                        let host = host.split(" -> ").next().unwrap_or_default();
                        format!("{host}->{}/{}", p.container, p.protocol)
                    })
                    .collect::<Vec<_>>(),
            ),
            format!("{state:?}").to_lowercase(),
        ],
        object: Listed {
            schema_version: SCHEMA_VERSION,
            network: network.name.clone(),
            state,
            endpoint: Seen::new(network, endpoint)?,
            lease,
        },
    })
}

fn addresses(endpoint: &Endpoint, lease: Option<&ShownLease>) -> String {
    let mut parts: Vec<_> = endpoint.addresses.iter().map(ToString::to_string).collect();
    if let Some(lease) = lease {
        match endpoint.addresses.first().filter(|a| a.is_ipv4()) {
            Some(_) => parts[0] = format!("{} {}", parts[0], lease.word()),
            // It ran out, and no server has given another.
            None => parts.insert(0, format!("- {}", lease.word())),
        }
    }
    joined(&parts)
}

fn joined(parts: &[String]) -> String {
    if parts.is_empty() { "-".into() } else { parts.join(", ") }
}
