//! The values of requests, and their parsers.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::{
    Engine, Invalid, LinkName, Mac, NetnsName, PortRange, PortSpec, Protocol, Target,
    name::LINK_NAME_MAX,
};

/// A subnet with its prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cidr(pub IpNetwork);

/// An address, optionally with a prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// The prefix length, if given.
    pub length: Option<u8>,
}

/// The gateway of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gateway {
    /// This address.
    Ip(IpAddr),
    /// No default route.
    None,
}

/// `PORT[/PROTO]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InnerPort {
    /// The target's port.
    pub port: u16,
    /// TCP if none was given.
    pub protocol: Protocol,
}

/// `SUBNET[,SUBNET]=HOST[,HOST][@MAC[,MAC]]`: another host of an overlay network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerSpec {
    /// The subnets of its endpoints, at most one per IP family, IPv4 first.
    pub subnets: Vec<IpNetwork>,
    /// Its address, and perhaps one of the other IP family.
    pub hosts: Vec<IpAddr>,
    /// The MACs of its VTEPs, where they are not those that are derived from its addresses.
    pub macs: Vec<Mac>,
}

/// An existing network as typed. A verb finds it when it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkRef {
    /// `lab0`: a network or a bridge of this host, else a network of a running engine.
    Name(String),
    /// `docker:shop_default`, `podman:shop`
    Engine(Engine, String),
}

/// The network of a command that `run` starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunNetwork {
    /// None: a namespace with a running lo.
    None,
    /// The host's own namespace.
    Host,
    /// The namespace of a target.
    Container(Target),
    /// A network, through an endpoint of its own.
    Network(NetworkRef),
}

/// The name of something to remove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Removable {
    /// `web`: a network or a namespace, whichever exists.
    Any(NetnsName),
    /// `network:web`
    Network(LinkName),
    /// `netns:web`
    Netns(NetnsName),
}

/// A condition to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Condition {
    /// A link other than lo is up
    Up,
    /// And it has carrier
    Carrier,
    /// And it has a usable address (not tentative)
    Addr,
    /// And a default route uses it
    Route,
}

impl Condition {
    /// All conditions, in the order in which a link meets them.
    pub const ALL: [Self; 4] = [Self::Up, Self::Carrier, Self::Addr, Self::Route];

    /// Returns the word that users type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Carrier => "carrier",
            Self::Addr => "addr",
            Self::Route => "route",
        }
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Address { ip, length } = text.parse()?;
        let length =
            length.ok_or_else(|| format!("the prefix length is missing: write it as {ip}/24"))?;
        IpNetwork::new(ip, length).map(Self).map_err(|e| e.to_string())
    }
}

impl FromStr for PeerSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (subnets, hosts) = text
            .split_once('=')
            .ok_or("expected SUBNET=HOST, for example 10.5.2.0/24=192.0.2.2")?;
        let (hosts, macs) = match hosts.split_once('@') {
            Some((hosts, macs)) => (hosts, macs.split(',').map(str::parse).collect()),
            None => (hosts, Ok(Vec::new())),
        };
        let macs: Result<Vec<Mac>, Invalid> = macs;
        let subnets: Result<Vec<_>, _> =
            subnets.split(',').map(|subnet| subnet.parse().map(|Cidr(cidr)| cidr)).collect();
        let hosts: Result<Vec<IpAddr>, _> = hosts
            .split(',')
            .map(|host| host.parse().map_err(|_| format!("`{host}` is not an IP address")))
            .collect();
        let (mut subnets, hosts) = (subnets?, hosts?);
        if has_two_of_a_family(subnets.iter().map(IpNetwork::is_ipv4)) {
            return Err("a host has at most one subnet per IP family".into());
        }
        if has_two_of_a_family(hosts.iter().map(IpAddr::is_ipv4)) {
            return Err("a host has at most one address per IP family".into());
        }
        subnets.sort_by_key(IpNetwork::is_ipv6);
        let macs = macs.map_err(|invalid| invalid.message)?;
        if macs.len() > hosts.len() {
            return Err("a host has at most one MAC per address".into());
        }
        Ok(Self { subnets, hosts, macs })
    }
}

