//! The configuration that a runtime passes on standard input.
//!
//! Its keys are those of the stock plugins `bridge` and `host-local`, with the same meaning, and
//! netcord's own. Go's plugins match keys without regard to case, and containerd relies
//! on it (`HostPort`), so all keys are read in lower case.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    environment::is_identifier,
    failure::{Code, Failure},
    result::{CniResult, CniRoute, Dns},
    version::Version,
};
use crate::model::{LinkName, Mac};

/// The keys that are read, or that only runtimes read.
const KEYS: [&str; 29] = [
    "cniversion",
    "name",
    "type",
    "capabilities",
    "network",
    "bridge",
    "isgateway",
    "isdefaultgateway",
    "forceaddress",
    "ipmasq",
    "ipmasqbackend",
    "mtu",
    "hairpinmode",
    "promiscmode",
    "vlan",
    "vlantrunk",
    "preservedefaultvlan",
    "macspoofchk",
    "enabledad",
    "disablecontainerinterface",
    "portisolation",
    "internal",
    "isolate",
    "nospoof",
    "ipam",
    "dns",
    "runtimeconfig",
    "args",
    "prevresult",
];

/// A configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
pub(super) struct Config {
    /// The name of the network configuration.
    pub(super) name: String,
    pub(super) network: Option<LinkName>,
    pub(super) bridge: Option<LinkName>,
    #[serde(rename = "isgateway")]
    is_gateway: Option<bool>,
    #[serde(rename = "isdefaultgateway")]
    pub(super) is_default_gateway: bool,
    #[serde(rename = "forceaddress")]
    force_address: bool,
    #[serde(rename = "ipmasq")]
    pub(super) ip_masq: Option<bool>,
    #[serde(rename = "ipmasqbackend")]
    pub(super) ip_masq_backend: Option<String>,
    pub(super) mtu: u32,
    #[serde(rename = "hairpinmode")]
    pub(super) hairpin_mode: bool,
    #[serde(rename = "promiscmode")]
    promisc_mode: bool,
    vlan: u16,
    #[serde(rename = "vlantrunk")]
    vlan_trunk: Vec<Value>,
    #[serde(rename = "macspoofchk")]
    mac_spoof_check: Option<bool>,
    #[serde(rename = "enabledad")]
    enable_dad: bool,
    #[serde(rename = "disablecontainerinterface")]
    disable_container_interface: bool,
    #[serde(rename = "portisolation")]
    port_isolation: Option<bool>,
    pub(super) internal: Option<bool>,
    isolate: Option<bool>,
    #[serde(rename = "nospoof")]
    no_spoof: Option<bool>,
    pub(super) open: Option<bool>,
    pub(super) ipam: Option<Ipam>,
    pub(super) dns: Dns,
    #[serde(rename = "runtimeconfig")]
    pub(super) runtime: Runtime,
    args: Args,
    #[serde(rename = "prevresult")]
    pub(super) previous: Option<CniResult>,
    #[serde(rename = "cni.dev/valid-attachments")]
    pub(super) valid_attachments: Option<Vec<ValidAttachment>>,
}

/// The configuration of the addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Ipam {
    /// The plugin.
    #[serde(rename = "type")]
    pub(super) plugin: String,
    #[serde(flatten)]
    range: Range,
    ranges: Vec<Vec<Range>>,
    pub(super) routes: Vec<CniRoute>,
    #[serde(rename = "resolvconf")]
    pub(super) resolv_conf: Option<PathBuf>,
}

impl Ipam {
    /// netcord assigns the addresses: from the ranges of `host-local`.
    pub(super) const HOST_LOCAL: &'static str = "host-local";

    /// A DHCP server assigns them.
    const DHCP: &'static str = "dhcp";

    /// Returns the ranges: a set for each address.
    pub(super) fn sets(&self) -> Vec<Vec<Range>> {
        let single = self.range.subnet.map(|_| vec![self.range.clone()]);
        single.into_iter().chain(self.ranges.iter().cloned()).collect()
    }
}

/// A range of `host-local`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Range {
    pub(super) subnet: Option<IpNetwork>,
    #[serde(rename = "rangestart")]
    pub(super) start: Option<IpAddr>,
    #[serde(rename = "rangeend")]
    pub(super) end: Option<IpAddr>,
    pub(super) gateway: Option<IpAddr>,
}

