//! The configuration of a network, the key `config`: its subnets and its backend.

use std::{fmt, net::IpAddr};

use ipnetwork::IpNetwork;
use netcord::model::{self, Invalid};
use serde_json::{Map, Value, json};

use super::{json::Object, key::Subnets};

/// The configuration that all hosts of a network share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The IPv4 subnets of the hosts; lease keys in etcd always have one.
    pub ipv4: Pool,
    /// The IPv6 subnets, in a network with both families.
    pub ipv6: Option<Pool>,
    /// How packets reach the other hosts.
    pub backend: Backend,
}

/// The subnets of one family from which each host takes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    network: IpNetwork,
    subnet_len: u8,
    min: IpAddr,
    max: IpAddr,
}

/// How packets reach the other hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In VXLAN packets.
    Vxlan(Vxlan),
    /// Without encapsulation.
    HostGw,
    /// In UDP packets, by a process on each host.
    Udp {
        /// The UDP port.
        port: u16,
    },
    /// A backend that netcord does not have, by its name.
    Other(String),
}

/// The tunnel of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// The VXLAN network identifier.
    pub vni: u32,
    /// The UDP port.
    pub port: u16,
    /// The MTU of the links between the hosts, if it is not that of the parent.
    pub mtu: Option<u32>,
    /// Whether a host that can be the next hop itself is reached without the tunnel.
    pub direct_routing: bool,
    /// Whether packets carry a group policy (VXLAN-GBP), which hosts without it drop.
    pub group_policy: bool,
}

impl Default for Vxlan {
    fn default() -> Self {
        Self {
            vni: model::Vxlan::VNI,
            port: model::Vxlan::PORT,
            mtu: None,
            direct_routing: false,
            group_policy: false,
        }
    }
}

impl Config {
    /// Parses a configuration, and checks it as flannel does.
    ///
    /// # Errors
    /// The rule that it violates.
    pub fn parse(text: &[u8]) -> Result<Self, Invalid> {
        let object = Object::parse(text)?;
        if !object.get("EnableIPv4")?.unwrap_or(true) {
            return Err(Invalid::new("it has no IPv4 subnets, which lease keys in etcd need"));
        }
        let has_ipv6 = object.get("EnableIPv6")?.unwrap_or(false);
        Ok(Self {
            ipv4: Pool::of(&object, true)?,
            ipv6: has_ipv6.then(|| Pool::of(&object, false)).transpose()?,
            backend: Backend::of(object.object("Backend")?)?,
        })
    }

    /// Returns the value of the key. What has its default value is left out, but for the lengths.
    pub fn to_json(&self) -> String {
        let mut object = Map::new();
        self.ipv4.write("", &mut object);
        if let Some(ipv6) = &self.ipv6 {
            object.insert("EnableIPv6".into(), true.into());
            ipv6.write("IPv6", &mut object);
        }
        object.insert("Backend".into(), self.backend.to_json());
        Value::Object(object).to_string()
    }

    /// Returns whether a host may have these subnets.
    pub fn fits(&self, subnets: &Subnets) -> bool {
        let fits_ipv6 = match (&self.ipv6, subnets.ipv6) {
            (Some(pool), Some(subnet)) => pool.fits(subnet.into()),
            (None, None) => true,
            _ => false,
        };
        fits_ipv6 && self.ipv4.fits(subnets.ipv4.into())
    }

    /// Checks that netcord can be a host of this network.
    ///
    /// # Errors
    /// Its backend, or an option of it, is not supported.
    pub fn check_supported(&self) -> Result<(), Invalid> {
        match &self.backend {
            Backend::Other(name) => Err(Invalid::new(format!("backend `{name}` is not supported"))
                .hint("netcord supports the backends vxlan, host-gw and udp")),
            Backend::Udp { .. } if self.ipv6.is_some() => Err(Invalid::new(
                "the backend udp carries IPv4 only, and the network has IPv6 subnets",
            )),
            Backend::Vxlan(Vxlan { group_policy: true, .. }) => {
                Err(Invalid::new("the option `GBP` of backend vxlan is not supported"))
            }
            _ => Ok(()),
        }
    }
}

