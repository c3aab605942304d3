//! Subnets as typed, each with its gateway and range.

use std::net::IpAddr;

use anyhow::Result;
use ipnetwork::IpNetwork;

use crate::{
    error::Error,
    model::{Cidr, Family, Invalid, Network, Subnet},
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
    /// Takes them as typed.
    ///
    /// # Errors
    /// If there is more than one of a family.
    pub(in crate::ops) fn new(
        subnets: &[Cidr],
        gateways: &'a [IpAddr],
        ranges: &[Cidr],
    ) -> Result<Self> {
        let networks = |all: &[Cidr]| all.iter().map(|c| c.0).collect::<Vec<_>>();
        let asked = Self { subnets: networks(subnets), gateways, ranges: networks(ranges) };
        let more_than_one = |all: &mut dyn Iterator<Item = bool>| {
            let all: Vec<_> = all.collect();
            all.iter().filter(|v4| **v4).count() > 1 || all.iter().filter(|v4| !**v4).count() > 1
        };
        if more_than_one(&mut asked.subnets.iter().map(IpNetwork::is_ipv4)) {
            return Err(Error::usage("--subnet: at most one subnet per IP family").into());
        }
        if more_than_one(&mut gateways.iter().map(IpAddr::is_ipv4))
            || more_than_one(&mut asked.ranges.iter().map(IpNetwork::is_ipv4))
        {
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

    /// Returns the gateway that was typed for this family.
    pub(in crate::ops) fn gateway(&self, family: Family) -> Option<IpAddr> {
        self.gateways.iter().copied().find(|ip| Family::of(*ip) == family)
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
        let has_family = |ip: IpAddr| subnets.iter().any(|s| s.is_ipv4() == ip.is_ipv4());
        if let Some((what, ip)) = orphans.find(|(_, ip)| !has_family(*ip)) {
            return Err(Error::usage(format!("{what} {ip} is in no subnet of the network"))
                .hint("add the subnet with `--subnet`")
                .into());
        }
        let mut complete = Vec::new();
        for cidr in subnets {
            let range = self.ranges.iter().copied().find(|r| r.is_ipv4() == cidr.is_ipv4());
            complete.push(make(*cidr, self.gateway(Family::of(cidr.ip())), range)?);
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
        for subnet in wanted {
            let same_family = |s: &&Subnet| s.cidr.is_ipv4() == subnet.cidr.is_ipv4();
            let Some(found) = there.subnets.iter().find(same_family) else {
                differences.compare("subnet", subnet.cidr, "missing");
                continue;
            };
            differences.compare("subnet", subnet.cidr, found.cidr);
            if found.cidr == subnet.cidr {
                if self.gateway(Family::of(subnet.cidr.ip())).is_some() {
                    differences.compare("gateway", gateway(subnet), gateway(found));
                }
                if subnet.ip_range.is_some() {
                    differences.compare("ip-range", shown(subnet.ip_range), shown(found.ip_range));
                }
            }
        }
    }
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
