//! The requested shape of an overlay network: the checks that need no look at the host.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::Result;
use ipnetwork::IpNetwork;

use crate::{
    error::Error,
    model::{BackendKind, Cidr, PeerSpec, Subnet, overlap},
    ops::request::subnets::Asked,
};

/// The longest prefixes of a host's subnet: it needs an address for the tunnel, the gateway and an
/// endpoint.
const LONGEST: [(bool, u8); 2] = [(true, 30), (false, 126)];

/// The subnets of the whole network, and this host's subnets, IPv4 first.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) cluster: Vec<IpNetwork>,
    pub(super) subnets: Vec<Subnet>,
}

impl Shape {
    /// Checks the request.
    ///
    /// # Errors
    /// If this host's subnets or another host's are not in the network's, or those of two
    /// hosts overlap.
    pub(super) fn new(cluster: &[Cidr], own: &Asked<'_>, peers: &[PeerSpec]) -> Result<Self> {
        let cluster = Asked::new(cluster, &[], &[])?.subnets(Subnet::new)?;
        let cluster: Vec<_> = cluster.iter().map(|subnet| subnet.cidr).collect();
        let subnets = own.subnets(Subnet::new)?;
        let shape = Self { cluster, subnets };
        shape.check_own()?;
        shape.check_peers(peers)?;
        Ok(shape)
    }

    /// Checks the request for a flat network.
    ///
    /// # Errors
    /// If a subnet cannot be used.
    pub(super) fn flat(own: &Asked<'_>) -> Result<Self> {
        Ok(Self { cluster: Vec::new(), subnets: own.subnets(Subnet::new)? })
    }

    fn block(&self, is_ipv4: bool) -> Option<IpNetwork> {
        self.cluster.iter().copied().find(|block| block.is_ipv4() == is_ipv4)
    }

    fn check_inside(&self, what: &str, subnet: IpNetwork) -> Result<()> {
        let block = self.block(subnet.is_ipv4());
        if block.is_some_and(|b| b.prefix() <= subnet.prefix() && b.contains(subnet.ip())) {
            return Ok(());
        }
        let why = match block {
            Some(block) => format!("it is outside of {block}, the network's subnet"),
            None => "the network has no subnet of this IP family".to_owned(),
        };
        Err(Error::usage(format!("{what} {subnet}: {why}"))
            .hint("`--subnet` is the same on all hosts, and holds the subnets of all of them")
            .into())
    }

    fn check_own(&self) -> Result<()> {
        for subnet in &self.subnets {
            self.check_inside("--host-subnet", subnet.cidr)?;
            check_length("--host-subnet", subnet.cidr)?;
        }
        for block in &self.cluster {
            if !self.subnets.iter().any(|subnet| subnet.cidr.is_ipv4() == block.is_ipv4()) {
                return Err(Error::usage(format!("--host-subnet: this host has none in {block}"))
                    .hint("give one for each `--subnet`")
                    .into());
            }
        }
        Ok(())
    }

