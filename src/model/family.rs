//! IP versions.

use std::{fmt, net::IpAddr};

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Returns the family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Returns the unspecified address.
    pub fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => [0; 4].into(),
            Self::V6 => [0; 16].into(),
        }
    }

    /// Returns the directory in `/proc/sys/net`.
    pub fn sysctl_name(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }

    /// Returns the program of iptables for it.
    pub fn program(self) -> &'static str {
        match self {
            Self::V4 => "iptables",
            Self::V6 => "ip6tables",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// In records, a family is a boolean: whether it is IPv6.
pub(super) mod is_ipv6 {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Family;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(in crate::model) fn serialize<S: Serializer>(
        family: &Family,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(*family == Family::V6)
    }

    pub(in crate::model) fn deserialize<'d, D: Deserializer<'d>>(
        deserializer: D,
    ) -> Result<Family, D::Error> {
        Ok(if bool::deserialize(deserializer)? { Family::V6 } else { Family::V4 })
    }
}
