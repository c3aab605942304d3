//! The parent of an underlay network as the uplink of its bridge: whether it is a port, and how it
//! becomes one again.

use anyhow::Result;

use crate::{
    kernel::{Kernel, Link},
    model::{LinkName, Network},
    ops::request::words::Words,
    plan::{Moved, Plan, Resource, Step, quote},
};

/// The state of the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) enum Uplink<'l> {
    /// A port of the bridge.
    Port(&'l Link),
    /// A port of the bridge, under another name.
    Renamed(&'l Link),
    /// Not a port of the bridge: removed, recreated by its driver, or a port of another bridge.
    Out(&'l Link),
    /// There is no link of this name.
    Gone,
}

impl<'l> Uplink<'l> {
    /// Finds the parent of a bridge among the host's links.
    pub(in crate::ops) fn find(
        links: impl Iterator<Item = &'l Link> + Clone,
        bridge: Option<&Link>,
        parent: &LinkName,
    ) -> Self {
        let named = links.clone().find(|link| link.name == parent.as_str());
        let is_port = |link: &&Link| bridge.is_some_and(|bridge| link.is_port_of(bridge));
        if let Some(link) = named.filter(is_port) {
            return Self::Port(link);
        }
        match (Self::only_foreign(links.filter(is_port), bridge), named) {
            (Some(link), _) => Self::Renamed(link),
            (None, Some(link)) => Self::Out(link),
            (None, None) => Self::Gone,
        }
    }

    /// Returns the port that netcord did not make; of several, the one with the bridge's MAC. A tap
    /// does not count, since it belongs to a virtual machine.
    fn only_foreign(
        ports: impl Iterator<Item = &'l Link>,
        bridge: Option<&Link>,
    ) -> Option<&'l Link> {
        let foreign: Vec<_> = ports.filter(|l| !l.is_ours() && l.kind_name != "tun").collect();
        match foreign.as_slice() {
            [one] => Some(one),
            several => several.iter().copied().find(|l| bridge.is_some_and(|b| b.mac == l.mac)),
        }
    }

    /// Returns the parent, if it exists.
    pub(super) fn link(self) -> Option<&'l Link> {
        match self {
            Self::Port(link) | Self::Renamed(link) | Self::Out(link) => Some(link),
            Self::Gone => None,
        }
    }

    /// Returns whether endpoints reach the physical network through it.
    pub(in crate::ops) fn carries(self) -> bool {
        matches!(self, Self::Port(link) | Self::Renamed(link) if link.is_running())
    }
}

/// A parent that cannot be put back without the user's consent.
#[derive(Debug)]
pub(in crate::ops) struct Lost {
    /// The reason.
    pub(in crate::ops) why: &'static str,
    /// The command that puts it back.
    pub(in crate::ops) command: String,
}

/// Returns the command that makes the parent a port again, with its configuration moved.
pub(in crate::ops) fn again(network: &Network, parent: &LinkName) -> String {
    let words = Words::new(["underlay", network.name.as_str()]).flag("--parent", parent);
    words.switch("--takeover", true).flags_of(network).line()
}

/// Returns the steps that put a parent back: sets it up and, if it has no addresses and routes,
/// makes it a port. Its configuration may be in use at this moment, so moving it needs a watchdog.
pub(super) async fn put_back(
    kernel: &Kernel,
    network: &Network,
    parent: &LinkName,
) -> Result<(Plan, Option<Lost>)> {
    let links = kernel.links().await?;
    let bridge = links.values().find(|link| link.name == network.name.as_str());
    let lost = |why, command| Some(Lost { why, command });
    let (mut plan, mut missing) = (Plan::new(), None);
    match Uplink::find(links.values(), bridge, parent) {
        Uplink::Port(_) => plan.push(up(parent)),
        Uplink::Renamed(link) => {
            let command = format!("ip link set {} name {parent}", quote(&link.name));
            missing = lost("its parent link has been renamed", command);
        }
        Uplink::Out(link) if link.master.is_some() => {
            let command = format!("ip link set {parent} master {}", network.name);
            missing = lost("its parent link is a port of something else", command);
        }
        Uplink::Out(link) => {
            // A configuration with unknown attributes is not moved.
            let is_free = kernel.link_config(link).await.is_ok_and(|there| there.is_empty());
            if is_free {
                let (link, bridge) = (parent.clone(), network.name.clone());
                plan.push(up(parent));
                plan.push(Step::create(
                    "the link is the bridge's uplink to the physical network",
                    Resource::Moved(Moved::Port { link, bridge }),
                ));
            } else {
                let why = "its parent link is out of the bridge, and has addresses or routes";
                missing = lost(why, again(network, parent));
            }
        }
        Uplink::Gone => missing = Some(gone(network)),
    }
    Ok((plan, missing))
}

/// The reason if the parent does not exist: no command restores it.
pub(in crate::ops) fn gone(network: &Network) -> Lost {
    let command = format!("netcord doctor {}", network.name);
    Lost { why: "its parent link is gone", command }
}

/// The step that sets a parent up.
pub(in crate::ops::driver) fn up(parent: &LinkName) -> Step {
    let why = "a link carries no frames until it is up";
    Step::create(why, Resource::Up { netns: None, link: parent.clone() })
}
