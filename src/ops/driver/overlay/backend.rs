//! The backend that was asked for, with the names of its links.

use anyhow::Result;

use super::Overlay;
use crate::{
    error::Error,
    model::{Backend, BackendKind, LinkName, Store, Udp, Vxlan},
};

/// Returns the backend.
///
/// # Errors
/// If a name that flannel has for a link is too long.
pub(super) fn of(args: &Overlay) -> Result<Backend> {
    Ok(match args.backend {
        BackendKind::Vxlan => {
            let (device, second_device) = vteps(args)?;
            Backend::Vxlan(Vxlan {
                device,
                second_device,
                vni: args.vni.unwrap_or(Vxlan::VNI),
                port: args.port.unwrap_or(Vxlan::PORT),
                direct_routing: args.direct_routing,
            })
        }
        BackendKind::HostGw => Backend::HostGw,
        BackendKind::Udp => {
            let is_flannel = args.store.as_ref().is_some_and(Store::is_flannel);
            let name = &args.on_host.name;
            let device = if is_flannel { LinkName::tun_of_flannel() } else { name.tun_name() };
            Backend::Udp(Udp { device, port: args.port.unwrap_or(Udp::PORT) })
        }
    })
}

/// Returns the names of the VXLAN links. With a store, a network of both families has two, as
/// flannel's.
fn vteps(args: &Overlay) -> Result<(LinkName, Option<LinkName>)> {
    let Some(store) = &args.store else { return Ok((args.on_host.name.tunnel_name(), None)) };
    let is_dual = args.flat.is_none() && args.subnet.len() > 1;
    if !store.is_flannel() {
        let second = is_dual.then(|| args.on_host.name.second_tunnel_name());
        return Ok((args.on_host.name.tunnel_name(), second));
    }
    let vni = args.vni.unwrap_or(Vxlan::VNI);
    let second = LinkName::second_of_flannel(vni);
    if is_dual && second.is_none() {
        let message = format!("VNI {vni} is too large for the name of flannel's link for IPv6");
        return Err(Error::conflict(message).into());
    }
    Ok((LinkName::of_flannel(vni), second.filter(|_| is_dual)))
}