/// What the runtime adds for one container, by the capabilities that the configuration declares.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Runtime {
    #[serde(rename = "portmappings")]
    pub(super) ports: Vec<PortMapping>,
    /// `IP` or `IP/LENGTH`.
    pub(super) ips: Vec<String>,
    #[serde(rename = "ipranges")]
    pub(super) ip_ranges: Vec<Vec<Range>>,
    pub(super) mac: Option<Mac>,
    pub(super) bandwidth: Option<Map<String, Value>>,
    /// A list, or a map from networks to lists.
    pub(super) aliases: Option<Value>,
    pub(super) dns: Option<RuntimeDns>,
}

/// A published port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct PortMapping {
    #[serde(rename = "hostport")]
    pub(super) host: i64,
    #[serde(rename = "containerport")]
    pub(super) container: i64,
    pub(super) protocol: String,
    #[serde(rename = "hostip")]
    pub(super) host_ip: String,
}

/// The DNS of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct RuntimeDns {
    pub(super) servers: Vec<String>,
    pub(super) searches: Vec<String>,
    pub(super) options: Vec<String>,
}

/// The conventional `args`, of which those under `cni` are general.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Args {
    cni: CniArgs,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct CniArgs {
    ips: Vec<String>,
    mac: Option<Mac>,
}

/// An attachment that GC keeps.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct ValidAttachment {
    #[serde(rename = "containerid")]
    pub(super) container: String,
    pub(super) ifname: String,
}

/// A configuration, the version that its answer is in, and notes for the log.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) version: Version,
    pub(super) config: Config,
    pub(super) notes: Vec<String>,
}

/// Returns the version that a configuration asks for.
pub(super) fn version(text: &[u8]) -> Result<Version, Failure> {
    version_of(&object(text)?)
}

fn version_of(config: &Map<String, Value>) -> Result<Version, Failure> {
    let version = config.get("cniVersion").and_then(Value::as_str).unwrap_or_default();
    version.parse().map_err(|()| {
        let all = Version::ALL.map(Version::as_str).join(", ");
        Failure::new(Code::Version, format!("incompatible CNI version `{version}`"))
            .details(format!("supported are {all}"))
    })
}

/// Reads a configuration.
pub(super) fn read(text: &[u8]) -> Result<Read, Failure> {
    let whole = object(text)?;
    let version = version_of(&whole)?;
    let known = lower(whole);
    let is_own = |key: &&String| !KEYS.contains(&key.as_str()) && !key.contains('/');
    let notes =
        known.keys().filter(is_own).map(|key| format!("key `{key}` is not known, and ignored"));
    let notes = notes.collect();
    let config: Config =
        serde_json::from_value(Value::Object(known)).map_err(|e| undecodable(&e))?;
    if !is_identifier(&config.name) {
        let message = format!("`{}` is no name of a network configuration", config.name);
        return Err(Failure::new(Code::Config, message));
    }
    Ok(Read { version, config, notes })
}

fn object(text: &[u8]) -> Result<Map<String, Value>, Failure> {
    serde_json::from_slice(text).map_err(|e| undecodable(&e))
}

fn undecodable(error: &serde_json::Error) -> Failure {
    Failure::new(Code::Decode, format!("the configuration cannot be read: {error}"))
}

/// Returns an object with its keys in lower case, and those of all objects in it but in results of
/// plugins, which are the same for all. A key that is there twice keeps one value.
fn lower(object: Map<String, Value>) -> Map<String, Value> {
    let lower_one = |(key, value): (String, Value)| {
        let key = key.to_lowercase();
        let value = if key == "prevresult" { value } else { lower_value(value) };
        (key, value)
    };
    object.into_iter().map(lower_one).filter(|(_, value)| !value.is_null()).collect()
}

fn lower_value(value: Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(lower(object)),
        Value::Array(all) => Value::Array(all.into_iter().map(lower_value).collect()),
        other => other,
    }
}

impl Config {
    /// Returns the name of the network on this host.
    pub(super) fn network_name(&self) -> LinkName {
        let named = self.network.as_ref().or(self.bridge.as_ref());
        named.cloned().unwrap_or_else(|| LinkName::derived("cni0".to_owned()))
    }

    /// Returns whether a network that is missing is made: not if nothing says which subnet it has, or if
    /// its addresses come from its DHCP server.
    pub(super) fn makes_network(&self) -> bool {
        !self.leases() && (self.network.is_none() || self.ipam.is_some())
    }

