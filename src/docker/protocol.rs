//! The bodies of docker's protocols for network drivers and IPAM drivers. Go leaves out what is empty, or sends `null`.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use anyhow::{Context, Result};
use ipnetwork::IpNetwork;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::pools::PoolId;
use crate::{
    error::Error,
    model::{HostPorts, PortRange, PortSpec, Protocol},
};

/// Parses the body of a call.
///
/// # Errors
/// If it is empty: docker sends that when a connection broke, and expects no success.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    if body.is_empty() {
        return Err(Error::usage(
            "the call has no body: docker lost its connection and tries again",
        )
        .hint("do the same with docker again")
        .into());
    }
    serde_json::from_slice(body).context("docker's request is not understood")
}

/// The IDs in a body, shortened as docker does, or the pool, for the log.
pub(super) fn whose(body: &[u8]) -> String {
    if let Ok(of) = serde_json::from_slice::<OfEndpoint>(body) {
        return format!(" {}/{}", of.network_id.short(), of.endpoint_id.short());
    }
    if let Ok(of) = serde_json::from_slice::<OfNetwork>(body) {
        return format!(" {}", of.network_id.short());
    }
    serde_json::from_slice::<OfPool>(body)
        .map_or_else(|_| String::new(), |of| format!(" {}", of.pool_id))
}

/// An ID of docker's: hexadecimal digits. It names files and links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Id(String);

impl Id {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// As docker shortens it.
    pub(super) fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Id {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_id = (12..=64).contains(&text.len())
            && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if is_id { Ok(Self(text)) } else { Err("an ID has 12 to 64 hexadecimal digits".into()) }
    }
}

/// `CreateNetwork`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CreateNetwork {
    #[serde(rename = "NetworkID")]
    pub(super) network_id: Id,
    #[serde(rename = "Options", default, deserialize_with = "or_null")]
    pub(super) options: NetworkOptions,
    #[serde(rename = "IPv4Data", default, deserialize_with = "or_null")]
    pub(super) ipv4: Vec<IpamData>,
    #[serde(rename = "IPv6Data", default, deserialize_with = "or_null")]
    pub(super) ipv6: Vec<IpamData>,
}

/// The options of a network: docker's own, and those of `-o`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct NetworkOptions {
    #[serde(rename = "com.docker.network.enable_ipv6", default)]
    pub(super) ipv6: bool,
    #[serde(rename = "com.docker.network.internal", default)]
    pub(super) internal: bool,
    #[serde(rename = "com.docker.network.generic", default, deserialize_with = "or_null")]
    pub(super) generic: BTreeMap<String, String>,
}

/// A subnet of a network, as docker's IPAM has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct IpamData {
    #[serde(rename = "Pool", default, deserialize_with = "unless_empty")]
    pub(super) pool: Option<IpNetwork>,
    #[serde(rename = "Gateway", default, deserialize_with = "unless_empty")]
    pub(super) gateway: Option<IpNetwork>,
}

/// The calls that name a network only.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct OfNetwork {
    #[serde(rename = "NetworkID")]
    pub(super) network_id: Id,
}

/// The calls that name an endpoint only.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct OfEndpoint {
    #[serde(rename = "NetworkID")]
    pub(super) network_id: Id,
    #[serde(rename = "EndpointID")]
    pub(super) endpoint_id: Id,
}

/// `CreateEndpoint`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct CreateEndpoint {
    #[serde(flatten)]
    pub(super) of: OfEndpoint,
    #[serde(rename = "Interface", default, deserialize_with = "or_null")]
    pub(super) interface: Interface,
}

/// The link of an endpoint: in a call what docker has chosen, in the answer what netcord has.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Interface {
    #[serde(rename = "Address", default, deserialize_with = "unless_empty")]
    pub(super) address: Option<IpNetwork>,
    #[serde(rename = "AddressIPv6", default, deserialize_with = "unless_empty")]
    pub(super) ipv6: Option<IpNetwork>,
    #[serde(rename = "MacAddress", default, deserialize_with = "or_null")]
    pub(super) mac: String,
}

