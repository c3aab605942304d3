//! Carries out a change with the code for its kind of object, and returns its inverse.

use std::fs::File;

use anyhow::Result;

use super::{
    Kernel, address, conntrack, firewall,
    link::{self, bridge, link_attrs, macvlan, tun, veth, vlan, vxlan},
    link_config, name, sysctl, tc_filter,
};
use crate::plan::{Change, Class, LinkId, Moved, Place, Resource, SysctlKey};

/// The result of a change.
#[expect(clippy::large_enum_variant, reason = "there are a dozen at a time, and they live briefly")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was nothing to do.
    Unchanged,
    /// Done; this is its inverse.
    Done(Change),
    /// Done, but the change alone is not enough to undo it.
    Final,
    /// Part of the object existed, and is complete now. A rollback does not restore the damage.
    Mended,
}

impl Outcome {
    pub(super) fn of(changed: bool, inverse: impl FnOnce() -> Change) -> Self {
        if changed { Self::Done(inverse()) } else { Self::Unchanged }
    }

    /// The outcome of the deletion of a link.
    fn of_deletion(was_there: bool) -> Self {
        if was_there { Self::Final } else { Self::Unchanged }
    }

    /// The outcome of a change whose inverse is its opposite.
    pub(super) fn done(change: &Change) -> Self {
        change.clone().reversed().map_or(Self::Final, Self::Done)
    }

    /// Returns the inverse, if there is something to undo and it can be undone.
    pub(super) fn inverse(&self) -> Option<&Change> {
        match self {
            Self::Done(inverse) => Some(inverse),
            Self::Unchanged | Self::Final | Self::Mended => None,
        }
    }
}

impl Kernel {
    /// Carries out a change. Changes of a firewall go to [`Kernel::apply_firewall`].
    pub async fn apply(&mut self, change: &Change) -> Result<Outcome> {
        self.forget_rules();
        match change {
            Change::Create(resource) => {
                match (self.create(change, resource).await, change.facts().part_of) {
                    (Err(_), Some(link)) if self.has_fallen(change).await => {
                        Err(link::gone(link.name.as_str()))
                    }
                    (result, _) => result,
                }
            }
            Change::Delete(resource) => match self.delete(change, resource).await {
                Err(_) if self.has_fallen(change).await => Ok(Outcome::Unchanged),
                result => result,
            },
            Change::DeleteLink(link) => self.delete_link(link).await,
        }
    }

