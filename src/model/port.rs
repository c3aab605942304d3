//! Published ports: docker's `-p` syntax, and its result.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::Invalid;

/// A transport protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];
}

/// Ports from `first` to `last`, both included; a single port is a range of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// The first port, at least 1.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

/// The host's part of a `-p`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HostPorts {
    /// None given: any free port.
    Any,
    /// As many ports as the target's, one to one; or for one port of the target, any free port of
    /// the range.
    Range(PortRange),
}

/// A `-p` as typed: `[HOSTIP:][HOSTPORT[-END]:]PORT[-END][/tcp|udp|sctp]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortSpec {
    /// The host's address; `None`: all addresses.
    pub host_ip: Option<IpAddr>,
    /// The host's ports.
    pub host: HostPorts,
    /// The target's ports.
    pub container: PortRange,
    /// TCP if none was given.
    pub protocol: Protocol,
}

/// A published port, or a range of them, of one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The host's address; unspecified: all addresses of its family.
    pub host_ip: IpAddr,
    /// The host's ports.
    pub host: PortRange,
    /// The endpoint's address.
    pub address: IpAddr,
    /// The target's ports, as many as the host's.
    pub container: PortRange,
    /// The protocol.
    pub protocol: Protocol,
    /// Whether netcord chose the host's port.
    pub chosen: bool,
}

impl PortRange {
    /// Returns a range of one port.
    pub fn single(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Returns the number of ports.
    pub fn count(self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }

    /// Returns the ports in order.
    pub fn ports(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }

    /// Returns whether it contains all ports of another range.
    pub fn contains(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// Returns whether the ranges share a port.
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl PublishedPort {
    /// Returns whether both need the same port of the same address.
    pub fn clashes(&self, other: &Self) -> bool {
        let same_family = self.host_ip.is_ipv4() == other.host_ip.is_ipv4();
        let same_address = self.host_ip == other.host_ip
            || self.host_ip.is_unspecified()
            || other.host_ip.is_unspecified();
        self.protocol == other.protocol
            && same_family
            && same_address
            && self.host.overlaps(other.host)
    }

    /// Returns whether it has a port of the host that `spec` names.
    pub fn may_clash(&self, spec: &PortSpec) -> bool {
        let is_named = match spec.host {
            HostPorts::Range(range) => self.host.overlaps(range),
            HostPorts::Any => false,
        };
        self.protocol == spec.protocol && is_named
    }

    /// Returns whether both translate the same ports to the same ones.
    pub fn is_as(&self, other: &Self) -> bool {
        *self == Self { chosen: self.chosen, ..other.clone() }
    }

    /// Returns whether the host's 127.0.0.1 leads to it too.
    pub fn reaches_loopback(&self) -> bool {
        self.host_ip.is_ipv4() && (self.host_ip.is_unspecified() || self.host_ip.is_loopback())
    }

    /// Returns it in `-p` syntax: `8080:80`, `127.0.0.1:8080:80/udp`.
    pub fn spec(&self) -> String {
        let host_ip = match self.host_ip {
            ip if ip.is_unspecified() => String::new(),
            IpAddr::V4(ip) => format!("{ip}:"),
            IpAddr::V6(ip) => format!("[{ip}]:"),
        };
        let protocol = match self.protocol {
            Protocol::Tcp => String::new(),
            other => format!("/{other}"),
        };
        format!("{host_ip}{}:{}{protocol}", self.host, self.container)
    }

    /// Returns whether it satisfies `spec`.
    pub fn is_of(&self, spec: &PortSpec) -> bool {
        let host_ip = spec.host_ip.is_none_or(|ip| ip == self.host_ip)
            && (spec.host_ip.is_some() || self.host_ip.is_unspecified());
        let host = match spec.host {
            HostPorts::Any => {
                self.chosen
                    && self.container.first >= spec.container.first
                    && self.container.last <= spec.container.last
            }
            HostPorts::Range(range) if range.count() == spec.container.count() => {
                self.host == range && self.container == spec.container
            }
            HostPorts::Range(range) => {
                range.first <= self.host.first
                    && self.host.last <= range.last
                    && self.container == spec.container
            }
        };
        host_ip && host && self.protocol == spec.protocol
    }
}

impl FromStr for Protocol {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(Invalid::new(format!("`{}` is not tcp, udp or sctp", text.escape_debug()))),
        }
    }
}

impl FromStr for PortRange {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = Self { first: port(first)?, last: port(last)? };
        if range.first > range.last {
            return Err(Invalid::new(format!("port range {text} is reversed"))
                .hint(format!("write {last}-{first}")));
        }
        Ok(range)
    }
}

