//! The chains of `nf_tables`, of all programs, read in one dump.

use std::io;

use anyhow::{Context, Result};
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    nftables::{ChainAttribute, ChainMessage, Hook, HookNumber, InetHookNumber, NfTablesMessage},
};

use crate::kernel::nfnetlink::{Socket, is_absent};

/// `NF_DROP` (`linux/netfilter.h`).
const DROP: u32 = 0;

/// A chain.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// The family, as `nft` names it.
    pub(super) family: &'static str,
    pub(super) table: String,
    pub(super) name: String,
    /// Whether it is at the hook forward, with the policy drop.
    pub(super) drops_forwarded: bool,
    /// Whether it is at the hook output.
    pub(super) is_output: bool,
    /// The number of its rules, and of jumps to it.
    pub(super) uses: u32,
}

impl Chain {
    /// Returns whether it is this chain.
    pub(super) fn is(&self, family: &str, table: &str, name: &str) -> bool {
        (self.family, self.table.as_str(), self.name.as_str()) == (family, table, name)
    }
}

/// Returns all chains of families that forward; none without `nf_tables`, or without the privilege
/// to read it, as in a dry run.
///
/// Equivalent to `nft list chains`.
pub(super) fn all() -> Result<Vec<Chain>> {
    match dump() {
        Err(e) if is_absent(&e) || e.kind() == io::ErrorKind::PermissionDenied => Ok(Vec::new()),
        chains => chains.context("cannot list nftables' chains"),
    }
}

fn dump() -> io::Result<Vec<Chain>> {
    let get = NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() });
    let every_family = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
    Socket::open()?.dump(&NetfilterMessage::new(every_family, get), NLM_F_DUMP, chain)
}

/// The name of a family in `nft`; `None` for families that forward nothing.
pub(super) fn family(family: NetfilterProtoFamily) -> Option<&'static str> {
    match family {
        NetfilterProtoFamily::Inet => Some("inet"),
        NetfilterProtoFamily::IPv4 => Some("ip"),
        NetfilterProtoFamily::IPv6 => Some("ip6"),
        NetfilterProtoFamily::Bridge => Some("bridge"),
        _ => None,
    }
}

fn chain(message: NetfilterMessage) -> Option<Chain> {
    let family = family(message.header.family)?;
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(message)) = message.inner else {
        return None;
    };
    let mut chain = Chain { family, ..Chain::default() };
    let (mut forwards, mut drops, mut filters) = (false, false, false);
    let at = |number| Hook::Number(HookNumber::Inet(number));
    let (forward, output) = (at(InetHookNumber::Forward), at(InetHookNumber::LocalOut));
    for attribute in message.attributes {
        match attribute {
            ChainAttribute::Table(table) => chain.table = table,
            ChainAttribute::Name(name) => chain.name = name,
            ChainAttribute::Hook(hook) => {
                forwards = hook.contains(&forward);
                chain.is_output = hook.contains(&output);
            }
            ChainAttribute::Policy(policy) => drops = policy == DROP,
            ChainAttribute::Type(kind) => filters = kind == "filter",
            ChainAttribute::Use(uses) => chain.uses = uses,
            _ => {}
        }
    }
    chain.drops_forwarded = forwards && drops && filters;
    Some(chain)
}
