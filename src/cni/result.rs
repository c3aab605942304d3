//! Results of ADD, in the form of each version (CNI 1.1.0, "Result Types").

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::version::Version;
use crate::model::{Endpoint, Family, Network};

/// A result, or what a plugin before this one made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct CniResult {
    #[serde(rename = "cniVersion")]
    version: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) interfaces: Vec<Interface>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ips: Vec<Ip>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) routes: Vec<CniRoute>,
    pub(super) dns: Dns,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Interface {
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    /// Since 1.1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    /// The file of the namespace; empty or absent: the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sandbox: Option<String>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ip {
    /// Before 1.0.0: `4` or `6`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    pub(super) address: IpNetwork,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gateway: Option<IpAddr>,
    /// An index into the interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) interface: Option<usize>,
}

/// A route of a result, or of an IPAM configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CniRoute {
    pub(super) dst: IpNetwork,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gw: Option<IpAddr>,
    /// `mtu`, `advmss`, `priority`, `table` and `scope`, since 1.1.0.
    #[serde(flatten)]
    pub(super) others: Map<String, Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Dns {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) nameservers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) domain: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) search: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) options: Vec<String>,
}

impl Dns {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl CniResult {
    /// Adds an endpoint, whose namespace has this file, with the gateway of each address: that of the
    /// network, or the router that the configuration names.
    pub(super) fn add(
        &mut self,
        network: &Network,
        endpoint: &Endpoint,
        sandbox: &str,
        named: &[IpAddr],
    ) {
        if let Some(host_end) = endpoint.host_ifname() {
            self.interfaces.push(Interface {
                name: network.name.to_string(),
                mac: Some(network.mac.to_string()),
                mtu: Some(network.mtu),
                ..Interface::default()
            });
            self.interfaces.push(Interface {
                name: host_end.to_string(),
                mac: Some(endpoint.host_mac().to_string()),
                mtu: Some(endpoint.mtu),
                ..Interface::default()
            });
        }
        let own = self.interfaces.len();
        self.interfaces.push(Interface {
            name: endpoint.ifname.to_string(),
            mac: Some(endpoint.mac.to_string()),
            mtu: Some(endpoint.mtu),
            sandbox: Some(sandbox.to_owned()),
            ..Interface::default()
        });
        self.ips.extend(endpoint.addresses.iter().map(|address| {
            Ip {
                version: None,
                address: *address,
                gateway: network
                    .subnet_of(address.ip())
                    .and_then(|subnet| subnet.gateway)
                    // Of a lease, only the endpoint knows it.
                    .or_else(|| {
                        let mut all = endpoint.gateways.iter().chain(named).copied();
                        all.find(|gateway| address.contains(*gateway))
                    }),
                interface: Some(own),
            }
        }));
        let routes = endpoint.default_routes().chain(endpoint.routes.iter().cloned());
        self.routes.extend(routes.map(|route| CniRoute {
            dst: route.destination,
            gw: route.gateway,
            others: priority(route.metric),
        }));
    }

    /// Returns the addresses of this link inside the container.
    pub(super) fn addresses_of<'r>(
        &'r self,
        ifname: &'r str,
    ) -> impl Iterator<Item = IpNetwork> + 'r {
        let is_its = move |ip: &&Ip| {
            let interface = ip.interface.and_then(|index| self.interfaces.get(index));
            interface.is_none_or(|i| i.is_inside() && i.name == ifname)
        };
        self.ips.iter().filter(is_its).map(|ip| ip.address)
    }

    /// Returns whether a plugin has made this link inside the container.
    pub(super) fn has(&self, ifname: &str) -> bool {
        self.interfaces.iter().any(|i| i.is_inside() && i.name == ifname)
    }

    /// Returns it in the form of a version.
    pub(super) fn json(mut self, version: Version) -> String {
        self.version = version.to_string();
        for ip in &mut self.ips {
            let word = match Family::of(ip.address.ip()) {
                Family::V4 => "4",
                Family::V6 => "6",
            };
            ip.version = (version < Version::V1_0_0).then(|| word.to_owned());
        }
        if version < Version::V1_1_0 {
            for interface in &mut self.interfaces {
                interface.mtu = None;
            }
            for route in &mut self.routes {
                route.others.clear();
            }
        }
        serde_json::to_string(&self).unwrap_or_default()
    }
}

/// The metric of a route, which results have since 1.1.0.
fn priority(metric: u32) -> Map<String, Value> {
    let set = (metric != 0).then(|| ("priority".to_owned(), metric.into()));
    set.into_iter().collect()
}

impl Interface {
    fn is_inside(&self) -> bool {
        self.sandbox.as_deref().is_some_and(|sandbox| !sandbox.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::fixtures::{endpoint, ip, network};

    fn result() -> CniResult {
        let network = network("cni0", "bridge", &["10.22.0.0/16", "fd00::/64"]);
        let mut endpoint = endpoint("web", 7, "eth0", &["10.22.0.1"]);
        endpoint.addresses = vec!["10.22.0.2/16".parse().unwrap(), "fd00::2/64".parse().unwrap()];
        let mut result = CniResult::default();
        result.add(&network, &endpoint, "/run/netns/web", &[]);
        result
    }

    #[test]
    fn each_version_has_its_form() {
        let of = |version: &str| -> Value {
            serde_json::from_str(&result().json(version.parse().unwrap())).unwrap()
        };
        let newest = of("1.1.0");
        assert_eq!(newest["cniVersion"], "1.1.0");
        assert_eq!(newest["interfaces"][2]["name"], "eth0");
        assert_eq!(newest["interfaces"][2]["sandbox"], "/run/netns/web");
        assert_eq!(newest["interfaces"][2]["mtu"], 1500);
        assert_eq!(newest["interfaces"][0].get("sandbox"), None);
        assert_eq!(newest["ips"][0]["address"], "10.22.0.2/16");
        assert_eq!(newest["ips"][0]["gateway"], "10.22.0.1");
        assert_eq!(newest["ips"][0]["interface"], 2);
        assert_eq!(newest["ips"][0].get("version"), None);
        assert_eq!(newest["routes"][0]["dst"], "0.0.0.0/0");
        assert_eq!(newest["routes"][0]["gw"], "10.22.0.1");
        let middle = of("1.0.0");
        assert_eq!(middle["interfaces"][2].get("mtu"), None);
        let old = of("0.4.0");
        assert_eq!(
            (&old["ips"][0]["version"], &old["ips"][1]["version"]),
            (&"4".into(), &"6".into())
        );
    }

    #[test]
    fn what_another_plugin_made_is_handed_on_whole() {
        let before = r#"{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"/run/netns/web","pciID":"0:1"}],"ips":[{"address":"10.1.0.2/24","interface":0}],"routes":[{"dst":"10.9.0.0/16","priority":7}],"dns":{"nameservers":["192.0.2.53"]}}"#;
        let read: CniResult = serde_json::from_str(before).unwrap();
        assert!(read.has("eth0") && !read.has("eth1"));
        assert_eq!(read.addresses_of("eth0").next().map(|a| a.ip()), Some(ip("10.1.0.2")));
        let written: Value = serde_json::from_str(&read.json(Version::NEWEST)).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(before).unwrap());
    }
}
