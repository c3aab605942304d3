//! VLANs on links of the host.

use anyhow::{Context, Result};
use nix::libc;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVlan, LinkAttribute, LinkInfo};

use super::{Link, LinkKind};
use crate::{
    error::Error,
    kernel::{link, rtnl::Rtnl},
    model::{LinkName, Vlan},
    plan::LINK_GROUP,
};

/// Creates a VLAN on a link. Equivalent to `ip link add link TRUNK name NAME group GROUP type vlan
/// id ID`.
pub(in crate::kernel) async fn create(rtnl: &Rtnl, name: &LinkName, vlan: &Vlan) -> Result<bool> {
    let Vlan { trunk, id } = vlan;
    let lower = link::index(rtnl, trunk.as_str()).await?;
    let message = link::message([
        LinkAttribute::IfName(name.to_string()),
        LinkAttribute::Group(LINK_GROUP),
        LinkAttribute::Link(lower),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vlan),
            LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(*id)])),
        ]),
    ]);
    match link::create(rtnl, message).await {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {
            // The same name, or the same VLAN ID under another name.
            let is_it = |l: &Link| {
                l.kind == LinkKind::Vlan && (l.peer, l.vlan_id) == (Some(lower), Some(*id))
            };
            match link::get(rtnl, name.as_str()).await? {
                Some(there) if there.is_ours() && is_it(&there) => Ok(false),
                Some(_) => Err(link::foreign(name)),
                None => {
                    Err(Error::conflict(format!("VLAN {id} of `{trunk}` has another link already"))
                        .hint("find it with `ip -d link show type vlan`, and make it the parent")
                        .into())
                }
            }
        }
        Err(e) => Err(link::lacking(e, "VLAN", "8021q"))
            .with_context(|| format!("cannot create VLAN `{name}`")),
    }
}
