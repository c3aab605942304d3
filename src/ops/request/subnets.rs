//! Subnets as typed, each with its gateway and range.

use std::net::IpAddr;

use anyhow::Result;
use ipnetwork::IpNetwork;

use crate::{
    error::Error,
    model::{Cidr, Family, Invalid, Network, Subnet, overlap},
    ops::request::differences::Differences,
};

/// The subnets, gateways and ranges that the user typed.
#[derive(Debug)]
pub(in crate::ops) struct Asked<'a> {
    subnets: Vec<IpNetwork>,
    gateways: &'a [IpAddr],
    ranges: Vec<IpNetwork>,
}

/// Makes a subnet from its parts.
pub(in crate::ops) type Make =
    fn(IpNetwork, Option<IpAddr>, Option<IpNetwork>) -> Result<Subnet, Invalid>;

impl<'a> Asked<'a> {
    /// Takes them as typed, with at most one subnet of each IP family.
    ///
    /// # Errors
    /// If there is more than one of a family, or a subnet has several gateways or ranges.
    pub(in crate::ops) fn new(
        subnets: &[Cidr],
        gateways: &'a [IpAddr],
        ranges: &[Cidr],
    ) -> Result<Self> {
        let asked = Self::several(subnets, gateways, ranges)?;
        if pairs(&asked.subnets).any(|(one, other)| one.is_ipv4() == other.is_ipv4()) {
            return Err(Error::usage("--subnet: at most one subnet per IP family").into());
        }
        Ok(asked)
    }

    /// Takes them as typed, with any number of subnets.
    ///
    /// # Errors
    /// If subnets overlap, or one has several gateways or ranges.
    pub(in crate::ops) fn several(
        subnets: &[Cidr],
        gateways: &'a [IpAddr],
        ranges: &[Cidr],
    ) -> Result<Self> {
        let networks = |all: &[Cidr]| all.iter().map(|c| c.0).collect::<Vec<_>>();
        let asked = Self { subnets: networks(subnets), gateways, ranges: networks(ranges) };
        if let Some((one, other)) = pairs(&asked.subnets).find(|(one, other)| overlap(*one, *other))
        {
            let message = format!("--subnet: {one} and {other} overlap");
            return Err(Error::usage(message).into());
        }
        let range_ips: Vec<_> = asked.ranges.iter().map(IpNetwork::ip).collect();
        let is_rival = |(one, other): (IpAddr, IpAddr)| {
            one.is_ipv4() == other.is_ipv4()
                && asked.subnets.iter().all(|s| s.contains(one) == s.contains(other))
        };
        if pairs(gateways).any(is_rival) || pairs(&range_ips).any(is_rival) {
            let message = "a subnet has at most one gateway and one ip-range";
            return Err(Error::usage(message).into());
        }
        Ok(asked)
    }

    /// Returns whether a subnet was typed.
    pub(in crate::ops) fn has_subnets(&self) -> bool {
        !self.subnets.is_empty()
    }

    /// Returns whether a gateway or a range in this subnet was typed.
    pub(in crate::ops) fn speaks_of(&self, subnet: IpNetwork) -> bool {
        let ranges = self.ranges.iter().map(IpNetwork::ip);
        ranges.chain(self.gateways.iter().copied()).any(|ip| subnet.contains(ip))
    }

    /// Returns whether nothing was typed.
    pub(in crate::ops) fn is_empty(&self) -> bool {
        self.subnets.is_empty() && self.gateways.is_empty() && self.ranges.is_empty()
    }

    /// Returns the subnets that were typed, IPv4 first.
    pub(in crate::ops) fn subnets(&self, make: Make) -> Result<Vec<Subnet>> {
        self.of(&self.subnets, make)
    }

