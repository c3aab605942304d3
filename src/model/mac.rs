//! MAC addresses.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::{Invalid, Subnet, stable_hash};

/// A unicast MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

impl Mac {
    /// The MAC under which a VXLAN link's forwarding table has the hosts for all frames without an entry.
    pub const ZERO: Self = Self([0; 6]);

    /// The placeholder for a link without a MAC, or an endpoint without an address.
    pub const PLACEHOLDER: Self = Self([0x02, 0x42, 0, 0, 0, 0]);

    /// Returns the MAC of an endpoint with this IP address: `02:42` and the four bytes of IPv4, as
    /// docker had it; four bytes of a hash for IPv6.
    ///
    /// It is derived so that neighbours' caches stay right when an IP address is assigned again.
    pub fn of(address: IpAddr) -> Self {
        Self::tagged([0x02, 0x42], address)
    }

    /// Returns the MAC of a network's bridge: that of the first gateway of its subnets, or one of its own
    /// if it has none.
    pub fn of_bridge(network: &str, subnets: &[Subnet]) -> Self {
        let gateway = subnets.iter().find_map(|subnet| subnet.gateway);
        gateway.map_or_else(|| Self::of_own_link(Self::PLACEHOLDER, network), Self::of)
    }

    /// Returns the MAC of the host end. It begins with `fe`, higher than any other, because a
    /// bridge without a fixed MAC takes the lowest of its ports.
    pub fn of_host_end(address: IpAddr) -> Self {
        Self::tagged([0xfe, 0x42], address)
    }

    /// Returns the MAC of a link of the host itself on a physical network, where it must be unique.
    /// It is derived from the parent's MAC and the network's name.
    pub fn of_own_link(parent: Self, network: &str) -> Self {
        let hash = stable_hash(&[&parent.0, network.as_bytes()]).to_be_bytes();
        // "n", after a byte with the bits "locally administered" and "unicast".
        Self([0x02, 0x6e, hash[4], hash[5], hash[6], hash[7]])
    }

    /// Returns the MAC of a host's end of a tunnel, derived from the host's address, so that every
    /// host knows it: `02:76` and the four bytes of IPv4, or five bytes of a hash of IPv6.
    pub fn of_tunnel_end(host: IpAddr) -> Self {
        match host {
            IpAddr::V4(_) => Self::tagged([0x02, 0x76], host),
            IpAddr::V6(v6) => {
                let hash = stable_hash(&[&v6.octets()]).to_be_bytes();
                Self([0x06, hash[3], hash[4], hash[5], hash[6], hash[7]])
            }
        }
    }

    /// Returns the MAC of an endpoint that requests its address by DHCP.
    pub(super) fn of_client(hash: u64) -> Self {
        let [.., a, b, c, d] = hash.to_be_bytes();
        Self([0x02, b'n', a, b, c, d])
    }

    /// Returns the MAC of the host end if it cannot be derived from an address.
    #[must_use]
    pub fn beside(self) -> Self {
        let Self(mut octets) = self;
        octets[0] = 0xfe;
        Self(octets)
    }

    fn tagged(tag: [u8; 2], address: IpAddr) -> Self {
        let rest = match address {
            IpAddr::V4(v4) => v4.octets(),
            IpAddr::V6(v6) => {
                let hash = stable_hash(&[&v6.octets()]).to_be_bytes();
                [hash[4], hash[5], hash[6], hash[7]]
            }
        };
        Self([tag[0], tag[1], rest[0], rest[1], rest[2], rest[3]])
    }

    /// Returns the IPv4 address that [`Mac::of`] or docker derive this from.
    pub fn derived_from(self) -> Option<IpAddr> {
        match self.0 {
            [0x02 | 0xfe, 0x42, a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
            _ => None,
        }
    }

    /// Returns the IPv6 link-local address for this MAC (EUI-64, RFC 4291 appendix A).
    pub fn link_local(self) -> Ipv6Addr {
        let mac = self.0;
        // The bit "locally administered" is inverted, and `ff:fe` inserted.
        let id = [mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]];
        Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(u64::from_be_bytes(id)))
    }

    /// Returns the six bytes in network order.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl TryFrom<&[u8]> for Mac {
    type Error = Invalid;

    fn try_from(bytes: &[u8]) -> Result<Self, Invalid> {
        let octets: [u8; 6] = bytes
            .try_into()
            .map_err(|_| Invalid::new(format!("a MAC address has 6 bytes, not {}", bytes.len())))?;
        // A bridge that lost its last port has this MAC.
        if octets == [0; 6] {
            return Err(Invalid::new("the MAC address 00:00:00:00:00:00 stands for none"));
        }
        Ok(Self(octets))
    }
}

impl FromStr for Mac {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let malformed = || {
            Invalid::new("a MAC address is six bytes in hexadecimal")
                .hint("for example 02:42:ac:11:00:0a")
        };
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(malformed)?;
            if !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(malformed());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| malformed())?;
        }
        if parts.next().is_some() {
            return Err(malformed());
        }
        if octets == [0; 6] {
            return Err(Invalid::new("the MAC address 00:00:00:00:00:00 stands for none"));
        }
        if octets[0] & 1 == 1 {
            return Err(Invalid::new(format!(
                "`{text}` is a multicast address, not one of a link"
            ))
            .hint("make the first byte even"));
        }
        Ok(Self(octets))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.map(|octet| format!("{octet:02x}")).join(":"))
    }
}

impl TryFrom<String> for Mac {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derives_dockers_address_and_finds_the_ip_again() {
        let mac = Mac::of(IpAddr::from([172, 17, 0, 10]));
        assert_eq!(mac.to_string(), "02:42:ac:11:00:0a");
        assert_eq!(mac.derived_from(), Some(IpAddr::from([172, 17, 0, 10])));
    }

    #[test]
    fn every_host_derives_the_same_address_of_an_end_of_a_tunnel() {
        for (host, mac) in [
            ("192.0.2.1", "02:76:c0:00:02:01"),
            ("10.0.0.9", "02:76:0a:00:00:09"),
            ("2001:db8::1", "06:0b:3c:0b:23:51"),
        ] {
            let derived = Mac::of_tunnel_end(host.parse().unwrap());
            assert_eq!(derived.to_string(), mac, "{host}");
            assert_eq!(derived.derived_from(), None, "it is no endpoint's");
        }
    }

    #[test]
    fn makes_the_links_own_address() {
        let mac: Mac = "02:42:ac:11:00:0a".parse().unwrap();
        assert_eq!(mac.link_local().to_string(), "fe80::42:acff:fe11:a");
    }

    #[test]
    fn refuses_what_no_link_can_have() {
        for bad in [
            "",
            "02:42:ac:11:00",
            "02:42:ac:11:00:0a:0b",
            "2:42:ac:11:0:a",
            "02-42-ac-11-00-0a",
            "02:42:ac:11:00:0g",
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "02:42:ac:11:00:+a",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }
}
