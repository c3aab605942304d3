//! Matches and targets of iptables, whose parameters are structures of the kernel's
//! (`<linux/netfilter/xt_*.h>`).

use std::net::IpAddr;

use super::{
    Verdict,
    machine::{Effect, Is, Machine},
};

// XT_CONNTRACK_*
const BY_STATE: u16 = 1;
const BY_STATUS: u16 = 1 << 6;
const STATE_SOURCE_TRANSLATED: u32 = 1 << 6;
const STATE_DESTINATION_TRANSLATED: u32 = 1 << 7;
const STATE_UNTRACKED: u32 = 1 << 8;
// NF_NAT_RANGE_*
const ADDRESSES: u32 = 1;
const PORTS: u32 = 1 << 1;
const SHIFTED_PORTS: u32 = 1 << 5;

/// Whether a match is for a packet.
pub(super) fn matches(machine: &Machine<'_>, name: &str, revision: u32, info: &[u8]) -> Is {
    let found = match (name, revision) {
        ("comment", _) => Some(Is::Yes),
        ("conntrack", 2 | 3) => conntrack(machine, info),
        ("addrtype", 1) => address_type(machine, info),
        ("tcp" | "udp", 0) => ports(machine, name, info),
        _ => None,
    };
    found.unwrap_or(Is::Maybe)
}

/// `xt_conntrack_mtinfo2` and `3`, as far as they are the same.
fn conntrack(machine: &Machine<'_>, info: &[u8]) -> Option<Is> {
    let (what, not) = (half(info, 146)?, half(info, 148)?);
    if what & !(BY_STATE | BY_STATUS) != 0 {
        return None;
    }
    let mut is = true;
    if what & BY_STATE != 0 {
        // The kernel's bits are the same but for what is not tracked.
        let untracked = machine.packet.untracked;
        let state = if untracked { STATE_UNTRACKED } else { machine.state() };
        let bit = |is: bool, bit| if is { bit } else { 0 };
        let state = state
            | bit(machine.packet.source_translated, STATE_SOURCE_TRANSLATED)
            | bit(machine.packet.destination_translated, STATE_DESTINATION_TRANSLATED);
        is &= (state & u32::from(half(info, 150)?) != 0) != (not & BY_STATE != 0);
    }
    if what & BY_STATUS != 0 {
        let status = machine.status() & u32::from(half(info, 152)?) != 0;
        is &= status != (not & BY_STATUS != 0);
    }
    Some(Is::of(is))
}

/// `xt_addrtype_info_v1`: what it is, not where the link is.
fn address_type(machine: &Machine<'_>, info: &[u8]) -> Option<Is> {
    let (source, destination, flags) = (half(info, 0)?, half(info, 2)?, word(info, 4)?);
    if flags & !0b11 != 0 {
        return None;
    }
    let is_of = |address, types: u16, not: bool| {
        types == 0 || (u32::from(types) & 1 << machine.kind_of(address) != 0) != not
    };
    Some(Is::of(
        is_of(machine.packet.source, source, flags & 1 != 0)
            && is_of(machine.packet.destination, destination, flags & 2 != 0),
    ))
}

/// `xt_tcp`, `xt_udp`
fn ports(machine: &Machine<'_>, name: &str, info: &[u8]) -> Option<Is> {
    let not = *info.get(if name == "tcp" { 11 } else { 8 })?;
    let within = |port: u16, at: usize, not: bool| {
        Some((half(info, at)? <= port && port <= half(info, at + 2)?) != not)
    };
    if name == "tcp" && info.get(8..11)?.iter().any(|byte| *byte != 0) {
        return None;
    }
    let any_source = half(info, 0)? == 0 && half(info, 2)? == u16::MAX && not & 1 == 0;
    let source = match machine.packet.source_port {
        _ if any_source => Is::Yes,
        Some(port) => Is::of(within(port, 0, not & 1 != 0)?),
        None => Is::Maybe,
    };
    let destination = within(machine.packet.port, 4, not & 2 != 0)?;
    Some(if destination { source } else { Is::No })
}

/// What a target does.
pub(super) fn target(machine: &Machine<'_>, name: &str, revision: u32, info: &[u8]) -> Effect {
    match name {
        "MASQUERADE" => Effect::From(machine.around.own),
        "REJECT" => Effect::Decide(Verdict::Reject),
        "LOG" | "NFLOG" | "TRACE" | "CHECKSUM" | "TCPMSS" | "CLASSIFY" => {
            Effect::Decide(Verdict::Continue)
        }
        "DNAT" | "SNAT" | "REDIRECT" => {
            translate(machine, name, revision, info).unwrap_or_else(|| Effect::Unknown(name.into()))
        }
        _ => Effect::Unknown(name.into()),
    }
}

/// `nf_nat_range`, `nf_nat_range2`, and IPv4's own from before them.
fn translate(machine: &Machine<'_>, name: &str, revision: u32, info: &[u8]) -> Option<Effect> {
    let is_old = revision == 0;
    let (flags, address, port, base) = if is_old { (4, 8, 16, None) } else { (0, 4, 36, Some(40)) };
    let flags = word(info, flags)?;
    let address = match machine.packet.source {
        _ if flags & ADDRESSES == 0 => None,
        IpAddr::V4(_) => {
            Some(IpAddr::from(<[u8; 4]>::try_from(info.get(address..address + 4)?).ok()?))
        }
        IpAddr::V6(_) => {
            Some(IpAddr::from(<[u8; 16]>::try_from(info.get(address..address + 16)?).ok()?))
        }
    };
    let port = if flags & PORTS == 0 {
        None
    } else {
        let first = big(info, port)?;
        match base.filter(|_| revision == 2 && flags & SHIFTED_PORTS != 0) {
            Some(base) => {
                Some(machine.packet.port.wrapping_sub(big(info, base)?).wrapping_add(first))
            }
            None => Some(first),
        }
    };
    Some(match name {
        "DNAT" => Effect::To(address, port),
        "SNAT" => Effect::From(address),
        _ => machine.redirect(port),
    })
}

fn half(info: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(info.get(at..at + 2)?.try_into().ok()?))
}

fn big(info: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(info.get(at..at + 2)?.try_into().ok()?))
}

fn word(info: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(info.get(at..at + 4)?.try_into().ok()?))
}
