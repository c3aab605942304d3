//! Finds out, without making a change, whether it has nothing to do. A dry run leaves such changes
//! out.

use anyhow::Result;

use super::{
    Kernel, Link, LinkKind, Netns, address, fdb, firewall,
    link::{self, link_attrs, vxlan},
    neighbour,
    rtnl::Rtnl,
    sysctl, tc_filter,
};
use crate::{
    model::{LinkName, Route},
    plan::{Change, LinkAt, LinkAttrs, LinkId, Moved, Place, Resource, SysctlKey, Veth},
};

impl Kernel {
    /// Returns whether a change has nothing to do. If that cannot be read, it returns false.
    pub async fn holds(&self, change: &Change) -> bool {
        match change {
            Change::Create(resource) => self.is_there(resource).await.unwrap_or(false),
            Change::Delete(port @ Resource::Moved(Moved::Port { .. })) => {
                !self.is_there(port).await.unwrap_or(true)
            }
            // A plan contains these only if there is something to delete.
            Change::Delete(Resource::Flows(_) | Resource::Moved(_) | Resource::CarrierVeth(_)) => {
                false
            }
            Change::Delete(resource) => !self.is_there(resource).await.unwrap_or(true),
            Change::DeleteLink(link) => !self.is_link_there(link).await.unwrap_or(true),
        }
    }

    async fn is_link_there(&self, link: &LinkId) -> Result<bool> {
        match link {
            LinkId::Bridge(name)
            | LinkId::Vlan(name)
            | LinkId::Vxlan(name)
            | LinkId::Tun(name)
            | LinkId::Veth(name)
            | LinkId::Unrecorded(name) => Ok(link::get(&self.rtnl, name.as_str()).await?.is_some()),
            LinkId::Macvlan(macvlan) => self.has_macvlan(&macvlan.netns, &macvlan.name).await,
        }
    }

    async fn has_macvlan(&self, netns: &Place, name: &LinkName) -> Result<bool> {
        let link = link::get(self.at(netns)?, name.as_str()).await?;
        Ok(link.is_some_and(|l| l.kind == LinkKind::Macvlan && l.is_ours()))
    }

    /// Returns the attributes to restore of the ends of a veth pair; `None` if an end is missing, or
    /// the links are no pair: then the pair has to be created again. It may be a port of another
    /// bridge.
    pub async fn drifted_ends(&self, veth: &Veth) -> Result<Option<Vec<LinkAttrs>>> {
        let host = link::get(&self.rtnl, veth.host.as_str()).await?;
        let inside = link::get(self.at(&veth.netns)?, veth.peer.as_str()).await?;
        let (Some(host), Some(inside)) = (host, inside) else { return Ok(None) };
        let mut drifted = Vec::new();
        for wanted in LinkAttrs::of_ends(veth) {
            let rtnl = self.at(&wanted.netns)?;
            match link_attrs::read(rtnl, &wanted).await? {
                Some(there) => drifted.extend(wanted.back_from(&there)),
                None => return Ok(None),
            }
        }
        // Another link under the name of an end differs too.
        let is_pair = match &veth.netns {
            _ if drifted.is_empty() => true,
            Some(name) => self.between(self.known(name)?).await?.is_pair(&host, &inside),
            None => host.is_peer_of(&inside),
        };
        Ok(is_pair.then_some(drifted))
    }

    /// Returns the changes that make the host end of an existing veth a port of its bridge again. A
    /// port with protections waits for them.
    pub async fn plugging(&self, made: &Resource) -> Result<Vec<Change>> {
        let Resource::Veth(veth) = made else { return Ok(Vec::new()) };
        let host = link::get(&self.rtnl, veth.host.as_str()).await?;
        let Some(host) = host.filter(Link::is_ours) else { return Ok(Vec::new()) };
        let bridge = link::get(&self.rtnl, veth.bridge.as_str()).await?;
        if bridge.is_some_and(|bridge| host.is_port_of(&bridge)) {
            return Ok(Vec::new());
        }
        let port = |bridge| Resource::Moved(Moved::Port { link: veth.host.clone(), bridge });
        let mut changes = Vec::new();
        if !veth.up {
            changes.push(Change::Delete(Resource::Up { netns: None, link: veth.host.clone() }));
        }
        if let Some(other) = host.master {
            let master = self.links().await?.remove(&other);
            let name = master.and_then(|link| link.name.parse().ok());
            changes.extend(name.map(|name| Change::Delete(port(name))));
        }
        changes.push(Change::Create(port(veth.bridge.clone())));
        Ok(changes)
    }

    /// Returns the changes that restore the attributes of an existing link of ours, in order.
    pub async fn drifted_attrs(&self, made: &Resource) -> Result<Vec<LinkAttrs>> {
        let Some(wanted) = LinkAttrs::of(made) else { return Ok(Vec::new()) };
        let there = link_attrs::read(self.at(&wanted.netns)?, &wanted).await?;
        Ok(there.map(|there| wanted.back_from(&there)).unwrap_or_default())
    }

