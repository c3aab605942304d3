//! Which host has which subnet.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
};

use ipnetwork::Ipv4Network;

/// The other hosts of the network, as the routes of the device name them, and this host's addresses.
#[derive(Debug, Default)]
pub struct Peers {
    /// The hosts of the subnets of each prefix length, longest first.
    lengths: Vec<(u8, HashMap<u32, Ipv4Addr>)>,
    hosts: HashSet<Ipv4Addr>,
    own: Vec<Ipv4Network>,
}

impl Peers {
    /// Makes the table of these routes, and of the subnet and the addresses that are here.
    pub fn new(routes: &[(Ipv4Network, Ipv4Addr)], own: Vec<Ipv4Network>) -> Self {
        let mut lengths: Vec<(u8, HashMap<_, _>)> = Vec::new();
        for (subnet, host) in routes {
            let key = subnet.network().to_bits();
            match lengths.iter_mut().find(|(length, _)| *length == subnet.prefix()) {
                Some((_, hosts)) => drop(hosts.insert(key, *host)),
                None => lengths.push((subnet.prefix(), HashMap::from([(key, *host)]))),
            }
        }
        lengths.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        Self { lengths, hosts: routes.iter().map(|(_, host)| *host).collect(), own }
    }

    /// Returns the host of an address.
    pub fn host_of(&self, address: Ipv4Addr) -> Option<Ipv4Addr> {
        self.lengths.iter().find_map(|(length, hosts)| {
            let mask = u32::MAX.checked_shl(32 - u32::from(*length)).unwrap_or(0);
            hosts.get(&(address.to_bits() & mask)).copied()
        })
    }

    /// Returns whether a host has a subnet.
    pub fn has(&self, host: Ipv4Addr) -> bool {
        self.hosts.contains(&host)
    }

    /// Returns whether an address is one of this host's part of the network.
    pub fn is_here(&self, address: Ipv4Addr) -> bool {
        self.own.iter().any(|subnet| subnet.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins() {
        let route = |subnet: &str, host: &str| (subnet.parse().unwrap(), host.parse().unwrap());
        let routes = [
            route("10.5.0.0/16", "192.0.2.1"),
            route("10.5.2.0/24", "192.0.2.2"),
            route("10.5.2.7/32", "192.0.2.3"),
        ];
        let peers = Peers::new(&routes, vec!["10.5.9.0/24".parse().unwrap()]);
        let host = |address: [u8; 4]| peers.host_of(address.into()).map(|h| h.octets()[3]);
        assert_eq!(host([10, 5, 1, 1]), Some(1));
        assert_eq!(host([10, 5, 2, 1]), Some(2));
        assert_eq!(host([10, 5, 2, 7]), Some(3));
        assert_eq!(host([10, 6, 0, 0]), None);
        assert!(peers.is_here([10, 5, 9, 1].into()) && !peers.is_here([10, 5, 8, 1].into()));
        assert!(peers.has([192, 0, 2, 3].into()) && !peers.has([192, 0, 2, 4].into()));
    }

    #[test]
    fn a_default_route_is_a_prefix_too() {
        let peers = Peers::new(&[("0.0.0.0/0".parse().unwrap(), [192, 0, 2, 1].into())], vec![]);
        assert_eq!(peers.host_of([8, 8, 8, 8].into()), Some([192, 0, 2, 1].into()));
    }
}
