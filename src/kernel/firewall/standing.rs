//! Our objects in the firewalls, compared with a plan.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, btree_map::Entry},
};

use anyhow::Result;

use super::{iptables, nftables};
use crate::{
    model::Family,
    plan::{Chain, Resource, Rule, Table},
};

/// Our objects in the kernel's firewalls. Each part is read once, when it is first needed.
#[derive(Debug, Default)]
pub struct Standing {
    /// Our table, once read; `None`: there is none.
    nftables: OnceCell<Option<nftables::Standing>>,
    iptables: BTreeMap<(Family, Table), iptables::Present>,
}

impl Standing {
    /// Returns how an object in a firewall differs from the plan, a line for each difference; none
    /// if it is complete.
    pub fn damage(&mut self, resource: &Resource) -> Result<Vec<String>> {
        match resource {
            Resource::Nft(nft) => nftables::damage(self.nftables()?, nft),
            Resource::Chain(Chain { family, table, .. })
            | Resource::Rule(Rule { family, table, .. }) => {
                Ok(self.iptables(*family, *table)?.damage(resource))
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Returns whether our own table exists, in whatever state.
    pub fn has_table(&mut self) -> Result<bool> {
        Ok(self.nftables()?.is_some())
    }

    fn nftables(&mut self) -> Result<Option<&nftables::Standing>> {
        if self.nftables.get().is_none() {
            self.nftables = nftables::standing()?.into();
        }
        Ok(self.nftables.get().and_then(Option::as_ref))
    }

    fn iptables(&mut self, family: Family, table: Table) -> Result<&iptables::Present> {
        Ok(match self.iptables.entry((family, table)) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => place.insert(iptables::present(family, table)?),
        })
    }
}
