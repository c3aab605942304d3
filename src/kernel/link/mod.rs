//! Links: their attributes, and the changes that apply to every kind. Each kind has a file for its
//! creation.

pub(super) mod bridge;
mod delete;
pub(super) mod link_attrs;
pub(super) mod macvlan;
mod parse;
pub(super) mod tun;
pub(super) mod veth;
pub(super) mod vlan;
pub(super) mod vxlan;

use std::{
    collections::{HashMap, HashSet},
    io,
    time::Duration,
};

use anyhow::{Context, Result};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use nix::libc;
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkMessage, MacVlanMode},
};
use tokio::time::{Instant, sleep};

use super::{Kernel, LinkAddress, Netns, TableRoute, rtnl::Rtnl, sysctl};
use crate::{
    error::{Error, Kind},
    model::{LinkName, Mac, MacvlanMode},
    plan::{ALIAS_PREFIX, LINK_GROUP, MacvlanId, PortFlag},
};
pub use bridge::BRIDGE_PORTS_MAX;
pub(super) use delete::{delete, delete_all, delete_this};
use parse::parse;
pub use vxlan::VxlanAttrs;

/// A link, with the attributes that netcord needs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: LinkKind,
    /// Its kind as `ip link` names it; empty for hardware.
    pub kind_name: String,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether it has carrier.
    pub carrier: bool,
    /// Whether it is operational (`IFF_RUNNING`), which takes up to a second after carrier. Only
    /// then a bridge forwards frames through it.
    pub operates: bool,
    /// Its MAC, if it has one.
    pub mac: Option<Mac>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// The index of the bridge that it is a port of.
    pub master: Option<u32>,
    /// Its alias.
    pub alias: Option<String>,
    /// Whether it exchanges frames only with ports that are not isolated.
    pub isolated: bool,
    /// Whether a frame may leave by the port that it came in by.
    pub hairpin: bool,
    /// Whether it is a bridge port in the state forwarding.
    pub(super) forwards: bool,
    /// Its other attributes as a bridge port.
    pub port: Port,
    /// Whether it uses ARP.
    pub asks: bool,
    /// Whether an XDP program is attached.
    pub xdp: bool,
    /// Its root qdisc.
    pub qdisc: String,
    /// Whether it is a bridge with VLAN filtering.
    pub filters_vlans: bool,
    pub(super) index: u32,
    /// The index, in its own namespace, of a veth's peer, or of the link below a macvlan, a VLAN or a
    /// VXLAN link.
    pub(super) peer: Option<u32>,
    /// The number of that namespace, if it is another one (`IFLA_LINK_NETNSID`).
    pub(super) peer_nsid: Option<i32>,
    /// The mode of a macvlan.
    pub(super) macvlan_mode: Option<MacVlanMode>,
    /// The VLAN ID of a VLAN.
    pub(super) vlan_id: Option<u16>,
    /// Of a VXLAN link: where its tunnel leads.
    pub vxlan: Option<Box<VxlanAttrs>>,
    pub(super) group: u32,
    /// Whether it is a bridge that uses the spanning tree protocol.
    pub stp: bool,
    /// The forward delay of a bridge.
    pub(super) forward_delay: u32,
}

/// The attributes of a bridge port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Port {
    /// The state, as `bridge link` names it.
    pub state: &'static str,
    /// Whether the bridge learns MACs from it.
    pub learns: bool,
    /// Whether it gets frames for unknown MACs.
    pub floods: bool,
    /// Whether it gets broadcasts.
    pub broadcasts: bool,
    /// Whether it gets multicasts.
    pub multicasts: bool,
    /// Whether the bridge suppresses ARP requests and neighbour solicitations to it.
    pub suppresses: bool,
    /// Whether it gets all multicasts, whatever groups were joined behind it.
    pub is_multicast_router: bool,
    /// Whether it is locked: only MACs in the forwarding table may send by it.
    pub locked: bool,
}

impl Default for Port {
    /// The attributes of a new port.
    fn default() -> Self {
        Self {
            state: "disabled",
            learns: true,
            floods: true,
            broadcasts: true,
            multicasts: true,
            suppresses: false,
            is_multicast_router: false,
            locked: false,
        }
    }
}

/// A kind of link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A bridge.
    Bridge,
    /// One end of a veth pair.
    Veth,
    /// A link with a MAC of its own on top of another.
    Macvlan,
    /// A VLAN of another link.
    Vlan,
    /// An end of a VXLAN tunnel.
    Vxlan,
    /// A link whose packets a process reads and writes.
    Tun,
    /// Anything else.
    Other,
}

