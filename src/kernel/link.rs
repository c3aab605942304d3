//! Links: bridges, veth pairs, their ports and marks. Macvlans are in `macvlan`.

use std::{collections::HashMap, io, os::fd::AsRawFd, time::Duration};

use anyhow::{Context, Result};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use nix::libc;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{
        BridgePortState, BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoKind,
        InfoMacVlan, InfoPortData, InfoPortKind, InfoVeth, InfoVlan, LinkAttribute, LinkExtentMask,
        LinkFlags, LinkInfo, LinkMessage, LinkXdp, MacVlanMode, XdpAttached,
    },
};
use tokio::time::{Instant, sleep};

use super::{datagram, netns::Netns, rtnl::Rtnl, sysctl};
use crate::{
    error::{Error, Kind},
    model::{LinkName, Mac},
    plan::{ALIAS_PREFIX, Carrier, LINK_GROUP, PortFlag, Veth},
};

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
    pub(super) stp: bool,
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
}

/// How long the links of a dead namespace linger at the most: a fifth of a second was seen.
const DEATH_PATIENCE: Duration = Duration::from_secs(2);
const DEATH_INTERVAL: Duration = Duration::from_millis(10);

/// A bridge has room for 1023 ports (`BR_PORT_BITS` in `net/bridge/br_private.h`).
pub const BRIDGE_PORTS_MAX: usize = 1023;

/// How long a port is waited for to forward: the work queue takes milliseconds, if anything.
const FORWARDING_PATIENCE: Duration = Duration::from_millis(200);

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

/// Reads all bridges. Equivalent to `ip -d link show type bridge`.
pub(super) async fn bridges(rtnl: &Rtnl) -> Result<Vec<Link>> {
    let is_bridge = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]);
    Ok(dump(rtnl, Some(is_bridge)).await?.filter(|l| l.kind == LinkKind::Bridge).collect())
}

/// Reads all macvlans. Equivalent to `ip -d link show type macvlan`.
pub(super) async fn macvlans(rtnl: &Rtnl) -> Result<Vec<Link>> {
    let is_macvlan = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::MacVlan)]);
    Ok(dump(rtnl, Some(is_macvlan)).await?.filter(|l| l.kind == LinkKind::Macvlan).collect())
}

/// Reads the ports of all bridges, by name, from a dump in family `AF_BRIDGE`, which has a third of
/// the attributes of a dump of links. Equivalent to `bridge link show`.
pub(super) async fn ports(rtnl: &Rtnl) -> Result<HashMap<String, Link>> {
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Bridge;
    Ok(dump_of(rtnl, message).await?.map(|l| (l.name.clone(), l)).collect())
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

/// Equivalent to `ip link add NAME address MAC mtu MTU group GROUP type bridge stp_state 0
/// forward_delay 0`.
pub(super) async fn create_bridge(
    rtnl: &Rtnl,
    name: &LinkName,
    mac: Mac,
    mtu: u32,
) -> Result<bool> {
    let message = message([
        LinkAttribute::IfName(name.to_string()),
        LinkAttribute::Address(mac.octets().to_vec()),
        LinkAttribute::Mtu(mtu),
        LinkAttribute::Group(LINK_GROUP),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            // What they are by default, unless somebody changed it: a port forwards at once.
            LinkInfo::Data(InfoData::Bridge(vec![
                InfoBridge::StpState(BridgeStpState::Disabled),
                InfoBridge::ForwardDelay(0),
            ])),
        ]),
    ]);
    match create(rtnl, message).await {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => match get(rtnl, name.as_str()).await? {
            Some(link) if link.kind == LinkKind::Bridge && link.is_ours() => {
                if link.mac == Some(mac) {
                    return Ok(false);
                }
                Err(Error::conflict(format!("bridge `{name}` exists, with another MAC"))
                    .hint(format!(
                        "compare with `ip link show {name}`, or `netcord rm {name}` first"
                    ))
                    .into())
            }
            Some(_) => Err(foreign(name)),
            None => Err(e).with_context(|| format!("cannot create bridge `{name}`")),
        },
        Err(e) => Err(lacking(e, "bridge", "bridge"))
            .with_context(|| format!("cannot create bridge `{name}`")),
    }
}