impl Pool {
    /// Makes the pool of a network, with flannel's defaults: subnets with 8 bits for endpoints
    /// (IPv6: 64), or a quarter of the network where that is smaller; all but the first subnet.
    ///
    /// # Errors
    /// The rule of flannel that it violates.
    pub fn new(
        network: IpNetwork,
        subnet_len: Option<u8>,
        min: Option<IpAddr>,
        max: Option<IpAddr>,
    ) -> Result<Self, Invalid> {
        let network = IpNetwork::new(network.network(), network.prefix())
            .map_err(|e| Invalid::new(format!("{network}: {e}")))?;
        let rules = Rules::of(&network);
        let len = rules.length(network, subnet_len)?;
        let size = 1_u128 << (rules.bits - len);
        let (first, last) = (bits(network.network()), bits(network.broadcast()) - (size - 1));
        let pool = Self {
            network,
            subnet_len: len,
            min: min.unwrap_or_else(|| address(first + size, &network)),
            max: max.unwrap_or_else(|| address(last, &network)),
        };
        for (key, bound) in [("SubnetMin", pool.min), ("SubnetMax", pool.max)] {
            if !network.contains(bound) {
                return Err(rules.broken(key, bound, &format!("it is not in {network}")));
            }
            if !bits(bound).is_multiple_of(size) {
                return Err(rules.broken(key, bound, &format!("no subnet /{len} begins there")));
            }
        }
        if bits(pool.min) > bits(pool.max) {
            let why = format!("it is below the first subnet, {}", pool.min);
            return Err(rules.broken("SubnetMax", pool.max, &why));
        }
        Ok(pool)
    }

    /// Returns the subnet of the whole network.
    pub fn network(&self) -> IpNetwork {
        self.network
    }

    /// Returns the length of each host's subnet.
    pub fn subnet_len(&self) -> u8 {
        self.subnet_len
    }

    /// Returns the first and the last subnet that a host may have, by their addresses.
    pub fn bounds(&self) -> (IpAddr, IpAddr) {
        (self.min, self.max)
    }

    /// Returns how many subnets there are.
    pub(super) fn count(&self) -> u128 {
        (bits(self.max) - bits(self.min)) / self.size() + 1
    }

    /// Returns the subnet with this index.
    pub(super) fn nth(&self, index: u128) -> IpNetwork {
        let first = address(bits(self.min) + index * self.size(), &self.network);
        IpNetwork::new(first, self.subnet_len).unwrap_or(self.network)
    }

    /// Returns the indices of the first and the last subnet that a block of addresses overlaps.
    pub(super) fn span(&self, block: IpNetwork) -> Option<(u128, u128)> {
        let (min, end) = (bits(self.min), bits(self.max) + (self.size() - 1));
        let (first, last) = (bits(block.network()), bits(block.broadcast()));
        if block.is_ipv4() != self.network.is_ipv4() || last < min || first > end {
            return None;
        }
        let index = |place: u128| (place - min) / self.size();
        Some((index(first.max(min)), index(last.min(end))))
    }

    fn fits(&self, subnet: IpNetwork) -> bool {
        let range = bits(self.min)..=bits(self.max);
        subnet.is_ipv4() == self.network.is_ipv4()
            && subnet.prefix() == self.subnet_len
            && range.contains(&bits(subnet.ip()))
    }

    fn size(&self) -> u128 {
        1 << (Rules::of(&self.network).bits - self.subnet_len)
    }

    fn of(object: &Object, is_ipv4: bool) -> Result<Self, Invalid> {
        let prefix = if is_ipv4 { "" } else { "IPv6" };
        let key = |key: &str| format!("{prefix}{key}");
        let address = |name: &str| -> Result<Option<IpAddr>, Invalid> {
            let found: Option<IpAddr> = object.get(&key(name))?;
            if found.is_some_and(|ip| ip.is_ipv4() != is_ipv4) {
                return Err(Invalid::new(format!("`{}` is of another family", key(name))));
            }
            Ok(found.filter(|ip| !ip.is_unspecified()))
        };
        let network: Option<IpNetwork> = object.get(&key("Network"))?;
        let network = network
            .filter(|network| network.is_ipv4() == is_ipv4)
            .ok_or_else(|| Invalid::new(format!("it has no valid `{}`", key("Network"))))?;
        let len: Option<u8> = object.get(&key("SubnetLen"))?;
        let (min, max) = (address("SubnetMin")?, address("SubnetMax")?);
        Self::new(network, len.filter(|len| *len != 0), min, max)
    }