impl Link {
    /// Returns whether a flag of this bridge port is set.
    pub(super) fn has_flag(&self, flag: PortFlag) -> bool {
        match flag {
            PortFlag::Isolated => self.isolated,
            PortFlag::Hairpin => self.hairpin,
            PortFlag::NoLearning => !self.port.learns,
            PortFlag::NoFlood => !self.port.floods,
            PortFlag::MulticastRouter => self.port.is_multicast_router,
        }
    }

    /// Returns whether frames can pass: it is up and has carrier.
    pub fn is_running(&self) -> bool {
        self.up && self.carrier
    }

    /// Returns whether it is a macvlan that reaches others on the same parent.
    pub fn reaches_siblings(&self) -> bool {
        self.macvlan_mode == Some(MacVlanMode::Bridge)
    }

    /// Returns whether it has netcord's alias.
    pub fn is_ours(&self) -> bool {
        self.group == LINK_GROUP || self.alias.as_ref().is_some_and(|a| a.starts_with(ALIAS_PREFIX))
    }

    /// Returns whether it is a port of this bridge.
    pub fn is_port_of(&self, bridge: &Self) -> bool {
        self.master == Some(bridge.index)
    }

    /// Returns whether it is the peer of this veth.
    pub fn is_peer_of(&self, other: &Self) -> bool {
        self.kind == LinkKind::Veth && self.peer == Some(other.index)
    }

    /// Returns the VLAN ID of a VLAN.
    pub fn vlan_id(&self) -> Option<u16> {
        self.vlan_id
    }

    /// Returns the mode of a macvlan.
    pub fn macvlan_mode(&self) -> Option<MacvlanMode> {
        MacvlanMode::ALL.into_iter().find(|m| Some(macvlan::mode(*m)) == self.macvlan_mode)
    }

    /// Returns whether it is a macvlan on top of this link of the host, in the namespace in which
    /// it was created.
    pub fn is_macvlan_on(&self, parent: &Self) -> bool {
        self.kind == LinkKind::Macvlan && self.peer == Some(parent.index)
    }

    /// Returns whether it is on top of another link (a VLAN, a macvlan).
    pub fn is_upper_of(&self, lower: &Self) -> bool {
        matches!(self.kind, LinkKind::Other | LinkKind::Macvlan | LinkKind::Vlan | LinkKind::Vxlan)
            && self.peer == Some(lower.index)
    }

    /// Returns the number of the namespace of its peer, or of the link below it; `None` if it has
    /// none, or it is in the same namespace.
    pub fn leads_into(&self) -> Option<i32> {
        self.peer_nsid
    }

    /// Returns its index.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Returns the index of its peer, or of the link below it, in that one's namespace.
    pub fn other(&self) -> Option<u32> {
        self.peer
    }

    /// Returns whether it is a bridge port in the state forwarding.
    pub fn forwards(&self) -> bool {
        self.forwards
    }

    /// Returns whether a route uses it.
    pub fn carries(&self, route: &TableRoute) -> bool {
        route.index == Some(self.index)
    }

    /// Returns whether an address is one of its own.
    pub fn has(&self, address: &LinkAddress) -> bool {
        address.index == self.index
    }
}

/// The time to wait for the links of a dead namespace to go; a fifth of a second was measured.
const DEATH_PATIENCE: Duration = Duration::from_secs(2);
const DEATH_INTERVAL: Duration = Duration::from_millis(10);

/// Reads a link. Equivalent to `ip -d link show NAME`.
pub(super) async fn get(rtnl: &Rtnl, name: &str) -> Result<Option<Link>> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    match rtnl.get(RouteNetlinkMessage::GetLink(message)).await {
        Ok(replies) => Ok(replies.into_iter().find_map(parse)),
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(e) => Err(e).with_context(|| format!("cannot read link `{name}`")),
    }
}

/// Reads the link with an index, in the namespace with a number in the socket's.
pub(super) async fn in_netns(rtnl: &Rtnl, index: u32, netns: Option<i32>) -> Result<Option<Link>> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.extend(netns.map(LinkAttribute::IfNetnsId));
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    match rtnl.get(RouteNetlinkMessage::GetLink(message)).await {
        Ok(replies) => Ok(replies.into_iter().find_map(parse)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENODEV | libc::EINVAL | libc::EPERM)) => {
            Ok(None)
        }
        Err(e) => Err(e).with_context(|| format!("cannot read the link of number {index}")),
    }
}

/// Reads all links, or the ports of one bridge. Equivalent to `ip -d link show [master BRIDGE]`.
pub(super) async fn all(rtnl: &Rtnl, master: Option<u32>) -> Result<HashMap<u32, Link>> {
    let links = dump(rtnl, master.map(LinkAttribute::Controller)).await?;
    Ok(links.map(|link| (link.index, link)).collect())
}

