//! netcord as a plugin of netavark (`podman network create -d netcord`): the same, but netavark configures one
//! network at a time, and podman gives names to none of a plugin's.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    create::Create,
    definition::Definition,
    options::{Container, Endpoint, PortMapping},
};

/// The version of the interface.
const API: &str = "1.0.0";
/// The prefix of the names of bridges.
const BRIDGES: &str = "netcord";

/// Returns the versions of the plugin and of its interface.
pub(super) fn info() -> String {
    json!({"version": env!("CARGO_PKG_VERSION"), "api_version": API}).to_string()
}

/// The configuration of a container, with one network.
#[derive(Deserialize)]
pub(super) struct Attachment {
    container_id: String,
    #[serde(default)]
    container_name: String,
    #[serde(default)]
    port_mappings: Option<Vec<PortMapping>>,
    network: Definition,
    network_options: Endpoint,
}

impl Attachment {
    /// Returns the container, with this network alone.
    pub(super) fn container(self) -> Container {
        let mut network = self.network;
        network.dns_enabled = false;
        let name = network.name.clone();
        Container {
            id: self.container_id,
            name: self.container_name,
            networks: vec![(name.clone(), self.network_options)],
            definitions: [(name, network)].into(),
            port_mappings: self.port_mappings,
            dns_servers: None,
        }
    }
}

/// Returns the request to complete a definition. netavark does not list other networks, so `used` are the
/// subnets of this host.
///
/// # Errors
/// If the definition is of another shape.
pub(super) fn create(network: &Value, used: &[ipnetwork::IpNetwork]) -> Result<Create> {
    let pools: Vec<_> = crate::model::pools().map(|p| json!({"base": p, "size": 24})).collect();
    Ok(serde_json::from_value(json!({
        "network": network,
        "used": {"subnets": used},
        "options": {
            "subnet_pools": pools, "default_interface_name": BRIDGES, "check_used_subnets": true,
        },
    }))?)
}

/// Returns the status of the network alone.
pub(super) fn status<S>(statuses: BTreeMap<String, S>) -> Option<S> {
    statuses.into_values().next()
}
