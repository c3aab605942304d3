//! netavark, called as podman calls it, and netcord in its place.

use std::{os::unix::fs::symlink, process::Command};

use anyhow::Result;
use serde_json::{Value, json};

use super::{Contender, Operation, PORT, TARGET_PORT, Work, netcord::program};
use crate::{
    host::{GATEWAY, Host, NETWORK, SUBNET, Target},
    process::run_with,
};

/// Where Debian's `netavark` is.
const PROGRAM: &str = "/usr/lib/podman/netavark";

/// The network's ID, which names its chains.
const ID: &str = "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9";

/// netcord, by the name that podman calls.
const DROP_IN: &str = "/run/netavark-place/netavark";

/// netavark, the network program of podman, or netcord in its place.
pub(crate) struct Netavark {
    host: Host,
    program: &'static str,
}

impl Netavark {
    /// The word of netcord in tables.
    pub(crate) const DROP_IN: &str = "netcord as netavark";

    /// Prepares its host.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { host: Host::fresh()?, program: PROGRAM })
    }

    /// Prepares the host of netcord.
    pub(crate) fn replaced() -> Result<Self> {
        let host = Host::fresh()?;
        host.within(|| {
            std::fs::create_dir("/run/netavark-place")?;
            Ok(symlink(program(), DROP_IN)?)
        })?;
        Ok(Self { host, program: DROP_IN })
    }

    fn is_netcord(&self) -> bool {
        self.program == DROP_IN
    }
}

impl Contender for Netavark {
    fn name(&self) -> &'static str {
        if self.is_netcord() { Self::DROP_IN } else { "netavark" }
    }

    fn host(&self) -> &Host {
        &self.host
    }

    fn work(&self, operation: Operation) -> Work {
        Work::Is(match (operation, self.is_netcord()) {
            (Operation::Attach, false) => {
                "`netavark setup NETNS`: link, bridge port, address, default route, and a look at \
                 the rules of the network; the address is given, as podman chooses it before; IPv6 \
                 stays on."
            }
            (Operation::Attach, true) => {
                "netcord, called `netavark`, with the same words and the same JSON: the same as \
                 `netcord attach --ip`."
            }
            (Operation::Detach, _) => "`netavark teardown NETNS`.",
            (Operation::AttachPublish, _) => "`netavark setup NETNS` with one port mapping.",
            (Operation::DetachPublished, _) => "`netavark teardown NETNS` with one port mapping.",
        })
    }

    fn ends_without_ipv6(&self) -> bool {
        self.is_netcord()
    }

    fn perform(&self, operation: Operation, target: &Target) -> Result<()> {
        let (verb, ports) = match operation {
            Operation::Attach => ("setup", json!([])),
            Operation::Detach => ("teardown", json!([])),
            Operation::AttachPublish => ("setup", json!([mapping()])),
            Operation::DetachPublished => ("teardown", json!([mapping()])),
        };
        netavark(self.program, verb, target, &ports)
    }

    /// Links are all that it leaves behind for one more endpoint; the first makes bridge and rules.
    fn crowd(&self, targets: &[Target]) -> Result<()> {
        match targets {
            [first, more @ ..] if first.name == Target::number(0).name => {
                netavark(self.program, "setup", first, &json!([]))?;
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

fn netavark(program: &str, verb: &str, target: &Target, ports: &Value) -> Result<()> {
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
    let mut command = Command::new(program);
    command.args(["--config", "/run/netavark", verb, &target.path()]);
    run_with(&mut command, &options.to_string()).map(drop)
}