/// The kernel leaves out links that do not match the filter.
async fn dump(rtnl: &Rtnl, filter: Option<LinkAttribute>) -> Result<impl Iterator<Item = Link>> {
    let mut message = LinkMessage::default();
    message.attributes.extend(filter);
    dump_of(rtnl, message).await
}

async fn dump_of(rtnl: &Rtnl, mut message: LinkMessage) -> Result<impl Iterator<Item = Link>> {
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let replies =
        rtnl.dump(RouteNetlinkMessage::GetLink(message)).await.context("cannot read links")?;
    Ok(replies.into_iter().filter_map(parse))
}

/// Sets a link up or down; returns `false` if it was. Equivalent to `ip link set dev NAME up|down`.
pub(super) async fn set_up(rtnl: &Rtnl, name: &str, up: bool) -> Result<bool> {
    let link = require(rtnl, name).await?;
    if link.up == up {
        return Ok(false);
    }
    let mut message = LinkMessage::default();
    message.header.index = link.index;
    set_up_flag(&mut message, up);
    let until = Instant::now() + DEATH_PATIENCE;
    loop {
        match set(rtnl, message.clone()).await {
            // A macvlan of a dead namespace keeps the MAC in use for a moment.
            Err(e) if e.raw_os_error() == Some(libc::EADDRINUSE) => {
                if Instant::now() >= until {
                    return Err(macvlan::mac_in_use(&link));
                }
                sleep(DEATH_INTERVAL).await;
            }
            result => {
                return result.with_context(|| format!("cannot set link `{name}` up"));
            }
        }
    }
}

/// Sets the loopback of the thread's namespace up. Equivalent to `ip link set dev lo up`.
pub async fn set_loopback_up() -> Result<()> {
    set_up(&Rtnl::open()?, LinkName::loopback().as_str(), true).await.map(drop)
}

/// Sets the MTU; returns the former one, or `None` if nothing changed. Equivalent to `ip link set
/// dev NAME mtu MTU`.
pub(super) async fn set_mtu(rtnl: &Rtnl, name: &LinkName, mtu: u32) -> Result<Option<u32>> {
    let link = require(rtnl, name.as_str()).await?;
    if link.mtu == mtu {
        return Ok(None);
    }
    let mut message = message([LinkAttribute::Mtu(mtu)]);
    message.header.index = link.index;
    set(rtnl, message).await.with_context(|| format!("cannot set the MTU of `{name}`"))?;
    Ok(Some(link.mtu))
}

/// Sets an alias; returns the former one, `None` if nothing changed. Equivalent to `ip link set dev
/// NAME alias ALIAS`.
pub(super) async fn set_alias(rtnl: &Rtnl, name: &LinkName, alias: &str) -> Result<Option<String>> {
    let link = require(rtnl, name.as_str()).await?;
    let former = link.alias.unwrap_or_default();
    if former == alias {
        return Ok(None);
    }
    let mut message = message([LinkAttribute::IfAlias(alias.to_owned())]);
    message.header.index = link.index;
    set(rtnl, message).await.with_context(|| format!("cannot set the alias of `{name}`"))?;
    Ok(Some(former))
}

/// Sets the alias of a new link, which is not read: reading a new port makes the bridge notice at
/// once that it has no carrier, and walk through all its ports.
pub(super) async fn set_first_alias(rtnl: &Rtnl, name: &LinkName, alias: &str) -> Result<bool> {
    let message = message([
        LinkAttribute::IfName(name.to_string()),
        LinkAttribute::IfAlias(alias.to_owned()),
    ]);
    set(rtnl, message).await.with_context(|| format!("cannot set the alias of `{name}`"))
}

/// Returns the index of a link that must exist.
pub(super) async fn index(rtnl: &Rtnl, name: &str) -> Result<u32> {
    require(rtnl, name).await.map(|link| link.index)
}

async fn require(rtnl: &Rtnl, name: &str) -> Result<Link> {
    get(rtnl, name).await?.ok_or_else(|| gone(name))
}

/// Returns the error for a link that no longer exists.
pub(super) fn gone(name: &str) -> anyhow::Error {
    Error::not_found(format!("link `{name}` is gone"))
        .hint("the target may have ended, or have deleted it, meanwhile; try again")
        .into()
}

pub(super) async fn create(rtnl: &Rtnl, message: LinkMessage) -> io::Result<()> {
    rtnl.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).await
}

pub(super) async fn set(rtnl: &Rtnl, message: LinkMessage) -> io::Result<bool> {
    rtnl.change(RouteNetlinkMessage::NewLink(message), 0).await.map(|()| true)
}