fn port(text: &str) -> Result<u16, Invalid> {
    match text.parse::<u16>() {
        Ok(port @ 1..) if !text.starts_with('+') => Ok(port),
        _ => Err(Invalid::new(format!("`{}` is not a port (1 to 65535)", text.escape_debug()))),
    }
}

/// Parses the output of `Display`: the comment of its rule is a mark that outlives the record.
impl FromStr for PublishedPort {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let malformed = || Invalid::new(format!("`{}` is no published port", text.escape_debug()));
        let (host, inside) = text.split_once(" -> ").ok_or_else(malformed)?;
        let (inside, protocol) = inside.rsplit_once('/').ok_or_else(malformed)?;
        let (host_ip, host) = host.rsplit_once(':').ok_or_else(malformed)?;
        let (address, container) = inside.rsplit_once(':').ok_or_else(malformed)?;
        Ok(Self {
            host_ip: self::host_ip(host_ip)?,
            host: host.parse()?,
            address: self::host_ip(address)?,
            container: container.parse()?,
            protocol: protocol.parse()?,
            chosen: false,
        })
    }
}

impl FromStr for PortSpec {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (ports, protocol) = match text.rsplit_once('/') {
            Some((ports, protocol)) => (ports, protocol.parse()?),
            None => (text, Protocol::Tcp),
        };
        // The last two fields are ports; an IPv6 address contains colons.
        let (rest, container) = match ports.rsplit_once(':') {
            Some((rest, container)) => (Some(rest), container.parse::<PortRange>()?),
            None => (None, ports.parse()?),
        };
        let (host_ip, host) = rest
            .map(|r| r.rsplit_once(':').map_or((None, r), |(ip, p)| (Some(ip), p)))
            .unwrap_or_default();
        let host_ip = match host_ip {
            None | Some("") => None,
            Some(ip) => Some(self::host_ip(ip)?),
        };
        let host = if host.is_empty() { HostPorts::Any } else { HostPorts::Range(host.parse()?) };
        if let HostPorts::Range(range) = host
            && container.count() != 1
            && container.count() != range.count()
        {
            return Err(Invalid::new(format!(
                "port ranges {range} and {container} are not of one length ({} and {})",
                range.count(),
                container.count()
            )));
        }
        Ok(Self { host_ip, host, container, protocol })
    }
}

fn host_ip(text: &str) -> Result<IpAddr, Invalid> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| {
        Invalid::new(format!("`{}` is not an IP address", text.escape_debug()))
            .hint("HOSTIP is an address of the host, not a name: [HOSTIP:][HOSTPORT:]PORT")
    })
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.last != self.first {
            write!(f, "-{}", self.last)?;
        }
        Ok(())
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            Some(ip) => write!(f, "{ip}:")?,
            None => {}
        }
        match self.host {
            HostPorts::Range(range) => write!(f, "{range}:")?,
            HostPorts::Any if self.host_ip.is_some() => f.write_str(":")?,
            HostPorts::Any => {}
        }
        write!(f, "{}/{}", self.container, self.protocol)
    }
}

impl PublishedPort {
    /// Returns the host's side: `ADDRESS:PORTS`.
    pub fn host_side(&self) -> String {
        with_port(self.host_ip, self.host)
    }
}

impl fmt::Display for PublishedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inside = with_port(self.address, self.container);
        write!(f, "{} -> {inside}/{}", self.host_side(), self.protocol)
    }
}

