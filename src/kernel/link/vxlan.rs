//! VXLAN links: a host's end of a tunnel in UDP packets.

use std::net::IpAddr;

use anyhow::{Context, Result};
use nix::libc;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkInfo};

use super::{Link, LinkKind};
use crate::{
    error::Error,
    kernel::{Kernel, link, rtnl::Rtnl},
    plan::{LINK_GROUP, Tunnel},
};

/// The attributes of a VXLAN link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VxlanAttrs {
    /// Its network identifier.
    pub vni: u32,
    /// The UDP port.
    pub port: u16,
    /// The local address, if it is fixed.
    pub host: Option<IpAddr>,
    /// Whether it learns MACs.
    pub learns: bool,
    /// Whether it answers ARP and NDP requests from its neighbour entries.
    pub answers: bool,
    pub(super) parent: Option<u32>,
}

impl VxlanAttrs {
    /// Returns the index of the link that it sends by.
    pub fn parent(&self) -> Option<u32> {
        self.parent
    }

    pub(super) fn parse(data: &[InfoVxlan]) -> Self {
        let mut found = Self::default();
        for attribute in data {
            match attribute {
                InfoVxlan::Id(vni) => found.vni = *vni,
                InfoVxlan::Port(port) => found.port = *port,
                InfoVxlan::Local(host) => found.host = Some((*host).into()),
                InfoVxlan::Local6(host) => found.host = Some((*host).into()),
                InfoVxlan::Link(index) => found.parent = Some(*index),
                InfoVxlan::Learning(on) => found.learns = *on,
                InfoVxlan::Proxy(on) => found.answers = *on,
                _ => {}
            }
        }
        found
    }
}

/// Creates a VXLAN link, down. Equivalent to `ip link add NAME [master BRIDGE] address MAC mtu MTU group
/// GROUP type vxlan id VNI local HOST dev PARENT dstport PORT nolearning [proxy]`.
pub(in crate::kernel) async fn create(rtnl: &Rtnl, made: &Tunnel) -> Result<bool> {
    let Tunnel { name, parent, host, vni, port, mac, mtu, bridge } = made;
    let lower = link::get(rtnl, parent.as_str()).await?.ok_or_else(|| {
        Error::not_found(format!("link `{parent}`, which leads to the other hosts, is gone"))
    })?;
    let local = match host {
        IpAddr::V4(v4) => InfoVxlan::Local(*v4),
        IpAddr::V6(v6) => InfoVxlan::Local6(*v6),
    };
    let master = match bridge {
        Some(bridge) => Some(link::index(rtnl, bridge.as_str()).await?),
        None => None,
    };
    let mut message = link::message([
        LinkAttribute::IfName(name.to_string()),
        LinkAttribute::Address(mac.octets().to_vec()),
        LinkAttribute::Mtu(*mtu),
        LinkAttribute::Group(LINK_GROUP),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vxlan),
            LinkInfo::Data(InfoData::Vxlan(vec![
                InfoVxlan::Id(*vni),
                local,
                InfoVxlan::Link(lower.index),
                InfoVxlan::Port(*port),
                InfoVxlan::Learning(false),
                InfoVxlan::Proxy(bridge.is_some()),
            ])),
        ]),
    ]);
    message.attributes.extend(master.map(LinkAttribute::Controller));
    let error = match link::create(rtnl, message).await {
        Ok(()) => return Ok(true),
        Err(e) => e,
    };
    match error.raw_os_error() {
        // The name exists, or the identifier under another name.
        Some(libc::EEXIST) => match link::get(rtnl, name.as_str()).await? {
            Some(there) if there.is_ours() && is_it(&there, &lower, master, made) => Ok(false),
            Some(there) if there.is_ours() => {
                Err(Error::conflict(format!("link `{name}` exists, with another tunnel"))
                    .hint("`netcord repair` makes it anew")
                    .into())
            }
            Some(_) => Err(link::foreign(name)),
            None => Err(taken(*vni, None)),
        },
        Some(libc::EADDRINUSE) => Err(Error::conflict(format!(
            "UDP port {port}, the tunnel's, is in use on this host by a program"
        ))
        .hint(format!(
            "find it with `ss -ulnp sport = :{port}`, or choose another with `--port` on all hosts"
        ))
        .into()),
        _ => Err(link::lacking(error, "VXLAN", "vxlan"))
            .with_context(|| format!("cannot create VXLAN link `{name}`")),
    }
}

/// Returns the error for an identifier that another link of this host has.
pub(in crate::kernel) fn taken(vni: u32, by: Option<&str>) -> anyhow::Error {
    let by = by.map_or("another link".into(), |name| format!("link `{name}`"));
    Error::conflict(format!("VNI {vni} is taken on this host by {by}"))
        .hint("choose another with `--vni`, the same on all hosts of the network")
        .into()
}

/// Returns whether a link is this end of a tunnel, with whatever MAC and MTU.
fn is_it(there: &Link, parent: &Link, master: Option<u32>, made: &Tunnel) -> bool {
    there.kind == LinkKind::Vxlan
        && there.master == master
        && there.vxlan.as_ref().is_some_and(|found| {
            (found.vni, found.port, found.host) == (made.vni, made.port, Some(made.host))
                && found.parent == Some(parent.index)
                && !found.learns
                && found.answers == made.bridge.is_some()
        })
}

/// Returns whether this end of a tunnel exists.
pub(in crate::kernel) async fn is_there(rtnl: &Rtnl, made: &Tunnel) -> Result<bool> {
    let there = link::get(rtnl, made.name.as_str()).await?;
    let parent = link::get(rtnl, made.parent.as_str()).await?;
    let master = match &made.bridge {
        Some(bridge) => link::get(rtnl, bridge.as_str()).await?.map(|link| link.index()),
        None => None,
    };
    Ok(there.zip(parent).is_some_and(|(there, parent)| is_it(&there, &parent, master, made)))
}

impl Kernel {
    /// Returns whether a link of ours with this name is another tunnel. A tunnel cannot be changed.
    pub async fn is_other_tunnel(&self, made: &Tunnel) -> Result<bool> {
        let there = link::get(&self.rtnl, made.name.as_str()).await?;
        let is_ours = there.is_some_and(|link| link.is_ours());
        Ok(is_ours && !is_there(&self.rtnl, made).await?)
    }

    /// Refuses an identifier that another link of this host has on the same port: the kernel could
    /// not tell their packets apart.
    pub async fn check_vni(&self, made: &Tunnel) -> Result<()> {
        let links = self.links().await?;
        let has_it = |link: &&Link| {
            let same = |found: &VxlanAttrs| (found.vni, found.port) == (made.vni, made.port);
            link.name != made.name.as_str() && link.vxlan.as_deref().is_some_and(same)
        };
        let other = links.values().find(has_it);
        other.map_or(Ok(()), |link| Err(taken(made.vni, Some(&link.name))))
    }
}
