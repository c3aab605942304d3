//! The only code that reads or changes the kernel. Each kind of object has a file or folder, with
//! its readers. `apply` passes a change to the right one, `check` finds out whether it is made
//! already.

mod address;
mod apply;
mod arp_probe;
mod check;
pub mod conntrack;
mod datagram;
pub mod dhcp;
pub mod echo;
mod entries;
mod fdb;
mod filter;
mod firewall;
mod link;
mod link_config;
mod name;
mod neighbour;
mod netns;
mod nfnetlink;
mod nsid;
pub mod ports;
pub mod probe;
pub mod route;
mod rtnl;
pub mod sockets;
mod sysctl;
mod tc_filter;
mod watch;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use anyhow::{Context, Result};

use crate::{
    model::{LinkName, NetnsName},
    plan::Place,
};
pub use address::{LinkAddress, TableRoute, global_addresses};
pub use apply::Outcome;
pub use filter::Filter;
pub use firewall::{Dropping, Event, Follower, ForwardBlockers, Published, Translation};
pub use link::{BRIDGE_PORTS_MAX, Link, LinkKind, Port, VxlanAttrs, set_loopback_up};
pub use netns::{NETNS_DIR, Netns, NetnsFile, named};
pub use nsid::Between;
use rtnl::Rtnl;
pub use sockets::{Listener, Socket, Sockets};
pub use watch::{HostWatch, LinkWatch, NetnsWatch};

/// The kernel of this host: the namespace that netcord was started in, and those of its targets.
#[derive(Debug)]
pub struct Kernel {
    rtnl: Rtnl,
    cookie: u64,
    targets: BTreeMap<NetnsName, Netns>,
    /// Links of the host that this process created, and that need no check.
    made: BTreeSet<LinkName>,
    standing: RefCell<firewall::Standing>,
}

impl Kernel {
    /// Opens the kernel of this process's own namespace.
    pub fn open() -> Result<Self> {
        let rtnl = Rtnl::open().context("cannot open a netlink socket")?;
        let cookie = netns::cookie_here().context(
            "cannot tell this network namespace from others: Linux 5.14 or newer is needed",
        )?;
        let standing = RefCell::default();
        Ok(Self { rtnl, cookie, targets: BTreeMap::new(), made: BTreeSet::new(), standing })
    }

    /// Opens all sockets again: one that failed to send stays closed, and a rollback needs it.
    pub fn reconnect(&mut self) -> Result<()> {
        self.rtnl = Rtnl::open()?;
        self.targets.values_mut().try_for_each(Netns::reconnect)
    }

    /// Returns the cookie of the host's namespace.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Registers an open namespace under the name that plans use.
    pub fn know(&mut self, name: NetnsName, netns: Netns) -> &Netns {
        self.targets.entry(name).or_insert(netns)
    }

    /// Returns the namespace with this name in plans.
    pub fn target(&self, name: &NetnsName) -> Option<&Netns> {
        self.targets.get(name)
    }

    /// Closes a namespace.
    pub fn forget(&mut self, name: &NetnsName) {
        self.targets.remove(name);
    }

    /// Returns the process by which a registered namespace was opened, if it has ended since.
    pub fn ended(&self) -> Option<u32> {
        self.targets.values().find(|netns| !netns.lives()).and_then(Netns::pid)
    }

    fn at(&self, netns: &Place) -> Result<&Rtnl> {
        self.in_namespace(netns.as_ref())
    }

    fn in_namespace(&self, netns: Option<&NetnsName>) -> Result<&Rtnl> {
        match netns {
            None => Ok(&self.rtnl),
            Some(name) => self.known(name).map(Netns::rtnl),
        }
    }

    fn known(&self, name: &NetnsName) -> Result<&Netns> {
        self.targets.get(name).with_context(|| format!("the namespace `{name}` is not open"))
    }
}
