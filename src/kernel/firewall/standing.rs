//! What is in the firewalls of the host. Each part is read once, when it is first needed.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, btree_map::Entry},
    rc::Rc,
};

use anyhow::Result;

use super::{Published, has_iptables, iptables, nftables};
use crate::{
    error::Kind,
    kernel::Kernel,
    model::{Family, Firewall, ruleset::Ruleset},
    plan::{Chain, Resource, Rule, Table},
};

/// What was read of the host's firewalls since they were last changed.
#[derive(Debug, Default)]
pub(in crate::kernel) struct Standing {
    /// Our table, once read; `None`: there is none.
    ours: OnceCell<Option<nftables::Standing>>,
    /// All tables of nftables.
    ruleset: Option<Rc<Ruleset>>,
    iptables: BTreeMap<(Family, Table), Listed>,
    published: BTreeMap<Firewall, Rc<[Published]>>,
}

/// A table of iptables.
#[derive(Debug)]
struct Listed {
    /// The commands that would make it.
    text: Rc<str>,
    /// Our chains and rules.
    ours: iptables::Present,
}

impl Standing {
    fn damage(&mut self, resource: &Resource) -> Result<Vec<String>> {
        match resource {
            Resource::Nft(nft) => nftables::damage(self.ours()?, nft),
            Resource::Chain(Chain { family, table, .. })
            | Resource::Rule(Rule { family, table, .. }) => {
                Ok(self.listed(*family, *table)?.ours.damage(resource))
            }
            _ => Ok(Vec::new()),
        }
    }

    fn ours(&mut self) -> Result<Option<&nftables::Standing>> {
        if self.ours.get().is_none() {
            self.ours = nftables::standing()?.into();
        }
        Ok(self.ours.get().and_then(Option::as_ref))
    }

    fn listed(&mut self, family: Family, table: Table) -> Result<&Listed> {
        Ok(match self.iptables.entry((family, table)) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => {
                let text = iptables::list(family, table)?;
                let ours = iptables::Present::parse(text.lines());
                place.insert(Listed { text: text.into(), ours })
            }
        })
    }

    fn ruleset(&mut self) -> Result<Rc<Ruleset>> {
        if self.ruleset.is_none() {
            self.ruleset = Some(nftables::ruleset()?.into());
        }
        Ok(self.ruleset.clone().unwrap_or_default())
    }

    fn published(&mut self, firewall: Firewall) -> Rc<[Published]> {
        if let Some(known) = self.published.get(&firewall) {
            return Rc::clone(known);
        }
        let read: Vec<_> = match (firewall, &self.ruleset) {
            (Firewall::Nftables, Some(ruleset)) => nftables::published_in(ruleset),
            (Firewall::Nftables, None) => nftables::published().unwrap_or_default(),
            (Firewall::Iptables, _) => Family::BOTH
                .into_iter()
                .filter(|family| has_iptables(*family, Table::Nat).unwrap_or(true))
                .filter_map(|family| {
                    Some(iptables::published(&self.listed(family, Table::Nat).ok()?.ours))
                })
                .flatten()
                .collect(),
        };
        Rc::clone(self.published.entry(firewall).or_insert(read.into()))
    }
}

impl Kernel {
    /// Returns how an object in a firewall differs from the plan, a line for each difference; none
    /// if it is complete.
    pub fn damage(&self, resource: &Resource) -> Result<Vec<String>> {
        self.standing.borrow_mut().damage(resource)
    }

    /// Returns whether our own table of nftables exists, in whatever state.
    pub fn has_table(&self) -> Result<bool> {
        Ok(self.standing.borrow_mut().ours()?.is_some())
    }

    /// Returns the published ports in a firewall, as far as they can be read.
    pub fn published(&self, firewall: Firewall) -> Rc<[Published]> {
        self.standing.borrow_mut().published(firewall)
    }

    /// Returns whether a firewall contains anything of netcord's, as far as that can be read.
    pub fn stands(&self, firewall: Firewall) -> bool {
        let mut standing = self.standing.borrow_mut();
        match firewall {
            Firewall::Nftables => nftables::stands().unwrap_or_default(),
            Firewall::Iptables => Family::BOTH.into_iter().any(|family| {
                standing.listed(family, Table::Nat).is_ok_and(|listed| listed.ours.has_chain())
            }),
        }
    }

    /// Returns all rules of nftables on the host, of all programs.
    pub fn ruleset(&self) -> Result<Rc<Ruleset>> {
        self.standing.borrow_mut().ruleset()
    }

    /// Returns a whole table of iptables, as the commands that would make it. Returns an empty text
    /// if there is no such table, or no iptables that could have made it.
    pub fn iptables(&self, family: Family, table: Table) -> Result<Rc<str>> {
        if !has_iptables(family, table)? {
            return Ok("".into());
        }
        match self.standing.borrow_mut().listed(family, table) {
            Err(error) if Kind::of(&error) == Kind::Permission => Err(error),
            listed => Ok(listed.map_or("".into(), |listed| Rc::clone(&listed.text))),
        }
    }

    /// Reads the firewalls again when they are needed next: another program may have changed them.
    pub fn forget_rules(&self) {
        self.standing.take();
    }
}