/// `Join`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Join {
    #[serde(flatten)]
    pub(super) of: OfEndpoint,
    #[serde(rename = "SandboxKey", default, deserialize_with = "or_null")]
    pub(super) sandbox: String,
}

/// `ProgramExternalConnectivity`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Program {
    #[serde(flatten)]
    pub(super) of: OfEndpoint,
    #[serde(rename = "Options", default, deserialize_with = "or_null")]
    pub(super) options: EndpointOptions,
}

/// The options of an endpoint.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct EndpointOptions {
    #[serde(rename = "com.docker.network.portmap", default, deserialize_with = "or_null")]
    pub(super) ports: Vec<PortBinding>,
}

/// A port of `docker run -p`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PortBinding {
    /// The number of the protocol.
    #[serde(rename = "Proto")]
    protocol: u8,
    #[serde(rename = "Port")]
    port: u16,
    #[serde(rename = "HostIP", default, deserialize_with = "unless_empty")]
    host_ip: Option<IpAddr>,
    #[serde(rename = "HostPort", default)]
    host: u16,
    /// docker takes a free port from the first to this one.
    #[serde(rename = "HostPortEnd", default)]
    end: u16,
}

impl PortBinding {
    /// Returns the port as netcord publishes it.
    pub(super) fn spec(&self, binding: Option<IpAddr>) -> Result<PortSpec> {
        let protocol = match self.protocol {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            132 => Protocol::Sctp,
            other => return Err(Error::usage(format!("IP protocol {other} has no ports")).into()),
        };
        if self.port == 0 {
            return Err(Error::usage("port 0 of a container cannot be published").into());
        }
        let host = match (self.host, self.end) {
            (0, _) => HostPorts::Any,
            (first, end) => HostPorts::Range(PortRange { first, last: end.max(first) }),
        };
        let host_ip = self.host_ip.or(binding);
        Ok(PortSpec { host_ip, host, container: PortRange::single(self.port), protocol })
    }
}

/// `RequestPool`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct RequestPool {
    /// `--subnet`.
    #[serde(rename = "Pool", default, deserialize_with = "unless_empty")]
    pub(super) pool: Option<IpNetwork>,
    /// `--ip-range`.
    #[serde(rename = "SubPool", default, deserialize_with = "unless_empty")]
    pub(super) range: Option<IpNetwork>,
    /// `--ipam-opt`.
    #[serde(rename = "Options", default, deserialize_with = "or_null")]
    pub(super) options: BTreeMap<String, String>,
    #[serde(rename = "V6", default)]
    pub(super) ipv6: bool,
}

/// The calls that name a pool only.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct OfPool {
    #[serde(rename = "PoolID")]
    pub(super) pool_id: PoolId,
}

/// `RequestAddress`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct RequestAddress {
    #[serde(rename = "PoolID")]
    pub(super) pool_id: PoolId,
    #[serde(rename = "Address", default, deserialize_with = "unless_empty")]
    pub(super) address: Option<IpAddr>,
    #[serde(rename = "Options", default, deserialize_with = "or_null")]
    options: BTreeMap<String, String>,
}

impl RequestAddress {
    /// Returns whether the address is to be the gateway's.
    pub(super) fn is_of_gateway(&self) -> bool {
        let kind = self.options.get("RequestAddressType");
        kind.is_some_and(|kind| kind == "com.docker.network.gateway")
    }
}

/// `ReleaseAddress`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ReleaseAddress {
    #[serde(rename = "PoolID")]
    pub(super) pool_id: PoolId,
    #[serde(rename = "Address")]
    pub(super) address: IpAddr,
}

fn or_null<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn unless_empty<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: std::str::FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    let text: Option<String> = Option::deserialize(deserializer)?;
    let text = text.filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}

/// The answer of calls that return nothing.
pub(super) fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}
