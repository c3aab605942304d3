//! Routes: where packets to a destination go, or that they go nowhere.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use serde::{Deserialize, Serialize};

use super::{Cidr, Family, LinkName};

/// What becomes of packets that take a route (rtnetlink's `rtm_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// They are sent.
    #[default]
    Unicast,
    /// They are dropped.
    Blackhole,
    /// They are dropped, and the sender gets an ICMP message that the host is unreachable.
    Unreachable,
    /// They are dropped, and the sender gets an ICMP message that this is prohibited.
    Prohibit,
}

impl RouteKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Unicast, Self::Blackhole, Self::Unreachable, Self::Prohibit];

    /// Returns whether it leads nowhere.
    pub fn refuses(self) -> bool {
        self != Self::Unicast
    }
}

/// As `ip route` calls it.
impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unicast => "unicast",
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
        })
    }
}

/// A route inside a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Route {
    /// What becomes of packets that take it.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub kind: RouteKind,
    /// The destination prefix; length 0 for a default route.
    pub destination: IpNetwork,
    /// The next hop; `None`: the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Whether the gateway is reached by the link without a look at other routes (`onlink`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub onlink: bool,
    /// The outgoing link. Of a route that leads nowhere, the link that it came with: in the kernel it
    /// has none.
    pub link: LinkName,
    /// The source address of packets that take this route (`RTA_PREFSRC`), if it is not the link's
    /// own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// `RTA_PRIORITY`: the lowest wins. 0: the kernel's default.
    pub metric: u32,
    /// The origin of the route (rtnetlink's `rtm_protocol`).
    pub protocol: u8,
}

const ANY_IPV4: IpNetwork = match Ipv4Network::new_checked(Ipv4Addr::UNSPECIFIED, 0) {
    Some(any) => IpNetwork::V4(any),
    None => unreachable!(),
};
const ANY_IPV6: IpNetwork = match Ipv6Network::new_checked(Ipv6Addr::UNSPECIFIED, 0) {
    Some(any) => IpNetwork::V6(any),
    None => unreachable!(),
};

/// The metric that the kernel gives an IPv6 route without one (`IP6_RT_PRIO_USER`).
const METRIC_OF_IPV6: u32 = 1024;

impl Route {
    /// The `rtm_protocol` of netcord's routes. iproute2 has no name for it, and shows the number.
    pub const PROTOCOL: u8 = 110;

    /// Returns a default route of netcord's.
    pub fn default_by(gateway: IpAddr, link: LinkName) -> Self {
        let any = if gateway.is_ipv4() { ANY_IPV4 } else { ANY_IPV6 };
        Self { gateway: Some(gateway), ..Self::on(link, any) }
    }

    /// Returns an on-link route of netcord's.
    pub fn on(link: LinkName, destination: IpNetwork) -> Self {
        Self {
            kind: RouteKind::Unicast,
            destination,
            gateway: None,
            onlink: false,
            link,
            source: None,
            metric: 0,
            protocol: Self::PROTOCOL,
        }
    }

    /// Returns it with a metric. The kernel's default is 0, however it was written.
    #[must_use]
    pub fn with_metric(self, metric: u32) -> Self {
        Self { metric: normal(metric, &self.destination), ..self }
    }

    /// Returns the metric that the kernel's table shows.
    pub fn kernel_metric(&self) -> u32 {
        kernel_metric(self.metric, Family::of(self.destination.ip()))
    }

    /// Returns the outgoing link; `None` if it leads nowhere.
    pub fn out_link(&self) -> Option<&LinkName> {
        Some(&self.link).filter(|_| !self.kind.refuses())
    }

    /// Returns whether both lead nowhere, and are the same in the kernel.
    pub fn is_same_refusal(&self, other: &Self) -> bool {
        let key = |r: &Self| (r.kind, r.destination, r.kernel_metric());
        self.kind.refuses() && key(self) == key(other)
    }
}

/// Returns the metric that the kernel's table shows for a route of an IP family.
pub fn kernel_metric(metric: u32, family: Family) -> u32 {
    if metric == 0 && family == Family::V6 { METRIC_OF_IPV6 } else { metric }
}

fn normal(metric: u32, destination: &IpNetwork) -> u32 {
    if destination.is_ipv6() && metric == METRIC_OF_IPV6 { 0 } else { metric }
}

/// `[TYPE:]DST[,GATEWAY][,metric=N]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSpec {
    /// What becomes of packets that take it.
    #[serde(default)]
    pub kind: RouteKind,
    /// The destination.
    pub destination: IpNetwork,
    /// The gateway; on-link if none.
    pub gateway: Option<IpAddr>,
    /// The metric; 0: the kernel's default.
    #[serde(default)]
    pub metric: u32,
}

impl RouteSpec {
    /// Returns what would have to be given for this route.
    pub fn of(route: &Route) -> Self {
        let Route { kind, destination, gateway, metric, .. } = *route;
        Self { kind, destination, gateway, metric }
    }

