//! The kernel's firewall that holds a network's rules.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A firewall of the kernel, by its programming interface.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Firewall {
    /// A table of our own, through netlink. No program is started.
    Nftables,
    /// Chains of our own in the tables of `iptables`. A record without this field means it.
    #[default]
    Iptables,
}

impl Firewall {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Nftables, Self::Iptables];
}

impl fmt::Display for Firewall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        })
    }
}
