//! Accept rules for a network's traffic in the firewalls of other programs.

use serde::{Deserialize, Serialize};

use super::{Family, family::is_ipv6};

/// An accept rule in another firewall that forwarded packets pass. Our own chains cannot accept
/// what that firewall drops.
#[derive(Clone, Copy, Debug, Eq, Serialize, Deserialize)]
pub struct ForwardAccept {
    /// Where it is.
    #[serde(flatten)]
    pub place: AcceptPoint,
    /// The number of the rule that must come after the accept; `None`: the accept is the last rule.
    #[serde(skip)]
    pub before: Option<u32>,
}

/// The chain or zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "gate", rename_all = "kebab-case")]
pub enum AcceptPoint {
    /// docker's chain for rules of the administrator, before docker's own rules.
    DockerUser {
        /// Whether it is ip6tables'.
        #[serde(rename = "ipv6", with = "is_ipv6")]
        family: Family,
    },
    /// The built-in FORWARD chain of iptables.
    Forward {
        /// Whether it is ip6tables'.
        #[serde(rename = "ipv6", with = "is_ipv6")]
        family: Family,
    },
    /// firewalld's zone `trusted`.
    FirewalldZone,
}

/// Equal whatever the position in the chain, since other rules come and go.
impl PartialEq for ForwardAccept {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

impl AcceptPoint {
    /// An accept rule at this point, before a rule.
    pub fn before(self, before: Option<u32>) -> ForwardAccept {
        ForwardAccept { place: self, before }
    }
}
