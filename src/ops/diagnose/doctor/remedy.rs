//! Commands that make a network and its endpoints again.

use crate::{
    model::{Endpoint, LinkName, Network, NetworkRecord, PublishedPort},
    ops::driver,
    plan::quote,
};

/// Returns the command that restores an endpoint.
pub(super) fn endpoint(network: &LinkName, endpoint: &Endpoint) -> String {
    let target = quote(endpoint.netns.as_str());
    format!("netcord attach {network} {target} --ifname {}", endpoint.ifname)
}

/// Returns the commands that remove a network, and make it again with another MTU.
pub(super) fn with_mtu(record: &NetworkRecord, mtu: u32) -> String {
    let network = &record.network;
    let mut words = vec![driver::again(network)];
    for subnet in &network.subnets {
        words.push(format!("--subnet {}", subnet.cidr));
        words.extend(subnet.gateway.map(|gateway| format!("--gateway {gateway}")));
        words.extend(subnet.ip_range.map(|range| format!("--ip-range {range}")));
    }
    let labels = network.labels.iter();
    words.extend(labels.map(|(k, v)| format!("--label {}", quote(&format!("{k}={v}")))));
    words.push(format!("--mtu {mtu}"));
    anew(record, words.join(" "), true)
}

/// Returns the commands that remove a network, and make it again in a free subnet.
pub(super) fn elsewhere(record: &NetworkRecord) -> String {
    let ipv6 = if record.network.has_ipv6() { " --ipv6" } else { "" };
    anew(record, driver::again(&record.network) + ipv6, false)
}

fn anew(record: &NetworkRecord, made: String, same_addresses: bool) -> String {
    let name = &record.network.name;
    let mut commands = Vec::new();
    let mut targets: Vec<_> = record.endpoints.iter().map(|e| quote(e.netns.as_str())).collect();
    targets.dedup();
    if !targets.is_empty() {
        commands.push(format!("netcord detach {name} {}", targets.join(" ")));
    }
    commands.push(format!("netcord rm {name}"));
    commands.push(made);
    commands.extend(record.endpoints.iter().map(|e| attach(&record.network, e, same_addresses)));
    commands.join(" && ")
}

fn attach(network: &Network, endpoint: &Endpoint, same_addresses: bool) -> String {
    let mut words = vec![self::endpoint(&network.name, endpoint)];
    if same_addresses {
        words.extend(endpoint.addresses.iter().map(|address| format!("--ip {}", address.ip())));
    }
    if endpoint.gateways.is_empty() {
        words.push("--gateway none".to_owned());
    }
    if endpoint.metric != 0 {
        words.push(format!("--metric {}", endpoint.metric));
    }
    let mut ports: Vec<_> = endpoint.ports.iter().map(port).collect();
    ports.dedup();
    words.extend(ports.into_iter().map(|port| format!("-p {port}")));
    words.join(" ")
}

/// Returns a published port in `-p` syntax.
pub(super) fn port(port: &PublishedPort) -> String {
    let PublishedPort { host_ip, host, container, protocol, .. } = port;
    let ports = format!("{host}:{container}/{protocol}");
    match host_ip {
        any if any.is_unspecified() => ports,
        std::net::IpAddr::V4(ip) => format!("{ip}:{ports}"),
        std::net::IpAddr::V6(ip) => format!("[{ip}]:{ports}"),
    }
}
