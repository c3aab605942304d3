//! Finds macvlans of ours inside targets. They have no mark on the host.

use std::collections::BTreeMap;

use crate::{
    kernel::{Kernel, Link, LinkKind, Netns},
    model::{EndpointId, LinkName, NetnsName},
    plan::Mark,
    state::State,
};

/// A macvlan of ours inside a target.
pub(in crate::ops) struct Inside {
    /// The network, from the alias.
    pub(in crate::ops) network: LinkName,
    /// The name by which it was found.
    pub(in crate::ops) name: NetnsName,
    /// The name by which it was attached, from the alias.
    target: NetnsName,
    /// The link's name at creation, from the alias.
    pub(in crate::ops) ifname: Option<LinkName>,
    /// The namespace.
    pub(in crate::ops) netns: Netns,
    /// The macvlan.
    pub(in crate::ops) link: Link,
}

/// Returns the macvlans of ours inside the namespaces with these names. A namespace that may not be
/// entered was not made by us, or is about to end.
pub(in crate::ops) async fn inside(
    kernel: &Kernel,
    names: impl Iterator<Item = NetnsName>,
) -> Vec<Inside> {
    let mut all: BTreeMap<(u64, u32), Inside> = BTreeMap::new();
    for name in names {
        let Ok(Some(open)) = Netns::of_name(&name) else { continue };
        if open.cookie() == kernel.cookie() {
            continue;
        }
        let Ok(links) = open.links().await else { continue };
        let ours = links
            .into_values()
            .filter(|l| l.kind == LinkKind::Macvlan && l.is_ours() && l.leads_into().is_some());
        for link in ours {
            let Ok(Some(netns)) = Netns::of_name(&name) else { continue };
            let Some(found) = Inside::new(&name, netns, link) else { continue };
            let key = (found.netns.cookie(), found.link.index());
            // Of several names of a namespace, prefer the one by which it was attached.
            let is_better = found.name == found.target;
            if is_better || !all.contains_key(&key) {
                all.insert(key, found);
            }
        }
    }
    all.into_values().collect()
}

impl Inside {
    fn new(name: &NetnsName, netns: Netns, link: Link) -> Option<Self> {
        let mark = Mark::read(link.alias.as_deref()?)?;
        let (network, target) = (mark.network.parse().ok()?, mark.target?.parse().ok()?);
        let ifname = mark.values("link").next().and_then(|name| name.parse().ok());
        Some(Self { network, name: name.clone(), target, ifname, netns, link })
    }

    /// Returns whether both are the same macvlan.
    pub(in crate::ops) fn is(&self, other: &Self) -> bool {
        (self.netns.cookie(), self.link.index()) == (other.netns.cookie(), other.link.index())
    }

    pub(in crate::ops) fn is_on_record(&self, state: &State) -> bool {
        let cookie = self.netns.cookie();
        let mut own = state
            .summaries()
            .filter(|(network, o)| network.name == self.network && o.cookie == cookie);
        match &self.ifname {
            Some(ifname) => {
                let id = EndpointId::Inside { cookie, ifname: ifname.clone() };
                own.any(|(_, summary)| summary.is(&id))
            }
            // It may have another name by now.
            None => own.next().is_some(),
        }
    }
}