/// Makes a veth pair in place: one message, so there is a whole one or none. Equivalent to
/// `ip link add HOST address MAC mtu MTU master BRIDGE group GROUP [up] type veth peer name PEER
/// address MAC mtu MTU [netns NETNS]`.
///
/// The peer cannot be born up: its other end is not there yet (ENOTCONN, and a slow roll-back).
pub(super) async fn create_veth(rtnl: &Rtnl, netns: Option<&Netns>, veth: &Veth) -> Result<bool> {
    let Veth { host, host_mac, bridge, peer, mac, mtu, .. } = veth;
    let bridge_index = index(rtnl, bridge.as_str()).await?;
    let mut inside = message([
        LinkAttribute::IfName(peer.to_string()),
        LinkAttribute::Address(mac.octets().to_vec()),
        LinkAttribute::Mtu(*mtu),
    ]);
    inside.attributes.extend(netns.map(|n| LinkAttribute::NetNsFd(n.file().as_raw_fd())));
    let mut outside = message([
        LinkAttribute::IfName(host.to_string()),
        LinkAttribute::Address(host_mac.octets().to_vec()),
        LinkAttribute::Mtu(*mtu),
        LinkAttribute::Controller(bridge_index),
        LinkAttribute::Group(LINK_GROUP),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(inside))),
        ]),
    ]);
    if veth.up {
        set_up_flag(&mut outside, true);
    }
    let place = veth.netns.as_ref().map_or("the host".into(), |name| format!("`{name}`"));
    let cannot = || format!("cannot create veth `{host}` with its peer `{peer}` in {place}");
    let error = match create(rtnl, outside).await {
        Ok(()) => return Ok(true),
        Err(e) => e,
    };
    match error.raw_os_error() {
        Some(libc::EEXIST) => {
            let there = get(rtnl, host.as_str()).await?;
            let inside = get(netns.map_or(rtnl, Netns::rtnl), peer.as_str()).await?;
            match (there, inside) {
                (Some(link), Some(other))
                    if link.is_ours()
                        && (link.master, link.mac, link.mtu)
                            == (Some(bridge_index), Some(*host_mac), *mtu)
                        && (other.mac, other.mtu) == (Some(*mac), *mtu) =>
                {
                    Ok(false)
                }
                (Some(_), _) => {
                    Err(Error::conflict(format!("a link `{host}` exists, and it is not this one"))
                        .hint(format!(
                            "see it with `ip -d link show {host}`; name ours with `--host-ifname`"
                        ))
                        .into())
                }
                (None, Some(_)) => {
                    Err(Error::conflict(format!("{place} already has a link `{peer}`"))
                        .hint("name the new one with `--ifname`")
                        .into())
                }
                (None, None) => Err(error).with_context(cannot),
            }
        }
        Some(libc::EXFULL) => Err(Error::conflict(format!(
            "bridge `{bridge}` is full: a Linux bridge takes {BRIDGE_PORTS_MAX} ports"
        ))
        .hint("attach to another network, and route between them")
        .into()),
        Some(libc::EINVAL) if *mtu < 68 => {
            Err(Error::usage(format!("MTU {mtu} is too small for a veth")).into())
        }
        _ => Err(lacking(error, "veth", "veth")).with_context(cannot),
    }
}

/// Makes a cable with both ends here. Equivalent to `ip link add PORT master BRIDGE group GROUP type
/// veth peer name LOOSE`.
pub(super) async fn create_carrier(rtnl: &Rtnl, carrier: &Carrier) -> Result<bool> {
    let bridge = index(rtnl, carrier.bridge.as_str()).await?;
    let loose = message([
        LinkAttribute::IfName(carrier.loose.to_string()),
        LinkAttribute::Group(LINK_GROUP),
    ]);
    let port = message([
        LinkAttribute::IfName(carrier.port.to_string()),
        LinkAttribute::Controller(bridge),
        LinkAttribute::Group(LINK_GROUP),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(loose))),
        ]),
    ]);
    match create(rtnl, port).await {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(e) => {
            Err(lacking(e, "veth", "veth")).context("cannot make a cable for the bridge's carrier")
        }
    }
}