    fn write(&self, prefix: &str, object: &mut Map<String, Value>) {
        let mut put = |key: &str, value: Value| object.insert(format!("{prefix}{key}"), value);
        put("Network", self.network.to_string().into());
        put("SubnetLen", self.subnet_len.into());
        let whole = Self::new(self.network, Some(self.subnet_len), None, None);
        let default = whole.map(|pool| pool.bounds()).ok();
        for (key, bound, default) in [
            ("SubnetMin", self.min, default.map(|(min, _)| min)),
            ("SubnetMax", self.max, default.map(|(_, max)| max)),
        ] {
            if default != Some(bound) {
                put(key, bound.to_string().into());
            }
        }
    }
}

/// What differs between the families.
struct Rules {
    key_prefix: &'static str,
    bits: u8,
    /// The length of a host's subnet in a network that is large enough.
    usual: u8,
    /// A host needs addresses for the tunnel, the gateway and an endpoint.
    longest: u8,
}

impl Rules {
    fn of(network: &IpNetwork) -> Self {
        match network {
            IpNetwork::V4(_) => Self { key_prefix: "", bits: 32, usual: 24, longest: 30 },
            IpNetwork::V6(_) => Self { key_prefix: "IPv6", bits: 128, usual: 64, longest: 126 },
        }
    }

    /// The network must have room for four subnets, of which the first is not used.
    fn length(&self, network: IpNetwork, given: Option<u8>) -> Result<u8, Invalid> {
        let least = network.prefix() + 2;
        if least > self.longest {
            let why = format!("it is too small: the longest prefix is /{}", self.longest - 2);
            return Err(self.broken("Network", network, &why));
        }
        let Some(len) = given else { return Ok(self.usual.max(least)) };
        if len > self.longest {
            let why = format!("the longest is {}", self.longest);
            return Err(self.broken("SubnetLen", len, &why));
        }
        if len < least {
            let why = format!("{network} must have room for four subnets, so at least {least}");
            return Err(self.broken("SubnetLen", len, &why));
        }
        Ok(len)
    }

    fn broken(&self, key: &str, value: impl fmt::Display, why: &str) -> Invalid {
        Invalid::new(format!("`{}{key}` cannot be {value}: {why}", self.key_prefix))
    }
}

impl Backend {
    /// Returns flannel's word for it.
    pub fn name(&self) -> &str {
        match self {
            Self::Vxlan(_) => "vxlan",
            Self::HostGw => "host-gw",
            Self::Udp { .. } => "udp",
            Self::Other(name) => name,
        }
    }

    fn of(object: Option<Object>) -> Result<Self, Invalid> {
        // flannel's default, though its documentation says vxlan.
        let Some(object) = object else { return Ok(Self::Udp { port: model::Udp::PORT }) };
        let name: String = object.get("Type")?.unwrap_or_default();
        let port: Option<u16> = object.get("Port")?;
        Ok(match name.to_lowercase().as_str() {
            "vxlan" => Self::Vxlan(Vxlan::of(&object)?),
            "host-gw" => Self::HostGw,
            "udp" | "" => {
                let port = port.filter(|port| *port != 0).unwrap_or(model::Udp::PORT);
                Self::Udp { port }
            }
            other => Self::Other(other.into()),
        })
    }

    fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("Type".into(), self.name().into());
        match self {
            Self::Vxlan(vxlan) => vxlan.write(&mut object),
            Self::Udp { port } if *port != model::Udp::PORT => {
                object.insert("Port".into(), json!(port));
            }
            Self::HostGw | Self::Udp { .. } | Self::Other(_) => {}
        }
        Value::Object(object)
    }
}

