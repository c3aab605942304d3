//! Completes and checks the definition of a network: `create`.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    time::SystemTime,
};

use anyhow::Result;
use humantime::format_rfc3339_seconds;
use ipnetwork::{IpNetwork, Ipv4Network};
use serde::Deserialize;

use super::{
    definition::{Definition, Ipam, Kind, Subnet},
    request::{BridgeOptions, MacvlanOptions, Mode},
};
use crate::{
    error::Error,
    model::{LinkName, overlap, unique_local_prefix},
};

/// The shortest prefix of a pool's subnet: a /30 has two hosts.
const LONGEST: u8 = 30;
/// How many IPv6 prefixes are tried.
const TRIALS: u16 = 1000;
/// How many names of bridges are tried.
const NAMES: u32 = 100_000;

/// The request: a definition, what other networks have, and defaults.
#[derive(Debug, Deserialize)]
pub(super) struct Create {
    pub(super) network: Definition,
    used: Used,
    options: Defaults,
}

#[derive(Debug, Default, Deserialize)]
struct Used {
    #[serde(default)]
    interfaces: Option<Vec<String>>,
    /// Names of networks, with their IDs.
    #[serde(default)]
    names: Option<BTreeMap<String, String>>,
    #[serde(default)]
    subnets: Option<Vec<IpNetwork>>,
}

#[derive(Debug, Deserialize)]
struct Defaults {
    #[serde(default)]
    subnet_pools: Option<Vec<Pool>>,
    #[serde(default)]
    default_interface_name: Option<String>,
    #[serde(default)]
    check_used_subnets: bool,
}

#[derive(Debug, Deserialize)]
struct Pool {
    base: IpNetwork,
    size: u8,
}

impl Create {
    /// Returns the completed definition. `links` are the host's.
    pub(super) fn completed(self, links: &HashSet<String>) -> Result<Definition> {
        let Self { mut network, used, options } = self;
        check_names(&network, &used)?;
        network.ipam()?;
        let mut checks_used = options.check_used_subnets;
        match network.kind()? {
            Kind::Bridge => {
                take_dockers_options(&mut network);
                network.check_options(BridgeOptions::KEYS)?;
                let is_managed = BridgeOptions::read(&network)?.mode == Mode::Managed;
                checks_used &= is_managed;
                complete_bridge(&mut network, &used, &options, links, is_managed)?;
            }
            Kind::Macvlan => {
                network.check_options(MacvlanOptions::KEYS)?;
                MacvlanOptions::read(&network)?;
                complete_macvlan(&mut network, links)?;
            }
        }
        if network.ipam()? == Ipam::None {
            network.dns_enabled = false;
        }
        if network.network_dns_servers.is_some() && !network.dns_enabled {
            return Err(usage(
                "cannot set NetworkDNSServers if DNS is not enabled for the network",
            ));
        }
        network.check_subnets()?;
        let adds_gateway = !network.internal || network.dns_enabled;
        let used = used.subnets.as_deref().filter(|_| checks_used).unwrap_or_default();
        for subnet in network.subnets.iter_mut().flatten() {
            complete_subnet(subnet, adds_gateway, used)?;
            network.ipv6_enabled |= subnet.subnet.is_ipv6();
        }
        for route in network.routes() {
            route.spec()?;
        }
        network.created = Some(format_rfc3339_seconds(SystemTime::now()).to_string());
        Ok(network)
    }
}

fn usage(message: impl Into<String>) -> anyhow::Error {
    Error::usage(message).into()
}

fn check_names(network: &Definition, used: &Used) -> Result<()> {
    let Definition { name, id, network_interface, .. } = network;
    if name.is_empty() {
        return Err(usage("Network name must be supplied"));
    }
    if !is_name(name) {
        return Err(usage(format!(
            "Invalid characters in network name {name:?}: must match [a-zA-Z0-9][a-zA-Z0-9_.-]*"
        )));
    }
    if used.names.iter().any(|names| names.contains_key(name)) {
        return Err(usage(format!("network already exists {name}")));
    }
    if id.is_empty() {
        return Err(usage("Network id must be supplied"));
    }
    if id.len() != 64 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(usage(format!("Network id must be a hexadecimal string {id:?}")));
    }
    network_interface.as_deref().map_or(Ok(()), check_link)
}