/// Makes a port of a bridge whose other end, of the same name, is in another namespace. Frames that
/// come in by it teach the bridge nothing: they may be in the name of an endpoint elsewhere. It has
/// the bridge's MTU, which would else become its own.
///
/// Equivalent to `ip link add NAME address MAC mtu MTU master BRIDGE type veth peer name NAME netns
/// NETNS; bridge link set dev NAME learning off; ip link set NAME up; ip -n NETNS link set NAME up`.
pub(super) async fn create_silent_port(
    rtnl: &Rtnl,
    netns: &Netns,
    bridge: &Link,
    name: &str,
    mac: Mac,
) -> Result<Link> {
    netns.within(|| sysctl::write("net/ipv6/conf/default/disable_ipv6", "1"))??;
    let far = message([
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Mtu(bridge.mtu),
        LinkAttribute::NetNsFd(netns.file().as_raw_fd()),
    ]);
    let port = message([
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(mac.octets().to_vec()),
        LinkAttribute::Mtu(bridge.mtu),
        LinkAttribute::Controller(bridge.index),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]),
    ]);
    create(rtnl, port).await.map_err(|e| lacking(e, "veth", "veth"))?;
    let link = require(rtnl, name).await?;
    sysctl::write(&format!("net/ipv6/conf/{name}/disable_ipv6"), "1")?;
    let mut silent = message([LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::Learning(false)])),
    ])]);
    silent.header.index = link.index;
    set_up_flag(&mut silent, true);
    set(rtnl, silent).await?;
    let mut up = message([]);
    up.header.index = index(netns.rtnl(), name).await?;
    set_up_flag(&mut up, true);
    set(netns.rtnl(), up).await?;
    Ok(link)
}

/// Deletes a link of ours; `false` if there was none. Equivalent to `ip link del NAME`.
pub(super) async fn delete(rtnl: &Rtnl, name: &LinkName) -> Result<bool> {
    let Some(link) = get(rtnl, name.as_str()).await? else { return Ok(false) };
    if !link.is_ours() {
        return Err(foreign(name));
    }
    delete_this(rtnl, &link).await
}

/// Deletes a link that was found to be ours.
pub(super) async fn delete_this(rtnl: &Rtnl, link: &Link) -> Result<bool> {
    let mut message = LinkMessage::default();
    message.header.index = link.index;
    match rtnl.change(RouteNetlinkMessage::DelLink(message), 0).await {
        Ok(()) => Ok(true),
        // It fell with its peer meanwhile.
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(false),
        Err(e) => Err(e).with_context(|| format!("cannot delete link `{}`", link.name)),
    }
}

/// A group that links of ours are put into to be deleted together.
const DOOMED_GROUP: u32 = LINK_GROUP + 1;

/// Deletes links of ours; tells of each whether there was one. Equivalent to `ip link set dev NAME
/// group DOOMED` for each, and `ip link del group DOOMED`.
///
/// By itself, each would wait for a grace period of the kernel's; a group waits once. It is made and
/// deleted in one datagram, so nobody is left in it by a kill.
pub(super) async fn delete_all(rtnl: &Rtnl, names: &[LinkName]) -> Result<Vec<bool>> {
    let links: HashMap<String, Link> =
        all(rtnl, None).await?.into_values().map(|l| (l.name.clone(), l)).collect();
    let found: Vec<_> = names.iter().map(|name| links.get(name.as_str())).collect();
    if let Some((name, _)) =
        names.iter().zip(&found).find(|(_, l)| l.is_some_and(|link| !link.is_ours()))
    {
        return Err(foreign(name));
    }
    let doomed: Vec<&Link> = found.iter().copied().flatten().collect();
    // Of somebody else's, or left by a deletion that failed.
    let is_free = links.values().all(|l| l.group != DOOMED_GROUP || doomed.contains(&l));
    let left: Vec<&Link> =
        if is_free && doomed.len() > 1 { doom(rtnl, &doomed).await? } else { doomed };
    for link in left {
        delete_this(rtnl, link).await?;
    }
    Ok(found.iter().map(Option::is_some).collect())
}

