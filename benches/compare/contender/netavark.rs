//! netavark, called as podman calls it.

use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Contender, Operation, PORT, TARGET_PORT, Work};
use crate::{
    host::{GATEWAY, Host, NETWORK, SUBNET, Target},
    process::run_with,
};

/// Where Debian's `netavark` is.
const PROGRAM: &str = "/usr/lib/podman/netavark";

/// The network's ID, which names its chains.
const ID: &str = "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9";

/// netavark, the network stack of podman.
pub(crate) struct Netavark(Host);

impl Netavark {
    /// Prepares its host.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Host::fresh()?))
    }
}

impl Contender for Netavark {
    fn name(&self) -> &'static str {
        "netavark"
    }

    fn host(&self) -> &Host {
        &self.0
    }

    fn work(&self, operation: Operation) -> Work {
        Work::Is(match operation {
            Operation::Attach => {
                "`netavark setup NETNS`: link, bridge port, address, default route, and a look at \
                 the rules of the network; the address is given, as podman chooses it before; IPv6 \
                 stays on."
            }
            Operation::Detach => "`netavark teardown NETNS`.",
            Operation::AttachPublish => "`netavark setup NETNS` with one port mapping.",
            Operation::DetachPublished => "`netavark teardown NETNS` with one port mapping.",
        })
    }

    fn perform(&self, operation: Operation, target: &Target) -> Result<()> {
        let (verb, ports) = match operation {
            Operation::Attach => ("setup", json!([])),
            Operation::Detach => ("teardown", json!([])),
            Operation::AttachPublish => ("setup", json!([mapping()])),
            Operation::DetachPublished => ("teardown", json!([mapping()])),
        };
        netavark(verb, target, &ports)
    }

    /// Links are all that it leaves behind for one more endpoint; the first makes bridge and rules.
    fn crowd(&self, targets: &[Target]) -> Result<()> {
        match targets {
            [first, more @ ..] if first.name == Target::number(0).name => {
                netavark("setup", first, &json!([]))?;
                super::crowd_of_links(more)
            }
            _ => super::crowd_of_links(targets),
        }
    }
}

fn mapping() -> Value {
    json!({
        "host_ip": "",
        "host_port": PORT,
        "container_port": TARGET_PORT,
        "protocol": "tcp",
        "range": 1,
    })
}

fn netavark(verb: &str, target: &Target, ports: &Value) -> Result<()> {
    let mut networks = json!({});
    networks[NETWORK] = json!({
        "static_ips": [target.address.to_string()],
        "interface_name": "eth0",
    });
    let mut info = json!({});
    info[NETWORK] = json!({
        "name": NETWORK,
        "id": ID,
        "driver": "bridge",
        "network_interface": NETWORK,
        "subnets": [{ "subnet": SUBNET, "gateway": GATEWAY.to_string() }],
        "ipv6_enabled": false,
        "internal": false,
        "dns_enabled": false,
        "ipam_options": { "driver": "host-local" },
    });
    let options = json!({
        "container_id": format!("{:0<64}", target.name),
        "container_name": target.name,
        "port_mappings": ports,
        "networks": networks,
        "network_info": info,
    });
    let mut command = Command::new(PROGRAM);
    command.args(["--config", "/run/netavark", verb, &target.path()]);
    run_with(&mut command, &options.to_string()).map(drop)
}
