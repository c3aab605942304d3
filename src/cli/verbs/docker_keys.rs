//! Networks and targets with the keys of `docker network inspect` and `docker inspect`.

use ipnetwork::IpNetwork;
use serde_json::{Map, Value, json};

use crate::{
    model::{Flag, Network},
    ops::{inspect::Object, ps::Listed},
};

/// Go's zero time: the kernel does not know when a link was made.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Returns an object as docker's.
pub(super) fn of(object: &Object) -> Value {
    match object {
        Object::Network { network, endpoints, .. } => self::network(network, endpoints),
        Object::Target { target, netns, endpoints, .. } => json!({
            "Id": target,
            "Name": format!("/{target}"),
            "NetworkSettings": {
                "SandboxKey": format!("/run/netns/{netns}"),
                "Ports": ports(endpoints),
                "Networks": endpoints
                    .iter()
                    .map(|listed| (listed.network.to_string(), settings(listed)))
                    .collect::<Map<_, _>>(),
            },
        }),
    }
}

fn network(network: &Network, endpoints: &[Listed]) -> Value {
    let name = network.name.to_string();
    let configured = network.subnets.iter().map(|subnet| {
        let mut config = Map::from_iter([("Subnet".to_owned(), json!(subnet.cidr.to_string()))]);
        config.extend(subnet.ip_range.map(|range| ("IPRange".into(), json!(range.to_string()))));
        config.extend(subnet.gateway.map(|ip| ("Gateway".into(), json!(ip.to_string()))));
        Value::Object(config)
    });
    json!({
        "Name": name,
        "Id": name,
        "Created": NEVER,
        "Scope": "local",
        "Driver": network.driver.word(),
        "EnableIPv4": network.subnets.iter().any(|subnet| subnet.cidr.is_ipv4()),
        "EnableIPv6": network.has_ipv6(),
        "IPAM": {"Driver": "default", "Options": {}, "Config": configured.collect::<Vec<_>>()},
        "Internal": network.has(Flag::Internal),
        "Attachable": true,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": endpoints.iter().map(container).collect::<Map<_, _>>(),
        "Options": options(network),
        "Labels": network.labels,
    })
}

/// Returns the options of docker's drivers that are equal to a network's flags.
fn options(network: &Network) -> Map<String, Value> {
    let mut options = Map::new();
    let mut set = |key: &str, value: String| options.insert(key.to_owned(), Value::String(value));
    set("com.docker.network.driver.mtu", network.mtu.to_string());
    if let Some(macvlan) = network.driver.macvlan() {
        set("parent", macvlan.parent.link.to_string());
        set("macvlan_mode", macvlan.mode.as_str().to_owned());
    } else {
        set("com.docker.network.bridge.name", network.name.to_string());
        let switch = |is_on: bool| is_on.to_string();
        set("com.docker.network.bridge.enable_icc", switch(!network.has(Flag::Isolate)));
        set("com.docker.network.bridge.enable_ip_masquerade", switch(network.masquerades()));
    }
    options
}

fn container(listed: &Listed) -> (String, Value) {
    let endpoint = &listed.endpoint;
    let [ipv4, ipv6] = addresses(listed).map(|a| a.map(ToString::to_string).unwrap_or_default());
    let value = json!({
        "Name": endpoint.target,
        "EndpointID": id(listed),
        "MacAddress": endpoint.mac.to_string(),
        "IPv4Address": ipv4,
        "IPv6Address": ipv6,
    });
    (endpoint.target.clone(), value)
}

/// The host end is unique on its host; a macvlan has only its link inside.
fn id(listed: &Listed) -> String {
    let endpoint = &listed.endpoint;
    endpoint.host_ifname().unwrap_or(&endpoint.ifname).to_string()
}

fn addresses(listed: &Listed) -> [Option<&IpNetwork>; 2] {
    let of = |is_ipv4: bool| listed.endpoint.addresses.iter().find(|a| a.is_ipv4() == is_ipv4);
    [of(true), of(false)]
}

fn settings(listed: &Listed) -> Value {
    let [ipv4, ipv6] = addresses(listed);
    let ip = |a: Option<&IpNetwork>| a.map(|a| a.ip().to_string()).unwrap_or_default();
    let length = |a: Option<&IpNetwork>| a.map(IpNetwork::prefix).unwrap_or_default();
    let gateway = |is_ipv4: bool| {
        let mut gateways = listed.endpoint.gateways.iter();
        gateways.find(|g| g.is_ipv4() == is_ipv4).map(ToString::to_string).unwrap_or_default()
    };
    json!({
        "NetworkID": listed.network.to_string(),
        "EndpointID": id(listed),
        "Gateway": gateway(true),
        "IPAddress": ip(ipv4),
        "IPPrefixLen": length(ipv4),
        "IPv6Gateway": gateway(false),
        "GlobalIPv6Address": ip(ipv6),
        "GlobalIPv6PrefixLen": length(ipv6),
        "MacAddress": listed.endpoint.mac.to_string(),
    })
}

/// Returns the published ports: a list for each port of the target.
fn ports(endpoints: &[Listed]) -> Map<String, Value> {
    let mut ports: Map<String, Value> = Map::new();
    for port in endpoints.iter().flat_map(|listed| &listed.endpoint.ports) {
        for (inner, outer) in port.container.ports().zip(port.host.ports()) {
            let published =
                json!({"HostIp": port.host_ip.to_string(), "HostPort": outer.to_string()});
            let key = format!("{inner}/{}", port.protocol);
            let list = ports.entry(key).or_insert_with(|| json!([]));
            list.as_array_mut().into_iter().for_each(|list| list.push(published.clone()));
        }
    }
    ports
}