/// Deletes links together; returns those that have to be deleted by themselves.
async fn doom<'l>(rtnl: &Rtnl, links: &[&'l Link]) -> Result<Vec<&'l Link>> {
    let into = |link: &Link, group| {
        let mut message = message([LinkAttribute::Group(group)]);
        message.header.index = link.index;
        (RouteNetlinkMessage::SetLink(message), 0)
    };
    let mut requests: Vec<_> = links.iter().map(|link| into(link, DOOMED_GROUP)).collect();
    let deletion = message([LinkAttribute::Group(DOOMED_GROUP)]);
    requests.push((RouteNetlinkMessage::DelLink(deletion), 0));
    let Some(mut failures) = datagram::send_all(&requests)? else {
        let there = all(rtnl, None).await?;
        return Ok(links.iter().copied().filter(|l| there.contains_key(&l.index)).collect());
    };
    // All fell with their peers meanwhile.
    let is_gone = |failure: &Option<i32>| matches!(failure, None | Some(libc::ENODEV));
    if failures.pop().is_some_and(|deletion| is_gone(&deletion)) {
        let left = links.iter().zip(failures).filter(|(_, failure)| !is_gone(failure));
        return Ok(left.map(|(link, _)| *link).collect());
    }
    let back: Vec<_> = links.iter().map(|link| into(link, LINK_GROUP)).collect();
    datagram::send_all(&back)?;
    Ok(links.to_vec())
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
                    return Err(super::macvlan::mac_in_use(&link));
                }
                sleep(DEATH_INTERVAL).await;
            }
            result => {
                return result.with_context(|| format!("cannot set link `{name}` up"));
            }
        }
    }
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

/// Equivalent to `ip link set dev NAME alias ALIAS`.
pub(super) async fn set_alias(rtnl: &Rtnl, name: &LinkName, alias: &str) -> Result<bool> {
    let link = require(rtnl, name.as_str()).await?;
    if link.alias.as_deref().unwrap_or_default() == alias {
        return Ok(false);
    }
    let mut message = message([LinkAttribute::IfAlias(alias.to_owned())]);
    message.header.index = link.index;
    set(rtnl, message).await.with_context(|| format!("cannot set the alias of `{name}`"))
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

/// Equivalent to `ip link set dev NAME type bridge_slave FLAG on|off`.
pub(super) async fn set_port(
    rtnl: &Rtnl,
    name: &LinkName,
    flag: PortFlag,
    on: bool,
) -> Result<bool> {
    let link = require(rtnl, name.as_str()).await?;
    let (is, wanted) = match flag {
        PortFlag::Isolated => (link.isolated, InfoBridgePort::Isolated(on)),
        PortFlag::Hairpin => (link.hairpin, InfoBridgePort::HairpinMode(on)),
    };
    if is == on {
        return Ok(false);
    }
    if link.master.is_none() {
        return Err(Error::conflict(format!("`{name}` is no port of a bridge any more"))
            .hint("the bridge may have gone meanwhile: see `netcord doctor`")
            .into());
    }
    let mut message = message([LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![wanted])),
    ])]);
    message.header.index = link.index;
    set(rtnl, message).await.with_context(|| format!("cannot set bridge port `{name}`"))
}

