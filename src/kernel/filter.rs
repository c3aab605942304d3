//! `tc` filters at a link, of all programs.

use anyhow::{Context, Result};
use netlink_packet_core::{DefaultNla, Nla};
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
};

use super::{Link, Netns, rtnl::Rtnl, tc_filter::TCA_BPF_OPS};
use crate::model::bpf::Instruction;

/// Classless qdiscs, which have no filters.
const WITHOUT_FILTERS: [&str; 7] = ["", "noqueue", "noop", "pfifo_fast", "pfifo", "bfifo", "mq"];

/// A `tc` filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The preference: lower ones come first.
    pub preference: u32,
    /// The ethertype that it applies to; `ETH_P_ALL` (3): all.
    pub protocol: u16,
    /// Its kind, as `tc` names it.
    pub kind: String,
    /// The program, if it is classic BPF in direct-action mode.
    pub program: Option<Vec<Instruction>>,
}

/// Returns the filters for frames that a link receives, or sends. Equivalent to `tc filter show dev
/// LINK ingress|egress|root`.
pub(super) async fn all(rtnl: &Rtnl, link: &Link, receives: bool) -> Result<Vec<Filter>> {
    let clsact = |minor| TcHandle { major: 0xffff, minor };
    if receives {
        return of_parent(rtnl, link, clsact(TcHandle::MIN_INGRESS)).await;
    }
    let mut found = of_parent(rtnl, link, clsact(TcHandle::MIN_EGRESS)).await?;
    if !WITHOUT_FILTERS.contains(&link.qdisc.as_str()) {
        found.extend(of_parent(rtnl, link, TcHandle::UNSPEC).await?);
    }
    Ok(found)
}

async fn of_parent(rtnl: &Rtnl, link: &Link, parent: TcHandle) -> Result<Vec<Filter>> {
    let index = i32::try_from(link.index()).context("a link's number is out of range")?;
    let mut message = TcMessage::with_index(index);
    message.header.parent = parent;
    let replies = rtnl
        .dump(RouteNetlinkMessage::GetTrafficFilter(message))
        .await
        .with_context(|| format!("cannot read the filters of `{}`", link.name))?;
    let mut found: Vec<_> = replies.into_iter().filter_map(parse).collect();
    found.sort_by_key(|filter| filter.preference);
    Ok(found)
}

/// Parses a filter; returns `None` for a message that only announces a list of filters (handle 0).
fn parse(reply: RouteNetlinkMessage) -> Option<Filter> {
    let RouteNetlinkMessage::NewTrafficFilter(message) = reply else { return None };
    let kind = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind.clone()),
        _ => None,
    })?;
    let (mut program, mut decides, mut has_options) = (None, false, false);
    for attribute in &message.attributes {
        let TcAttribute::Options(options) = attribute else { continue };
        has_options = true;
        for option in options {
            match option {
                TcOption::Bpf(TcFilterBpfOption::Other(nla)) if nla.kind() == TCA_BPF_OPS => {
                    program = Some(instructions(nla));
                }
                TcOption::Bpf(TcFilterBpfOption::Flags(flags)) => {
                    decides = flags.contains(TcBpfFlags::DirectAction);
                }
                _ => {}
            }
        }
    }
    let is_program = kind == TcFilterBpf::KIND && decides;
    let preference = message.header.info >> 16;
    // The protocol is in network byte order.
    let protocol = u16::try_from(message.header.info & 0xffff).map_or(0, u16::from_be);
    let program = program.filter(|_| is_program);
    has_options.then_some(Filter { preference, protocol, kind, program })
}

/// `struct sock_filter`
fn instructions(nla: &DefaultNla) -> Vec<Instruction> {
    let mut bytes = vec![0; nla.value_len()];
    nla.emit_value(&mut bytes);
    let (all, _) = bytes.as_chunks::<8>();
    let one = |&[c0, c1, jt, jf, k0, k1, k2, k3]: &[u8; 8]| Instruction {
        code: u16::from_ne_bytes([c0, c1]),
        jt,
        jf,
        k: u32::from_ne_bytes([k0, k1, k2, k3]),
    };
    all.iter().map(one).collect()
}

impl Netns {
    /// Returns the `tc` filters for frames that a link receives, or sends.
    pub async fn filters(&self, link: &Link, receives: bool) -> Result<Vec<Filter>> {
        all(self.rtnl(), link, receives).await
    }
}
