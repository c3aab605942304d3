//! The configuration of a flat network. It is in flannel's place and in flannel's form, with a backend
//! that flannel does not have: a host with flanneld refuses it, and changes nothing.

use std::net::IpAddr;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use netcord::model::{Flat, Invalid, Vxlan};
use serde::{Deserialize, Serialize};

/// The name of the backend.
const BACKEND: &str = "netcord-flat";

/// The configuration that all hosts of a flat network share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The subnets of the network, one of each family, IPv4 first.
    pub subnets: Vec<IpNetwork>,
    /// The gateways of the subnets, which all hosts' bridges have.
    pub gateways: Vec<IpAddr>,
    /// The VXLAN network identifier.
    pub vni: u32,
    /// The UDP port.
    pub port: u16,
    /// The network's settings.
    pub flat: Flat,
}

#[derive(Serialize, Deserialize)]
struct Form {
    #[serde(rename = "Network", default, skip_serializing_if = "Option::is_none")]
    ipv4: Option<Ipv4Network>,
    #[serde(rename = "EnableIPv6", default)]
    has_ipv6: bool,
    #[serde(rename = "IPv6Network", default, skip_serializing_if = "Option::is_none")]
    ipv6: Option<Ipv6Network>,
    #[serde(rename = "Gateways")]
    gateways: Vec<IpAddr>,
    #[serde(rename = "Backend")]
    backend: BackendForm,
}

#[derive(Serialize, Deserialize)]
struct BackendForm {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "VNI")]
    vni: u32,
    #[serde(rename = "Port")]
    port: u16,
    #[serde(rename = "Multicast", default)]
    multicast: bool,
}

impl Config {
    /// Parses the text of the key; returns `None` for the configuration of a network that is not flat.
    ///
    /// # Errors
    /// The network is flat, and a value cannot be used.
    pub fn parse(text: &[u8]) -> Result<Option<Self>, Invalid> {
        let value: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
        if value["Backend"]["Type"] != BACKEND {
            return Ok(None);
        }
        let form: Form = serde_json::from_value(value).map_err(|e| Invalid::new(e.to_string()))?;
        let Form {
            ipv4,
            ipv6,
            has_ipv6,
            gateways,
            backend: BackendForm { vni, port, multicast, .. },
        } = form;
        let ipv6 = ipv6.filter(|_| has_ipv6);
        let subnets: Vec<_> =
            ipv4.map(IpNetwork::V4).into_iter().chain(ipv6.map(IpNetwork::V6)).collect();
        if subnets.is_empty() {
            return Err(Invalid::new("it has no subnet"));
        }
        if let Some(wrong) = subnets.iter().find(|subnet| subnet.ip() != subnet.network()) {
            return Err(Invalid::new(format!("subnet {wrong} has host bits set")));
        }
        let has_gateway = |subnet: &IpNetwork| gateways.iter().any(|ip| subnet.contains(*ip));
        if let Some(subnet) = subnets.iter().find(|subnet| !has_gateway(subnet)) {
            return Err(Invalid::new(format!("subnet {subnet} has no gateway")));
        }
        if !(1..=Vxlan::VNI_MAX).contains(&vni) {
            return Err(Invalid::new(format!("VNI {vni} is not between 1 and {}", Vxlan::VNI_MAX)));
        }
        if port == 0 {
            return Err(Invalid::new("port 0 cannot be used"));
        }
        Ok(Some(Self { subnets, gateways, vni, port, flat: Flat { multicast } }))
    }

    /// Returns the text of the key.
    pub(super) fn to_json(&self) -> String {
        let (mut ipv4, mut ipv6) = (None, None);
        for subnet in &self.subnets {
            match subnet {
                IpNetwork::V4(v4) => ipv4 = Some(*v4),
                IpNetwork::V6(v6) => ipv6 = Some(*v6),
            }
        }
        let backend = BackendForm {
            kind: BACKEND.to_owned(),
            vni: self.vni,
            port: self.port,
            multicast: self.flat.multicast,
        };
        let gateways = self.gateways.clone();
        let form = Form { ipv4, has_ipv6: ipv6.is_some(), ipv6, gateways, backend };
        serde_json::to_string(&form).expect("subnets and numbers are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flannel;

    fn config(subnets: &[&str]) -> Config {
        let subnets: Vec<IpNetwork> = subnets.iter().map(|s| s.parse().unwrap()).collect();
        let gateways = subnets.iter().filter_map(|subnet| subnet.iter().nth(1)).collect();
        Config { subnets, gateways, vni: 4096, port: 8472, flat: Flat::default() }
    }

    #[test]
    fn it_is_read_as_it_was_written_and_flannel_refuses_it() {
        for subnets in [&["10.5.0.0/16"][..], &["10.5.0.0/16", "fd00:5::/64"], &["fd00:5::/64"]] {
            let written = config(subnets).to_json();
            let read = Config::parse(written.as_bytes()).unwrap();
            assert_eq!(read, Some(config(subnets)), "{written}");
        }
        let dual = config(&["10.5.0.0/16", "fd00:5::/64"]).to_json();
        let by_flannel = flannel::Config::parse(dual.as_bytes());
        assert!(by_flannel.is_err() || by_flannel.unwrap().check_supported().is_err());
    }

    #[test]
    fn another_backend_is_no_flat_network_and_a_wrong_value_is_named() {
        let routed = br#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}"#;
        assert_eq!(Config::parse(routed), Ok(None));
        assert_eq!(Config::parse(b"not JSON"), Ok(None));
        let good = config(&["10.5.0.0/16"]).to_json();
        for (from, to, why) in [
            ("4096", "0", "VNI 0"),
            ("8472", "0", "port 0"),
            ("10.5.0.0/16", "10.5.0.1/16", "host bits"),
            ("Network", "Other", "no subnet"),
            ("10.5.0.1", "10.6.0.1", "no gateway"),
            ("8472", "\"x\"", "invalid type"),
        ] {
            let error = Config::parse(good.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(why), "{to}: {error}");
        }
    }
}
