//! Spoof filters at bridge ports: a `clsact` qdisc with a filter that is a program of classic BPF.

use std::io;

use anyhow::{Context, Result};
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, Nla};
use nix::libc;
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    tc::{
        TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcHeader, TcMessage,
        TcOption,
    },
};

use super::{link, rtnl::Rtnl};
use crate::{
    error::{Error, Kind},
    model::LinkName,
    plan::{SPOOF_FILTER, SpoofFilter},
};

// <linux/pkt_cls.h>; the crate lacks these names.
const TCA_BPF_OPS_LEN: u16 = 4;
pub(super) const TCA_BPF_OPS: u16 = 5;

// <linux/if_ether.h>
const ETH_P_ALL: u16 = 3;

const QDISC: TcHandle = TcHandle { major: 0xffff, minor: 0 };
const INGRESS: TcHandle = TcHandle { major: 0xffff, minor: TcHandle::MIN_INGRESS };

/// Equivalent to `tc qdisc add dev LINK clsact`.
pub(super) async fn create_ingress(rtnl: &Rtnl, name: &LinkName) -> Result<bool> {
    let request = RouteNetlinkMessage::NewQueueDiscipline(qdisc(rtnl, name).await?);
    match rtnl.change(request, NLM_F_CREATE | NLM_F_EXCL).await {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(e) => {
            Err(lacking(e, "sch_ingress")).with_context(|| format!("cannot look into `{name}`"))
        }
    }
}

/// Equivalent to `tc qdisc del dev LINK clsact`.
pub(super) async fn delete_ingress(rtnl: &Rtnl, name: &LinkName) -> Result<bool> {
    let request = RouteNetlinkMessage::DelQueueDiscipline(qdisc(rtnl, name).await?);
    gone(rtnl.change(request, 0).await)
        .with_context(|| format!("cannot take the qdisc from `{name}`"))
}

/// Returns whether the port has the qdisc. Equivalent to `tc qdisc show dev LINK`.
pub(super) async fn has_ingress(rtnl: &Rtnl, name: &LinkName) -> Result<bool> {
    let message = TcMessage::with_index(index(rtnl, name).await?);
    let replies = rtnl.dump(RouteNetlinkMessage::GetQueueDiscipline(message.clone())).await?;
    Ok(replies.into_iter().any(|reply| match reply {
        RouteNetlinkMessage::NewQueueDiscipline(found) => {
            found.header.index == message.header.index && found.header.handle == QDISC
        }
        _ => false,
    }))
}

/// Adds a filter; returns `false` if it exists. Equivalent to `tc filter add dev LINK ingress
/// protocol all pref 1 handle 1 bpf direct-action bytecode PROGRAM`.
pub(super) async fn create(rtnl: &Rtnl, name: &LinkName, guard: &SpoofFilter) -> Result<bool> {
    let mut message = filter(rtnl, name).await?;
    let (length, program) = encoded(guard);
    message.attributes.push(TcAttribute::Options(vec![
        TcOption::Bpf(TcFilterBpfOption::Other(DefaultNla::new(TCA_BPF_OPS_LEN, length))),
        TcOption::Bpf(TcFilterBpfOption::Other(DefaultNla::new(TCA_BPF_OPS, program))),
        TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
    ]));
    let request = RouteNetlinkMessage::NewTrafficFilter(message);
    match rtnl.change(request, NLM_F_CREATE | NLM_F_EXCL).await {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => match has(rtnl, name, guard).await? {
            Some(true) => Ok(false),
            _ => Err(Error::conflict(format!("another tc filter is attached to `{name}`"))
                .hint(format!("see it with `tc filter show dev {name} ingress`"))
                .into()),
        },
        Err(e) => {
            Err(lacking(e, "cls_bpf")).with_context(|| format!("cannot set a guard at `{name}`"))
        }
    }
}

/// Equivalent to `tc filter del dev LINK ingress protocol all pref 1 handle 1 bpf`.
pub(super) async fn delete(rtnl: &Rtnl, name: &LinkName) -> Result<bool> {
    let request = RouteNetlinkMessage::DelTrafficFilter(filter(rtnl, name).await?);
    gone(rtnl.change(request, 0).await)
        .with_context(|| format!("cannot take the guard from `{name}`"))
}