    /// Returns whether a DHCP server assigns the IPv4 address: netcord asks it itself, since the plugin
    /// `dhcp` needs the container's link before there is an address.
    pub(super) fn leases(&self) -> bool {
        self.ipam.as_ref().is_some_and(|ipam| ipam.plugin == Ipam::DHCP)
    }

    /// Returns whether the bridge has the gateway's address, if it says so.
    pub(super) fn says_gateway(&self) -> Option<bool> {
        if self.is_default_gateway { Some(true) } else { self.is_gateway }
    }

    /// Returns whether a bridge that is made for it has the gateway's address. By default, one of the
    /// plugin `bridge` has none. netcord's own key `network`, or a subnet that netcord chooses, are
    /// not of that plugin.
    pub(super) fn is_gateway(&self, has_subnets: bool) -> bool {
        let is_stock = self.network.is_none() && has_subnets && !self.leases();
        self.says_gateway().unwrap_or(!is_stock)
    }

    /// Returns whether endpoints may not reach each other, if it says so.
    pub(super) fn isolates(&self) -> Option<bool> {
        self.isolate.or(self.port_isolation)
    }

    /// Returns whether endpoints may only send from their own addresses, if it says so.
    pub(super) fn checks_senders(&self) -> Option<bool> {
        self.no_spoof.or(self.mac_spoof_check)
    }

    /// Returns the plugin that assigns the addresses, if it is another one.
    pub(super) fn delegate(&self) -> Option<&Ipam> {
        let own = ["", Ipam::HOST_LOCAL, Ipam::DHCP];
        self.ipam.as_ref().filter(|ipam| !own.contains(&ipam.plugin.as_str()))
    }

    /// Returns the addresses that were asked for, as `IP` or `IP/LENGTH`.
    pub(super) fn asked_ips(&self) -> &[String] {
        if self.runtime.ips.is_empty() { &self.args.cni.ips } else { &self.runtime.ips }
    }

    /// Returns the MAC that was asked for, but for that of `CNI_ARGS`.
    pub(super) fn asked_mac(&self) -> Option<Mac> {
        self.runtime.mac.or(self.args.cni.mac)
    }

    /// Fails for what the stock plugins do and this one does not: nothing is ignored in silence.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let refused = [
            (
                self.force_address,
                "forceAddress",
                "netcord never replaces an address: remove the network with `netcord rm` first",
            ),
            (self.promisc_mode, "promiscMode", "`hairpinMode` has the same purpose"),
            (self.vlan != 0, "vlan", "make a network for each VLAN, with `netcord macvlan`"),
            (!self.vlan_trunk.is_empty(), "vlanTrunk", "make a network for each VLAN"),
            (
                self.enable_dad,
                "enabledad",
                "netcord assigns each address once, so there is nothing to detect",
            ),
            (
                self.disable_container_interface,
                "disableContainerInterface",
                "chain the plugin `tuning` behind this one",
            ),
            (
                self.runtime.bandwidth.as_ref().is_some_and(is_limit),
                "bandwidth",
                "chain the plugin `bandwidth` behind this one, and declare the capability there",
            ),
        ];
        let refused = refused.into_iter().find(|(is_set, ..)| *is_set);
        refused.map_or(Ok(()), |(_, key, instead)| Err(Failure::unsupported(key, instead)))
    }

    /// Returns the DNS for the container: its own, else that of the configuration, else that of a
    /// resolver's configuration file.
    pub(super) fn dns(&self) -> Result<Dns, Failure> {
        if let Some(own) = &self.runtime.dns {
            let RuntimeDns { servers, searches, options } = own.clone();
            return Ok(Dns { nameservers: servers, search: searches, options, domain: None });
        }
        let file = self.ipam.as_ref().and_then(|ipam| ipam.resolv_conf.as_deref());
        match file.filter(|_| self.dns.is_empty()) {
            Some(file) => resolver(file),
            None => Ok(self.dns.clone()),
        }
    }
}

/// Returns whether a rate is not zero.
fn is_limit(bandwidth: &Map<String, Value>) -> bool {
    let is_rate = |(key, value): (&String, &Value)| {
        key.ends_with("rate") && value.as_f64().is_some_and(|rate| rate > 0.0)
    };
    bandwidth.iter().any(is_rate)
}

