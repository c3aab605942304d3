//! What is different where endpoints are macvlans: they hang on the parent, and have no host end.

use anyhow::Result;

use super::{Attach, Chooser};
use crate::{
    error::Error,
    model::{Mac, MacvlanMode, Network},
};

/// Refuses flags of a host end, or of a MAC, that there is not to choose.
pub(super) fn check_flags(args: &Attach, network: &Network) -> Result<()> {
    let Some((parent, wiring)) = network.macvlan() else { return Ok(()) };
    let name = &network.name;
    if args.wiring.host_ifname.is_some() {
        let message = format!("--host-ifname: network `{name}` is a macvlan, there is no host end");
        return Err(Error::usage(message).hint("name the link inside with `--ifname`").into());
    }
    if args.wiring.mac.is_some() && wiring.mode == MacvlanMode::Passthru {
        return Err(Error::usage(format!(
            "--mac: in mode passthru the MAC is that of `{}` itself",
            parent.link
        ))
        .into());
    }
    Ok(())
}

impl Chooser<'_> {
    /// The one MAC that an endpoint in passthru mode can have.
    pub(super) fn mac_of_parent(&self) -> Option<Mac> {
        let (_, wiring) = self.record.network.macvlan()?;
        (wiring.mode == MacvlanMode::Passthru).then_some(self.bridge.mac).flatten()
    }

    /// Refuses a second endpoint in passthru mode: the first has the parent to itself.
    pub(super) fn check_room(&self) -> Result<()> {
        let network = &self.record.network;
        match (self.mac_of_parent(), network.parent.as_ref(), self.endpoints().next()) {
            (Some(_), Some(parent), Some(first)) => Err(Error::conflict(format!(
                "`{}` has `{}` to itself: network `{}` is in mode passthru",
                first.target, parent.link, network.name
            ))
            .hint(format!("detach it first: `netcord detach {} {}`", network.name, first.target))
            .into()),
            _ => Ok(()),
        }
    }

    /// The MTU that was asked for, or the network's; a macvlan's is at most its parent's.
    pub(super) fn mtu(&self) -> Result<u32> {
        let network = &self.record.network;
        let Some((parent, _)) = network.macvlan() else {
            return Ok(self.args.wiring.mtu.unwrap_or(self.bridge.mtu));
        };
        match self.args.wiring.mtu {
            Some(mtu) if mtu > self.bridge.mtu => Err(Error::usage(format!(
                "MTU {mtu} is more than that of `{}`, {}",
                parent.link, self.bridge.mtu
            ))
            .into()),
            Some(mtu) => Ok(mtu),
            // The parent's may have become smaller since.
            None => Ok(network.mtu.min(self.bridge.mtu)),
        }
    }
}
