//! Where somebody else's firewall lets through what a network's endpoints send and get.

use serde::{Deserialize, Serialize};

use super::{Family, family::is_ipv6};

/// A place in the firewall of somebody else that what is forwarded has to pass: what is dropped
/// there stays dropped, whatever chains of our own accept.
#[derive(Clone, Copy, Debug, Eq, Serialize, Deserialize)]
pub struct ForwardAccept {
    /// Which one.
    #[serde(flatten)]
    pub place: AcceptPoint,
    /// The number of the rule that has to stay behind an accept; none: it is the last.
    #[serde(skip)]
    pub before: Option<u32>,
}

/// Which gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "gate", rename_all = "kebab-case")]
pub enum AcceptPoint {
    /// docker's chain for the rules of the host's owner, ahead of docker's own.
    DockerUser {
        /// That of iptables, or of ip6tables.
        #[serde(rename = "ipv6", with = "is_ipv6")]
        family: Family,
    },
    /// iptables' own chain.
    Forward {
        /// That of iptables, or of ip6tables.
        #[serde(rename = "ipv6", with = "is_ipv6")]
        family: Family,
    },
    /// firewalld's zone of whom it trusts.
    FirewalldZone,
}

/// The same wherever it is in its chain: rules of others come and go.
impl PartialEq for ForwardAccept {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

impl AcceptPoint {
    /// The place of a gate, before this rule.
    pub fn before(self, before: Option<u32>) -> ForwardAccept {
        ForwardAccept { place: self, before }
    }
}