/// Returns whether podman allows it as the name of a network or a bridge.
fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn check_link(name: &str) -> Result<()> {
    name.parse::<LinkName>().map(drop).map_err(|e| usage(format!("network_interface: {e}")))
}

/// Takes options that mean the same to docker's bridge driver.
fn take_dockers_options(network: &mut Definition) {
    let Some(options) = &mut network.options else { return };
    if let Some(mtu) = options.remove("com.docker.network.driver.mtu") {
        options.insert("mtu".into(), mtu);
    }
    if let Some(name) = options.remove("com.docker.network.bridge.name") {
        network.network_interface = Some(name);
    }
}

fn complete_bridge(
    network: &mut Definition,
    used: &Used,
    defaults: &Defaults,
    links: &HashSet<String>,
    is_managed: bool,
) -> Result<()> {
    match &network.network_interface {
        Some(name) => {
            let is_used = used.interfaces.iter().flatten().any(|used| used == name);
            if is_managed && is_used {
                return Err(usage(format!("bridge name {name} already in use")));
            }
            if !is_name(name) {
                return Err(usage(format!("bridge name {name} is invalid")));
            }
            check_link(name)?;
        }
        None => network.network_interface = Some(free_bridge(used, defaults, links)?),
    }
    if network.ipam()? != Ipam::HostLocal {
        return network_without_addresses(network);
    }
    let has = |network: &Definition, is_ipv4: bool| {
        network.subnets().iter().any(|s| s.subnet.is_ipv4() == is_ipv4)
    };
    let needs_ipv4 = network.subnets().is_empty() || network.ipv6_enabled;
    if needs_ipv4 && !has(network, true) {
        let free = free_ipv4(used, defaults)?;
        network.subnets.get_or_insert_default().push(free);
    }
    if network.ipv6_enabled && !has(network, false) {
        let free = free_ipv6(&network.id, used)?;
        network.subnets.get_or_insert_default().push(free);
    }
    set_ipam(network, Ipam::HostLocal);
    Ok(())
}

fn network_without_addresses(network: &Definition) -> Result<()> {
    if !network.subnets().is_empty() {
        let message = match network.ipam()? {
            Ipam::Dhcp => "ipam driver dhcp set but subnets are set",
            _ => "None ipam driver is set but subnets are given",
        };
        return Err(usage(message));
    }
    Ok(())
}

fn complete_macvlan(network: &mut Definition, links: &HashSet<String>) -> Result<()> {
    if let Some(parent) = network.network_interface.as_ref().filter(|name| !links.contains(*name)) {
        return Err(usage(format!("parent interface {parent} does not exist")));
    }
    // Others on the physical network would get the names too.
    network.dns_enabled = false;
    let is_open = network
        .ipam_options
        .as_ref()
        .and_then(|options| options.get("driver"))
        .is_none_or(String::is_empty);
    let has_subnets = !network.subnets().is_empty();
    match network.ipam()? {
        Ipam::HostLocal if is_open && !has_subnets => set_ipam(network, Ipam::Dhcp),
        Ipam::HostLocal if !has_subnets => {
            return Err(usage(
                "macvlan driver needs at least one subnet specified when the host-local ipam driver is set",
            ));
        }
        Ipam::HostLocal => set_ipam(network, Ipam::HostLocal),
        Ipam::Dhcp | Ipam::None => network_without_addresses(network)?,
    }
    Ok(())
}

fn set_ipam(network: &mut Definition, ipam: Ipam) {
    let options = network.ipam_options.get_or_insert_default();
    options.insert("driver".into(), ipam.word().into());
}

fn free_bridge(used: &Used, defaults: &Defaults, links: &HashSet<String>) -> Result<String> {
    let prefix = defaults
        .default_interface_name
        .as_deref()
        .ok_or_else(|| usage("default interface name is not set"))?;
    let is_taken = |name: &String| {
        links.contains(name)
            || used.interfaces.iter().flatten().any(|used| used == name)
            || used.names.iter().any(|names| names.contains_key(name))
    };
    let free = (1..NAMES).map(|n| format!("{prefix}{n}")).find(|name| !is_taken(name));
    free.ok_or_else(|| usage(format!("no name {prefix}N is free for a bridge")))
}

fn bare(subnet: IpNetwork) -> Subnet {
    Subnet { subnet, gateway: None, lease_range: None }
}

