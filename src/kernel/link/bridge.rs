//! Bridges and their ports.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result};
use nix::libc;
use rtnetlink::packet_route::{
    AddressFamily,
    link::{
        BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind,
        LinkAttribute, LinkInfo, LinkMessage,
    },
};
use tokio::time::{Instant, sleep};

use super::{Link, LinkKind, dump, dump_of, foreign, get, index, lacking, message, require, set};
use crate::{
    error::Error,
    kernel::rtnl::Rtnl,
    model::{LinkName, Mac},
    plan::{LINK_GROUP, PortFlag},
};

/// The maximum number of a bridge's ports (`BR_PORT_BITS` in `net/bridge/br_private.h`).
pub const BRIDGE_PORTS_MAX: usize = 1023;

/// `MDB_RTR_TYPE_PERM`: a port that gets all multicasts.
pub(super) const MULTICAST_ROUTER: u8 = 2;
/// `MDB_RTR_TYPE_TEMP_QUERY`, the default: the bridge learns where multicast routers are.
const LEARNED_ROUTER: u8 = 1;

/// The time to wait until a port forwards: the kernel's work queue takes milliseconds at most.
const FORWARDING_PATIENCE: Duration = Duration::from_millis(200);

/// Returns all bridges. Equivalent to `ip -d link show type bridge`.
pub(in crate::kernel) async fn all(rtnl: &Rtnl) -> Result<Vec<Link>> {
    let is_bridge = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]);
    Ok(dump(rtnl, Some(is_bridge)).await?.filter(|l| l.kind == LinkKind::Bridge).collect())
}

/// Returns the ports of all bridges, by name, from a dump in family `AF_BRIDGE`, which has a third
/// of the attributes of a dump of links. Equivalent to `bridge link show`.
pub(in crate::kernel) async fn ports(rtnl: &Rtnl) -> Result<HashMap<String, Link>> {
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Bridge;
    Ok(dump_of(rtnl, message).await?.map(|l| (l.name.clone(), l)).collect())
}

/// Equivalent to `ip link add NAME address MAC mtu MTU group GROUP type bridge stp_state 0
/// forward_delay 0`.
pub(in crate::kernel) async fn create(
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
            // The kernel's defaults, unless a sysadmin changed them: a port forwards at once.
            LinkInfo::Data(InfoData::Bridge(vec![
                InfoBridge::StpState(BridgeStpState::Disabled),
                InfoBridge::ForwardDelay(0),
            ])),
        ]),
    ]);
    match super::create(rtnl, message).await {
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

/// Equivalent to `ip link set dev NAME type bridge_slave FLAG on|off`.
pub(in crate::kernel) async fn set_port(
    rtnl: &Rtnl,
    name: &LinkName,
    flag: PortFlag,
    on: bool,
) -> Result<bool> {
    let link = require(rtnl, name.as_str()).await?;
    let wanted = match flag {
        PortFlag::Isolated => InfoBridgePort::Isolated(on),
        PortFlag::Hairpin => InfoBridgePort::HairpinMode(on),
        PortFlag::NoLearning => InfoBridgePort::Learning(!on),
        PortFlag::NoFlood => InfoBridgePort::UnicastFlood(!on),
        PortFlag::MulticastRouter => {
            let router = if on { MULTICAST_ROUTER } else { LEARNED_ROUTER };
            InfoBridgePort::MulticastRouter(router.into())
        }
    };
    if link.has_flag(flag) == on {
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

/// Makes the kernel announce a link's addresses, once neighbours can hear it through this port on
/// the host. Equivalent to `sleep 0.1; ip link set dev LINK address MAC`.
///
/// Carrier reaches the bridge through the kernel's work queue, or when the port is read. A port
/// that is learning (STP), or whose bridge is down, is not waited for.
pub(in crate::kernel) async fn announce(
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
