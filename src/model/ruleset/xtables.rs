//! The matches and targets of iptables, whose parameters are the kernel's structures
//! (`<linux/netfilter/xt_*.h>`).

use std::net::IpAddr;

use super::{
    Direction, Expression, Tracking, Verdict,
    machine::{Answer, Effect, Is, Machine},
    packet::{TCP, UDP},
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

/// Returns whether a match of iptables matches a packet.
pub(super) fn matches(machine: &Machine<'_>, name: &str, revision: u32, info: &[u8]) -> Is {
    let found = match (name, revision) {
        ("comment", _) => Some(Is::Yes),
        ("conntrack", 2 | 3) => conntrack(machine, info),
        ("addrtype", 1) => address_type(machine, info),
        ("tcp" | "udp", 0) => ports(machine, name, info),
        ("mark", 1) => mark(machine.packet.mark, info),
        ("connmark", 1) => mark(machine.packet.connection_mark, info),
        ("multiport", 1) => multiport(machine, info),
        ("icmp" | "icmp6", 0) => icmp(machine, info),
        _ => None,
    };
    found.unwrap_or(Is::Maybe)
}

/// `xt_conntrack_mtinfo2` and `3`, the parts that are equal.
fn conntrack(machine: &Machine<'_>, info: &[u8]) -> Option<Is> {
    let (what, not) = (half(info, 146)?, half(info, 148)?);
    let is_known = machine.packet.tracking != Tracking::Unknown;
    if !is_known || what & !(BY_STATE | BY_STATUS) != 0 {
        return None;
    }
    let mut is = true;
    if what & BY_STATE != 0 {
        // The bits are the kernel's own, except for "untracked".
        let untracked = machine.packet.tracking == Tracking::Untracked;
        let state = if untracked { STATE_UNTRACKED } else { machine.state() };
        let bit = |is: bool, bit| if is { bit } else { 0 };
        let state = state
            | bit(machine.packet.is_source_translated(), STATE_SOURCE_TRANSLATED)
            | bit(machine.packet.is_destination_translated(), STATE_DESTINATION_TRANSLATED);
        is &= (state & u32::from(half(info, 150)?) != 0) != (not & BY_STATE != 0);
    }
    if what & BY_STATUS != 0 {
        let status = machine.status() & u32::from(half(info, 152)?) != 0;
        is &= status != (not & BY_STATUS != 0);
    }
    Some(Is::of(is))
}

/// The match of `--ctstate`, as the kernel keeps it.
pub(super) fn by_states(states: &str, not: bool) -> Expression {
    let bit = |state| match state {
        "INVALID" => 1,
        "ESTABLISHED" => 1 << 1,
        "RELATED" => 1 << 2,
        "NEW" => 1 << 3,
        "SNAT" => STATE_SOURCE_TRANSLATED,
        "DNAT" => STATE_DESTINATION_TRANSLATED,
        "UNTRACKED" => STATE_UNTRACKED,
        _ => 0,
    };
    let mask: u32 = states.split(',').map(bit).fold(0, |all, bit| all | bit);
    let mut info = vec![0; 156];
    let mut put = |at: usize, half: u32| {
        let half = u16::try_from(half).unwrap_or(u16::MAX);
        info[at..at + 2].copy_from_slice(&half.to_ne_bytes());
    };
    put(146, BY_STATE.into());
    put(148, if not { BY_STATE.into() } else { 0 });
    put(150, mask);
    Expression::XtMatch("conntrack".to_owned(), 3, info)
}

/// `xt_addrtype_info_v1`: the type of the address; a restriction to a link is not evaluated.
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
    if name == "tcp" && info.get(8..11)?.iter().any(|byte| *byte != 0) {
        return None;
    }
    let side = |port: Option<u16>, at: usize, not: bool| {
        Some(machine.packet.is_within(port, half(info, at)?, half(info, at + 2)?).turned(not))
    };
    let source = side(machine.packet.source_port, 0, not & 1 != 0)?;
    Some(source.min(side(machine.packet.port, 4, not & 2 != 0)?))
}

/// `xt_mark_mtinfo1`, `xt_connmark_mtinfo1`
fn mark(mark: u32, info: &[u8]) -> Option<Is> {
    let not = *info.get(8)? != 0;
    Some(Is::of((mark & word(info, 4)? == word(info, 0)?) != not))
}

