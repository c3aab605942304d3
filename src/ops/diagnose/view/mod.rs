//! What `doctor`, `trace` and `graph` read of the host and of the namespaces that its links lead into.
//!
//! - `entered`: enters the namespaces that the host's links lead into, each once
//! - `names`: what a namespace is called

mod entered;
mod names;

use std::{collections::HashMap, net::IpAddr};

use anyhow::Result;
use ipnetwork::IpNetwork;

pub(super) use self::{
    entered::{Entered, enter_each},
    names::Names,
};
use crate::{
    kernel::{Kernel, Link, LinkAddress, Netns, TableRoute, global_addresses},
    model::{Family, natural_order},
};

/// The links, addresses and routes of a namespace, as they were when they were read. Addresses and
/// routes are read only where they matter.
#[derive(Debug, Default)]
pub(super) struct View {
    /// In natural order of their names.
    pub(super) links: Vec<Link>,
    by_index: HashMap<u32, usize>,
    pub(super) addresses: Vec<LinkAddress>,
    /// The routes of the main table.
    pub(super) routes: Vec<TableRoute>,
}

impl View {
    /// Reads the host's.
    pub(super) async fn of_host(kernel: &Kernel) -> Result<Self> {
        let links = Self::of(kernel.links().await?);
        let (addresses, routes) = (kernel.addresses().await?, kernel.routes().await?);
        Ok(Self { addresses, routes, ..links })
    }

    /// Reads the links of a namespace.
    pub(super) async fn links_of(netns: &Netns) -> Result<Self> {
        netns.links().await.map(Self::of)
    }

    /// Reads the addresses of a namespace, too.
    pub(super) async fn with_addresses(self, netns: &Netns) -> Result<Self> {
        Ok(Self { addresses: netns.all_addresses().await?, ..self })
    }

    /// Reads the routes of a namespace, too.
    pub(super) async fn with_routes(self, netns: &Netns) -> Result<Self> {
        Ok(Self { routes: netns.routes().await?, ..self })
    }

    fn of(links: HashMap<u32, Link>) -> Self {
        let mut links: Vec<_> = links.into_values().collect();
        links.sort_by(|a, b| natural_order(&a.name, &b.name));
        let by_index = links.iter().enumerate().map(|(at, link)| (link.index(), at)).collect();
        Self { links, by_index, ..Self::default() }
    }

    /// Returns a link by its index.
    pub(super) fn at(&self, index: u32) -> Option<&Link> {
        self.by_index.get(&index).map(|at| &self.links[*at])
    }

    /// Returns a link by its name.
    pub(super) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// Returns the bridge of a port.
    pub(super) fn bridge_of(&self, port: &Link) -> Option<&Link> {
        self.links.iter().find(|link| port.is_port_of(link))
    }

    /// Returns the ports of a bridge.
    pub(super) fn ports_of(&self, bridge: &Link) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(|link| link.is_port_of(bridge))
    }

    /// Returns them in the order of their indexes.
    pub(super) fn sorted_ports_of(&self, bridge: &Link) -> Vec<&Link> {
        let mut ports: Vec<_> = self.ports_of(bridge).collect();
        ports.sort_by_key(|port| port.index());
        ports
    }

    /// Returns the addresses of a link that are not link-local.
    pub(super) fn addresses_of(&self, link: &Link) -> Vec<IpNetwork> {
        global_addresses(&self.addresses, link)
    }

    /// Returns the default route of an IP version that wins: the one with the lowest metric.
    pub(super) fn default_route(&self, family: Family) -> Option<&TableRoute> {
        let defaults = self.default_routes().filter(|r| Family::of(r.destination.ip()) == family);
        defaults.min_by_key(|route| route.metric)
    }

    /// Returns the gateways of a link's default routes.
    pub(super) fn gateways_of(&self, link: &Link) -> Vec<IpAddr> {
        let defaults = self.default_routes().filter(|route| link.carries(route));
        defaults.filter_map(|route| route.gateway).collect()
    }

    /// Returns the outgoing link of a route.
    pub(super) fn link_of(&self, route: &TableRoute) -> Option<&Link> {
        self.links.iter().find(|link| link.carries(route))
    }

    fn default_routes(&self) -> impl Iterator<Item = &TableRoute> {
        self.routes.iter().filter(|route| route.destination.prefix() == 0)
    }
}