/// Returns the first subnet of the pools that is free.
fn free_ipv4(used: &Used, defaults: &Defaults) -> Result<Subnet> {
    let used = used.subnets.as_deref().filter(|_| defaults.check_used_subnets).unwrap_or_default();
    let is_free = |subnet: &IpNetwork| !used.iter().any(|used| overlap(*used, *subnet));
    let pools = defaults.subnet_pools.iter().flatten();
    let free = pools.filter_map(blocks).flatten().find(is_free);
    free.map(bare).ok_or_else(|| usage("could not find free subnet from subnet pools"))
}

/// Returns the subnets of a pool of IPv4.
fn blocks(pool: &Pool) -> Option<impl Iterator<Item = IpNetwork>> {
    let IpNetwork::V4(base) = pool.base else { return None };
    let size = pool.size;
    let is_valid = size <= LONGEST && size >= base.prefix();
    let step = is_valid.then(|| 1_u64 << (32 - size))?;
    let first = u64::from(base.network().to_bits());
    let last = u64::from(base.broadcast().to_bits());
    let count = (last - first + 1) / step;
    Some((0..count).filter_map(move |n| {
        let address = u32::try_from(first + n * step).ok()?;
        Ipv4Network::new(address.into(), size).ok().map(IpNetwork::V4)
    }))
}

/// Returns a /64 of a unique local prefix that is the network's own.
fn free_ipv6(id: &str, used: &Used) -> Result<Subnet> {
    let is_free =
        |subnet: &IpNetwork| !used.subnets.iter().flatten().any(|used| overlap(*used, *subnet));
    let mut all = (0..TRIALS).filter_map(|index| unique_local_prefix(id.as_bytes(), index));
    let free = all.find(is_free);
    free.map(bare).ok_or_else(|| usage("no unique local IPv6 prefix is free"))
}

fn complete_subnet(subnet: &mut Subnet, adds_gateway: bool, used: &[IpNetwork]) -> Result<()> {
    let cidr = subnet.subnet;
    if used.iter().any(|used| overlap(*used, cidr)) {
        return Err(usage(format!(
            "subnet {cidr} is already used on the host or by another config"
        )));
    }
    match subnet.gateway {
        Some(gateway) if !cidr.contains(gateway) => {
            return Err(usage(format!("gateway {gateway} not in subnet {cidr}")));
        }
        None if adds_gateway => subnet.gateway = Some(first_address(cidr)?),
        _ => {}
    }
    let Some(range) = &subnet.lease_range else { return Ok(()) };
    let end = |name: &str, text: Option<&String>| -> Result<Option<IpAddr>> {
        let Some(text) = text else { return Ok(None) };
        let ip: IpAddr = text.parse().map_err(|e| usage(format!("invalid {name}: {e}")))?;
        if !cidr.contains(ip) {
            return Err(usage(format!("lease range {name} {ip} not in subnet {cidr}")));
        }
        Ok(Some(ip))
    };
    let first = end("start_ip", range.start_ip.as_ref())?;
    let last = end("end_ip", range.end_ip.as_ref())?;
    match (first, last) {
        (Some(first), Some(last)) if first > last => Err(usage(format!(
            "lease range start_ip {first} must be less than or equal to end_ip {last}"
        ))),
        _ => Ok(()),
    }
}

