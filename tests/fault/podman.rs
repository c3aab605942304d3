//! Faults while podman calls: it calls again, or calls teardown, and all is as it should be.

use serde_json::json;

use crate::{
    support::{Lab, NETCORD, Stage},
    traced,
    watched::States,
};

/// Name, call, and the call that takes it back.
pub(crate) const TRIALS: [(&str, &str, &str); 2] = [
    ("podman::setup", "podman setup web", "podman teardown web"),
    ("podman::teardown", "podman teardown web", "podman setup web"),
];

/// How many system calls are killed at, unless all are.
const FEW: usize = 12;

/// A container with two networks, which are made and removed with it, and a published port.
fn container() -> String {
    let definition = |number: u8, options: serde_json::Value| {
        json!({
            "name": format!("pn{number}"), "id": format!("{number:02x}").repeat(32),
            "driver": "bridge", "network_interface": format!("podman{number}"),
            "subnets": [
                {"subnet": format!("10.89.{number}.0/24"), "gateway": format!("10.89.{number}.1")},
                {"subnet": format!("fd89:{number}::/64"), "gateway": format!("fd89:{number}::1")},
            ],
            "ipv6_enabled": true, "internal": false, "dns_enabled": false, "options": options,
        })
    };
    let endpoint = |number: u8| {
        let ips = [format!("10.89.{number}.2"), format!("fd89:{number}::2")];
        json!({"static_ips": ips, "interface_name": format!("eth{number}")})
    };
    json!({
        "container_id": "cd".repeat(32), "container_name": "web",
        "port_mappings": [
            {"host_ip": "", "host_port": 8080, "container_port": 80, "protocol": "tcp", "range": 1},
        ],
        "networks": {"pn1": endpoint(1), "pn2": endpoint(2)},
        "network_info": {
            "pn1": definition(1, json!({})), "pn2": definition(2, json!({"isolate": "false"})),
        },
    })
    .to_string()
}

/// SIGKILL before calls that change something.
pub(crate) fn killed(command: &str, inverse: &str) {
    let lab = Lab::new();
    lab.netns(&["web"]);
    lab.sh(&format!(
        "mkdir -p /run/netavark /run/config; ln -s {NETCORD} /run/netavark/netavark
         cat >/run/conf <<'E'\n{}\nE",
        container()
    ))
    .ok();
    let stage = Stage { lab, command: command.into(), inverse: inverse.into() };
    if command.contains("teardown") {
        stage.run_inverse().ok();
    }
    let states = States::of(&stage);
    let mut calls = traced::changing_calls(&stage);
    if std::env::var_os("FULL").is_none() {
        let each = calls.len().div_ceil(FEW);
        calls = calls.into_iter().step_by(each).collect();
    }
    traced::killed_at(&stage, &states, &calls);
}
