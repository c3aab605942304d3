//! The source address of packets that leave a network, where it is not that of the outgoing link.

use std::net::IpAddr;

use anyhow::Result;

use super::Bridge;
use crate::{
    error::Error,
    model::{Flag, Network, Subnet, is_link_local, set_outbound},
    ops::request::differences::Differences,
};

const FLAG: &str = "--outbound-addr";

/// Checks what can be checked without the network.
pub(super) fn check(args: &Bridge) -> Result<()> {
    for (at, address) in args.outbound_addr.iter().enumerate() {
        if args.outbound_addr[..at].iter().any(|before| before.is_ipv4() == address.is_ipv4()) {
            return Err(Error::usage(format!("{FLAG}: at most one per IP family")).into());
        }
        let is_of_a_host = !address.is_unspecified()
            && !address.is_loopback()
            && !address.is_multicast()
            && !is_link_local(*address);
        if !is_of_a_host {
            let message = format!("{FLAG}: no reply would come back to {address}");
            return Err(Error::usage(message).hint("give an address of this host").into());
        }
    }
    for flag in [Flag::Internal, Flag::NoMasquerade] {
        if args.flags.has(flag) && !args.outbound_addr.is_empty() {
            let message = format!("{FLAG} and {} exclude each other", flag.option());
            return Err(Error::usage(message).into());
        }
    }
    Ok(())
}

/// Gives each subnet the address of its IP family.
pub(super) fn set(subnets: &mut [Subnet], asked: &[IpAddr]) -> Result<()> {
    for address in asked {
        if !subnets.iter().any(|subnet| subnet.cidr.is_ipv4() == address.is_ipv4()) {
            let message = format!("{FLAG} {address}: the network has no subnet of its IP family");
            return Err(Error::usage(message).hint("add the subnet with `--subnet`").into());
        }
    }
    set_outbound(subnets, asked);
    Ok(())
}

/// Adds the differences to an existing network.
pub(super) fn compare(asked: &[IpAddr], there: &Network, differences: &mut Differences) {
    for address in asked {
        let same_family = |ip: &IpAddr| ip.is_ipv4() == address.is_ipv4();
        let found = there.subnets.iter().filter_map(|subnet| subnet.outbound).find(same_family);
        let found = found.map_or("none".to_owned(), |ip| ip.to_string());
        differences.compare("outbound-addr", address.to_string(), found);
    }
}
