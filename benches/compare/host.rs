//! A host for each contender, so that nobody's links and rules are in anybody's way.
//!
//! Each is a network namespace with a private `/run` and `/var/lib`, inside the throwaway host that
//! the whole bench runs in. All of them have the same bridge and the same subnet.

use std::{fmt::Write as _, fs, net::Ipv4Addr, process::Command};

use anyhow::Result;

use crate::{
    connect,
    netns::{self, Room},
    process::{run_with, words},
};

/// The network of every contender: the name of its bridge.
pub(crate) const NETWORK: &str = "lab0";
/// Its subnet, with room for a full bridge.
pub(crate) const SUBNET: &str = "10.77.0.0/16";
/// The length of its prefix.
pub(crate) const PREFIX: u8 = 16;
/// Its gateway, the bridge's own address.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Names of programs and mount points that are the same on every host.
const SET_UP: [&str; 5] = [
    "mount -t tmpfs -o mode=755 tmpfs /run",
    "mount -t tmpfs -o mode=755 tmpfs /var/lib",
    "mkdir -p /run/netns /run/lock",
    "ip link set lo up",
    "sysctl -qw net.ipv4.ip_forward=1",
];

/// A host, from outside.
pub(crate) struct Host(Room);

/// What is attached.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Its name in `/run/netns`.
    pub(crate) name: String,
    /// Its address, for those who do not choose one.
    pub(crate) address: Ipv4Addr,
}

impl Target {
    /// The target of this number; numbers below 60,000 have an address in the subnet.
    pub(crate) fn number(number: u16) -> Self {
        let [high, low] = (number + 2).to_be_bytes();
        Self { name: format!("t{number}"), address: Ipv4Addr::new(10, 77, high, low) }
    }

    /// Where its namespace is.
    pub(crate) fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }
}

impl Host {
    /// A fresh host that forwards, with somebody outside and without any network.
    pub(crate) fn fresh() -> Result<Self> {
        let host = Self(Room::fresh()?);
        host.within(|| {
            SET_UP.iter().try_for_each(|line| words(line).map(drop))?;
            connect::add_outside()
        })?;
        Ok(host)
    }

    /// Does something on it. Processes that are started there stay there.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.0.within(work)
    }
}

/// Makes targets on the host that this program is on: namespaces as `ip netns` makes them.
///
/// With `ipv6` false their links start without IPv6.
pub(crate) fn add_targets(targets: &[Target], ipv6: bool) -> Result<()> {
    let mut lines = String::new();
    for target in targets {
        _ = writeln!(lines, "netns add {}", target.name);
    }
    run_with(Command::new("ip").args(["-batch", "-"]), &lines)?;
    for target in targets.iter().filter(|_| !ipv6) {
        netns::within(&target.name, new_links_have_no_ipv6)?;
    }
    Ok(())
}

/// Links that are made from now on in this network namespace start without IPv6.
pub(crate) fn new_links_have_no_ipv6() -> Result<()> {
    if fs::exists("/proc/sys/net/ipv6")? {
        netns::set("ipv6/conf/default/disable_ipv6", "1")?;
    }
    Ok(())
}

/// Makes the bridge as netcord would, for those who do not make it themselves.
pub(crate) fn add_bridge() -> Result<()> {
    words(&format!("ip link add {NETWORK} type bridge"))?;
    words(&format!("ip addr add {GATEWAY}/{PREFIX} dev {NETWORK}"))?;
    words(&format!("ip link set {NETWORK} up")).map(drop)
}
