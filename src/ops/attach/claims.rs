//! Gets the addresses of new endpoints of a flat network, which belong to one endpoint on all hosts. The
//! store gives them, which may take seconds, so nothing is locked meanwhile.

use std::path::Path;

use anyhow::Result;

use super::{Attach, Wiring, former::Wanted};
use crate::{
    agents::netcord_agent::protocol::Claim,
    error::Error,
    model::{Address, NetworkRecord, Target},
    ops::{Session, driver::overlay::flat, lookup::resolve::Found},
};

/// Addresses for endpoints that are on no record yet, by the place of their target in the request and the
/// place of the endpoint among those of the target.
pub(super) struct Claims {
    got: Vec<((usize, usize), Vec<Address>)>,
    /// As long as it is open, the addresses are not given back.
    _agent: flat::Claims,
}

impl Claims {
    /// Asks for the addresses of each endpoint that does not exist yet. `parts` are the endpoints of each
    /// target.
    pub(super) async fn get(
        host: &Session<'_>,
        args: &Attach,
        record: &NetworkRecord,
        dir: &Path,
        found: &[(&Target, Found)],
        parts: &[Vec<Wanted>],
    ) -> Result<Self> {
        check_source(args, record)?;
        let mut agent = flat::Claims::open(dir).await?;
        let mut got = Vec::new();
        for (number, ((_, target), parts)) in found.iter().zip(parts).enumerate() {
            for (place, part) in parts.iter().enumerate() {
                if is_there(record, target, part) {
                    continue;
                }
                let claim = claim(host, args, record, target, &part.wiring);
                let addresses = agent.claim(host, claim).await?;
                let addresses = addresses.into_iter().map(|ip| Address { ip, length: None });
                got.push(((number, place), addresses.collect()));
            }
        }
        Ok(Self { got, _agent: agent })
    }

    /// Makes each endpoint have the addresses that were given for it.
    ///
    /// # Errors
    /// If the endpoint existed when the addresses were asked for, and no longer does.
    pub(super) fn apply(
        &self,
        record: &NetworkRecord,
        found: &[(&Target, Found)],
        parts: &mut [Vec<Wanted>],
    ) -> Result<()> {
        for (number, ((_, target), parts)) in found.iter().zip(parts).enumerate() {
            for (place, part) in parts.iter_mut().enumerate() {
                if is_there(record, target, part) {
                    continue;
                }
                let given = self.got.iter().find(|(of, _)| *of == (number, place));
                let Some((_, addresses)) = given else {
                    let message = "the target was detached while it was being attached";
                    return Err(Error::conflict(message).hint("try again").into());
                };
                part.wiring.ip.clone_from(addresses);
            }
        }
        Ok(())
    }
}

/// Refuses other sources of addresses than the store, where the network is flat.
pub(super) fn check_source(args: &Attach, record: &NetworkRecord) -> Result<()> {
    let Wiring { dhcp, no_address, .. } = args.wiring;
    if record.network.is_flat() && (dhcp || no_address) {
        return Err(Error::usage("the addresses of a flat network come from its store")
            .hint("choose one with `--ip`, or leave it out")
            .into());
    }
    Ok(())
}

/// Refuses `--takeover` where no other host can have an address.
pub(super) fn check_takeover(args: &Attach, record: &NetworkRecord) -> Result<()> {
    let is_flat = record.network.is_flat();
    if !args.wiring.takeover || (is_flat && !args.wiring.ip.is_empty()) {
        return Ok(());
    }
    let why = if is_flat {
        "--takeover: name the address with `--ip`"
    } else {
        "--takeover: other hosts have addresses of this network only if it is flat"
    };
    Err(Error::usage(why).into())
}

fn is_there(record: &NetworkRecord, target: &Found, part: &Wanted) -> bool {
    let cookie = target.netns.cookie();
    part.former.is_none()
        && record.endpoints.iter().any(|e| {
            e.cookie == cookie
                && !e.is_stopped()
                && part.wiring.ifname.as_ref().is_none_or(|name| *name == e.ifname)
        })
}

fn claim(
    host: &Session<'_>,
    args: &Attach,
    record: &NetworkRecord,
    target: &Found,
    wiring: &Wiring,
) -> Claim {
    let fixed: Vec<_> = wiring.ip.iter().map(|address| address.ip).collect();
    let is_open = |is_ipv4: bool| !fixed.iter().any(|ip| ip.is_ipv4() == is_ipv4);
    let open = record.network.subnets.iter().filter(|s| is_open(s.cidr.is_ipv4()));
    Claim {
        network: record.network.name.clone(),
        name: target.name.to_string(),
        mac: wiring.mac,
        open: open.cloned().collect(),
        fixed,
        ranges: wiring.ranges.clone(),
        takeover: args.wiring.takeover,
        dry_run: host.is_dry_run(),
    }
}
