//! Veth pairs.

use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::libc;
use rtnetlink::packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute,
    LinkInfo,
};

use super::{BRIDGE_PORTS_MAX, Link, get, index, lacking, message, require, set, set_up_flag};
use crate::{
    error::Error,
    kernel::{netns::Netns, rtnl::Rtnl, sysctl},
    model::Mac,
    plan::{CarrierVeth, LINK_GROUP, Veth},
};

/// Creates a veth pair with one message, so there is a whole pair or none. Equivalent to `ip link
/// add HOST address MAC mtu MTU master BRIDGE group GROUP [up] type veth peer name PEER address MAC
/// mtu MTU [netns NETNS]`.
///
/// The peer cannot be created up, as its other end does not exist yet (ENOTCONN, and a slow
/// rollback).
pub(in crate::kernel) async fn create(
    rtnl: &Rtnl,
    netns: Option<&Netns>,
    veth: &Veth,
) -> Result<bool> {
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
    let error = match super::create(rtnl, outside).await {
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

/// Creates a carrier veth, with both ends on the host. Equivalent to `ip link add PORT master
/// BRIDGE group GROUP type veth peer name LOOSE`.
pub(in crate::kernel) async fn create_carrier(rtnl: &Rtnl, carrier: &CarrierVeth) -> Result<bool> {
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
    match super::create(rtnl, port).await {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(e) => {
            Err(lacking(e, "veth", "veth")).context("cannot make a cable for the bridge's carrier")
        }
    }
}

/// Creates a bridge port whose peer, of the same name, is in another namespace. The bridge learns
/// nothing from its frames, since they may have an endpoint's MAC that is elsewhere. It has the
/// bridge's MTU, which otherwise would become the bridge's.
///
/// Equivalent to `ip link add NAME address MAC mtu MTU master BRIDGE type veth peer name NAME netns
/// NETNS; bridge link set dev NAME learning off; ip link set NAME up; ip -n NETNS link set NAME
/// up`.
pub(in crate::kernel) async fn create_silent_port(
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
    super::create(rtnl, port).await.map_err(|e| lacking(e, "veth", "veth"))?;
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
