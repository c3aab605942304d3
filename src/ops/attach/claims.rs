//! Gets the addresses of new endpoints of a flat network, which belong to one endpoint on all hosts. The
//! store gives them, which may take seconds, so nothing is locked meanwhile.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::Result;

use super::{Attach, Unclaimed, Wiring, former::Wanted, pool::Pool};
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
    /// Asks for the addresses of each endpoint that does not exist yet.
    pub(super) async fn get(
        host: &Session<'_>,
        args: &Attach,
        unclaimed: &Unclaimed<'_>,
    ) -> Result<Self> {
        let Unclaimed { record, dir, taken, found, parts } = unclaimed;
        check_source(args, record)?;
        let mut agent = flat::Claims::open(dir).await?;
        let mut got = Vec::new();
        for (number, ((_, target), parts)) in found.iter().zip(parts).enumerate() {
            for (place, part) in parts.iter().enumerate() {
                if is_there(record, target, part) {
                    continue;
                }
                check_free(record, taken, part)?;
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

/// Checks the addresses that are asked for with those on record: the store would give this host its own
/// addresses again, and every request changes what other hosts see.
fn check_free(
    record: &NetworkRecord,
    taken: &BTreeMap<IpAddr, String>,
    part: &Wanted,
) -> Result<()> {
    let is_former = |ip: &IpAddr| {
        let former = part.former.iter().flat_map(|former| &former.addresses);
        former.into_iter().any(|address| address.ip() == *ip)
    };
    let others = taken.iter().filter(|(ip, _)| !is_former(ip));
    let others = others.map(|(ip, owner)| (*ip, owner.clone())).collect();
    let pool = Pool::new(&record.network, false, others);
    part.wiring.ip.iter().try_for_each(|address| pool.asked_for(address).map(drop))
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
