//! The firewalls of the kernel: carries out the rules of a plan, and reads what exists.

mod chains;
mod drops;
pub(super) mod firewalld;
mod forward;
mod iptables;
mod nftables;
mod standing;
mod translations;

use std::fs::{self, File};

use anyhow::Result;

pub use nftables::{Event, Follower};

use super::{Kernel, Netns, Outcome};
use crate::{
    error::{Error, Kind},
    model::{
        Family, Firewall, LinkName, PublishedPort,
        ruleset::{Packet, Ruleset},
    },
    plan::{Change, Table},
};
pub use drops::Dropping;
pub(super) use drops::dropping;
pub use forward::ForwardBlockers;
pub(super) use forward::obstacles;
pub(super) use standing::Standing;
pub use translations::Translation;
pub(super) use translations::all as translations;

/// A published port in a firewall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The endpoint, as `NETWORK/NAME`.
    pub owner: String,
    /// The port.
    pub port: PublishedPort,
    /// Its rule is there and says something else than its mark: the rule.
    pub changed: Option<String>,
}

/// Makes adjacent changes of one firewall; returns the outcome of each.
pub(super) fn apply(changes: &[&Change], lock: &File) -> Result<Vec<Outcome>> {
    match changes.first().and_then(|change| change.facts().firewall()).map(|part| part.firewall) {
        Some(Firewall::Nftables) => nftables::apply(changes),
        Some(Firewall::Iptables) => iptables::apply(changes, lock),
        None => Ok(Vec::new()),
    }
}

/// Checks that this process may read rules.
///
/// # Errors
/// If it lacks the privilege.
pub(super) fn check_readable() -> Result<()> {
    match nftables::stands() {
        Err(error) if Kind::of(&error) == Kind::Permission => Err(error),
        _ => Ok(()),
    }
}

/// Returns whether the kernel has this table of iptables, nft or legacy.
fn has_iptables(family: Family, table: Table) -> Result<bool> {
    let (name, legacy) = match family {
        Family::V4 => ("ip", "/proc/thread-self/net/ip_tables_names"),
        Family::V6 => ("ip6", "/proc/thread-self/net/ip6_tables_names"),
    };
    let is_it = |c: &chains::Chain| c.family == name && c.table == table.name();
    Ok(chains::all()?.iter().any(is_it)
        || fs::read_to_string(legacy).is_ok_and(|tables| tables.lines().any(|t| t == table.name())))
}

/// Returns the networks with chains in our table, as far as they can be read.
pub(super) fn networks() -> Vec<LinkName> {
    nftables::networks().unwrap_or_default()
}

/// Returns the networks whose packets open networks let in by our table, as far as they can be read.
pub(super) fn open_networks() -> Vec<LinkName> {
    nftables::open_networks().unwrap_or_default()
}

/// Returns all tables of nftables in the thread's namespace, of all programs.
pub(super) fn ruleset() -> Result<Ruleset> {
    nftables::ruleset()
}

/// Begins to trace a connection in the thread's namespace.
pub(super) fn follow(packet: &Packet) -> Result<Follower> {
    nftables::follow(packet)
}

/// Returns the tables of `iptables-legacy` that are in use in the thread's namespace.
pub(super) fn legacy_tables() -> Vec<(&'static str, String)> {
    let files = [
        ("iptables", "/proc/thread-self/net/ip_tables_names"),
        ("ip6tables", "/proc/thread-self/net/ip6_tables_names"),
        ("arptables", "/proc/thread-self/net/arp_tables_names"),
    ];
    let read = |(program, file)| {
        let tables = fs::read_to_string(file).unwrap_or_default();
        tables.lines().map(|table| (program, table.to_owned())).collect::<Vec<_>>()
    };
    files.into_iter().flat_map(read).collect()
}

/// Returns the firewall for a host on which we have no rules yet.
pub(super) fn of_this_kernel() -> Firewall {
    if nftables::is_here() { Firewall::Nftables } else { Firewall::Iptables }
}

fn not_permitted(what: &str) -> Error {
    Error::new(Kind::Permission, what)
        .hint("run as root (or with CAP_NET_ADMIN); `netcord lab` needs neither")
}

impl Kernel {
    /// Returns what blocks forwarded packets of these families in the firewalls of other programs,
    /// if our own rules are in this firewall.
    pub fn obstacles(&self, firewall: Firewall, families: &[Family]) -> Result<ForwardBlockers> {
        obstacles(firewall, families)
    }

    /// Returns the networks with chains in our table, as far as they can be read.
    pub fn networks_with_rules(&self) -> Vec<LinkName> {
        networks()
    }

    /// Returns the networks whose packets open networks let in by our table, as far as they can be read.
    pub fn open_networks(&self) -> Vec<LinkName> {
        open_networks()
    }

    /// Returns the firewall for a host without rules of netcord's: nftables, if the kernel has it.
    pub fn firewall(&self) -> Firewall {
        of_this_kernel()
    }

    /// Checks that this process may read rules.
    ///
    /// # Errors
    /// If it lacks the privilege.
    pub fn check_rules_readable(&self) -> Result<()> {
        check_readable()
    }

    /// Returns the chains of nftables, except iptables', that drop forwarded packets unless a rule
    /// accepts them.
    pub fn dropping(&self) -> Result<Vec<Dropping>> {
        dropping()
    }

    /// Returns the rules of other programs in nftables that translate the destination of a port.
    pub fn translations(&self) -> Result<Vec<Translation>> {
        translations()
    }
}

impl Netns {
    /// Returns all rules of nftables in this namespace, of all programs.
    pub fn ruleset(&self) -> Result<Ruleset> {
        self.within(ruleset)?
    }

    /// Begins to trace a connection in this namespace.
    pub fn follow(&self, packet: &Packet) -> Result<Follower> {
        self.within(|| follow(packet))?
    }

    /// Returns the tables of `iptables-legacy` that are in use in this namespace, each with its
    /// program. nftables does not show them.
    pub fn legacy_tables(&self) -> Result<Vec<(&'static str, String)>> {
        Ok(self.within(legacy_tables)?)
    }
}
