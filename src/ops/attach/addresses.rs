//! Chooses the addresses of an endpoint.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::Result;
use ipnetwork::IpNetwork;

use super::{Chooser, Wiring, pool::CANDIDATES};
use crate::{
    error::Error,
    kernel::{Kernel, dhcp::Leased},
    model::Endpoint,
};

/// The number of rounds. If all candidates are taken this many times, others assign addresses from
/// the range.
const ROUNDS: usize = 8;

impl Chooser<'_> {
    /// Returns the addresses of each family that the network has: the requested ones, or the lowest
    /// free one. On a shared network, addresses are probed first.
    pub(super) fn addresses(
        &mut self,
        kernel: &Kernel,
        wiring: &Wiring,
        leased: Option<&Leased>,
    ) -> Result<Vec<IpNetwork>> {
        let mut addresses = Vec::new();
        if wiring.no_address {
            return Ok(addresses);
        }
        if let Some(leased) = leased {
            addresses.push(self.leased(leased)?);
        }
        let asked = wiring.ip.iter().map(|a| self.pool.asked_for(a)).collect::<Result<Vec<_>>>()?;
        addresses.extend(&asked);
        let mut open = self.pool.open(&addresses);
        if addresses.is_empty() && open.is_empty() {
            if self.record.network.is_without_subnet() {
                return Ok(addresses);
            }
            return Err(Error::usage(format!(
                "bridge `{}` has no subnet to choose an address from",
                self.record.network.name
            ))
            .hint("give an address with its prefix length: --ip 10.0.0.2/24")
            .into());
        }
        // Both families are probed at the same time.
        for _ in 0..ROUNDS {
            self.ask(kernel, self.pool.question(&asked, &open)?)?;
            for address in &asked {
                self.pool.check_free(address.ip())?;
            }
            let mut left = Vec::new();
            for subnet in open {
                match self.pool.choose(&subnet)? {
                    Some(address) => addresses.push(address),
                    None => left.push(subnet),
                }
            }
            open = left;
            if open.is_empty() {
                addresses.sort_by_key(IpNetwork::is_ipv6);
                return Ok(addresses);
            }
        }
        Err(Error::conflict(format!(
            "the first {} addresses to give out in network `{}` all have an owner on the wire",
            CANDIDATES * ROUNDS,
            self.record.network.name
        ))
        .hint("choose one with `--ip`")
        .into())
    }

    /// Asks the network who has these addresses, and remembers the answers.
    fn ask(&mut self, kernel: &Kernel, question: BTreeSet<IpAddr>) -> Result<()> {
        if question.is_empty() {
            return Ok(());
        }
        let answers = kernel.who_has(&self.bridge, &question)?;
        let answers = answers.into_iter().map(|(ip, mac)| (ip, mac.to_string()));
        self.pool.hear(question, answers.collect());
        Ok(())
    }

    /// A DHCP server knows the owners of its leases, but not those of the addresses that netcord
    /// assigned.
    fn leased(&self, leased: &Leased) -> Result<IpNetwork> {
        let ip = leased.ip();
        // A stopped container gave its lease back.
        let of_ours = |e: &&Endpoint| !e.is_stopped() && e.addresses.iter().any(|a| a.ip() == ip);
        if let Some(owner) = self.endpoints().find(of_ours) {
            let message =
                format!("server {} gave {ip}, which `{}` has", leased.server, owner.target);
            return Err(Error::conflict(message)
                .hint("do not assign addresses from the server's range by hand")
                .into());
        }
        Ok(leased.address.into())
    }
}
