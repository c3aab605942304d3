//! `ps`: endpoints, and whether they live.

use std::{cell::OnceCell, collections::HashMap};

use anyhow::Result;
use serde::{Deserialize, Serialize, Serializer, ser::Error as _};

use super::{Session, find, liveness, underlay::Uplink};
use crate::{
    agents,
    kernel::{Kernel, Link},
    model::{
        Endpoint, EndpointState as State, Keeper, Lease, LinkName, Mode, Network, NetworkRecord,
        natural_order,
    },
};

/// A lease, and whether anybody renews it.
#[derive(Debug, Serialize)]
pub struct ShownLease {
    #[serde(flatten)]
    lease: Lease,
    keeper: Option<ShownKeeper>,
}

#[derive(Debug, Serialize)]
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

    /// Whether it is renewed.
    pub fn is_renewed(&self) -> bool {
        self.keeper.as_ref().is_some_and(|keeper| keeper.running)
    }
}

/// Which endpoints to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ps {
    /// Only those of this network.
    pub network: Option<LinkName>,
}

/// An endpoint, and how it is.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// The name of its network.
    pub network: LinkName,
    /// How it is.
    pub state: State,
    /// The endpoint.
    #[serde(flatten)]
    pub endpoint: Seen,
    /// The lease of its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<ShownLease>,
}

/// An endpoint as users see it: without the host end, where it has none.
#[derive(Debug)]
pub struct Seen {
    endpoint: Endpoint,
    has_host_end: bool,
}

impl Seen {
    pub(super) fn new(network: &Network, endpoint: Endpoint) -> Self {
        Self { endpoint, has_host_end: network.mode != Mode::Macvlan }
    }

    /// As it is on record.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The host end's name, if there is one.
    pub fn host_ifname(&self) -> Option<&LinkName> {
        self.has_host_end.then_some(&self.endpoint.host_ifname)
    }
}

impl Serialize for Seen {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        if self.has_host_end {
            return self.endpoint.serialize(serializer);
        }
        let mut value = serde_json::to_value(&self.endpoint).map_err(S::Error::custom)?;
        if let Some(fields) = value.as_object_mut() {
            fields.remove("host_ifname");
        }
        value.serialize(serializer)
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

/// Lists endpoints.
///
/// # Errors
/// If the network is not there.
pub async fn ps(host: &Session<'_>, args: &Ps) -> Result<Vec<Listed>> {
    let mut state = host.look().await?;
    if let Some(name) = &args.network {
        host.look_inside(&mut state, name).await?;
    }
    let records: Vec<_> = match &args.network {
        Some(name) => vec![find::network(&host.kernel, &state, name).await?.into_owned()],
        None => state.networks().values().cloned().collect(),
    };
    let states = States::read(&host.kernel).await?;
    let mut listed = Vec::new();
    for NetworkRecord { network, endpoints } in records {
        for mut endpoint in endpoints {
            let state = states.of(&network, &endpoint).await;
            let lease = ShownLease::take(&mut endpoint);
            let endpoint = Seen::new(&network, endpoint);
            listed.push(Listed { network: network.name.clone(), state, endpoint, lease });
        }
    }
    listed.sort_by(|a, b| {
        natural_order(&a.endpoint.endpoint.target, &b.endpoint.endpoint.target)
            .then_with(|| natural_order(a.network.as_str(), b.network.as_str()))
    });
    Ok(listed)
}