/// Makes a link tell its neighbours of its addresses, once they can hear it by this port of the
/// host's. Equivalent to `sleep 0.1; ip link set dev LINK address MAC`.
///
/// Carrier reaches the bridge by way of the kernel's work queue, at the latest when the port is
/// read; a port that learns first (STP), or whose bridge is down, is not waited for.
pub(super) async fn announce(
    rtnl: &Rtnl,
    port: &LinkName,
    inside: &Rtnl,
    name: &LinkName,
    mac: Mac,
) -> Result<()> {
    let until = Instant::now() + FORWARDING_PATIENCE;
    while !require(rtnl, port.as_str()).await?.forwards && Instant::now() < until {
        sleep(Duration::from_millis(1)).await;
    }
    let mut message = message([LinkAttribute::Address(mac.octets().to_vec())]);
    message.header.index = index(inside, name.as_str()).await?;
    set(inside, message).await.with_context(|| format!("cannot announce `{name}`")).map(drop)
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

fn parse(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let mut link = Link {
        name: String::new(),
        kind: LinkKind::Other,
        kind_name: String::new(),
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        mac: None,
        mtu: 0,
        master: None,
        alias: None,
        isolated: false,
        hairpin: false,
        forwards: false,
        port: Port::default(),
        asks: !message.header.flags.contains(LinkFlags::Noarp),
        xdp: false,
        qdisc: String::new(),
        filters_vlans: false,
        index: message.header.index,
        peer: None,
        peer_nsid: None,
        macvlan_mode: None,
        vlan_id: None,
        group: 0,
        stp: false,
        forward_delay: 0,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(bytes) => link.mac = Mac::try_from(bytes.as_slice()).ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(index) => link.master = Some(index),
            LinkAttribute::Link(index) => link.peer = Some(index),
            LinkAttribute::LinkNetNsId(id) => link.peer_nsid = Some(id),
            LinkAttribute::Group(group) => link.group = group,
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::LinkInfo(infos) => parse_info(&mut link, infos),
            LinkAttribute::Qdisc(name) => link.qdisc = name,
            LinkAttribute::Xdp(list) => {
                let is_there = |xdp: &LinkXdp| matches!(xdp, LinkXdp::Attached(how) if *how != XdpAttached::None);
                link.xdp = list.iter().any(is_there);
            }
            _ => {}
        }
    }
    Some(link)
}

fn parse_info(link: &mut Link, infos: Vec<LinkInfo>) {
    for info in infos {
        match info {
            LinkInfo::Kind(kind) => {
                link.kind_name = kind.to_string();
                link.kind = match kind {
                    InfoKind::Bridge => LinkKind::Bridge,
                    InfoKind::Veth => LinkKind::Veth,
                    InfoKind::MacVlan => LinkKind::Macvlan,
                    InfoKind::Vlan => LinkKind::Vlan,
                    _ => LinkKind::Other,
                };
            }
            LinkInfo::Data(InfoData::Bridge(data)) => {
                for attribute in data {
                    match attribute {
                        InfoBridge::StpState(state) => link.stp = state != BridgeStpState::Disabled,
                        InfoBridge::ForwardDelay(delay) => link.forward_delay = delay,
                        InfoBridge::VlanFiltering(on) => link.filters_vlans = on,
                        _ => {}
                    }
                }
            }
            LinkInfo::Data(InfoData::MacVlan(data)) => {
                link.macvlan_mode = data.into_iter().find_map(|d| match d {
                    InfoMacVlan::Mode(mode) => Some(mode),
                    _ => None,
                });
            }
            LinkInfo::Data(InfoData::Vlan(data)) => {
                link.vlan_id = data.into_iter().find_map(|d| match d {
                    InfoVlan::Id(id) => Some(id),
                    _ => None,
                });
            }
            LinkInfo::PortData(InfoPortData::BridgePort(flags)) => {
                for flag in flags {
                    parse_port(link, &flag);
                }
            }
            _ => {}
        }
    }
}

fn parse_port(link: &mut Link, flag: &InfoBridgePort) {
    let port = &mut link.port;
    match flag {
        InfoBridgePort::Isolated(on) => link.isolated = *on,
        InfoBridgePort::HairpinMode(on) => link.hairpin = *on,
        InfoBridgePort::State(state) => {
            link.forwards = *state == BridgePortState::Forwarding;
            port.state = match state {
                BridgePortState::Listening => "listening",
                BridgePortState::Learning => "learning",
                BridgePortState::Forwarding => "forwarding",
                BridgePortState::Blocking => "blocking",
                _ => "disabled",
            };
        }
        InfoBridgePort::Learning(on) => port.learns = *on,
        InfoBridgePort::UnicastFlood(on) => port.floods = *on,
        InfoBridgePort::BroadcastFlood(on) => port.broadcasts = *on,
        InfoBridgePort::MulticastFlood(on) => port.multicasts = *on,
        InfoBridgePort::NeighSupress(on)
        | InfoBridgePort::ProxyARP(on)
        | InfoBridgePort::ProxyARPWifi(on) => port.suppresses |= on,
        InfoBridgePort::Locked(on) => port.locked = *on,
        _ => {}
    }
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
