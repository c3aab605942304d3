//! TUN links: a process reads the packets that are sent to one, and writes those that it delivers.

use std::io;

use anyhow::{Context, Result};
use nix::libc;
use rtnetlink::packet_route::link::LinkAttribute;
use tun_rs::{DeviceBuilder, Layer};

use super::LinkKind;
use crate::{
    error::{Error, Kind},
    kernel::{link, rtnl::Rtnl},
    model::LinkName,
    plan::LINK_GROUP,
};

/// Creates a TUN link, down, that outlives the process. Equivalent to `ip tuntap add dev NAME mode tun
/// && ip link set dev NAME group GROUP`.
///
/// Until it has its group, the kernel deletes it with its file descriptor. So it is never without a
/// mark, even if this process is killed.
pub(in crate::kernel) async fn create(rtnl: &Rtnl, name: &LinkName) -> Result<bool> {
    // To open a TUN link that exists is to use it.
    match link::get(rtnl, name.as_str()).await? {
        Some(there) if !there.is_ours() => return Err(link::foreign(name)),
        Some(there) if there.kind == LinkKind::Tun => return Ok(false),
        Some(_) => {
            return Err(Error::conflict(format!("link `{name}` exists, and is no TUN link")).into());
        }
        None => {}
    }
    let device = DeviceBuilder::new()
        .name(name.as_str())
        .layer(Layer::L3)
        .inherit_enable_state()
        .build_sync()
        .map_err(lacking)
        .with_context(|| format!("cannot create TUN link `{name}`"))?;
    let mut message = link::message([LinkAttribute::Group(LINK_GROUP)]);
    message.header.index = link::index(rtnl, name.as_str()).await?;
    link::set(rtnl, message).await.with_context(|| format!("cannot mark TUN link `{name}`"))?;
    device.persist().with_context(|| format!("cannot keep TUN link `{name}`"))?;
    Ok(true)
}

/// Returns the error for a kernel without TUN links, or a `/dev` without their device.
fn lacking(error: io::Error) -> anyhow::Error {
    let hint = match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            "`/dev/net/tun` is missing: load the module (`modprobe tun`), or give this container the \
             device"
        }
        Some(libc::EACCES) => "`/dev/net/tun` belongs to root on this machine",
        _ => return error.into(),
    };
    Error::new(Kind::Missing, format!("no TUN links here: {error}")).hint(hint).into()
}