impl Vxlan {
    fn of(object: &Object) -> Result<Self, Invalid> {
        let default = Self::default();
        let vni = object.get("VNI")?.unwrap_or(default.vni);
        if vni > model::Vxlan::VNI_MAX {
            return Err(Invalid::new(format!("`VNI` cannot be {vni}: it has 24 bits")));
        }
        let port: Option<u16> = object.get("Port")?;
        let mtu: Option<u32> = object.get("MTU")?;
        Ok(Self {
            vni,
            port: port.filter(|port| *port != 0).unwrap_or(default.port),
            mtu: mtu.filter(|mtu| *mtu != 0),
            direct_routing: object.get("DirectRouting")?.unwrap_or(false),
            group_policy: object.get("GBP")?.unwrap_or(false),
        })
    }

    fn write(&self, object: &mut Map<String, Value>) {
        let default = Self::default();
        let given = [
            ("VNI", Some(json!(self.vni))),
            ("Port", (self.port != default.port).then(|| json!(self.port))),
            ("MTU", self.mtu.map(Value::from)),
            ("DirectRouting", self.direct_routing.then_some(Value::Bool(true))),
            ("GBP", self.group_policy.then_some(Value::Bool(true))),
        ];
        object.extend(given.into_iter().filter_map(|(key, value)| Some((key.into(), value?))));
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ipv4) => ipv4.to_bits().into(),
        IpAddr::V6(ipv6) => ipv6.to_bits(),
    }
}

