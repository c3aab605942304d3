//! The definition of a network, as podman keeps it.

use std::{collections::BTreeMap, fmt::Display, net::IpAddr, str::FromStr};

use anyhow::Result;
use ipnetwork::IpNetwork;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value};

use crate::{
    error::Error,
    model::{RouteKind, RouteSpec, overlap},
};

/// Options, in strings.
pub(super) type Options = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Definition {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) driver: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) network_interface: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subnets: Option<Vec<Subnet>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) routes: Option<Vec<Route>>,
    #[serde(default)]
    pub(super) ipv6_enabled: bool,
    #[serde(default)]
    pub(super) internal: bool,
    #[serde(default)]
    pub(super) dns_enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) network_dns_servers: Option<Vec<IpAddr>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) options: Option<Options>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ipam_options: Option<Options>,
    /// Labels, and what newer versions have.
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the keys are netavark's")]
pub(super) struct Subnet {
    #[serde(deserialize_with = "with_length")]
    pub(super) subnet: IpNetwork,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lease_range: Option<LeaseRange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeaseRange {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) start_ip: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) end_ip: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the keys are netavark's")]
pub(super) struct Route {
    #[serde(deserialize_with = "with_length")]
    pub(super) destination: IpNetwork,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) metric: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) route_type: Option<String>,
}

/// Parses a block of addresses, which has to have a prefix length.
fn with_length<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpNetwork, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = text.parse().ok().filter(|_| text.contains('/'));
    parsed
        .ok_or_else(|| D::Error::custom(format!("invalid IP address syntax: {text:?} is no CIDR")))
}

/// The driver of networks for which netavark calls netcord: a bridge.
const PLUGIN: &str = "netcord";

/// The network's driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bridge,
    Macvlan,
}

/// Who assigns the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ipam {
    /// podman.
    HostLocal,
    Dhcp,
    None,
}

impl Ipam {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::HostLocal => "host-local",
            Self::Dhcp => "dhcp",
            Self::None => "none",
        }
    }
}

impl Definition {
    /// Returns the driver.
    ///
    /// # Errors
    /// If netcord has no such one.
    pub(super) fn kind(&self) -> Result<Kind> {
        match self.driver.as_str() {
            "bridge" | PLUGIN => Ok(Kind::Bridge),
            "macvlan" => Ok(Kind::Macvlan),
            other => Err(Error::usage(format!("driver `{other}`: netcord has none"))
                .hint("the drivers are `bridge` and `macvlan`; plugins of netavark are not called")
                .into()),
        }
    }

    /// Returns who assigns the addresses.
    ///
    /// # Errors
    /// If that is another.
    pub(super) fn ipam(&self) -> Result<Ipam> {
        match self.ipam_options.as_ref().and_then(|options| options.get("driver")) {
            None => Ok(Ipam::HostLocal),
            Some(word) => match word.as_str() {
                "" | "host-local" => Ok(Ipam::HostLocal),
                "dhcp" => Ok(Ipam::Dhcp),
                "none" => Ok(Ipam::None),
                other => Err(Error::usage(format!("unsupported ipam driver {other}")).into()),
            },
        }
    }

    pub(super) fn subnets(&self) -> &[Subnet] {
        self.subnets.as_deref().unwrap_or_default()
    }

    pub(super) fn routes(&self) -> &[Route] {
        self.routes.as_deref().unwrap_or_default()
    }

    pub(super) fn upstreams(&self) -> &[IpAddr] {
        self.network_dns_servers.as_deref().unwrap_or_default()
    }

    /// Returns the gateways of its subnets.
    pub(super) fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        self.subnets().iter().filter_map(|subnet| subnet.gateway)
    }

    /// Returns the first of its subnets of each IP family: those of a macvlan network of netcord's.
    pub(super) fn first_subnets(&self) -> impl Iterator<Item = &Subnet> {
        let first = |is_ipv4| self.subnets().iter().find(move |s| s.subnet.is_ipv4() == is_ipv4);
        [first(true), first(false)].into_iter().flatten()
    }

    /// Checks that no two of its subnets overlap.
    pub(super) fn check_subnets(&self) -> Result<()> {
        let all = self.subnets();
        let pairs = all.iter().enumerate().flat_map(|(at, one)| {
            all.iter().skip(at + 1).map(move |other| (one.subnet, other.subnet))
        });
        for (one, other) in pairs {
            let message = if one == other {
                format!("duplicate subnet defined: {one}")
            } else if overlap(one, other) {
                format!("overlapping subnets: {one} and {other}")
            } else {
                continue;
            };
            return Err(Error::usage(message).into());
        }
        Ok(())
    }

    /// Returns an option, parsed.
    pub(super) fn option<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.options.as_ref().and_then(|options| options.get(name)) else {
            return Ok(None);
        };
        let parsed = value.parse();
        let parsed =
            parsed.map_err(|e| Error::usage(format!("unable to parse \"{name}\": {e}")))?;
        Ok(Some(parsed))
    }

    /// Refuses options that are not among these.
    pub(super) fn check_options(&self, known: &[&str]) -> Result<()> {
        let unknown = self.options.iter().flatten().find(|(key, _)| !known.contains(&key.as_str()));
        unknown.map_or(Ok(()), |(key, _)| {
            let driver = &self.driver;
            Err(Error::usage(format!("unsupported {driver} network option: {key}"))
                .hint(format!("netcord knows {}", known.join(", ")))
                .into())
        })
    }
}

impl Route {
    /// Returns it as netcord has it.
    ///
    /// # Errors
    /// If it has no gateway and needs one, or has one and must not.
    pub(super) fn spec(&self) -> Result<RouteSpec> {
        let Self { destination, gateway, metric, route_type } = self;
        let invalid = |message: String| Error::usage(message).into();
        if destination.ip() != destination.network() {
            return Err(invalid("route destination invalid".into()));
        }
        let word = route_type.as_deref().filter(|word| !word.is_empty()).unwrap_or("unicast");
        let kind = match word {
            "unicast" => RouteKind::Unicast,
            "blackhole" => RouteKind::Blackhole,
            "unreachable" => RouteKind::Unreachable,
            "prohibit" => RouteKind::Prohibit,
            other => return Err(invalid(format!("invalid route type \"{other}\""))),
        };
        match (kind, gateway) {
            (RouteKind::Unicast, None) => {
                Err(invalid(format!("route {destination} requires a gateway for type unicast")))
            }
            (RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit, Some(_)) => {
                Err(invalid(format!("route {destination} must not have a gateway for type {word}")))
            }
            _ => Ok(RouteSpec {
                kind,
                destination: *destination,
                gateway: *gateway,
                metric: metric.unwrap_or(DEFAULT_METRIC),
            }),
        }
    }
}

/// The metric of routes that have none, as netavark sets it.
pub(super) const DEFAULT_METRIC: u32 = 100;
