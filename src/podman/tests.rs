//! JSON that podman should not send.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{create::Create, options::Container, plugin, request::Wanted};
use crate::ops::hostile;

fn definition() -> Value {
    json!({
        "name": "pn", "id": "ab".repeat(32), "driver": "bridge", "network_interface": "podman1",
        "subnets": [
            {"subnet": "10.89.0.0/24", "gateway": "10.89.0.1",
                "lease_range": {"start_ip": "10.89.0.9", "end_ip": "10.89.0.99"}},
            {"subnet": "10.90.0.0/24"}, {"subnet": "fd00::/64", "gateway": "fd00::1"},
        ],
        "routes": [{"destination": "10.9.0.0/16", "gateway": "10.89.0.7", "metric": 7},
            {"destination": "10.8.0.0/16", "route_type": "blackhole"}],
        "ipv6_enabled": true, "internal": false, "dns_enabled": true,
        "network_dns_servers": ["192.0.2.53"], "labels": {"a": "b"},
        "options": {"mtu": "1400", "isolate": "strict", "metric": "7", "mode": "",
            "outbound_addr4": "192.0.2.1"},
        "ipam_options": {"driver": "host-local"},
    })
}

fn endpoint() -> Value {
    json!({"static_ips": ["10.89.0.9", "10.90.0.9", "fd00::9"], "static_mac": "02:00:00:00:00:09",
        "aliases": ["6b1a19e1adf8"], "interface_name": "eth0", "options": {"host_interface_name": "a"}})
}

fn ports() -> Value {
    json!([{"host_ip": "127.0.0.1", "container_port": 80, "host_port": 8080, "range": 3,
        "protocol": "tcp,udp"}])
}

/// What `setup` and `teardown` get.
fn container() -> Value {
    json!({"container_id": "6b1a19e1adf8", "container_name": "web", "port_mappings": ports(),
        "networks": {"pn": endpoint()}, "network_info": {"pn": definition()},
        "dns_servers": ["192.0.2.53"]})
}

fn attachment() -> Value {
    json!({"container_id": "6b1a19e1adf8", "container_name": "web", "port_mappings": ports(),
        "network": definition(), "network_options": endpoint()})
}

fn create() -> Value {
    json!({
        "network": definition(),
        "used": {"interfaces": ["podman0"], "names": {"old": "1"}, "subnets": ["10.88.0.0/16"]},
        "options": {"subnet_pools": [{"base": "10.89.0.0/16", "size": 24}],
            "default_interface_name": "podman", "check_used_subnets": true},
    })
}

fn read_container(container: &Container) -> Result<(), String> {
    let said = |error: anyhow::Error| error.to_string();
    for network in container.networks() {
        let (endpoint, definition) = network.map_err(said)?;
        Wanted::read(container, endpoint, definition).map_err(said)?;
    }
    container.ports().map(drop).map_err(said)
}

/// Reads a text as each command does; returns what it refuses.
fn read_as_any(text: &[u8]) -> Result<(), String> {
    let (mut read, said) = (Vec::new(), |error: serde_json::Error| error.to_string());
    let parsed = serde_json::from_slice(text).map_err(said);
    read.push(parsed.and_then(|container| read_container(&container)));
    let parsed = serde_json::from_slice::<plugin::Attachment>(text).map_err(said);
    read.push(parsed.and_then(|attachment| read_container(&attachment.container())));
    let parsed = serde_json::from_slice::<Create>(text).map_err(said);
    let links = ["lo", "eth0"].map(String::from).into();
    read.push(parsed.and_then(|c| c.completed(&links).map(drop).map_err(|e| e.to_string())));
    let parsed = serde_json::from_slice(text).map_err(said);
    read.push(parsed.and_then(|v| plugin::create(&v, &[]).map(drop).map_err(|e| e.to_string())));
    read.into_iter().reduce(Result::or).unwrap()
}

#[test]
fn what_is_damaged_is_read_whole() {
    for whole in [container(), attachment(), create()] {
        read_as_any(whole.to_string().as_bytes()).unwrap();
    }
}

proptest! {
    #![proptest_config(hostile::cases())]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in hostile::bytes()) {
        drop(read_as_any(&bytes));
    }

    #[test]
    fn hostile_json_is_read_or_refused(
        text in hostile::damaged(vec![container(), attachment(), create(), definition()]),
    ) {
        drop(read_as_any(&text));
    }
}