    fn check_peers(&self, peers: &[PeerSpec]) -> Result<()> {
        let mut taken: Vec<(IpNetwork, String)> = self
            .subnets
            .iter()
            .map(|subnet| (subnet.cidr, "this host's own --host-subnet".to_owned()))
            .collect();
        let mut hosts: BTreeSet<IpAddr> = BTreeSet::new();
        let first = peers.iter().find_map(|peer| peer.hosts.first()).copied();
        for peer in peers {
            for subnet in &peer.subnets {
                let network = subnet.network();
                if subnet.ip() != network {
                    let right = format!("{network}/{}", subnet.prefix());
                    return Err(Error::usage(format!("--peer {peer}: {subnet} has host bits set"))
                        .hint(format!("the subnet that it is in is {right}"))
                        .into());
                }
                self.check_inside(&format!("--peer {peer}:"), *subnet)?;
                check_length(&format!("--peer {peer}:"), *subnet)?;
                if let Some((other, whose)) = taken.iter().find(|(o, _)| overlap(*o, *subnet)) {
                    return Err(Error::usage(format!(
                        "--peer {peer}: subnet {subnet} overlaps with {other}, {whose}"
                    ))
                    .hint("each host has a subnet of its own")
                    .into());
                }
                taken.push((*subnet, format!("that of --peer {peer}")));
            }
            for host in &peer.hosts {
                self.check_host(peer, *host)?;
                if !hosts.insert(*host) {
                    return Err(Error::usage(format!(
                        "--peer {peer}: another peer is host {host}, too"
                    ))
                    .hint("a host is one peer: `--peer SUBNET,SUBNET6=HOST`")
                    .into());
                }
            }
            if let (Some(one), Some(other)) = (first, peer.hosts.first())
                && one.is_ipv4() != other.is_ipv4()
            {
                return Err(Error::usage(format!(
                    "--peer {peer}: its first address is of another IP family than {one}"
                ))
                .hint("the first addresses of all hosts are of one family: `=HOST,HOST6`")
                .into());
            }
        }
        Ok(())
    }

    fn check_host(&self, peer: &PeerSpec, host: IpAddr) -> Result<()> {
        let unusable = host.is_unspecified() || host.is_loopback() || host.is_multicast();
        if unusable || host == IpAddr::from([255; 4]) {
            let message = format!("--peer {peer}: {host} is no address of another host");
            return Err(Error::usage(message).into());
        }
        if let Some(block) = self.cluster.iter().find(|block| block.contains(host)) {
            return Err(Error::usage(format!(
                "--peer {peer}: host {host} is inside of {block}, which is for endpoints"
            ))
            .hint("the address of a host is one that is reached without this network")
            .into());
        }
        Ok(())
    }
}

fn check_length(what: &str, subnet: IpNetwork) -> Result<()> {
    let longest = LONGEST.into_iter().find(|(is_ipv4, _)| *is_ipv4 == subnet.is_ipv4());
    match longest {
        Some((_, longest)) if subnet.prefix() > longest => Err(Error::usage(format!(
            "{what} {subnet}: the subnet of a host is at least a /{longest}"
        ))
        .into()),
        _ => Ok(()),
    }
}

/// The flags of a tunnel, and whether each was given.
#[derive(Clone, Copy, Debug)]
pub struct TunnelFlags {
    /// `--vni`.
    pub vni: bool,
    /// `--port`.
    pub port: bool,
    /// `--direct-routing`.
    pub direct_routing: bool,
}

impl TunnelFlags {
    /// Refuses flags that have no meaning for a backend.
    ///
    /// # Errors
    /// The first of them.
    pub fn check(&self, kind: BackendKind) -> Result<()> {
        let Self { vni, port, direct_routing } = *self;
        let flags = [("--vni", vni), ("--direct-routing", direct_routing), ("--port", port)];
        let (unsupported, why) = match kind {
            BackendKind::Vxlan => (&flags[..0], ""),
            BackendKind::HostGw => (&flags[..], "it has no tunnel"),
            BackendKind::Udp => (&flags[..2], "only vxlan does"),
        };
        match unsupported.iter().find(|(_, given)| *given) {
            Some((flag, _)) => {
                let backend = kind.as_str();
                let message = format!("backend {backend} does not support {flag}: {why}");
                Err(Error::usage(message).into())
            }
            None => Ok(()),
        }
    }
}

