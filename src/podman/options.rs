//! The configuration of a container, for `setup` and `teardown`. Go sends `null` for what is empty.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use anyhow::Result;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

use super::definition::Definition;
use crate::{
    error::Error,
    model::{HostPorts, PortRange, PortSpec, Protocol},
};

/// A container, and its networks.
#[derive(Debug, Deserialize)]
pub(super) struct Container {
    #[serde(rename = "container_id")]
    pub(super) id: String,
    #[serde(rename = "container_name", default)]
    pub(super) name: String,
    /// The networks that it is attached to, in order: a map in older versions, a list in newer ones.
    #[serde(deserialize_with = "map_or_list")]
    pub(super) networks: Vec<(String, Endpoint)>,
    #[serde(rename = "network_info")]
    pub(super) definitions: BTreeMap<String, Definition>,
    #[serde(default)]
    pub(super) port_mappings: Option<Vec<PortMapping>>,
    #[serde(default)]
    pub(super) dns_servers: Option<Vec<IpAddr>>,
}

/// How it is attached to one of them.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Endpoint {
    #[serde(default)]
    aliases: Option<Vec<String>>,
    #[serde(default)]
    pub(super) interface_name: String,
    #[serde(default)]
    pub(super) static_ips: Option<Vec<IpAddr>>,
    #[serde(default)]
    pub(super) static_mac: Option<String>,
    #[serde(default)]
    options: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct PortMapping {
    container_port: u16,
    #[serde(default)]
    host_ip: String,
    host_port: u16,
    #[serde(default)]
    protocol: String,
    #[serde(default)]
    range: u16,
}

impl Container {
    /// Returns the networks, each with its definition.
    pub(super) fn networks(&self) -> impl Iterator<Item = Result<(&Endpoint, &Definition)>> {
        self.networks.iter().map(|(name, endpoint)| {
            let definition = self.definitions.get(name).ok_or_else(|| {
                Error::usage(format!("network info for network {name} not found"))
            })?;
            Ok((endpoint, definition))
        })
    }

    /// Returns the ports to publish.
    pub(super) fn ports(&self) -> Result<Vec<PortSpec>> {
        let all = self.port_mappings.iter().flatten();
        let all = all.map(PortMapping::specs).collect::<Result<Vec<_>>>()?;
        Ok(all.into_iter().flatten().collect())
    }
}

impl Endpoint {
    pub(super) fn aliases(&self) -> impl Iterator<Item = &str> {
        self.aliases.iter().flatten().map(String::as_str)
    }

    pub(super) fn option(&self, name: &str) -> Option<&str> {
        self.options.as_ref()?.get(name).map(String::as_str)
    }
}

impl PortMapping {
    /// Returns it for each of its protocols, which are separated by commas.
    fn specs(&self) -> Result<Vec<PortSpec>> {
        let Self { container_port, host_ip, host_port, protocol, range } = self;
        let last = |first: u16| {
            let last = first.checked_add(range.saturating_sub(1)).filter(|_| first != 0);
            last.map(|last| PortRange { first, last })
        };
        let (Some(host), Some(container)) = (last(*host_port), last(*container_port)) else {
            let message = format!("invalid port {host_port}:{container_port}, range {range}");
            return Err(Error::usage(message).into());
        };
        let host_ip = match host_ip.as_str() {
            "" => None,
            ip => Some(ip.parse().map_err(|_| {
                Error::usage(format!("invalid host ip \"{ip}\" provided for port {host_port}"))
            })?),
        };
        let protocols = protocol.split(',').map(|protocol| match protocol {
            "" | "tcp" => Ok::<_, anyhow::Error>(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            "sctp" => Ok(Protocol::Sctp),
            other => Err(Error::usage(format!("unknown port protocol {other}")).into()),
        });
        let host = HostPorts::Range(host);
        protocols.map(|p| Ok(PortSpec { host_ip, host, container, protocol: p? })).collect()
    }
}

/// An element of the list: an entry of the map, with its key.
#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(flatten)]
    endpoint: Endpoint,
}