/// `xt_multiport_v1`: up to 15 ports, with flags for those that begin a range.
fn multiport(machine: &Machine<'_>, info: &[u8]) -> Option<Is> {
    let (side, count, not) = (*info.first()?, usize::from(*info.get(1)?), *info.get(47)? != 0);
    if !matches!(machine.packet.protocol, TCP | UDP) {
        return None;
    }
    let is = |port: Option<u16>| {
        let (mut at, mut none) = (0, Is::Yes);
        while at < count {
            let first = half(info, 2 + at * 2)?;
            let is_range = *info.get(32 + at)? != 0;
            let last = if is_range { half(info, 4 + at * 2)? } else { first };
            none = none.min(machine.packet.is_within(port, first, last).turned(true));
            at += if is_range { 2 } else { 1 };
        }
        Some(none.turned(true))
    };
    let (source, destination) = (is(machine.packet.source_port)?, is(machine.packet.port)?);
    // XT_MULTIPORT_SOURCE, DESTINATION, EITHER
    let found = match side {
        0 => source,
        1 => destination,
        _ => source.turned(true).min(destination.turned(true)).turned(true),
    };
    Some(found.turned(not))
}

/// `ipt_icmp`, `ip6t_icmp`: a type, and a range of codes.
fn icmp(machine: &Machine<'_>, info: &[u8]) -> Option<Is> {
    let (wanted, low, high, not) = (*info.first()?, *info.get(1)?, *info.get(2)?, *info.get(3)?);
    let bytes = machine.packet.header(super::Header::Transport)?;
    let (kind, code) = ((*bytes.first()?)?, (*bytes.get(1)?)?);
    let is = wanted == 0xff || kind == wanted && (low..=high).contains(&code);
    Some(Is::of(is != (not & 1 != 0)))
}

/// Returns the effect of a target of iptables.
pub(super) fn target(
    machine: &Machine<'_>,
    name: &str,
    revision: u32,
    info: &[u8],
    to: &mut Answer,
) {
    to.effect = match (name, revision) {
        ("MARK", 2) => {
            to.mark = set_mark(machine.packet.mark, info);
            known(to.mark, name)
        }
        ("CONNMARK", 1 | 2) => connection_mark(machine, info, to),
        _ => effect(machine, name, revision, info),
    };
}

fn known<T>(found: Option<T>, name: &str) -> Effect {
    found.map_or_else(|| Effect::Unknown(name.into()), |_| Effect::Decide(Verdict::Continue))
}

/// `xt_mark_tginfo2`
fn set_mark(mark: u32, info: &[u8]) -> Option<u32> {
    Some((mark & !word(info, 4)?) ^ word(info, 0)?)
}

/// `xt_connmark_tginfo1`, and `2` without a shift.
fn connection_mark(machine: &Machine<'_>, info: &[u8], to: &mut Answer) -> Effect {
    let read = || {
        let (value, of, mask) = (word(info, 0)?, word(info, 4)?, word(info, 8)?);
        if info.get(13..15).is_some_and(|shift| shift[1] != 0) {
            return None;
        }
        let (packet, connection) = (machine.packet.mark, machine.packet.connection_mark);
        // XT_CONNMARK_SET, SAVE, RESTORE
        match *info.get(12)? {
            0 => Some((None, Some((connection & !of) ^ value))),
            1 => Some((None, Some((connection & !of) ^ (packet & mask)))),
            2 => Some((Some((packet & !mask) ^ (connection & of)), None)),
            _ => None,
        }
    };
    let found = read();
    if let Some((mark, connection)) = found {
        (to.mark, to.connection_mark) = (mark, connection);
    }
    known(found, "CONNMARK")
}

/// `xt_ct_target_info`: untracked, or another zone.
fn tracking(machine: &Machine<'_>, info: &[u8]) -> Option<Effect> {
    let (flags, zone) = (half(info, 0)?, half(info, 2)?);
    // XT_CT_NOTRACK, NOTRACK_ALIAS; ZONE_DIR_ORIG, ZONE_DIR_REPL; ZONE_MARK
    if flags & 0b11 != 0 {
        return Some(Effect::NoTrack);
    }
    let direction = match flags {
        0 => None,
        0b100 => Some(Direction::Original),
        0b1000 => Some(Direction::Reply),
        _ => return None,
    };
    Some(Effect::Zone(machine.packet.zones.with(zone, direction)))
}

fn effect(machine: &Machine<'_>, name: &str, revision: u32, info: &[u8]) -> Effect {
    match name {
        "CT" => tracking(machine, info).unwrap_or_else(|| Effect::Unknown(name.into())),
        "NOTRACK" => Effect::NoTrack,
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

/// `nf_nat_range`, `nf_nat_range2`, and the older structure of IPv4.
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
                Some(machine.packet.port?.wrapping_sub(big(info, base)?).wrapping_add(first))
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
