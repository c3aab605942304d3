//! Subnets: validation, the gateway's address, and the next free address.

use std::{collections::BTreeSet, fmt, net::IpAddr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use serde::{Deserialize, Serialize};

use super::{Family, Invalid, stable_hash};

/// One subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The prefix.
    pub cidr: IpNetwork,
    /// The gateway's address; `None` if the subnet has no gateway.
    pub gateway: Option<IpAddr>,
    /// The range from which addresses are assigned, if not the whole subnet.
    pub ip_range: Option<IpNetwork>,
    /// The source address of packets that leave the network, if not that of the outgoing link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbound: Option<IpAddr>,
}

/// A range of addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRange {
    /// The first address.
    pub first: IpAddr,
    /// The last one.
    pub last: IpAddr,
}

impl AddressRange {
    /// Returns whether it shares an address with a subnet.
    pub fn overlaps(self, subnet: IpNetwork) -> bool {
        let is_same_family = self.first.is_ipv4() == subnet.is_ipv4();
        is_same_family && self.first <= subnet.broadcast() && subnet.network() <= self.last
    }

    /// Returns the parts of it that remain without an address.
    pub fn without(self, ip: IpAddr) -> impl Iterator<Item = Self> {
        let family = Family::of(self.first);
        let (first, last, gap) = (to_bits(self.first), to_bits(self.last), to_bits(ip));
        let is_inside = Family::of(ip) == family && (first..=last).contains(&gap);
        let parts = if is_inside {
            let before = gap.checked_sub(1).map(|end| (first, end));
            [before, gap.checked_add(1).map(|begin| (begin, last))]
        } else {
            [Some((first, last)), None]
        };
        let parts = parts.into_iter().flatten().filter(|(first, last)| first <= last);
        parts.map(move |(first, last)| Self {
            first: from_bits(first, family),
            last: from_bits(last, family),
        })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Prefixes that no network of containers may use, with the reason.
const UNUSABLE: [(&str, &str); 9] = [
    ("0.0.0.0/8", "is \"this network\" (RFC 1122)"),
    ("127.0.0.0/8", "is the loopback"),
    ("169.254.0.0/16", "is link-local (RFC 3927)"),
    ("224.0.0.0/4", "is multicast"),
    ("240.0.0.0/4", "is reserved (RFC 1112)"),
    ("::/96", "is unspecified, loopback or IPv4-compatible"),
    ("::ffff:0:0/96", "is IPv4-mapped"),
    ("fe80::/10", "is link-local"),
    ("ff00::/8", "is multicast"),
];

impl Subnet {
    /// Validates a subnet, and sets its gateway to the first address unless one is given.
    pub fn new(
        cidr: IpNetwork,
        gateway: Option<IpAddr>,
        ip_range: Option<IpNetwork>,
    ) -> Result<Self, Invalid> {
        if cidr.ip() != cidr.network() {
            let right = format!("{}/{}", cidr.network(), cidr.prefix());
            return Err(Invalid::new(format!("subnet {cidr} has host bits set"))
                .hint(format!("the subnet that it is in is {right}")));
        }
        let (shortest, longest) = if cidr.is_ipv4() { (8, 31) } else { (16, 127) };
        if !(shortest..=longest).contains(&cidr.prefix()) {
            return Err(Invalid::new(format!(
                "subnet {cidr} cannot be used: its length must be /{shortest} to /{longest}"
            )));
        }
        for (range, why) in UNUSABLE {
            let range: IpNetwork = range.parse().map_err(|_| Invalid::new(range))?;
            if overlap(range, cidr) {
                return Err(Invalid::new(format!("subnet {cidr} cannot be used: {range} {why}")));
            }
        }
        let mut subnet = Self { cidr, gateway: None, ip_range: None, outbound: None };
        if let Some(range) = ip_range {
            if range.ip() != range.network() {
                let right = format!("{}/{}", range.network(), range.prefix());
                return Err(Invalid::new(format!("ip-range {range} has host bits set"))
                    .hint(format!("the block that it is in is {right}")));
            }
            if !(subnet.contains(range.ip()) && range.prefix() >= cidr.prefix()) {
                return Err(Invalid::new(format!("ip-range {range} is not inside subnet {cidr}")));
            }
            subnet.ip_range = Some(range);
        }
        if let Some(gateway) = gateway {
            subnet.check_host(gateway, "gateway")?;
        }
        subnet.gateway = gateway.or_else(|| subnet.first_host());
        Ok(subnet)
    }

    /// Validates a subnet of a physical network, as [`Subnet::new`] does. There is no default for
    /// its gateway, which for IPv6 is usually a link-local address.
    ///
    /// # Errors
    /// Those of [`Subnet::new`].
    pub fn physical(
        cidr: IpNetwork,
        gateway: Option<IpAddr>,
        ip_range: Option<IpNetwork>,
    ) -> Result<Self, Invalid> {
        let inside = gateway.filter(|g| !(g.is_ipv6() && cidr.is_ipv6() && is_link_local(*g)));
        Ok(Self { gateway, ..Self::new(cidr, inside, ip_range)? })
    }

    /// Returns the subnet of an address of a foreign bridge.
    pub fn of_bridge_address(address: IpNetwork) -> Self {
        Self {
            cidr: network_of(address),
            gateway: Some(address.ip()),
            ip_range: None,
            outbound: None,
        }
    }

    /// Returns the subnet of a bridge's mark: with the bridge's address, or, if it has none, the subnet's.
    pub fn of_mark(address: IpNetwork) -> Self {
        let subnet = Self::of_bridge_address(address);
        let has_gateway = address.ip() != subnet.cidr.network() || subnet.is_point_to_point();
        Self { gateway: subnet.gateway.filter(|_| has_gateway), ..subnet }
    }

    /// Returns whether an address is in the subnet.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.cidr.contains(address)
    }

    /// Checks that an endpoint can have this address: it must be in the subnet, and neither the
    /// first (the network's, or IPv6's subnet-router anycast) nor the last (IPv4's broadcast).
    ///
    /// # Errors
    /// The condition that it violates.
    pub fn check_host(&self, address: IpAddr, what: &str) -> Result<(), Invalid> {
        if !self.contains(address) {
            return Err(Invalid::new(format!("{what} {address} is not in subnet {}", self.cidr)));
        }
        if self.is_point_to_point() {
            return Ok(());
        }
        if address == self.cidr.network() {
            return Err(Invalid::new(format!(
                "{what} {address} is the address of subnet {} itself",
                self.cidr
            )));
        }
        if address.is_ipv4() && address == self.cidr.broadcast() {
            return Err(Invalid::new(format!(
                "{what} {address} is the broadcast address of subnet {}",
                self.cidr
            )));
        }
        Ok(())
    }

    /// Returns the lowest address that may be assigned and is not taken.
    pub fn lowest_free(&self, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        let range = self.ip_range.unwrap_or(self.cidr);
        self.lowest_free_in(AddressRange { first: range.network(), last: range.broadcast() }, taken)
    }

    /// Returns the lowest address of the first of these ranges that has a free one; without ranges, of the
    /// subnet's own.
    pub fn lowest_free_of(
        &self,
        ranges: &[AddressRange],
        taken: &BTreeSet<IpAddr>,
    ) -> Option<IpAddr> {
        let is_ipv4 = self.cidr.is_ipv4();
        let own = ranges.iter().filter(|range| range.first.is_ipv4() == is_ipv4);
        let mut own = own.peekable();
        if own.peek().is_none() {
            return self.lowest_free(taken);
        }
        own.find_map(|range| self.lowest_free_in(*range, taken))
    }

    /// Returns the lowest address of a range that an endpoint can have, and that is not taken.
    pub fn lowest_free_in(&self, range: AddressRange, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        let mut candidate = to_bits(range.first.max(self.cidr.network()));
        let last = to_bits(range.last.min(self.cidr.broadcast()));
        while candidate <= last {
            let address = from_bits(candidate, Family::of(self.cidr.ip()));
            let free = Some(address) != self.gateway && !taken.contains(&address);
            if free && self.check_host(address, "address").is_ok() {
                return Some(address);
            }
            candidate = candidate.checked_add(1)?;
        }
        None
    }

    /// RFC 3021 and RFC 6164: both addresses of such a subnet belong to hosts.
    fn is_point_to_point(&self) -> bool {
        self.cidr.prefix() == if self.cidr.is_ipv4() { 31 } else { 127 }
    }

    fn first_host(&self) -> Option<IpAddr> {
        let free = Self { gateway: None, ip_range: None, outbound: None, cidr: self.cidr };
        free.lowest_free(&BTreeSet::new())
    }
}

/// Gives each subnet the source address of its IP family for packets that leave the network.
pub(crate) fn set_outbound(subnets: &mut [Subnet], addresses: &[IpAddr]) {
    for subnet in subnets {
        let is_same_family = |ip: &IpAddr| ip.is_ipv4() == subnet.cidr.is_ipv4();
        subnet.outbound = addresses.iter().copied().find(is_same_family).or(subnet.outbound);
    }
}

/// Returns the subnet of an address with a prefix length.
pub(crate) fn network_of(address: IpNetwork) -> IpNetwork {
    IpNetwork::new(address.network(), address.prefix()).unwrap_or(address)
}

/// Returns whether an address is link-local.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Returns whether two prefixes share an address. Host bits are ignored.
pub fn overlap(a: IpNetwork, b: IpNetwork) -> bool {
    a.contains(b.network()) || b.contains(a.network())
}

/// Docker's default pools, lowest first: fifteen /16 and sixteen /20.
pub fn pools() -> impl Iterator<Item = IpNetwork> {
    let sixteens = (17..=31).map(|b| ([172, b, 0, 0], 16));
    let twenties = (0..=15).map(|c| ([192, 168, c * 16, 0], 20));
    sixteens
        .chain(twenties)
        .filter_map(|(octets, len)| Ipv4Network::new(octets.into(), len).ok().map(IpNetwork::V4))
}

/// Returns the `index`-th /64 of this host's unique local prefix (RFC 4193), a /48 that is derived
/// from an identity of the host.
pub fn unique_local_prefix(host_id: &[u8], index: u16) -> Option<IpNetwork> {
    let id = stable_hash(&[host_id]).to_be_bytes();
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..6].copy_from_slice(&id[3..8]);
    octets[6..8].copy_from_slice(&index.to_be_bytes());
    Ipv6Network::new(octets.into(), 64).ok().map(IpNetwork::V6)
}

fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn from_bits(bits: u128, family: Family) -> IpAddr {
    match (family, u32::try_from(bits)) {
        (Family::V4, Ok(bits)) => IpAddr::V4(bits.into()),
        (Family::V4, Err(_)) | (Family::V6, _) => IpAddr::V6(bits.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(cidr: &str) -> Result<Subnet, Invalid> {
        Subnet::new(cidr.parse().unwrap(), None, None)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_gateway_is_the_first_address() {
        assert_eq!(subnet("172.18.0.0/16").unwrap().gateway, Some(ip("172.18.0.1")));
        assert_eq!(subnet("10.0.0.0/31").unwrap().gateway, Some(ip("10.0.0.0")));
        assert_eq!(subnet("fd00:1::/64").unwrap().gateway, Some(ip("fd00:1::1")));
    }

    #[test]
    fn host_bits_are_an_error_that_says_what_was_meant() {
        let error = subnet("10.0.0.1/24").unwrap_err();
        assert_eq!(error.message, "subnet 10.0.0.1/24 has host bits set");
        assert_eq!(error.hint.as_deref(), Some("the subnet that it is in is 10.0.0.0/24"));
    }

    #[test]
    fn refuses_what_no_container_can_live_in() {
        for bad in [
            "0.0.0.0/8",
            "127.0.0.0/16",
            "169.254.0.0/16",
            "224.0.0.0/8",
            "240.0.0.0/8",
            "10.0.0.0/32",
            "10.0.0.0/7",
            "fe80::/64",
            "ff00::/16",
            "::/96",
            "fd00::/128",
        ] {
            assert!(subnet(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn gateway_and_range_are_inside_or_refused() {
        let cidr = "10.0.0.0/24".parse().unwrap();
        for gateway in ["10.0.1.1", "10.0.0.0", "10.0.0.255", "fd00::1"] {
            assert!(Subnet::new(cidr, Some(ip(gateway)), None).is_err(), "{gateway}");
        }
        for range in ["10.0.1.0/25", "10.0.0.0/16", "10.0.0.1/25", "fd00::/80"] {
            assert!(Subnet::new(cidr, None, Some(range.parse().unwrap())).is_err(), "{range}");
        }
    }

    #[test]
    fn the_lowest_free_address_skips_gateway_network_and_broadcast() {
        let small = subnet("10.0.0.0/30").unwrap();
        assert_eq!(small.lowest_free(&BTreeSet::new()), Some(ip("10.0.0.2")));
        assert_eq!(small.lowest_free(&BTreeSet::from([ip("10.0.0.2")])), None);
        let pair = subnet("10.0.0.0/31").unwrap();
        assert_eq!(pair.lowest_free(&BTreeSet::new()), Some(ip("10.0.0.1")));
    }

    #[test]
    fn a_range_bounds_what_is_given_out() {
        let cidr = "10.0.0.0/24".parse().unwrap();
        let s = Subnet::new(cidr, None, Some("10.0.0.64/31".parse().unwrap())).unwrap();
        assert_eq!(s.gateway, Some(ip("10.0.0.1")));
        assert_eq!(s.lowest_free(&BTreeSet::new()), Some(ip("10.0.0.64")));
        let both = BTreeSet::from([ip("10.0.0.64"), ip("10.0.0.65")]);
        assert_eq!(s.lowest_free(&both), None);
    }

    #[test]
    fn a_range_without_an_address_is_what_is_left_of_it() {
        for (range, gap, left) in [
            (("10.0.0.0", "10.0.0.9"), "10.0.0.1", "10.0.0.0-10.0.0.0 10.0.0.2-10.0.0.9"),
            (("10.0.0.1", "10.0.0.9"), "10.0.0.1", "10.0.0.2-10.0.0.9"),
            (("10.0.0.0", "10.0.0.9"), "10.0.0.9", "10.0.0.0-10.0.0.8"),
            (("10.0.0.1", "10.0.0.1"), "10.0.0.1", ""),
            (("10.0.0.0", "10.0.0.9"), "10.0.0.10", "10.0.0.0-10.0.0.9"),
            (("10.0.0.0", "10.0.0.9"), "::a00:1", "10.0.0.0-10.0.0.9"),
            (("0.0.0.0", "255.255.255.255"), "0.0.0.0", "0.0.0.1-255.255.255.255"),
            (("::", "::2"), "::2", "::-::1"),
        ] {
            let range = AddressRange { first: ip(range.0), last: ip(range.1) };
            let parts: Vec<_> = range.without(ip(gap)).map(|part| part.to_string()).collect();
            assert_eq!(parts.join(" "), left, "{range} without {gap}");
        }
    }

    #[test]
    fn the_pools_are_dockers() {
        let all: Vec<_> = pools().map(|p| p.to_string()).collect();
        assert_eq!(all.len(), 31);
        assert_eq!((all[0].as_str(), all[30].as_str()), ("172.17.0.0/16", "192.168.240.0/20"));
    }

    #[test]
    fn unique_local_prefixes_are_stable_and_apart() {
        let a = unique_local_prefix(b"host", 0).unwrap();
        assert_eq!(Some(a), unique_local_prefix(b"host", 0));
        assert!(!overlap(a, unique_local_prefix(b"host", 1).unwrap()));
        assert!(Subnet::new(a, None, None).is_ok());
    }
}