/// Returns whether the filter at this place is this one; `None` if there is none. Equivalent to `tc
/// filter show dev LINK ingress`.
pub(super) async fn has(rtnl: &Rtnl, name: &LinkName, guard: &SpoofFilter) -> Result<Option<bool>> {
    let wanted = filter(rtnl, name).await?.header;
    let mut message = TcMessage::with_index(wanted.index);
    message.header.parent = INGRESS;
    let replies = rtnl
        .dump(RouteNetlinkMessage::GetTrafficFilter(message))
        .await
        .with_context(|| format!("cannot read the filters of `{name}`"))?;
    let ours = |header: &TcHeader| (header.handle, header.info) == (wanted.handle, wanted.info);
    let found = replies.into_iter().find_map(|reply| match reply {
        RouteNetlinkMessage::NewTrafficFilter(found) if ours(&found.header) => Some(found),
        _ => None,
    });
    Ok(found.map(|found| is(&found, guard)))
}

fn is(found: &TcMessage, guard: &SpoofFilter) -> bool {
    let options = found.attributes.iter().flat_map(|attribute| match attribute {
        TcAttribute::Options(options) => options.as_slice(),
        _ => &[],
    });
    let (mut program, mut acts) = (None, false);
    for option in options {
        match option {
            TcOption::Bpf(TcFilterBpfOption::Other(nla)) if nla.kind() == TCA_BPF_OPS => {
                let mut bytes = vec![0; nla.value_len()];
                nla.emit_value(&mut bytes);
                program = Some(bytes);
            }
            TcOption::Bpf(TcFilterBpfOption::Flags(flags)) => {
                acts = flags.contains(TcBpfFlags::DirectAction);
            }
            _ => {}
        }
    }
    acts && program.is_some_and(|program| program == encoded(guard).1)
}

/// Returns the number of instructions, and the instructions (`struct sock_filter`).
fn encoded(guard: &SpoofFilter) -> (Vec<u8>, Vec<u8>) {
    let program = guard.program();
    let length = u16::try_from(program.len()).unwrap_or(u16::MAX);
    let bytes = program.iter().flat_map(|i| {
        let [code_0, code_1] = i.code.to_ne_bytes();
        let [k_0, k_1, k_2, k_3] = i.k.to_ne_bytes();
        [code_0, code_1, i.jt, i.jf, k_0, k_1, k_2, k_3]
    });
    (length.to_ne_bytes().to_vec(), bytes.collect())
}

async fn qdisc(rtnl: &Rtnl, name: &LinkName) -> Result<TcMessage> {
    let mut message = TcMessage::with_index(index(rtnl, name).await?);
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = QDISC;
    message.attributes.push(TcAttribute::Kind("clsact".into()));
    Ok(message)
}

async fn filter(rtnl: &Rtnl, name: &LinkName) -> Result<TcMessage> {
    let mut message = TcMessage::with_index(index(rtnl, name).await?);
    message.header.parent = INGRESS;
    message.header.handle = TcHandle { major: 0, minor: SPOOF_FILTER };
    // The priority, and the ethertype in network byte order.
    message.header.info = u32::from(SPOOF_FILTER) << 16 | u32::from(ETH_P_ALL.to_be());
    message.attributes.push(TcAttribute::Kind(TcFilterBpf::KIND.into()));
    Ok(message)
}

async fn index(rtnl: &Rtnl, name: &LinkName) -> Result<i32> {
    let index = link::index(rtnl, name.as_str()).await?;
    i32::try_from(index).with_context(|| format!("link `{name}` has an index out of range"))
}

/// Treats a missing filter or qdisc as deleted.
fn gone(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// For an unknown kind of filter, the kernel's error is "no such file".
fn lacking(error: io::Error, module: &str) -> anyhow::Error {
    if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP)) {
        return Error::new(Kind::Missing, format!("the kernel has no {module}"))
            .hint(format!("load the module: `modprobe {module}`, or do without `--no-spoof`"))
            .into();
    }
    error.into()
}