    async fn create(&mut self, change: &Change, resource: &Resource) -> Result<Outcome> {
        let inverse = || Change::delete(resource.clone());
        let changed = match resource {
            Resource::Name(named) => name::create(named, self.targets.get(&named.name))?,
            Resource::Bridge { name, mac, mtu } => {
                bridge::create(&self.rtnl, name, *mac, *mtu).await?
            }
            Resource::LinkAttrs(wanted) => {
                let former = link_attrs::create(self.at(&wanted.netns)?, wanted).await?;
                return Ok(former.map_or(Outcome::Unchanged, |former| {
                    Outcome::Done(Change::Create(Resource::LinkAttrs(former)))
                }));
            }
            Resource::Mtu { link, mtu } => {
                let former = link::set_mtu(&self.rtnl, link, *mtu).await?;
                return Ok(former.map_or(Outcome::Unchanged, |mtu| {
                    Outcome::Done(Change::Create(Resource::Mtu { link: link.clone(), mtu }))
                }));
            }
            Resource::Veth(veth) => {
                let inside = veth.netns.as_ref().map(|name| self.known(name)).transpose()?;
                let is_new = veth::create(&self.rtnl, inside, veth).await?;
                if is_new {
                    self.made.insert(veth.host.clone());
                }
                is_new
            }
            Resource::Macvlan(macvlan) => {
                let inside = macvlan.netns.as_ref().map(|name| self.known(name)).transpose()?;
                macvlan::create(&self.rtnl, inside, macvlan).await?
            }
            Resource::Vlan { name, vlan } => vlan::create(&self.rtnl, name, vlan).await?,
            Resource::Vxlan(made) => vxlan::create(&self.rtnl, made).await?,
            Resource::Tun { name } => tun::create(&self.rtnl, name).await?,
            Resource::Alias { netns: None, link, alias } if self.made.remove(link) => {
                link::set_first_alias(&self.rtnl, link, alias).await?
            }
            Resource::Alias { netns, link, alias } => {
                let former = link::set_alias(self.at(netns)?, link, alias).await?;
                let back = |alias: String| match alias.as_str() {
                    "" => inverse(),
                    _ => Change::Create(Resource::Alias {
                        netns: netns.clone(),
                        link: link.clone(),
                        alias,
                    }),
                };
                return Ok(former.map_or(Outcome::Unchanged, |f| Outcome::Done(back(f))));
            }
            Resource::CarrierVeth(carrier) => veth::create_carrier(&self.rtnl, carrier).await?,
            Resource::WaitReady { link } => {
                self.ready(link).await?;
                false
            }
            Resource::Moved(_) => return Ok(self.apply_moved(&[change]).await?.remove(0)),
            Resource::Port { link, flag } => {
                bridge::set_port(&self.rtnl, link, *flag, true).await?
            }
            Resource::Clsact { link } => tc_filter::create_ingress(&self.rtnl, link).await?,
            Resource::TcFilter { link, guard } => {
                tc_filter::create(&self.rtnl, link, guard).await?
            }
            Resource::Address { netns, link, address } => {
                address::create(self.at(netns)?, link, *address).await?
            }
            Resource::Up { netns, link } => {
                link::set_up(self.at(netns)?, link.as_str(), true).await?
            }
            Resource::Announcement { netns, link, mac, port } => {
                bridge::announce(&self.rtnl, port, self.at(netns)?, link, *mac).await?;
                false
            }
            Resource::Route { .. }
            | Resource::Neighbour { .. }
            | Resource::FdbEntry { .. }
            | Resource::Replica { .. } => {
                return Ok(self.apply_entries(&[change]).await?.remove(0));
            }
            Resource::Sysctl { netns, key, value, .. } => {
                return self.set_sysctl(netns, key, value);
            }
            Resource::FormerSysctl { netns, key, value } => {
                return self.set_sysctl(netns, key, value);
            }
            Resource::Zone { link } => firewall::firewalld::trust(link)?,
            Resource::Record(_)
            | Resource::Chain(_)
            | Resource::Rule(_)
            | Resource::Nft(_)
            | Resource::Flows(_) => false,
        };
        Ok(Outcome::of(changed, inverse))
    }

    async fn delete(&mut self, change: &Change, resource: &Resource) -> Result<Outcome> {
        let inverse = || Change::Create(resource.clone());
        let changed = match resource {
            Resource::Name(named) => name::delete(named)?,
            Resource::Bridge { .. }
            | Resource::Veth(_)
            | Resource::Macvlan(_)
            | Resource::Vlan { .. }
            | Resource::Vxlan(_)
            | Resource::Tun { .. } => match resource.link_id() {
                Some(link) => return self.delete_link(&link).await,
                None => false,
            },
            Resource::Alias { netns, link, .. } => {
                link::set_alias(self.at(netns)?, link, "").await?.is_some()
            }
            Resource::CarrierVeth(carrier) => link::delete(&self.rtnl, &carrier.port).await?,
            Resource::Moved(_) => return Ok(self.apply_moved(&[change]).await?.remove(0)),
            Resource::Port { link, flag } => {
                bridge::set_port(&self.rtnl, link, *flag, false).await?
            }
            Resource::Clsact { link } => tc_filter::delete_ingress(&self.rtnl, link).await?,
            Resource::TcFilter { link, .. } => tc_filter::delete(&self.rtnl, link).await?,
            Resource::Address { netns, link, address } => {
                address::delete(self.at(netns)?, link, *address).await?
            }
            Resource::Up { netns, link } => {
                link::set_up(self.at(netns)?, link.as_str(), false).await?
            }
            Resource::Route { .. }
            | Resource::Neighbour { .. }
            | Resource::FdbEntry { .. }
            | Resource::Replica { .. } => {
                return Ok(self.apply_entries(&[change]).await?.remove(0));
            }
            Resource::Sysctl { netns, key, reset, value } => {
                return self.set_sysctl(netns, key, reset.unwrap_or(value));
            }
            Resource::Zone { link } => firewall::firewalld::forget(link)?,
            Resource::Flows(_) => return Ok(self.forget_flows(&[change])?.remove(0)),
            Resource::LinkAttrs(_)
            | Resource::Mtu { .. }
            | Resource::FormerSysctl { .. }
            | Resource::WaitReady { .. }
            | Resource::Announcement { .. }
            | Resource::Record(_)
            | Resource::Chain(_)
            | Resource::Rule(_)
            | Resource::Nft(_) => false,
        };
        Ok(Outcome::of(changed, inverse))
    }

