//! The names of lease keys: `10.5.34.0-24`, or `10.5.34.0-24&fd00:10:5:34::-64` with both families.

use std::{fmt, str::FromStr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use netcord::model::{Invalid, overlap};
use serde::{Deserialize, Serialize};

/// The subnets of one host, which are the name of its lease's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subnets {
    /// The IPv4 subnet; flannel's keys always have one.
    pub ipv4: Ipv4Network,
    /// The IPv6 subnet of a network with both families.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Network>,
}

impl Subnets {
    /// Returns the subnets, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpNetwork> {
        [Some(IpNetwork::V4(self.ipv4)), self.ipv6.map(IpNetwork::V6)].into_iter().flatten()
    }

    /// Returns whether the two share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        let shares = |a| other.iter().any(|b| a_family(a, b) && overlap(a, b));
        self.iter().any(shares)
    }
}

fn a_family(a: IpNetwork, b: IpNetwork) -> bool {
    a.is_ipv4() == b.is_ipv4()
}

impl fmt::Display for Subnets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ipv4.ip(), self.ipv4.prefix())?;
        match self.ipv6 {
            Some(ipv6) => write!(f, "&{}-{}", ipv6.ip(), ipv6.prefix()),
            None => Ok(()),
        }
    }
}

impl FromStr for Subnets {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let malformed = || {
            Invalid::new(format!("`{text}` is not the name of a subnet"))
                .hint("for example 10.5.34.0-24, or 10.5.34.0-24&fd00:10:5:34::-64")
        };
        let (first, second) =
            text.split_once('&').map_or((text, None), |(ipv4, ipv6)| (ipv4, Some(ipv6)));
        let (ip, len) = halves(first).ok_or_else(malformed)?;
        let ipv4 = Ipv4Network::new(ip, len).ok().filter(|net| net.network() == ip && len < 32);
        let ipv6 = match second.map(|text| halves(text).ok_or_else(malformed)).transpose()? {
            Some((ip, len)) => {
                let net = Ipv6Network::new(ip, len).ok();
                Some(net.filter(|net| net.network() == ip && len < 128).ok_or_else(malformed)?)
            }
            None => None,
        };
        let subnets = Self { ipv4: ipv4.ok_or_else(malformed)?, ipv6 };
        // A key that is written in another way would be lost when it is looked for by its subnets.
        if subnets.to_string() == text { Ok(subnets) } else { Err(malformed()) }
    }
}

fn halves<T: FromStr>(text: &str) -> Option<(T, u8)> {
    let (ip, len) = text.split_once('-')?;
    Some((ip.parse().ok()?, len.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::Subnets;

    #[test]
    fn a_key_is_read_and_written_as_it_was() {
        for key in [
            "10.12.13.0-24",
            "10.12.13.0-24&fd00:12:13::-56",
            "10.5.34.0-24&fd00:10:5:34::-64",
            "0.0.0.0-0",
            "10.5.34.8-31",
        ] {
            assert_eq!(key.parse::<Subnets>().unwrap().to_string(), key);
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for key in [
            // flannel's own tests refuse these.
            "10",
            "10.12.13.0",
            "10.12.13-24",
            "10.12.13.300-24",
            "10.12.13.0-24hi",
            "&2001::-56",
            "10.12.13.0-24&:12:13:-56",
            "10.12.13.0-24&20011::-56",
            "10.12.13.0-24&2001-56",
            "10.12.13.0-24&2001::",
            "10.12.13.0-24&2001::-56hi",
            // The length has five bits, and seven.
            "10.12.13.0-32",
            "10.12.13.0-24&fd00::-128",
            "10.12.13.0-24&FD00::-56",
            // The kernel has no route to these.
            "10.12.13.1-24",
            "10.12.13.0-24&fd00:12:13::1-56",
            // There is one way to write a key.
            "10.12.13.0-024",
            "10.12.13.0-+24",
            "10.12.13.0-24&fd00:0:0::-56",
            "x10.12.13.0-24",
            "",
        ] {
            assert!(key.parse::<Subnets>().is_err(), "{key}");
        }
    }

    #[test]
    fn subnets_overlap_in_either_family() {
        let subnets = |text: &str| text.parse::<Subnets>().unwrap();
        let own = subnets("10.5.34.0-24&fd00:10:5:34::-64");
        assert!(own.overlaps(&subnets("10.5.32.0-20")));
        assert!(own.overlaps(&subnets("10.5.34.128-25")));
        assert!(own.overlaps(&subnets("10.5.35.0-24&fd00:10:5::-48")));
        assert!(!own.overlaps(&subnets("10.5.35.0-24")));
        assert!(!own.overlaps(&subnets("10.5.35.0-24&fd00:10:5:35::-64")));
    }
}