    /// Returns the route that it is, by this link.
    pub fn by(&self, link: LinkName) -> Route {
        let Self { kind, destination, gateway, metric } = *self;
        Route { kind, gateway, ..Route::on(link, destination) }.with_metric(metric)
    }

    /// Returns in words where it leads.
    pub fn way(&self) -> String {
        let way = match (self.kind, self.gateway) {
            (RouteKind::Unicast, Some(gateway)) => format!("by {gateway}"),
            (RouteKind::Unicast, None) => "on the link".to_owned(),
            (kind, _) => kind.to_string(),
        };
        if self.metric == 0 { way } else { format!("{way} with metric {}", self.metric) }
    }
}

/// As it is written.
impl fmt::Display for RouteSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, destination, gateway, metric } = self;
        if kind.refuses() {
            write!(f, "{kind}:")?;
        }
        write!(f, "{destination}")?;
        if let Some(gateway) = gateway {
            write!(f, ",{gateway}")?;
        }
        if *metric != 0 {
            write!(f, ",metric={metric}")?;
        }
        Ok(())
    }
}

impl FromStr for RouteSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refusal = |word: &str| {
            RouteKind::ALL.into_iter().find(|kind| kind.refuses() && kind.to_string() == word)
        };
        let (kind, rest) = match text.split_once(':') {
            Some((word, rest)) if refusal(word).is_some() => (refusal(word), rest),
            _ => (None, text),
        };
        let kind = kind.unwrap_or_default();
        let mut parts = rest.split(',');
        let destination = parts.next().unwrap_or_default();
        let (mut gateway, mut metric) = (None, None);
        for part in parts {
            match part.strip_prefix("metric=") {
                Some(number) if metric.is_none() => {
                    let number = number.parse::<u32>();
                    metric = Some(number.map_err(|_| "the metric is not a number below 2^32")?);
                }
                None if gateway.is_none() && metric.is_none() => {
                    let ip = part.parse::<IpAddr>();
                    gateway = Some(ip.map_err(|_| "the gateway is not an IP address")?);
                }
                Some(_) | None => return Err(format!("`{part}` is one part too many")),
            }
        }
        if kind.refuses() && gateway.is_some() {
            return Err(format!("a route of type {kind} has no gateway"));
        }
        let Cidr(destination) = match destination {
            "default" if gateway.is_some_and(|gateway| gateway.is_ipv6()) => Cidr(ANY_IPV6),
            "default" => Cidr(ANY_IPV4),
            destination => destination.parse()?,
        };
        if destination.ip() != destination.network() {
            return Err(format!(
                "host bits are set: use {}/{}",
                destination.network(),
                destination.prefix()
            ));
        }
        if gateway.is_some_and(|g| g.is_ipv4() != destination.is_ipv4()) {
            return Err("destination and gateway are of different IP families".into());
        }
        let metric = normal(metric.unwrap_or_default(), &destination);
        Ok(Self { kind, destination, gateway, metric })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_read_as_it_is_written() {
        for text in [
            "10.9.0.0/16",
            "10.9.0.0/16,10.1.0.1",
            "10.9.0.0/16,10.1.0.1,metric=50",
            "fd00:9::/48,metric=7",
            "blackhole:10.9.0.0/16",
            "unreachable:fd00:9::/48",
            "prohibit:0.0.0.0/0,metric=4294967295",
        ] {
            let spec: RouteSpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), text);
            assert_eq!(RouteSpec::of(&spec.by("eth0".parse().unwrap())), spec);
        }
        let same = |one: &str, other: &str| {
            assert_eq!(one.parse::<RouteSpec>(), other.parse::<RouteSpec>());
        };
        same("default,fd00::1", "::/0,fd00::1");
        same("blackhole:default", "blackhole:0.0.0.0/0");
        same("fd00:9::/48,metric=1024", "fd00:9::/48");
        same("10.9.0.0/16,metric=0", "10.9.0.0/16");
    }

    #[test]
    fn what_is_no_route_is_refused_with_a_reason() {
        for (text, reason) in [
            ("10.0.0.1/24,10.0.0.1", "host bits are set: use 10.0.0.0/24"),
            ("10.0.0.0/24,fd00::1", "destination and gateway are of different IP families"),
            ("10.0.0.0/24,", "the gateway is not an IP address"),
            ("10.0.0.0/24,x", "the gateway is not an IP address"),
            ("10.0.0.0/24,metric=x", "the metric is not a number below 2^32"),
            ("10.0.0.0/24,metric=4294967296", "the metric is not a number below 2^32"),
            ("10.0.0.0/24,metric=1,metric=2", "`metric=2` is one part too many"),
            ("10.0.0.0/24,metric=1,10.0.0.1", "`10.0.0.1` is one part too many"),
            ("blackhole:10.0.0.0/24,10.1.0.1", "a route of type blackhole has no gateway"),
        ] {
            assert_eq!(text.parse::<RouteSpec>().unwrap_err(), reason, "{text}");
        }
        for bad in ["unicast:10.0.0.0/24", "throw:10.0.0.0/24", "blackhole:", ""] {
            assert!(bad.parse::<RouteSpec>().is_err(), "{bad}");
        }
    }
}