/// Returns the first address of a subnet that a host can have.
fn first_address(cidr: IpNetwork) -> Result<IpAddr> {
    // An IPv4 subnet has a broadcast address too.
    let longest = if cidr.is_ipv4() { 30 } else { 127 };
    let first = cidr.iter().nth(1).filter(|_| cidr.prefix() <= longest);
    first.ok_or_else(|| {
        usage(format!(
            "could not create gateway for subnet {cidr} because it has a {} or greater subnet prefix",
            longest + 1
        ))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Completes a definition of which these keys are given.
    fn completed(keys: &Value, used: &Value) -> Result<Definition, String> {
        let mut network = json!({
            "name": "pn", "id": "ab".repeat(32), "driver": "bridge", "internal": false,
            "ipv6_enabled": false, "dns_enabled": false,
        });
        for (key, value) in keys.as_object().unwrap() {
            network[key] = value.clone();
        }
        let create = json!({
            "network": network,
            "used": used,
            "options": {
                "subnet_pools": [{"base": "10.89.0.0/16", "size": 24}],
                "default_interface_name": "podman", "check_used_subnets": true,
            },
        });
        let create: Create = serde_json::from_value(create).map_err(|e| e.to_string())?;
        let links = ["lo", "eth0", "podman2"].map(String::from).into();
        create.completed(&links).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_left_open_is_chosen() {
        let used = json!({"interfaces": ["podman1"], "names": {}, "subnets": ["10.89.0.0/24"]});
        let network = completed(&json!({"ipv6_enabled": true}), &used).unwrap();
        assert_eq!(network.network_interface.as_deref(), Some("podman3"));
        let subnets: Vec<_> = network.subnets().iter().map(|s| s.subnet.to_string()).collect();
        assert_eq!(subnets[0], "10.89.1.0/24");
        assert!(subnets[1].starts_with("fd"), "{subnets:?}");
        assert_eq!(network.subnets()[0].gateway, Some("10.89.1.1".parse().unwrap()));
        assert_eq!(network.ipam_options.unwrap()["driver"], "host-local");
        assert!(network.created.is_some());

        let network = completed(&json!({"internal": true}), &json!({})).unwrap();
        assert_eq!(network.subnets()[0].gateway, None);
        let network = completed(&json!({"ipam_options": {"driver": "none"}}), &json!({})).unwrap();
        assert!(network.subnets().is_empty());
        let keys = json!({"driver": "macvlan", "network_interface": "eth0", "dns_enabled": true});
        let network = completed(&keys, &json!({})).unwrap();
        assert!(!network.dns_enabled);
        assert_eq!(network.ipam_options.unwrap()["driver"], "dhcp");
        let keys =
            json!({"labels": {"a": "b"}, "options": {"com.docker.network.driver.mtu": "1400"}});
        let network = serde_json::to_value(completed(&keys, &json!({})).unwrap()).unwrap();
        assert_eq!(
            (&network["labels"]["a"], &network["options"]["mtu"]),
            (&"b".into(), &"1400".into())
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let used =
            json!({"interfaces": ["br9"], "names": {"old": "1"}, "subnets": ["10.1.0.0/16"]});
        for (keys, why) in [
            (json!({"name": ""}), "name must be supplied"),
            (json!({"name": "a/b"}), "Invalid characters"),
            (json!({"name": "old"}), "network already exists old"),
            (json!({"id": "xyz"}), "hexadecimal"),
            (json!({"driver": "ipvlan"}), "driver `ipvlan`"),
            (json!({"driver": "ovs"}), "driver `ovs`: netcord has none"),
            (json!({"network_interface": "br9"}), "bridge name br9 already in use"),
            (json!({"network_interface": "much-too-long-a-name"}), "network_interface"),
            (json!({"options": {"frob": "1"}}), "unsupported bridge network option: frob"),
            (json!({"options": {"mtu": "x"}}), "unable to parse \"mtu\": invalid digit"),
            (json!({"options": {"isolate": "x"}}), "isolate"),
            (json!({"options": {"vlan": "5000"}}), "vlan"),
            (json!({"options": {"vrf": "v"}}), "vrf"),
            (json!({"subnets": [{"subnet": "10.1.2.0/24"}]}), "already used"),
            (
                json!({"subnets": [{"subnet": "10.2.0.0/24", "gateway": "10.3.0.1"}]}),
                "not in subnet",
            ),
            (
                json!({"subnets": [{"subnet": "10.2.0.0/24"}, {"subnet": "10.2.0.0/24"}]}),
                "duplicate",
            ),
            (
                json!({"subnets": [{"subnet": "10.2.0.0/16"}, {"subnet": "10.2.3.0/24"}]}),
                "overlapping",
            ),
            (json!({"subnets": [{"subnet": "10.2.0.0/32"}]}), "31 or greater"),
            (json!({"ipam_options": {"driver": "x"}}), "unsupported ipam driver x"),
            (json!({"network_dns_servers": ["1.1.1.1"]}), "DNS is not enabled"),
            (json!({"routes": [{"destination": "10.9.0.0/16"}]}), "requires a gateway"),
            (
                json!({"routes": [{"destination": "10.9.0.1", "gateway": "10.89.0.1"}]}),
                "invalid IP address syntax: \"10.9.0.1\"",
            ),
            (json!({"subnets": [{"subnet": "10.2.0.0"}]}), "\"10.2.0.0\" is no CIDR"),
            (json!({"driver": "macvlan", "network_interface": "eth7"}), "does not exist"),
        ] {
            let error = completed(&keys, &used).unwrap_err();
            assert!(error.contains(why), "{keys}: {error}");
        }
    }
}
