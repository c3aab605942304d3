//! Macvlans: links with a MAC of their own on top of a link of the host.

use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::libc;
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, LinkAttribute, LinkInfo, MacVlanMode,
};

use super::{Link, LinkKind};
use crate::{
    error::Error,
    kernel::{link, netns::Netns, rtnl::Rtnl},
    model::MacvlanMode,
    plan::{LINK_GROUP, Macvlan, MacvlanId, Mark},
};

/// Returns all macvlans. Equivalent to `ip -d link show type macvlan`.
pub(in crate::kernel) async fn all(rtnl: &Rtnl) -> Result<Vec<Link>> {
    let is_macvlan = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::MacVlan)]);
    Ok(link::dump(rtnl, Some(is_macvlan)).await?.filter(|l| l.kind == LinkKind::Macvlan).collect())
}

/// Creates a macvlan on the host or directly inside a namespace, in one message, so that its name
/// cannot clash with one on the host. Equivalent to `ip link add link PARENT name NAME address MAC
/// mtu MTU group GROUP [netns NETNS] type macvlan mode MODE`.
pub(in crate::kernel) async fn create(
    rtnl: &Rtnl,
    inside: Option<&Netns>,
    macvlan: &Macvlan,
) -> Result<bool> {
    let Macvlan { name, parent, mac, mtu, mode, netns, .. } = macvlan;
    let lower = link::get(rtnl, parent.as_str()).await?.ok_or_else(|| {
        Error::not_found(format!("link `{parent}`, the network's parent, is gone"))
    })?;
    let mode = self::mode(*mode);
    let mut message = link::message([
        LinkAttribute::IfName(name.to_string()),
        LinkAttribute::Address(mac.octets().to_vec()),
        LinkAttribute::Mtu(*mtu),
        LinkAttribute::Group(LINK_GROUP),
        LinkAttribute::Link(lower.index),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::MacVlan),
            LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)])),
        ]),
    ]);
    message.attributes.extend(inside.map(|n| LinkAttribute::NetNsFd(n.file().as_raw_fd())));
    let error = match link::create(rtnl, message).await {
        Ok(()) => return Ok(true),
        Err(e) => e,
    };
    let place = netns.as_ref().map_or("the host".into(), |name| format!("`{name}`"));
    match error.raw_os_error() {
        Some(libc::EEXIST) => {
            let there = link::get(inside.map_or(rtnl, Netns::rtnl), name.as_str()).await?;
            let is_it = |l: &Link| {
                l.is_ours()
                    && l.is_macvlan_on(&lower)
                    && (l.mac, l.mtu, l.macvlan_mode) == (Some(*mac), *mtu, Some(mode))
            };
            match there {
                Some(there) if is_it(&there) => Ok(false),
                Some(_) if inside.is_none() => Err(link::foreign(name)),
                _ => Err(Error::conflict(format!("{place} already has a link `{name}`"))
                    .hint("name the new one with `--ifname`")
                    .into()),
            }
        }
        // A macvlan in passthru mode uses the parent exclusively.
        Some(libc::EINVAL) if *mtu <= lower.mtu => Err(Error::conflict(format!(
            "link `{parent}` takes no more macvlan in this mode: one in passthru mode has a link \
             to itself"
        ))
        .hint("detach the other endpoints of this parent first, or choose another mode")
        .into()),
        Some(libc::EBUSY) => Err(Error::conflict(format!(
            "link `{parent}` is in use by something that takes all its frames: a bridge, a bond, \
             or an ipvlan"
        ))
        .hint(format!("see what: `ip -d link show {parent}`"))
        .into()),
        _ => Err(link::lacking(error, "macvlan", "macvlan"))
            .with_context(|| format!("cannot create macvlan `{name}` in {place}")),
    }
}

/// Deletes a macvlan of ours; returns `false` if there is none. Equivalent to `ip link del NAME`.
pub(in crate::kernel) async fn delete(
    host: &Rtnl,
    inside: &Rtnl,
    macvlan: &MacvlanId,
) -> Result<bool> {
    // It was deleted with its parent.
    let Some(parent) = link::get(host, macvlan.parent.as_str()).await? else { return Ok(false) };
    let links = link::all(inside, None).await?;
    match among(links.into_values().filter(Link::is_ours), &parent, macvlan) {
        Some(link) => link::delete_this(inside, &link).await,
        None => Ok(false),
    }
}

/// Finds a macvlan among the links of the namespace that it is in.
///
/// Processes there may have given it another name and MAC, and its former name to another link, so
/// the alias decides. If that is gone too, it is a macvlan on the same parent that belongs to
/// nobody else.
pub(in crate::kernel) fn among(
    links: impl Iterator<Item = Link>,
    parent: &Link,
    macvlan: &MacvlanId,
) -> Option<Link> {
    let unlike = |link: &Link| {
        let is_named = link.name == macvlan.name.as_str();
        let mark = link.alias.as_deref().and_then(Mark::read);
        let doubt = match mark {
            Some(mark) if is_of(&mark, macvlan) => match mark.values("link").next() {
                Some(name) if name == macvlan.name.as_str() => 0,
                Some(_) => return None,
                None => 1,
            },
            Some(_) => return None,
            // On the host nobody renames it.
            None if macvlan.netns.is_none() && !is_named => return None,
            None if link.is_ours() => 2,
            None => 3,
        };
        Some((doubt, !is_named, link.mac != Some(macvlan.mac)))
    };
    let on_parent = links.filter(|link| link.is_macvlan_on(parent));
    let ranked = on_parent.filter_map(|link| Some((unlike(&link)?, link)));
    ranked.min_by_key(|(unlike, _)| *unlike).map(|(_, link)| link)
}

fn is_of(mark: &Mark<'_>, macvlan: &MacvlanId) -> bool {
    mark.network == macvlan.network.as_str()
        && match &macvlan.netns {
            Some(netns) => mark.target == Some(netns.as_str()),
            // On the host are the network's own, and those that wait for an engine to move them.
            None => mark.target.is_none() == (macvlan.name == macvlan.network),
        }
}

/// Returns the error for a MAC that another macvlan of the same parent has.
pub(in crate::kernel) fn mac_in_use(link: &Link) -> anyhow::Error {
    let mac = link.mac.map(|m| m.to_string()).unwrap_or_default();
    Error::conflict(format!(
        "MAC {mac} of link `{}` is in use by another macvlan on the same parent",
        link.name
    ))
    .hint("choose another with `--mac`, or detach the other")
    .into()
}

pub(in crate::kernel) fn mode(mode: MacvlanMode) -> MacVlanMode {
    match mode {
        MacvlanMode::Bridge => MacVlanMode::Bridge,
        MacvlanMode::Private => MacVlanMode::Private,
        MacvlanMode::Vepa => MacVlanMode::Vepa,
        MacvlanMode::Passthru => MacVlanMode::Passthrough,
    }
}
