//! Links: what each has, and what can be changed of any. Each kind has a file, with what is made of it.

pub(super) mod bridge;
mod delete;
pub(super) mod link_attrs;
pub(super) mod macvlan;
mod parse;
pub(super) mod veth;
pub(super) mod vlan;

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
    plan::{ALIAS_PREFIX, LINK_GROUP, MacvlanId},
};
pub use bridge::BRIDGE_PORTS_MAX;
pub(super) use delete::{delete, delete_all, delete_this};
use parse::parse;

/// What a link is, as far as netcord cares.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Link {
    /// Its name.
    pub name: String,
    /// What kind of link.
    pub kind: LinkKind,
    /// The same in `ip link`'s word; empty for hardware.
    pub kind_name: String,
    /// Up, as an administrator set it.
    pub up: bool,
    /// And the other end, or the wire, is there.
    pub carrier: bool,
    /// It has been brought into operation (`IFF_RUNNING`): up to a second after it has carrier.
    /// Only then a bridge lets frames pass by it.
    pub operates: bool,
    /// Its own address, if it has one of Ethernet's form.
    pub mac: Option<Mac>,
    /// Bytes.
    pub mtu: u32,
    /// The bridge it is a port of, by index.
    pub master: Option<u32>,
    /// What somebody wrote on it.
    pub alias: Option<String>,
    /// Only speaks to ports that are not isolated.
    pub isolated: bool,
    /// Frames may leave by the port by which they came.
    pub hairpin: bool,
    /// Of a bridge port: frames pass.
    pub(super) forwards: bool,
    /// Of a bridge port: what else is set there.
    pub port: Port,
    /// Neighbours are asked for on it, and answered.
    pub asks: bool,
    /// A program looks at all that comes in, before everything else (XDP).
    pub xdp: bool,
    /// The discipline of its queue, in `tc`'s word.
    pub qdisc: String,
    /// Of a bridge: it tells VLANs apart.
    pub filters_vlans: bool,
    pub(super) index: u32,
    /// Of a veth the other end, of a macvlan and of a VLAN the link below, by its index in its own
    /// namespace.
    pub(super) peer: Option<u32>,
    /// The number of that namespace, if it is another (`IFLA_LINK_NETNSID`).
    pub(super) peer_nsid: Option<i32>,
    /// Of a macvlan: which others it reaches.
    pub(super) macvlan_mode: Option<MacVlanMode>,
    /// Of a VLAN: its tag.
    pub(super) vlan_id: Option<u16>,
    pub(super) group: u32,
    /// Of a bridge: it speaks the spanning tree protocol.
    pub stp: bool,
    /// Of a bridge: how long a new port only listens.
    pub(super) forward_delay: u32,
}

/// How a bridge treats a port of its.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Port {
    /// What it does with frames, in `bridge link`'s word.
    pub state: &'static str,
    /// Who sends by it is remembered.
    pub learns: bool,
    /// It gets frames for a MAC that nobody knows.
    pub floods: bool,
    /// It gets those that are for all.
    pub broadcasts: bool,
    /// It gets those that are for a group.
    pub multicasts: bool,
    /// Questions for neighbours are answered in its place, or not told.
    pub suppresses: bool,
    /// Only who is on the list may send by it.
    pub locked: bool,
}

impl Default for Port {
    /// As a new port is.
    fn default() -> Self {
        Self {
            state: "disabled",
            learns: true,
            floods: true,
            broadcasts: true,
            multicasts: true,
            suppresses: false,
            locked: false,
        }
    }
}

/// What kind of link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A bridge.
    Bridge,
    /// One end of a veth pair.
    Veth,
    /// A link with a MAC of its own on another.
    Macvlan,
    /// A VLAN of another link.
    Vlan,
    /// Anything else.
    Other,
}

impl Link {
    /// Whether frames can pass: it is up, and so is the other end.
    pub fn is_running(&self) -> bool {
        self.up && self.carrier
    }

