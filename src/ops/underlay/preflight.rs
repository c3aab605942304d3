//! What must be so before a link is taken over, and what must be asked for expressly.

use std::{env, fs, net::IpAddr, path::Path};

use anyhow::Result;

use crate::{
    cli,
    error::Error,
    kernel::{Kernel, LinkKind, process},
    model::Belongings,
    ops::{
        Host,
        parent::{self, Found},
    },
    state::State,
};

/// The link, if it can be taken over, or is already.
pub(super) async fn parent(kernel: &Kernel, state: &State, args: &cli::Underlay) -> Result<Found> {
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

/// Whoever could be cut off must want it expressly.
pub(super) async fn check_takeover(
    host: &Host<'_, '_>,
    args: &cli::Underlay,
    belongings: &Belongings,
) -> Result<()> {
    if args.takeover.takeover {
        return Ok(());
    }
    let parent = &args.parent;
    let mut why = None;
    if let Some(peer) = ssh_peer()
        && host.kernel.link_towards(peer).await?.is_some_and(|link| link.name == parent.as_str())
    {
        why = Some(format!("your SSH connection from {peer} comes by `{parent}`"));
    }
    if let Some(route) = belongings.routes.iter().find(|r| r.destination.prefix() == 0) {
        let gateway = route.hops.iter().find_map(|hop| hop.gateway);
        let by = gateway.map_or_else(String::new, |gateway| format!(" (via {gateway})"));
        why = why.or(Some(format!("`{parent}` carries the host's default route{by}")));
    }
    match why {
        None => Ok(()),
        Some(why) => {
            Err(Error::conflict(format!("{why}: if this goes wrong, the host is cut off"))
                .hint(
                    "add `--takeover`; with `--confirm 60` it is undone after a minute unless \
                 `netcord confirm` comes",
                )
                .into())
        }
    }
}

/// The other end of the SSH connection that this process belongs to: in its own environment, or,
/// as `sudo` takes it away, in that of who started it.
fn ssh_peer() -> Option<IpAddr> {
    const VARIABLE: &str = "SSH_CONNECTION";
    let of_text = |text: &str| text.split(' ').next()?.parse().ok();
    if let Ok(text) = env::var(VARIABLE) {
        return of_text(&text);
    }
    let mut pid = std::os::unix::process::parent_id();
    while pid > 1 {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let text = String::from_utf8_lossy(&environment);
        let prefix = format!("{VARIABLE}=");
        if let Some(text) = text.split('\0').find_map(|line| line.strip_prefix(&prefix)) {
            return of_text(text);
        }
        pid = process::parent(pid)?;
    }
    None
}