    async fn delete_link(&self, link: &LinkId) -> Result<Outcome> {
        let was_there = match link {
            LinkId::Bridge(name)
            | LinkId::Vlan(name)
            | LinkId::Vxlan(name)
            | LinkId::Tun(name)
            | LinkId::Veth(name)
            | LinkId::Unrecorded(name) => link::delete(&self.rtnl, name).await?,
            LinkId::Macvlan(macvlan) => {
                macvlan::delete(&self.rtnl, self.at(&macvlan.netns)?, macvlan).await?
            }
        };
        Ok(Outcome::of_deletion(was_there))
    }

    /// Carries out adjacent changes of one firewall in one transaction; for iptables, in one a
    /// family and table. `lock` is held until the last program that changes rules has ended.
    pub fn apply_firewall(&mut self, changes: &[&Change], lock: &File) -> Result<Vec<Outcome>> {
        self.forget_rules();
        firewall::apply(changes, lock)
    }

    /// Carries out adjacent moves of the host's settings in one message: all of them, or none.
    pub async fn apply_moved(&self, changes: &[&Change]) -> Result<Vec<Outcome>> {
        let mut so = Vec::with_capacity(changes.len());
        for change in changes {
            // The kernel does not report whether the link was a port before.
            let is_port = matches!(change.facts().class, Class::Moved(Moved::Port { .. }));
            so.push(is_port && self.holds(change).await);
        }
        let unlike = changes.iter().zip(&so).filter(|(_, so)| !**so);
        let wanted: Vec<_> = unlike.map(|(change, _)| *change).collect();
        let mut news = link_config::write(&self.rtnl, &wanted).await?.into_iter();
        let outcomes = changes.iter().zip(so).map(|(change, so)| {
            let is_new = !so && news.next().unwrap_or_default();
            if is_new { Outcome::done(change) } else { Outcome::Unchanged }
        });
        Ok(outcomes.collect())
    }

    /// Deletes adjacent veths of the host in one message.
    pub async fn delete_veths(&self, changes: &[&Change]) -> Result<Vec<Outcome>> {
        let name = |change: &&Change| match change {
            Change::DeleteLink(link) => link.on_host().cloned(),
            Change::Create(_) | Change::Delete(_) => None,
        };
        let names: Vec<_> = changes.iter().filter_map(name).collect();
        let were_there = match names.as_slice() {
            [one] => vec![link::delete(&self.rtnl, one).await?],
            many => link::delete_all(&self.rtnl, many).await?,
        };
        Ok(were_there.into_iter().map(Outcome::of_deletion).collect())
    }

    /// Deletes tracked connections in one pass over the table.
    pub fn forget_flows(&self, changes: &[&Change]) -> Result<Vec<Outcome>> {
        let flows: Vec<_> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Delete(Resource::Flows(flows)) => Some(flows),
                _ => None,
            })
            .collect();
        conntrack::flush(&flows)?;
        Ok(vec![Outcome::Unchanged; changes.len()])
    }

    fn set_sysctl(&self, netns: &Place, key: &SysctlKey, value: &str) -> Result<Outcome> {
        let write = || sysctl::write(&key.to_string(), value);
        let former = match netns {
            None => write()?,
            Some(name) => self.known(name)?.within(write)??,
        };
        Ok(former.map_or(Outcome::Unchanged, |value| {
            let (netns, key) = (netns.clone(), key.clone());
            Outcome::Done(Change::Create(Resource::FormerSysctl { netns, key, value }))
        }))
    }
}