/// Refuses IPv6 where the tunnel carries IPv4 only.
///
/// # Errors
/// The IPv6 subnet.
pub fn check_families(kind: BackendKind, cluster: &[IpNetwork]) -> Result<()> {
    match cluster.iter().find(|block| block.is_ipv6()) {
        Some(block) if kind == BackendKind::Udp => {
            Err(Error::usage(format!("backend udp carries IPv4 only, and {block} is IPv6"))
                .hint("use `--backend vxlan` or `--backend host-gw`, which carry both")
                .into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(cluster: &str, own: &str, peers: &str) -> Result<Shape> {
        let cidrs = |text: &str| -> Vec<Cidr> {
            text.split_whitespace().map(|cidr| cidr.parse().unwrap()).collect()
        };
        let peers: Vec<PeerSpec> =
            peers.split_whitespace().map(|peer| peer.parse().unwrap()).collect();
        let own = cidrs(own);
        Shape::new(&cidrs(cluster), &Asked::new(&own, &[], &[])?, &peers)
    }

    #[test]
    fn a_host_has_a_subnet_of_each_of_the_networks() {
        let dual = "10.5.0.0/16 fd00:5::/48";
        let ok = shape(
            dual,
            "fd00:5:0:1::/64 10.5.1.0/24",
            "10.5.2.0/24,fd00:5:0:2::/64=192.0.2.2 10.5.3.0/24=192.0.2.3,2001:db8::3",
        );
        let cidrs: Vec<_> = ok.unwrap().subnets.iter().map(|s| s.cidr.to_string()).collect();
        assert_eq!(cidrs, ["10.5.1.0/24", "fd00:5:0:1::/64"], "IPv4 first");
        let alone = shape("10.5.0.0/16", "10.5.1.0/24", "").unwrap();
        assert_eq!(alone.subnets[0].gateway, Some([10, 5, 1, 1].into()));
    }

    #[test]
    fn what_cannot_be_is_told() {
        let one = "10.5.0.0/16";
        for (cluster, own, peers, why) in [
            (one, "10.6.1.0/24", "", "outside of 10.5.0.0/16"),
            (one, "10.0.0.0/8", "", "outside of 10.5.0.0/16"),
            (one, "10.5.1.0/31", "", "at least a /30"),
            (one, "", "", "this host has none in 10.5.0.0/16"),
            ("10.5.0.0/16 fd00:5::/48", "10.5.1.0/24", "", "this host has none in fd00:5::/48"),
            (one, "10.5.1.0/24 fd00:5::/64", "", "no subnet of this IP family"),
            (one, "10.5.1.0/24", "10.5.1.128/25=192.0.2.2", "this host's own"),
            (one, "10.5.1.0/24", "10.6.2.0/24=192.0.2.2", "outside of 10.5.0.0/16"),
            (one, "10.5.1.0/24", "10.5.2.1/24=192.0.2.2", "host bits"),
            (one, "10.5.1.0/24", "10.5.2.0/32=192.0.2.2", "at least a /30"),
            (one, "10.5.1.0/24", "fd00::/64=192.0.2.2", "no subnet of this IP family"),
            (
                one,
                "10.5.1.0/24",
                "10.5.2.0/24=192.0.2.2 10.5.2.0/24=192.0.2.3",
                "that of --peer 10.5.2.0/24=192.0.2.2",
            ),
            (
                one,
                "10.5.1.0/24",
                "10.5.2.0/24=192.0.2.2 10.5.3.0/24=192.0.2.2",
                "another peer is host 192.0.2.2",
            ),
            (
                one,
                "10.5.1.0/24",
                "10.5.2.0/24=192.0.2.2 10.5.3.0/24=2001:db8::3",
                "another IP family than 192.0.2.2",
            ),
            (one, "10.5.1.0/24", "10.5.2.0/24=10.5.3.3", "inside of 10.5.0.0/16"),
            (one, "10.5.1.0/24", "10.5.2.0/24=127.0.0.1", "no address of another host"),
            (one, "10.5.1.0/24", "10.5.2.0/24=0.0.0.0", "no address of another host"),
            (one, "10.5.1.0/24", "10.5.2.0/24=224.0.0.9", "no address of another host"),
        ] {
            let error = shape(cluster, own, peers).unwrap_err().to_string();
            assert!(error.contains(why), "{own} {peers}: {error}");
        }
    }
}