/// Returns `ADDRESS:PORTS`, with brackets around IPv6.
fn with_port(address: IpAddr, ports: PortRange) -> String {
    let mut text = SocketAddr::new(address, ports.first).to_string();
    if ports.last != ports.first {
        text = format!("{text}-{}", ports.last);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> PortSpec {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn dockers_grammar() {
        let s = spec("127.0.0.1:8080:80/udp");
        assert_eq!(s.host_ip, Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(s.host, HostPorts::Range(PortRange::single(8080)));
        assert_eq!((s.container, s.protocol), (PortRange::single(80), Protocol::Udp));

        assert_eq!(spec("80").host, HostPorts::Any);
        assert_eq!(spec(":80").host, HostPorts::Any);
        assert_eq!(spec("127.0.0.1::80").host, HostPorts::Any);
        assert_eq!(spec("[::1]:8080:80").host_ip, Some("::1".parse().unwrap()));
        assert_eq!(spec("::1:8080:80").host_ip, Some("::1".parse().unwrap()));
        assert_eq!(spec("8000-8010:9000-9010").container.count(), 11);
        assert_eq!(spec("8000-9000:80/SCTP").protocol, Protocol::Sctp);
        assert_eq!(spec("1-65535:1-65535").container.count(), 65535);
    }

    #[test]
    fn a_spec_is_read_back_as_it_is_printed() {
        for text in ["80/tcp", "8080:80/udp", "127.0.0.1::80/tcp", "[::1]:1-2:3-4/sctp"] {
            assert_eq!(spec(text).to_string(), text);
        }
    }

    #[test]
    fn refuses_what_is_no_port() {
        for bad in [
            "",
            ":",
            "0",
            "65536",
            "80:0",
            "65536:80",
            "8010-8000:9000-9010",
            "8000-8010:9000-9005",
            "8080:80-90",
            "80/icmp",
            "80/",
            "name:8080:80",
            "256.0.0.1:8080:80",
            "-1",
            "+80",
            "80-",
            "8080:",
            "1.2.3.4:80",
            " 80",
            "80 ",
            "0x50",
        ] {
            assert!(bad.parse::<PortSpec>().is_err(), "{bad:?}");
        }
    }

    fn published(host_ip: &str, host: u16) -> PublishedPort {
        PublishedPort {
            host_ip: host_ip.parse().unwrap(),
            host: PortRange::single(host),
            address: "172.18.0.2".parse().unwrap(),
            container: PortRange::single(80),
            protocol: Protocol::Tcp,
            chosen: false,
        }
    }

    #[test]
    fn the_wildcard_clashes_with_every_address_of_its_family() {
        assert!(published("0.0.0.0", 80).clashes(&published("1.2.3.4", 80)));
        assert!(!published("1.2.3.5", 80).clashes(&published("1.2.3.4", 80)));
        assert!(!published("0.0.0.0", 80).clashes(&published("::", 80)));
        assert!(!published("0.0.0.0", 80).clashes(&published("0.0.0.0", 81)));
    }

    #[test]
    fn prints_as_the_contract_says() {
        assert_eq!(published("0.0.0.0", 8080).to_string(), "0.0.0.0:8080 -> 172.18.0.2:80/tcp");
        let mut v6 = published("::", 8080);
        v6.address = "fd00::2".parse().unwrap();
        assert_eq!(v6.to_string(), "[::]:8080 -> [fd00::2]:80/tcp");
        for port in [published("1.2.3.4", 8080), v6] {
            assert_eq!(port.to_string().parse::<PublishedPort>(), Ok(port));
        }
    }

    #[test]
    fn a_published_port_knows_its_spec() {
        let p = published("0.0.0.0", 8080);
        assert!(p.is_of(&spec("8080:80")));
        assert!(p.is_of(&spec("8000-9000:80")));
        assert!(!p.is_of(&spec("80")), "not chosen by netcord");
        assert!(PublishedPort { chosen: true, ..p.clone() }.is_of(&spec("80")));
        assert!(!p.is_of(&spec("127.0.0.1:8080:80")));
        assert!(!published("127.0.0.1", 8080).is_of(&spec("8080:80")));
    }
}
