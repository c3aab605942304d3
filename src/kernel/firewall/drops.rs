//! Chains of other programs that drop forwarded packets unless a rule there accepts them.
//!
//! iptables lists its rules; those of other tables are read in the kernel's own form.

use std::io;

use anyhow::{Context, Result};
use netlink_packet_core::{NLM_F_DUMP, NetlinkSerializable};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    nftables::{
        NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetElementList,
        SetElementMessage, SetMessage,
    },
};

use super::chains::{self, Chain};
use crate::{kernel::nfnetlink::Socket, model::Family};

/// A chain that drops forwarded packets unless a rule accepts them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropping {
    /// The family, as `nft` names it.
    pub family: &'static str,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
    /// Whether it is firewalld's.
    pub is_firewalld: bool,
}

impl Dropping {
    /// Returns whether packets of this IP version pass it.
    pub fn meets(&self, family: Family) -> bool {
        match self.family {
            "ip" => family == Family::V4,
            "ip6" => family == Family::V6,
            _ => true,
        }
    }

    /// Returns whether only bridged frames pass it.
    pub fn is_of_bridges(&self) -> bool {
        self.family == "bridge"
    }
}

/// Returns all such chains, except iptables'.
pub(in crate::kernel) fn dropping() -> Result<Vec<Dropping>> {
    let found = chains::all()?.into_iter().filter_map(|chain| {
        // The policy of firewalld's chain is accept, but its last rule rejects.
        let is_firewalld = chain.is("inet", "firewalld", "filter_FORWARD");
        let is_iptables =
            chain.is("ip", "filter", "FORWARD") || chain.is("ip6", "filter", "FORWARD");
        let Chain { family, table, name, drops_forwarded, .. } = chain;
        let drops = is_firewalld || (drops_forwarded && !is_iptables);
        drops.then_some(Dropping { family, table, chain: name, is_firewalld })
    });
    Ok(found.collect())
}

/// Returns whether a rule or a set element in the chain's table names a link, so that the program
/// that owns the table is configured for it.
pub(in crate::kernel) fn lets_by(chain: &Dropping, link: &str) -> Result<bool> {
    speaks_of(chain, link).with_context(|| format!("cannot list nftables' table `{}`", chain.table))
}

fn speaks_of(chain: &Dropping, link: &str) -> io::Result<bool> {
    let family = match chain.family {
        "inet" => NetfilterProtoFamily::Inet,
        "ip" => NetfilterProtoFamily::IPv4,
        "ip6" => NetfilterProtoFamily::IPv6,
        _ => NetfilterProtoFamily::Bridge,
    };
    let mut socket = Socket::open()?;
    let get = |message| NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message);
    let table = || chain.table.clone();
    // In the kernel's form, with the terminating zero.
    let name = [link.as_bytes(), &[0]].concat();
    let speaks = |message: &NetfilterMessage| {
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes.windows(name.len()).any(|part| part == name)
    };

    let rules = RuleMessage { attributes: vec![RuleAttribute::Table(table())] };
    let rule = |mut message: NetfilterMessage| {
        if let NetfilterMessageInner::NfTables(NfTablesMessage::NewRule(rule)) = &mut message.inner
        {
            // The comment does not count.
            rule.attributes.retain(|a| matches!(a, RuleAttribute::Expressions(_)));
        }
        speaks(&message).then_some(())
    };
    if !socket.dump(&get(NfTablesMessage::GetRule(rules)), NLM_F_DUMP, rule)?.is_empty() {
        return Ok(true);
    }
    let sets = SetMessage { attributes: vec![SetAttribute::Table(table())] };
    let set = |message: NetfilterMessage| {
        let NetfilterMessageInner::NfTables(NfTablesMessage::NewSet(set)) = message.inner else {
            return None;
        };
        set.attributes.into_iter().find_map(|attribute| match attribute {
            SetAttribute::Name(name) => Some(name),
            _ => None,
        })
    };
    for set in socket.dump(&get(NfTablesMessage::GetSet(sets)), NLM_F_DUMP, set)? {
        let attributes = vec![SetElementList::Table(table()), SetElementList::Set(set)];
        let elements = NfTablesMessage::GetSetElement(SetElementMessage { attributes });
        let element = |message: NetfilterMessage| speaks(&message).then_some(());
        if !socket.dump(&get(elements), NLM_F_DUMP, element)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}
