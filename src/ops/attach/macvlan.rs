//! The differences for macvlan endpoints: they are on the parent, and have no host end.

use anyhow::Result;

use super::{Attach, Chooser};
use crate::{
    error::Error,
    model::{LowerLink, Mac, Network},
};

/// Refuses flags that have no meaning here: for a host end, or for a MAC in passthru mode.
pub(super) fn check_flags(args: &Attach, network: &Network) -> Result<()> {
    let LowerLink::Parent(parent) = network.lower_link() else { return Ok(()) };
    let name = &network.name;
    if args.wiring.host_ifname.is_some() {
        let message = format!("--host-ifname: network `{name}` is a macvlan, there is no host end");
        return Err(Error::usage(message).hint("name the link inside with `--ifname`").into());
    }
    if args.wiring.mac.is_some() && network.driver.is_passthru() {
        return Err(Error::usage(format!(
            "--mac: in mode passthru the MAC is that of `{}` itself",
            parent.link
        ))
        .into());
    }
    Ok(())
}

impl Chooser<'_> {
    /// Returns the MAC that an endpoint in passthru mode must have.
    pub(super) fn mac_of_parent(&self) -> Option<Mac> {
        self.bridge.mac.filter(|_| self.record.network.driver.is_passthru())
    }

    /// Refuses a second endpoint in passthru mode, which uses the parent exclusively.
    pub(super) fn check_room(&self) -> Result<()> {
        let network = &self.record.network;
        match (self.mac_of_parent(), network.driver.parent(), self.endpoints().next()) {
            (Some(_), Some(parent), Some(first)) => Err(Error::conflict(format!(
                "`{}` has `{}` to itself: network `{}` is in mode passthru",
                first.target, parent.link, network.name
            ))
            .hint(format!("detach it first: `netcord detach {} {}`", network.name, first.target))
            .into()),
            _ => Ok(()),
        }
    }

    /// Returns the requested MTU, or the network's. A macvlan's MTU is at most its parent's.
    pub(super) fn mtu(&self, wanted: Option<u32>) -> Result<u32> {
        let network = &self.record.network;
        let LowerLink::Parent(parent) = network.lower_link() else {
            return Ok(wanted.unwrap_or(self.bridge.mtu));
        };
        match wanted {
            Some(mtu) if mtu > self.bridge.mtu => Err(Error::usage(format!(
                "MTU {mtu} is more than that of `{}`, {}",
                parent.link, self.bridge.mtu
            ))
            .into()),
            Some(mtu) => Ok(mtu),
            // The parent's MTU may have become smaller since.
            None => Ok(network.mtu.min(self.bridge.mtu)),
        }
    }
}