/// The address with these bits, of the family of a network.
fn address(bits: u128, family: &IpNetwork) -> IpAddr {
    match (family, u32::try_from(bits)) {
        (IpNetwork::V4(_), Ok(bits)) => IpAddr::V4(bits.into()),
        _ => IpAddr::V6(bits.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Backend, Config, Vxlan};

    fn parse(text: &str) -> Config {
        Config::parse(text.as_bytes()).unwrap()
    }

    fn ipv4(text: &str) -> String {
        let pool = parse(text).ipv4;
        let (min, max) = pool.bounds();
        format!("{} /{} {min} {max}", pool.network(), pool.subnet_len())
    }

    fn ipv6(text: &str) -> String {
        let pool = parse(text).ipv6.unwrap();
        let (min, max) = pool.bounds();
        format!("{} /{} {min} {max}", pool.network(), pool.subnet_len())
    }

    #[test]
    fn defaults_are_those_of_flannel() {
        for (text, expected) in [
            (r#"{"Network":"10.5.0.0/16"}"#, "10.5.0.0/16 /24 10.5.1.0 10.5.255.0"),
            (r#"{"network":"10.5.3.4/22","SUBNETLEN":24}"#, "10.5.0.0/22 /24 10.5.1.0 10.5.3.0"),
            (r#"{"Network":"10.5.0.0/23"}"#, "10.5.0.0/23 /25 10.5.0.128 10.5.1.128"),
            (r#"{"Network":"10.5.0.0/28"}"#, "10.5.0.0/28 /30 10.5.0.4 10.5.0.12"),
            (r#"{"Network":"0.0.0.0/0","SubnetLen":2}"#, "0.0.0.0/0 /2 64.0.0.0 192.0.0.0"),
            (
                r#"{"Network":"10.0.0.0/8","SubnetLen":20,"SubnetMin":"10.10.0.0","SubnetMax":"10.99.0.0"}"#,
                "10.0.0.0/8 /20 10.10.0.0 10.99.0.0",
            ),
            (
                r#"{"Network":"10.5.0.0/16","SubnetLen":0,"SubnetMin":null,"SubnetMax":"0.0.0.0"}"#,
                "10.5.0.0/16 /24 10.5.1.0 10.5.255.0",
            ),
        ] {
            assert_eq!(ipv4(text), expected, "{text}");
        }
        for (text, expected) in [
            ("fd00::/48", "fd00::/48 /64 fd00:0:0:1:: fd00:0:0:ffff::"),
            ("fd00::/62", "fd00::/62 /64 fd00:0:0:1:: fd00:0:0:3::"),
            ("fd00::/63", "fd00::/63 /65 fd00::8000:0:0:0 fd00:0:0:1:8000::"),
            ("fd00::/124", "fd00::/124 /126 fd00::4 fd00::c"),
        ] {
            let text =
                format!(r#"{{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"{text}"}}"#);
            assert_eq!(ipv6(&text), expected, "{text}");
        }
    }

    #[test]
    fn each_rule_has_its_own_error() {
        for (rest, reason) in [
            (
                r#""Network":"10.5.0.0/29""#,
                "`Network` cannot be 10.5.0.0/29: it is too small: the longest prefix is /28",
            ),
            (r#""Network":"fd00::/48""#, "it has no valid `Network`"),
            (r#""SubnetLen":24"#, "it has no valid `Network`"),
            (r#""Network":"10.5""#, "`Network` cannot be \"10.5\": invalid address: 10.5"),
            (
                r#""Network":"10.5.0.0/16","SubnetLen":31"#,
                "`SubnetLen` cannot be 31: the longest is 30",
            ),
            (
                r#""Network":"10.5.0.0/16","SubnetLen":17"#,
                "`SubnetLen` cannot be 17: 10.5.0.0/16 must have room for four subnets, so at least 18",
            ),
            (
                r#""Network":"10.5.0.0/16","SubnetMin":"10.6.0.0""#,
                "`SubnetMin` cannot be 10.6.0.0: it is not in 10.5.0.0/16",
            ),
            (
                r#""Network":"10.5.0.0/16","SubnetMax":"10.6.0.0""#,
                "`SubnetMax` cannot be 10.6.0.0: it is not in 10.5.0.0/16",
            ),
            (
                r#""Network":"10.5.0.0/16","SubnetMin":"10.5.1.1""#,
                "`SubnetMin` cannot be 10.5.1.1: no subnet /24 begins there",
            ),
            (
                r#""Network":"10.5.0.0/16","SubnetMax":"10.5.1.128""#,
                "`SubnetMax` cannot be 10.5.1.128: no subnet /24 begins there",
            ),
            (
                r#""Network":"10.5.0.0/16","SubnetMin":"10.5.9.0","SubnetMax":"10.5.8.0""#,
                "`SubnetMax` cannot be 10.5.8.0: it is below the first subnet, 10.5.9.0",
            ),
            (r#""Network":"10.5.0.0/16","SubnetMin":"fd00::""#, "`SubnetMin` is of another family"),
            (r#""EnableIPv4":false"#, "it has no IPv4 subnets, which lease keys in etcd need"),
            (r#""Network":"10.5.0.0/16","EnableIPv6":true"#, "it has no valid `IPv6Network`"),
            (
                r#""Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/125""#,
                "`IPv6Network` cannot be fd00::/125: it is too small: the longest prefix is /124",
            ),
            (
                r#""Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48","IPv6SubnetLen":127"#,
                "`IPv6SubnetLen` cannot be 127: the longest is 126",
            ),
            (
                r#""Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48","IPv6SubnetLen":49"#,
                "`IPv6SubnetLen` cannot be 49: fd00::/48 must have room for four subnets, so at least 50",
            ),
            (
                r#""Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48","IPv6SubnetMin":"fd01::""#,
                "`IPv6SubnetMin` cannot be fd01::: it is not in fd00::/48",
            ),
            (r#""Network":"10.5.0.0/16","Backend":"vxlan""#, "`Backend` is not a JSON object"),
            (
                r#""Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":16777216}"#,
                "`VNI` cannot be 16777216: it has 24 bits",
            ),
            (
                r#""Network":"10.5.0.0/16","network":"10.6.0.0/16""#,
                "it has both `Network` and `network`",
            ),
        ] {
            let text = format!("{{{rest}}}");
            assert_eq!(Config::parse(text.as_bytes()).unwrap_err().message, reason, "{text}");
        }
        let reason = Config::parse(b"<html>").unwrap_err().message;
        assert_eq!(reason, "it is not JSON: expected value at line 1 column 1");
    }

    #[test]
    fn ipv6_is_read_only_if_it_is_enabled() {
        assert_eq!(parse(r#"{"Network":"10.5.0.0/16","IPv6Network":"nonsense"}"#).ipv6, None);
    }

    #[test]
    fn a_backend_is_read_with_its_options() {
        let backend =
            |text: &str| parse(&format!(r#"{{"Network":"10.5.0.0/16","Backend":{text}}}"#)).backend;
        assert_eq!(backend(r#"{"Type":"vxlan"}"#), Backend::Vxlan(Vxlan::default()));
        assert_eq!(
            backend(r#"{"type":"VXLAN","vni":7,"port":4789,"mtu":9000,"directrouting":true}"#),
            Backend::Vxlan(Vxlan {
                vni: 7,
                port: 4789,
                mtu: Some(9000),
                direct_routing: true,
                group_policy: false
            })
        );
        assert_eq!(
            backend(r#"{"Type":"vxlan","Port":0,"MTU":0}"#),
            Backend::Vxlan(Vxlan::default())
        );
        assert_eq!(backend(r#"{"Type":"host-gw"}"#), Backend::HostGw);
        for text in ["null", "{}", r#"{"Type":""}"#, r#"{"Type":"UDP","Port":8285}"#] {
            assert_eq!(backend(text), Backend::Udp { port: 8285 }, "{text}");
        }
        assert_eq!(backend(r#"{"Type":"udp","Port":7}"#), Backend::Udp { port: 7 });
        assert_eq!(backend(r#"{"Type":"wireguard"}"#), Backend::Other("wireguard".into()));
    }

    #[test]
    fn what_netcord_does_not_have_is_named() {
        let reason = |backend: &str| {
            let text = format!(r#"{{"Network":"10.5.0.0/16","Backend":{backend}}}"#);
            parse(&text).check_supported().unwrap_err().message
        };
        assert_eq!(reason(r#"{"Type":"ipip"}"#), "backend `ipip` is not supported");
        assert_eq!(
            reason(r#"{"Type":"vxlan","GBP":true}"#),
            "the option `GBP` of backend vxlan is not supported"
        );
        parse(r#"{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}"#)
            .check_supported()
            .unwrap();
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            r#"{"Backend":{"Type":"vxlan","VNI":1},"Network":"10.5.0.0/16","SubnetLen":24}"#,
            r#"{"Backend":{"Type":"host-gw"},"EnableIPv6":true,"IPv6Network":"fd00::/48","IPv6SubnetLen":64,"IPv6SubnetMax":"fd00:0:0:9::","Network":"10.5.0.0/16","SubnetLen":26,"SubnetMin":"10.5.9.0"}"#,
            r#"{"Backend":{"Type":"udp"},"Network":"10.5.0.0/16","SubnetLen":24}"#,
            r#"{"Backend":{"Port":7,"Type":"udp"},"Network":"10.5.0.0/16","SubnetLen":24}"#,
            r#"{"Backend":{"DirectRouting":true,"MTU":9000,"Port":4789,"Type":"vxlan","VNI":4096},"Network":"10.5.0.0/16","SubnetLen":24}"#,
        ] {
            assert_eq!(parse(text).to_json(), text);
        }
    }

    #[test]
    fn only_subnets_of_the_pool_fit() {
        let config = parse(
            r#"{"Network":"10.5.0.0/16","SubnetMin":"10.5.8.0","SubnetMax":"10.5.9.0",
                "EnableIPv6":true,"IPv6Network":"fd00::/48"}"#,
        );
        let fits = |key: &str| config.fits(&key.parse().unwrap());
        assert!(fits("10.5.8.0-24&fd00:0:0:1::-64"));
        assert!(fits("10.5.9.0-24&fd00:0:0:ffff::-64"));
        for key in [
            "10.5.9.0-24",
            "10.5.7.0-24&fd00:0:0:1::-64",
            "10.5.10.0-24&fd00:0:0:1::-64",
            "10.5.8.0-25&fd00:0:0:1::-64",
            "10.5.8.0-24&fd00::-64",
            "10.5.8.0-24&fd00:0:0:1::-65",
        ] {
            assert!(!fits(key), "{key}");
        }
        assert!(
            !parse(r#"{"Network":"10.5.0.0/16"}"#)
                .fits(&"10.5.8.0-24&fd00:0:0:1::-64".parse().unwrap())
        );
    }
}
