//! Conditions for a move, and the consent that it needs.

use std::path::Path;

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::{outside, request::Underlay};
use crate::{
    error::Error,
    kernel::{Kernel, LinkKind},
    model::LinkConfig,
    ops::{
        Session,
        driver::parent::{self, Found},
        lookup::ssh,
    },
    state::State,
};

/// Returns the link, if it can be moved, or is moved already.
pub(super) async fn parent(kernel: &Kernel, state: &State, args: &Underlay) -> Result<Found> {
    let name = args.parent.as_str();
    let links = kernel.links().await?;
    let link = links.values().find(|l| l.name == name);
    let bridge = links.values().find(|l| l.name == args.name.as_str());
    if let (Some(link), Some(bridge)) = (link, bridge)
        && bridge.is_ours()
        && link.is_port_of(bridge)
    {
        return Ok(Found { link: Some(link.clone()), vlan: None, lower: link.clone() });
    }
    let found = parent::found(kernel, state, &args.parent).await?;
    parent::check_free(state, &args.name, &args.parent, None)?;
    let refuse = |why: String, hint: String| Err(Error::conflict(why).hint(hint).into());
    let cannot = |why: &str| format!("`{name}` cannot be taken over: {why}");
    if bridge.is_some_and(|bridge| !bridge.is_ours()) {
        let message = format!("a link `{}` exists and is not netcord's", args.name);
        return refuse(message, "choose another name".to_owned());
    }
    let Some(link) = link else { return Ok(found) };
    if link.kind == LinkKind::Bridge {
        let hint = format!("it is a network already: `netcord attach {name} TARGET`");
        return refuse(cannot("it is a bridge itself"), hint);
    }
    if Path::new("/sys/class/net").join(name).join("wireless").exists() {
        let hint = "an access point speaks to one MAC only; use `netcord bridge`".to_owned();
        return refuse(cannot("it is wireless"), hint);
    }
    if let Some(upper) = links.values().find(|upper| upper.is_upper_of(link)) {
        let hint = format!("what `{}` receives would go to the bridge instead", upper.name);
        return refuse(cannot(&format!("`{}` is on top of it", upper.name)), hint);
    }
    if !link.carrier {
        let hint = format!("`ip link set {name} up`, and see what it is plugged into");
        return refuse(cannot("it is down, or has no carrier"), hint);
    }
    Ok(found)
}

/// Checks for consent to a move that could cut a user off.
pub(super) async fn check_takeover(
    host: &Session<'_>,
    args: &Underlay,
    link_config: &LinkConfig,
) -> Result<()> {
    if args.takeover {
        return Ok(());
    }
    let parent = &args.parent;
    let peer = ssh::peer_by(&host.kernel, parent.as_str(), &chosen(link_config)).await?;
    let why = match peer {
        Some(peer) => format!("your SSH connection from {peer} comes by `{parent}`"),
        None => match outside::carried(&link_config.routes, parent) {
            Some(what) => format!("`{parent}` {what}"),
            None => return Ok(()),
        },
    };
    Err(Error::conflict(format!("{why}: if this goes wrong, the host is cut off"))
        .hint(
            "add `--takeover`; with `--confirm 60` it is undone after a minute unless \
             `netcord confirm` comes",
        )
        .into())
}

/// Returns the destinations in tables that policy rules select. The kernel's route lookup would
/// need every property of a packet.
fn chosen(link_config: &LinkConfig) -> Vec<IpNetwork> {
    let is_chosen = |table: u32| ![RT_TABLE_MAIN, RT_TABLE_LOCAL].contains(&table);
    let routes = link_config.routes.iter().filter(|route| is_chosen(route.table));
    routes.map(|route| route.destination).collect()
}

/// `<linux/rtnetlink.h>`
const RT_TABLE_MAIN: u32 = 254;
const RT_TABLE_LOCAL: u32 = 255;