    /// Returns whether the object of a change was deleted with its link.
    pub async fn has_fallen(&self, change: &Change) -> bool {
        for LinkAt { netns, name } in change.facts().needs() {
            let Ok(rtnl) = self.in_namespace(netns) else { continue };
            if matches!(link::get(rtnl, name.as_str()).await, Ok(None)) {
                return true;
            }
        }
        false
    }

    async fn is_there(&self, resource: &Resource) -> Result<bool> {
        Ok(match resource {
            Resource::Record(_) => true,

            Resource::CarrierVeth(carrier) => {
                link::get(&self.rtnl, carrier.port.as_str()).await?.is_some()
            }
            Resource::Moved(Moved::Port { link, bridge }) => {
                let bridge = link::get(&self.rtnl, bridge.as_str()).await?;
                let link = link::get(&self.rtnl, link.as_str()).await?;
                link.zip(bridge).is_some_and(|(link, bridge)| link.is_port_of(&bridge))
            }
            Resource::Flows(_) | Resource::WaitReady { .. } | Resource::Moved(_) => false,
            Resource::Name(named) => Netns::of_name(&named.name)?.is_some(),
            Resource::Bridge { name, mac, .. } => link::get(&self.rtnl, name.as_str())
                .await?
                .is_some_and(|l| l.kind == LinkKind::Bridge && l.mac == Some(*mac)),
            Resource::LinkAttrs(wanted) => {
                link_attrs::read(self.at(&wanted.netns)?, wanted).await?.as_ref() == Some(wanted)
            }
            Resource::Mtu { link, mtu } => {
                link::get(&self.rtnl, link.as_str()).await?.is_some_and(|l| l.mtu == *mtu)
            }
            Resource::Veth(veth) => link::get(&self.rtnl, veth.host.as_str()).await?.is_some(),
            Resource::Macvlan(macvlan) => self.has_macvlan(&macvlan.netns, &macvlan.name).await?,
            Resource::Vlan { name, vlan } => link::get(&self.rtnl, name.as_str())
                .await?
                .is_some_and(|l| l.kind == LinkKind::Vlan && l.vlan_id == Some(vlan.id)),
            Resource::Neighbour { netns, link, address, mac } => {
                neighbour::is_there(self.at(netns)?, link, *address, *mac).await?
            }
            Resource::Vxlan(made) => vxlan::is_there(&self.rtnl, made).await?,
            Resource::Tun { name } => link::get(&self.rtnl, name.as_str())
                .await?
                .is_some_and(|l| l.kind == LinkKind::Tun && l.is_ours()),
            Resource::FdbEntry { .. } | Resource::Replica { .. } => {
                fdb::has(&self.rtnl, resource).await?
            }
            Resource::Alias { netns, link, alias } => link::get(self.at(netns)?, link.as_str())
                .await?
                .is_some_and(|l| l.alias.as_ref() == Some(alias)),
            Resource::Port { link, flag } => {
                link::get(&self.rtnl, link.as_str()).await?.is_some_and(|l| l.has_flag(*flag))
            }
            Resource::Clsact { link } => tc_filter::has_ingress(&self.rtnl, link).await?,
            Resource::TcFilter { link, guard } => {
                tc_filter::has(&self.rtnl, link, guard).await? == Some(true)
            }
            // Created when the link goes up.
            Resource::Up { netns, link } | Resource::Announcement { netns, link, .. } => {
                link::get(self.at(netns)?, link.as_str()).await?.is_some_and(|l| l.up)
            }
            Resource::Address { netns, link, address } => {
                let rtnl = self.at(netns)?;
                let link = link::get(rtnl, link.as_str()).await?;
                let all = address::all(rtnl).await?;
                link.is_some_and(|l| all.iter().any(|a| l.has(a) && a.address == *address))
            }
            Resource::Route { netns, route } => has_route(self.at(netns)?, route).await?,
            Resource::Sysctl { netns, key, value, .. } => self.sysctl_is(netns, key, value)?,
            Resource::FormerSysctl { netns, key, value } => self.sysctl_is(netns, key, value)?,
            Resource::Zone { link } => firewall::firewalld::trusts(link)?,
            Resource::Chain(_) | Resource::Rule(_) | Resource::Nft(_) => {
                self.damage(resource)?.is_empty()
            }
        })
    }

    /// Returns whether a sysctl has a value. A sysctl that the kernel lacks counts as set, see
    /// [`sysctl::write`]; one of a link that does not exist yet does not.
    fn sysctl_is(&self, netns: &Place, key: &SysctlKey, value: &str) -> Result<bool> {
        let read = || sysctl::read(&key.to_string());
        let found = match netns {
            None => read()?,
            Some(name) => self.known(name)?.within(read)??,
        };
        Ok(found.as_deref() == Some(value))
    }
}

async fn has_route(rtnl: &Rtnl, route: &Route) -> Result<bool> {
    let index = match route.out_link() {
        Some(link) => link::get(rtnl, link.as_str()).await?.map(|link| link.index()),
        None => Some(0),
    };
    let all = address::all_routes(rtnl).await?;
    Ok(index.is_some_and(|index| all.iter().any(|there| there.is_like(route, index))))
}