    /// Returns these subnets, with the gateways and ranges that were typed.
    ///
    /// # Errors
    /// If a gateway or range is in none of them.
    pub(in crate::ops) fn of(&self, subnets: &[IpNetwork], make: Make) -> Result<Vec<Subnet>> {
        let orphans = self.gateways.iter().map(|ip| ("gateway", *ip));
        let mut orphans = orphans.chain(self.ranges.iter().map(|r| ("ip-range", r.ip())));
        let has_subnet = |ip: IpAddr| subnets.iter().any(|s| is_for(ip, *s, subnets));
        if let Some((what, ip)) = orphans.find(|(_, ip)| !has_subnet(*ip)) {
            return Err(Error::usage(format!("{what} {ip} is in no subnet of the network"))
                .hint("add the subnet with `--subnet`")
                .into());
        }
        let mut complete = Vec::new();
        for cidr in subnets {
            let range = self.ranges.iter().copied().find(|r| is_for(r.ip(), *cidr, subnets));
            let gateway = self.gateways.iter().copied().find(|ip| is_for(*ip, *cidr, subnets));
            complete.push(make(*cidr, gateway, range)?);
        }
        complete.sort_by_key(|s| s.cidr.is_ipv6());
        Ok(complete)
    }

    /// Adds the differences to an existing network.
    pub(in crate::ops) fn compare(
        &self,
        wanted: &[Subnet],
        there: &Network,
        differences: &mut Differences,
    ) {
        let shown = |range: Option<IpNetwork>| range.map_or("none".into(), |r| r.to_string());
        let gateway = |s: &Subnet| s.gateway.map_or("none".into(), |g| g.to_string());
        for family in Family::BOTH {
            let (wanted, found) = (of_family(wanted, family), of_family(&there.subnets, family));
            match (wanted.as_str(), found.as_str()) {
                ("", _) => {}
                (wanted, "") => differences.compare("subnet", wanted, "missing"),
                (wanted, found) => differences.compare("subnet", wanted, found),
            }
        }
        for subnet in wanted {
            let is_it = |s: &&Subnet| s.cidr == subnet.cidr;
            let Some(found) = there.subnets.iter().find(is_it) else { continue };
            if self.gateways.iter().any(|ip| is_for(*ip, subnet.cidr, &self.subnets)) {
                differences.compare("gateway", gateway(subnet), gateway(found));
            }
            if subnet.ip_range.is_some() {
                differences.compare("ip-range", shown(subnet.ip_range), shown(found.ip_range));
            }
        }
    }
}

/// Returns whether the gateway or range at an address is that of a subnet: of the one that it is in, or of
/// the only one of its IP family, which then refuses it by name if it is outside.
fn is_for(ip: IpAddr, subnet: IpNetwork, all: &[IpNetwork]) -> bool {
    let of_family = all.iter().filter(|s| s.is_ipv4() == ip.is_ipv4()).count();
    subnet.is_ipv4() == ip.is_ipv4() && (of_family <= 1 || subnet.contains(ip))
}

/// Returns the subnets of an IP family, as text.
fn of_family(subnets: &[Subnet], family: Family) -> String {
    let of_family = subnets.iter().map(|s| s.cidr).filter(|cidr| Family::of(cidr.ip()) == family);
    of_family.map(|cidr| cidr.to_string()).collect::<Vec<_>>().join(", ")
}

/// Returns each pair of elements.
fn pairs<T: Copy>(all: &[T]) -> impl Iterator<Item = (T, T)> {
    all.iter().enumerate().flat_map(|(at, one)| all[..at].iter().map(|before| (*before, *one)))
}

/// Checks that IPv6 packets fit into an MTU (RFC 8200, section 5).
///
/// # Errors
/// If the MTU is smaller than 1,280 bytes and there is an IPv6 subnet or address.
pub(in crate::ops) fn check_mtu(mtu: u32, has_ipv6: bool) -> Result<()> {
    if mtu < 1280 && has_ipv6 {
        let why = format!("MTU {mtu} is too small for IPv6, which needs 1280");
        return Err(Error::usage(why).into());
    }
    Ok(())
}
