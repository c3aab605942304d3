//! Reads and restores the attributes that a link was created with.

use anyhow::{Context, Result};
use rtnetlink::packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, InfoMacVlan, LinkAttribute, LinkInfo,
};

use super::{Link, LinkKind, macvlan};
use crate::{
    kernel::{link, rtnl::Rtnl},
    plan::{LinkAttrs, LinkAttrsOf},
};

/// Returns the attributes of the existing link; `None` if that is not ours, or of another kind.
pub(in crate::kernel) async fn read(rtnl: &Rtnl, shape: &LinkAttrs) -> Result<Option<LinkAttrs>> {
    // The inner end of a pair has no mark.
    let is_ours = |link: &Link| link.is_ours() || shape.group.is_none();
    let there = link::get(rtnl, shape.link.as_str()).await?.filter(is_ours);
    Ok(there.and_then(|there| {
        let kind = match (there.kind, shape.kind) {
            (LinkKind::Bridge, LinkAttrsOf::Bridge { .. }) => {
                LinkAttrsOf::Bridge { stp: there.stp, forward_delay: there.forward_delay }
            }
            (LinkKind::Veth, LinkAttrsOf::Veth { .. }) => LinkAttrsOf::Veth { mtu: there.mtu },
            (LinkKind::Macvlan, LinkAttrsOf::Macvlan { .. }) => {
                LinkAttrsOf::Macvlan { mtu: there.mtu, mode: there.macvlan_mode()? }
            }
            (LinkKind::Vxlan, LinkAttrsOf::Vxlan { .. }) => LinkAttrsOf::Vxlan { mtu: there.mtu },
            _ => return None,
        };
        let (netns, link) = (shape.netns.clone(), shape.link.clone());
        let group = shape.group.map(|_| there.group);
        Some(LinkAttrs { netns, link, mac: there.mac?, group, kind })
    }))
}

/// Restores a link's attributes in one message; returns the former ones, or `None` if nothing
/// changed. Equivalent to `ip link set dev NAME address MAC group GROUP [mtu MTU] type KIND ...`.
pub(in crate::kernel) async fn create(rtnl: &Rtnl, shape: &LinkAttrs) -> Result<Option<LinkAttrs>> {
    let name = &shape.link;
    let former = read(rtnl, shape).await?.ok_or_else(|| link::foreign(name))?;
    if former == *shape {
        return Ok(None);
    }
    let mut message = link::message([LinkAttribute::Address(shape.mac.octets().to_vec())]);
    message.attributes.extend(shape.group.map(LinkAttribute::Group));
    let info = match shape.kind {
        LinkAttrsOf::Bridge { stp, forward_delay } => {
            let stp = if stp { BridgeStpState::KernelStp } else { BridgeStpState::Disabled };
            let data = vec![InfoBridge::StpState(stp), InfoBridge::ForwardDelay(forward_delay)];
            Some((InfoKind::Bridge, InfoData::Bridge(data)))
        }
        LinkAttrsOf::Veth { mtu } | LinkAttrsOf::Vxlan { mtu } => {
            message.attributes.push(LinkAttribute::Mtu(mtu));
            None
        }
        LinkAttrsOf::Macvlan { mtu, mode } => {
            message.attributes.push(LinkAttribute::Mtu(mtu));
            let data = vec![InfoMacVlan::Mode(macvlan::mode(mode))];
            Some((InfoKind::MacVlan, InfoData::MacVlan(data)))
        }
    };
    let info = info.map(|(kind, data)| vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]);
    message.attributes.extend(info.map(LinkAttribute::LinkInfo));
    message.header.index = link::index(rtnl, name.as_str()).await?;
    link::set(rtnl, message)
        .await
        .with_context(|| format!("cannot give link `{name}` back what it was made with"))?;
    Ok(Some(former))
}