    /// Of a macvlan: whether it reaches others on the same link.
    pub fn reaches_siblings(&self) -> bool {
        self.macvlan_mode == Some(MacVlanMode::Bridge)
    }

    /// Whether it carries netcord's mark.
    pub fn is_ours(&self) -> bool {
        self.group == LINK_GROUP || self.alias.as_ref().is_some_and(|a| a.starts_with(ALIAS_PREFIX))
    }

    /// Whether it is a port of this bridge.
    pub fn is_port_of(&self, bridge: &Self) -> bool {
        self.master == Some(bridge.index)
    }

    /// Whether it is the other end of this veth.
    pub fn is_peer_of(&self, other: &Self) -> bool {
        self.kind == LinkKind::Veth && self.peer == Some(other.index)
    }

    /// The tag of a VLAN.
    pub fn vlan_id(&self) -> Option<u16> {
        self.vlan_id
    }

    /// How a macvlan hangs on its link.
    pub fn macvlan_mode(&self) -> Option<MacvlanMode> {
        MacvlanMode::ALL.into_iter().find(|m| Some(macvlan::mode(*m)) == self.macvlan_mode)
    }

    /// Whether it is a macvlan on this link of the host's, where it was made.
    pub fn is_macvlan_on(&self, parent: &Self) -> bool {
        self.kind == LinkKind::Macvlan && self.peer == Some(parent.index)
    }

    /// Whether it is made on top of another link (a VLAN, a macvlan).
    pub fn is_upper_of(&self, lower: &Self) -> bool {
        matches!(self.kind, LinkKind::Other | LinkKind::Macvlan | LinkKind::Vlan)
            && self.peer == Some(lower.index)
    }

    /// The number of the namespace in which its other end, or the link below it, is; `None`: it
    /// has none, or it is in the same one.
    pub fn leads_into(&self) -> Option<i32> {
        self.peer_nsid
    }

    /// Its number in its namespace.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The number of its other end, or of the link below it, in the namespace where that is.
    pub fn other(&self) -> Option<u32> {
        self.peer
    }

    /// Whether frames pass, of a bridge's port.
    pub fn forwards(&self) -> bool {
        self.forwards
    }

    /// Whether a route leads by it.
    pub fn carries(&self, route: &TableRoute) -> bool {
        route.index == Some(self.index)
    }

    /// Whether an address is one of its own.
    pub fn has(&self, address: &LinkAddress) -> bool {
        address.index == self.index
    }
}

/// How long the links of a dead namespace linger at the most: a fifth of a second was seen.
const DEATH_PATIENCE: Duration = Duration::from_secs(2);
const DEATH_INTERVAL: Duration = Duration::from_millis(10);

/// Reads one link. Equivalent to `ip -d link show NAME`.
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

/// Reads the link of a number, in the namespace that the socket's calls by another.
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

/// The kernel leaves out what does not fit the filter.
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

/// Sets a link up or down; `false` if it was. Equivalent to `ip link set dev NAME up|down`.
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
            // A macvlan of a namespace that has died has the MAC for a moment longer.
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

/// Sets the loopback of the namespace that the thread is in up. Equivalent to `ip link set dev lo up`.
pub async fn set_loopback_up() -> Result<()> {
    set_up(&Rtnl::open()?, LinkName::loopback().as_str(), true).await.map(drop)
}

/// Returns the former one; `None` if it was so. Equivalent to `ip link set dev NAME mtu MTU`.
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

/// The same, of a link that has none, as it was just made: it is not read. To read a new port lets
/// the bridge learn at once that it has no carrier, for which it goes through all its ports.
pub(super) async fn set_first_alias(rtnl: &Rtnl, name: &LinkName, alias: &str) -> Result<bool> {
    let message = message([
        LinkAttribute::IfName(name.to_string()),
        LinkAttribute::IfAlias(alias.to_owned()),
    ]);
    set(rtnl, message).await.with_context(|| format!("cannot set the alias of `{name}`"))
}