fn has_two_of_a_family(mut are_ipv4: impl Iterator<Item = bool>) -> bool {
    let mut found = [false; 2];
    are_ipv4.any(|is_ipv4| std::mem::replace(&mut found[usize::from(is_ipv4)], true))
}

impl fmt::Display for PeerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |parts: Vec<String>| parts.join(",");
        let subnets = joined(self.subnets.iter().map(ToString::to_string).collect());
        let hosts = joined(self.hosts.iter().map(ToString::to_string).collect());
        write!(f, "{subnets}={hosts}")?;
        match self.macs.as_slice() {
            [] => Ok(()),
            macs => write!(f, "@{}", joined(macs.iter().map(ToString::to_string).collect())),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (ip, length) = match text.split_once('/') {
            Some((ip, length)) => (ip, Some(length)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| "not an IP address".to_owned())?;
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        let length = length
            .map(|l| match l.parse::<u8>() {
                Ok(l) if l <= longest => Ok(l),
                _ => Err(format!("the prefix length must be /0 to /{longest}")),
            })
            .transpose()?;
        Ok(Self { ip, length })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length {
            Some(length) => write!(f, "{}/{length}", self.ip),
            None => self.ip.fmt(f),
        }
    }
}

impl FromStr for Gateway {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            ip => ip.parse().map(Self::Ip).map_err(|_| "neither an IP address nor `none`".into()),
        }
    }
}

impl FromStr for NetworkRef {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.split_once(':') {
            Some(("docker", name)) => return Ok(Self::Engine(Engine::Docker, of_engine(name)?)),
            Some(("podman", name)) => return Ok(Self::Engine(Engine::Podman, of_engine(name)?)),
            _ => {}
        }
        match text.parse::<LinkName>() {
            // Names of engines may be longer than those of links.
            Err(invalid) if text.len() > LINK_NAME_MAX => {
                of_engine(text).map(Self::Name).map_err(|_| invalid)
            }
            checked => checked.map(Self::from),
        }
    }
}

/// Checks the name of an engine's network: the rule is that of containers.
fn of_engine(name: &str) -> Result<String, Invalid> {
    name.parse::<NetnsName>().map(String::from).map_err(|invalid| Invalid {
        message: invalid.message.replace("a namespace name", "a network"),
        ..invalid
    })
}

impl From<LinkName> for NetworkRef {
    fn from(name: LinkName) -> Self {
        Self::Name(name.to_string())
    }
}

impl fmt::Display for NetworkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Engine(engine, name) => write!(f, "{engine}:{name}"),
        }
    }
}

impl FromStr for RunNetwork {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            text => match text.strip_prefix("container:") {
                Some(target) => target.parse().map(Self::Container),
                None => text.parse().map(Self::Network),
            },
        }
    }
}

impl FromStr for Removable {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.split_once(':') {
            Some(("network", name)) => name.parse().map(Self::Network),
            Some(("netns", name)) => name.parse().map(Self::Netns),
            _ => text.parse().map(Self::Any),
        }
    }
}

impl FromStr for InnerPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let spec: PortSpec = text.parse().map_err(|e: Invalid| e.message)?;
        if text.contains(':') || spec.container.count() != 1 {
            return Err("expected one port of the target, such as 80/tcp".into());
        }
        let PortRange { first: port, .. } = spec.container;
        Ok(Self { port, protocol: spec.protocol })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_or_refused_with_a_reason() {
        assert_eq!("10.0.0.0/24".parse::<Cidr>().unwrap().0.prefix(), 24);
        for bad in [
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0/8",
            "010.0.0.0/8",
            "10.0.0.0/255.0.0.0",
            "x",
            "fe80::1%eth0/64",
        ] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
        assert_eq!("53/udp".parse::<InnerPort>().unwrap().protocol, Protocol::Udp);
        assert!("80-90".parse::<InnerPort>().is_err());
    }
}