fn map_or_list<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(String, Endpoint)>, D::Error> {
    struct MapOrList;

    impl<'de> Visitor<'de> for MapOrList {
        type Value = Vec<(String, Endpoint)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map or a list of networks")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut all = Vec::new();
            while let Some(entry) = map.next_entry()? {
                all.push(entry);
            }
            Ok(all)
        }

        fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Self::Value, S::Error> {
            let mut all = Vec::new();
            while let Some(Named { name, endpoint }) = list.next_element()? {
                all.push((name, endpoint));
            }
            Ok(all)
        }
    }

    deserializer.deserialize_any(MapOrList)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As podman 4.3 sends it.
    const CONTAINER: &str = r#"{"container_id":"6b1a19e1adf8","container_name":"web","port_mappings":[{"host_ip":"","container_port":80,"host_port":8080,"range":1,"protocol":"tcp"},{"host_ip":"127.0.0.1","container_port":5000,"host_port":6000,"range":3,"protocol":"tcp,udp"}],"networks":{"pn":{"static_ips":["10.89.0.9"],"static_mac":"02:00:00:00:00:09","aliases":["6b1a19e1adf8"],"interface_name":"eth1"},"podman":{"static_ips":["10.88.0.2"],"aliases":null,"interface_name":"eth0"}},"network_info":{"podman":{"name":"podman","id":"2f25","driver":"bridge","network_interface":"podman0","created":"2026-11-27T10:00:00Z","subnets":[{"subnet":"10.88.0.0/16","gateway":"10.88.0.1"}],"ipv6_enabled":false,"internal":false,"dns_enabled":false,"ipam_options":{"driver":"host-local"}},"pn":{"name":"pn","id":"7a","driver":"bridge","network_interface":"podman1","subnets":null,"ipv6_enabled":false,"internal":false,"dns_enabled":true}}}"#;

    #[test]
    fn a_container_is_read_as_podman_describes_it() {
        let container: Container = serde_json::from_str(CONTAINER).unwrap();
        assert_eq!((container.id.as_str(), container.name.as_str()), ("6b1a19e1adf8", "web"));
        let networks: Vec<_> = container.networks().map(Result::unwrap).collect();
        let names: Vec<_> = networks.iter().map(|(e, d)| (&*e.interface_name, &*d.name)).collect();
        assert_eq!(names, [("eth1", "pn"), ("eth0", "podman")]);
        assert_eq!(networks[0].0.aliases().collect::<Vec<_>>(), ["6b1a19e1adf8"]);
        let ports: Vec<_> = container.ports().unwrap().iter().map(ToString::to_string).collect();
        let expected = [
            "8080:80/tcp",
            "127.0.0.1:6000-6002:5000-5002/tcp",
            "127.0.0.1:6000-6002:5000-5002/udp",
        ];
        assert_eq!(ports, expected);
    }

    #[test]
    fn networks_may_be_a_list() {
        let list = r#"{"container_id":"c","container_name":"n","networks":[{"name":"b","interface_name":"eth0"},{"name":"a","interface_name":"eth1"}],"network_info":{}}"#;
        let container: Container = serde_json::from_str(list).unwrap();
        let names: Vec<_> = container.networks.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["b", "a"]);
        let error = container.networks().next().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "network info for network b not found");
    }

    #[test]
    fn ports_that_do_not_exist_are_refused() {
        for (ports, why) in [
            (r#"{"container_port":80,"host_port":65535,"range":2}"#, "invalid port"),
            (r#"{"container_port":80,"host_port":0,"range":1}"#, "invalid port"),
            (r#"{"container_port":80,"host_port":80,"range":1,"protocol":"icmp"}"#, "icmp"),
            (
                r#"{"container_port":80,"host_port":80,"range":1,"host_ip":"abcd"}"#,
                "host ip \"abcd\"",
            ),
        ] {
            let port: PortMapping = serde_json::from_str(ports).unwrap();
            let error = port.specs().unwrap_err().to_string();
            assert!(error.contains(why), "{ports}: {error}");
        }
    }
}