/// The index of a link that must be there.
pub(super) async fn index(rtnl: &Rtnl, name: &str) -> Result<u32> {
    require(rtnl, name).await.map(|link| link.index)
}

async fn require(rtnl: &Rtnl, name: &str) -> Result<Link> {
    get(rtnl, name).await?.ok_or_else(|| gone(name))
}

/// The error for a link that is not there any more.
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

/// The kernel's word for "I have no such kind of link" is "operation not supported".
pub(super) fn lacking(error: io::Error, kind: &str, module: &str) -> anyhow::Error {
    if error.raw_os_error() == Some(libc::EOPNOTSUPP) {
        return Error::new(Kind::Missing, format!("the kernel has no {kind} links"))
            .hint(format!("load the module: `modprobe {module}`"))
            .into();
    }
    error.into()
}

/// Reading.
impl Kernel {
    /// One link of the host.
    pub async fn link(&self, name: &str) -> Result<Option<Link>> {
        get(&self.rtnl, name).await
    }

    /// Whether a link is still there: the same, not one of the same name.
    pub async fn has(&self, link: &Link) -> Result<bool> {
        let there = self.link(&link.name).await?;
        Ok(there.is_some_and(|l| l.index == link.index)
            || self.links().await?.contains_key(&link.index))
    }

    /// All links of the host, by index.
    pub async fn links(&self) -> Result<HashMap<u32, Link>> {
        all(&self.rtnl, None).await
    }

    /// The names of all links of the host: a tenth of what the links cost.
    pub fn link_names(&self) -> Result<HashSet<String>> {
        sysctl::link_names()
    }

    /// Which of these links of the host are gone.
    pub async fn gone<'n>(&self, names: impl Iterator<Item = &'n str>) -> Result<HashSet<&'n str>> {
        let there = self.link_names()?;
        let mut gone = HashSet::new();
        for name in names.filter(|name| !there.contains(*name)) {
            // It may have got another name between two of those that were read.
            if self.link(name).await?.is_none() {
                gone.insert(name);
            }
        }
        Ok(gone)
    }

    /// Of these names of links of the host the links that are there. Many are read all at once.
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

    /// The bridges of the host.
    pub async fn bridges(&self) -> Result<Vec<Link>> {
        bridge::all(&self.rtnl).await
    }

    /// The links of the host that are a bridge's port, by name.
    pub async fn ports_by_name(&self) -> Result<HashMap<String, Link>> {
        bridge::ports(&self.rtnl).await
    }

    /// The ports of a bridge of the host.
    pub async fn ports(&self, bridge: &Link) -> Result<Vec<Link>> {
        Ok(all(&self.rtnl, Some(bridge.index)).await?.into_values().collect())
    }
}

/// Reading inside a target.
impl Netns {
    /// Its links, by index.
    pub async fn links(&self) -> Result<HashMap<u32, Link>> {
        all(self.rtnl(), None).await
    }

    /// The link that a macvlan of ours in it has become, on this link of the host's.
    pub async fn macvlan(&self, parent: &Link, made: &MacvlanId) -> Result<Option<Link>> {
        let links = self.links().await?.into_values();
        // One on a link of its own has no number of another namespace.
        Ok(macvlan::among(links.filter(|l| l.peer_nsid.is_some()), parent, made))
    }

    /// The other end of a veth, read from this one's namespace.
    pub async fn peer_of(&self, link: &Link) -> Result<Option<Link>> {
        let Some(peer) = link.peer else { return Ok(None) };
        in_netns(self.rtnl(), peer, link.peer_nsid).await
    }

    /// The macvlans in it.
    pub async fn macvlans(&self) -> Result<Vec<Link>> {
        macvlan::all(self.rtnl()).await
    }
}
