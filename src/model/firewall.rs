//! Which of the kernel's firewalls a network's rules are in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A firewall of the kernel's, as it is spoken to.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Firewall {
    /// A table of our own, by netlink: no program is started.
    Nftables,
    /// Chains of our own in the tables of the program `iptables`. What a record means that does
    /// not say.
    #[default]
    Iptables,
}

impl Firewall {
    /// All of them.
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
