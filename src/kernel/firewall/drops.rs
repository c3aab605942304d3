//! Chains of other programs that drop forwarded packets unless a rule there accepts them.
//!
//! Their rules are in the [`Ruleset`](crate::model::ruleset::Ruleset).

use anyhow::Result;

use super::chains::{self, Chain};
use crate::model::{Family, ruleset::Table};

/// A chain that drops forwarded packets unless a rule accepts them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropping {
    /// The family, as `nft` names it.
    pub family: &'static str,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
    /// Whether it is firewalld's.
    pub is_firewalld: bool,
}

impl Dropping {
    /// Returns whether packets of this IP version pass it.
    pub fn meets(&self, family: Family) -> bool {
        match self.family {
            "ip" => family == Family::V4,
            "ip6" => family == Family::V6,
            _ => true,
        }
    }

    /// Returns whether it is in this table.
    pub fn is_in(&self, table: &Table) -> bool {
        self.family == table.family.to_string() && self.table == table.name
    }

    /// Returns whether only bridged frames pass it.
    pub fn is_of_bridges(&self) -> bool {
        self.family == "bridge"
    }
}

/// Returns all such chains, except iptables'.
pub(in crate::kernel) fn dropping() -> Result<Vec<Dropping>> {
    let found = chains::all()?.into_iter().filter_map(|chain| {
        // The policy of firewalld's chain is accept, but its last rule rejects.
        let is_firewalld = chain.is("inet", "firewalld", "filter_FORWARD");
        let is_iptables =
            chain.is("ip", "filter", "FORWARD") || chain.is("ip6", "filter", "FORWARD");
        let Chain { family, table, name, drops_forwarded, .. } = chain;
        let drops = is_firewalld || (drops_forwarded && !is_iptables);
        drops.then_some(Dropping { family, table, chain: name, is_firewalld })
    });
    Ok(found.collect())
}