/// Reads the configuration of a resolver (resolv.conf(5)).
fn resolver(file: &Path) -> Result<Dns, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::new(Code::Io, format!("resolvConf: {}: {e}", file.display())))?;
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let key = words.next().unwrap_or_default();
        let mut rest = words.map(str::to_owned);
        match key {
            "nameserver" => dns.nameservers.extend(rest.next()),
            "domain" => dns.domain = rest.next(),
            "search" => dns.search = rest.collect(),
            "options" => dns.options.extend(rest),
            _ => {}
        }
    }
    Ok(dns)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body of containerd 1.6, whose keys are those of Go's structures.
    const CONTAINERD: &str = r#"{"cniVersion":"1.0.0","name":"pods","type":"netcord","bridge":"cni0","ipMasq":true,
        "ipam":{"type":"host-local","ranges":[[{"subnet":"10.22.0.0/16"}]],"routes":[{"dst":"0.0.0.0/0"}]},
        "runtimeConfig":{"portMappings":[{"HostPort":8090,"ContainerPort":80,"Protocol":"tcp","HostIP":""}],
        "dns":{"Servers":["192.0.2.53"],"Searches":["lab"],"Options":["ndots:5"]},"cgroupPath":"/k8s"}}"#;

    #[test]
    fn keys_of_any_case_are_read() {
        let Read { config, notes, version } = read(CONTAINERD.as_bytes()).unwrap();
        assert_eq!(version, Version::V1_0_0);
        assert!(notes.is_empty(), "{notes:?}");
        assert_eq!(config.network_name().as_str(), "cni0");
        assert_eq!(config.ip_masq, Some(true));
        let port = PortMapping {
            host: 8090,
            container: 80,
            protocol: "tcp".into(),
            host_ip: String::new(),
        };
        assert_eq!(config.runtime.ports, [port]);
        assert_eq!(config.dns().unwrap().nameservers, ["192.0.2.53"]);
        let ipam = config.ipam.as_ref().unwrap();
        assert_eq!(ipam.sets()[0][0].subnet, Some("10.22.0.0/16".parse().unwrap()));
        assert_eq!(ipam.routes[0].dst.prefix(), 0);
        assert!(config.delegate().is_none() && config.check().is_ok());
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for (key, value) in [
            ("promiscMode", "true"),
            ("vlan", "7"),
            ("forceAddress", "true"),
            ("enabledad", "true"),
            ("disableContainerInterface", "true"),
            ("vlanTrunk", r#"[{"id":7}]"#),
            ("runtimeConfig", r#"{"bandwidth":{"IngressRate":1000}}"#),
        ] {
            let text = format!(r#"{{"cniVersion":"1.0.0","name":"pods","{key}":{value}}}"#);
            let failure = read(text.as_bytes()).unwrap().config.check().unwrap_err();
            assert!(failure.json(Version::NEWEST).contains(r#""code":2"#), "{key}: {failure}");
        }
        let off = r#"{"cniVersion":"1.0.0","name":"pods","promiscMode":false,"vlan":0,"isGateway":false,
            "runtimeConfig":{"bandwidth":{"ingressRate":0}}}"#;
        assert!(read(off.as_bytes()).unwrap().config.check().is_ok());
    }

    #[test]
    fn a_key_that_nobody_knows_is_noted() {
        let text = r#"{"cniVersion":"1.0.0","name":"pods","ipMask":true,"cni.dev/attachments":[]}"#;
        let notes = read(text.as_bytes()).unwrap().notes;
        assert_eq!(notes, ["key `ipmask` is not known, and ignored"]);
    }

    #[test]
    fn a_wrong_configuration_has_the_code_of_the_specification() {
        for (text, code) in [
            ("", 6),
            ("[]", 6),
            (r#"{"cniVersion":"1.0.0","name":"pods","mtu":"x"}"#, 6),
            (r#"{"name":"pods"}"#, 1),
            (r#"{"cniVersion":"9.9.9","name":"pods"}"#, 1),
            (r#"{"cniVersion":"1.0.0"}"#, 7),
            (r#"{"cniVersion":"1.0.0","name":"a/b"}"#, 7),
        ] {
            let failure = read(text.as_bytes()).unwrap_err().json(Version::NEWEST);
            assert!(failure.contains(&format!(r#""code":{code}"#)), "{text}: {failure}");
        }
    }
}