pub(super) fn message<const N: usize>(attributes: [LinkAttribute; N]) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.extend(attributes);
    message
}

fn set_up_flag(message: &mut LinkMessage, up: bool) {
    message.header.change_mask |= LinkFlags::Up;
    message.header.flags.set(LinkFlags::Up, up);
}

pub(super) fn foreign(name: &LinkName) -> anyhow::Error {
    Error::conflict(format!("a link `{name}` exists and is not netcord's"))
        .hint(format!("see it with `ip -d link show {name}`; choose another name for ours"))
        .into()
}

/// For an unknown kind of link, the kernel's error is "operation not supported".
pub(super) fn lacking(error: io::Error, kind: &str, module: &str) -> anyhow::Error {
    if error.raw_os_error() == Some(libc::EOPNOTSUPP) {
        return Error::new(Kind::Missing, format!("the kernel has no {kind} links"))
            .hint(format!("load the module: `modprobe {module}`"))
            .into();
    }
    error.into()
}

/// Readers for the host.
impl Kernel {
    /// Returns a link of the host.
    pub async fn link(&self, name: &str) -> Result<Option<Link>> {
        get(&self.rtnl, name).await
    }

    /// Returns whether the same link still exists, not only one of the same name.
    pub async fn has(&self, link: &Link) -> Result<bool> {
        let there = self.link(&link.name).await?;
        Ok(there.is_some_and(|l| l.index == link.index)
            || self.links().await?.contains_key(&link.index))
    }

    /// Returns all links of the host, by index.
    pub async fn links(&self) -> Result<HashMap<u32, Link>> {
        all(&self.rtnl, None).await
    }

    /// Returns the names of all links of the host, at a tenth of the cost of reading the links.
    pub fn link_names(&self) -> Result<HashSet<String>> {
        sysctl::link_names()
    }

    /// Returns whether the host has a link of this name, at a fraction of the cost of reading it.
    pub fn has_link(&self, name: &LinkName) -> bool {
        sysctl::has_link(name)
    }

    /// Returns which of these links of the host are gone.
    pub async fn gone<'n>(&self, names: impl Iterator<Item = &'n str>) -> Result<HashSet<&'n str>> {
        let there = self.link_names()?;
        let mut gone = HashSet::new();
        for name in names.filter(|name| !there.contains(*name)) {
            // It may have been renamed while the list was read.
            if self.link(name).await?.is_none() {
                gone.insert(name);
            }
        }
        Ok(gone)
    }

    /// Returns the links of the host with these names. If there are many, reads all links at once.
    pub async fn links_named(&self, names: &HashSet<String>) -> Result<Vec<Link>> {
        const FEW: usize = 16;
        if names.len() > FEW {
            let all = self.links().await?.into_values();
            return Ok(all.filter(|link| names.contains(&link.name)).collect());
        }
        let mut found = Vec::new();
        for name in names {
            found.extend(self.link(name).await?);
        }
        Ok(found)
    }

    /// Returns the bridges of the host.
    pub async fn bridges(&self) -> Result<Vec<Link>> {
        bridge::all(&self.rtnl).await
    }

    /// Returns the links of the host that are bridge ports, by name.
    pub async fn ports_by_name(&self) -> Result<HashMap<String, Link>> {
        bridge::ports(&self.rtnl).await
    }

    /// Returns the ports of a bridge of the host.
    pub async fn ports(&self, bridge: &Link) -> Result<Vec<Link>> {
        Ok(all(&self.rtnl, Some(bridge.index)).await?.into_values().collect())
    }
}

/// Readers for a target.
impl Netns {
    /// Returns its links, by index.
    pub async fn links(&self) -> Result<HashMap<u32, Link>> {
        all(self.rtnl(), None).await
    }

    /// Returns the link that was created as this macvlan of ours, on this link of the host.
    pub async fn macvlan(&self, parent: &Link, made: &MacvlanId) -> Result<Option<Link>> {
        let links = self.links().await?.into_values();
        // A macvlan on a link of its own namespace has no namespace number.
        Ok(macvlan::among(links.filter(|l| l.peer_nsid.is_some()), parent, made))
    }

    /// Returns the peer of a veth, read from this namespace.
    pub async fn peer_of(&self, link: &Link) -> Result<Option<Link>> {
        let Some(peer) = link.peer else { return Ok(None) };
        in_netns(self.rtnl(), peer, link.peer_nsid).await
    }

    /// Returns the macvlans in it.
    pub async fn macvlans(&self) -> Result<Vec<Link>> {
        macvlan::all(self.rtnl()).await
    }
}
