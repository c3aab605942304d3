//! The free addresses of a network, as far as they are known. This sends no probes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::Result;
use ipnetwork::IpNetwork;

use crate::{
    error::Error,
    model::{Address, AddressRange, Network, Subnet},
};

/// The number of free addresses to probe at once: more than one, so that in a range that other
/// hosts use, too, the search is not address by address.
pub(super) const CANDIDATES: usize = 8;

/// The addresses of a network, with their owners.
pub(super) struct Pool<'a> {
    network: &'a Network,
    /// The ranges that the request allows; none of a family: what the network assigns.
    ranges: &'a [AddressRange],
    /// Whether other hosts may have an address, and can be probed (ARP, neighbour discovery).
    asks: bool,
    /// Addresses that are taken, each with its owner.
    taken: BTreeMap<IpAddr, String>,
    /// Addresses that were probed, and that nobody answered for.
    silent: BTreeSet<IpAddr>,
}

impl<'a> Pool<'a> {
    pub(super) fn new(network: &'a Network, asks: bool, taken: BTreeMap<IpAddr, String>) -> Self {
        Self { network, ranges: &[], asks, taken, silent: BTreeSet::new() }
    }

    /// Chooses addresses of these ranges only.
    pub(super) fn within(self, ranges: &'a [AddressRange]) -> Self {
        Self { ranges, ..self }
    }

    /// Adds addresses that are assigned now, with their owners.
    pub(super) fn take(&mut self, addresses: impl IntoIterator<Item = (IpAddr, String)>) {
        self.taken.extend(addresses);
    }

    /// Adds probed addresses, and those that were answered for.
    pub(super) fn hear(&mut self, asked: BTreeSet<IpAddr>, answers: BTreeMap<IpAddr, String>) {
        self.silent.extend(asked.into_iter().filter(|ip| !answers.contains_key(ip)));
        self.taken.extend(answers);
    }

    /// Returns the subnets from which an endpoint with these addresses gets another one: those of a
    /// family that it has no address of, and those of which the request names a range. On a network
    /// where netcord may not assign every address, a given one is the only one.
    pub(super) fn open(&self, given: &[IpNetwork]) -> Vec<Subnet> {
        let is_complete = !given.is_empty() && !self.network.has_range();
        let is_open = |s: &&Subnet| {
            let lacks_family = !given.iter().any(|a| a.is_ipv4() == s.cidr.is_ipv4());
            let lacks_named = || !given.iter().any(|a| s.contains(a.ip())) && self.is_named(s);
            self.network.may_choose_from(s) && !is_complete && (lacks_family || lacks_named())
        };
        self.network.subnets.iter().filter(is_open).cloned().collect()
    }

    /// Returns the addresses to probe before one of each subnet can be chosen.
    pub(super) fn question(
        &self,
        wanted: &[IpNetwork],
        open: &[Subnet],
    ) -> Result<BTreeSet<IpAddr>> {
        let mut question: BTreeSet<_> = wanted.iter().map(IpNetwork::ip).collect();
        for subnet in open {
            question.extend(self.candidates(subnet)?);
        }
        question.retain(|ip| !self.is_sure(*ip));
        Ok(question)
    }

    /// Returns the lowest free address of a subnet; `None`: it has to be probed first.
    ///
    /// # Errors
    /// If there is none left.
    pub(super) fn choose(&self, subnet: &Subnet) -> Result<Option<IpNetwork>> {
        let free = self.lowest_free(subnet, &self.taken.keys().copied().collect())?;
        let address = IpNetwork::new(free, subnet.cidr.prefix())?;
        Ok(self.is_sure(free).then_some(address))
    }

    /// Checks a requested address, and returns it with its prefix length.
    ///
    /// # Errors
    /// If the network does not have it, or it is taken.
    pub(super) fn asked_for(&self, asked: &Address) -> Result<IpNetwork> {
        let (network, Address { ip, length }) = (self.network, *asked);
        let length = match (network.subnet_of(ip), length) {
            (Some(subnet), length) => {
                subnet.check_host(ip, "address")?;
                if length.is_some_and(|l| l != subnet.cidr.prefix()) {
                    return Err(Error::usage(format!(
                        "address {ip} is in subnet {}, whose length is another",
                        subnet.cidr
                    ))
                    .hint(format!("write {ip}, or {ip}/{}", subnet.cidr.prefix()))
                    .into());
                }
                subnet.cidr.prefix()
            }
            // A wire may have more subnets than the network knows of.
            (None, Some(length)) if network.is_shared() || network.is_without_subnet() => length,
            (None, _) => return Err(self.in_no_subnet(ip)),
        };
        if network.subnets.iter().any(|s| s.gateway == Some(ip)) && !self.taken.contains_key(&ip) {
            return Err(taken(ip, "the network's gateway"));
        }
        self.check_free(ip)?;
        Ok(IpNetwork::new(ip, length)?)
    }

    /// Fails if the address is taken.
    pub(super) fn check_free(&self, ip: IpAddr) -> Result<()> {
        self.taken.get(&ip).map_or(Ok(()), |owner| Err(taken(ip, owner)))
    }

    fn in_no_subnet(&self, ip: IpAddr) -> anyhow::Error {
        let network = self.network;
        let subnets: Vec<_> = network.subnets.iter().map(|s| s.cidr.to_string()).collect();
        let has = if subnets.is_empty() { "none".to_owned() } else { subnets.join(", ") };
        Error::usage(format!("address {ip} is in no subnet of network `{}`", network.name))
            .hint(format!("its subnets: {has}"))
            .into()
    }

    /// Returns whether an address needs no probe, or no further one.
    fn is_sure(&self, ip: IpAddr) -> bool {
        !self.asks || self.silent.contains(&ip)
    }

    /// Returns the addresses to probe in order to find a free one; none if one is known.
    fn candidates(&self, subnet: &Subnet) -> Result<Vec<IpAddr>> {
        let mut taken: BTreeSet<_> = self.taken.keys().copied().collect();
        let lowest = self.lowest_free(subnet, &taken)?;
        if self.is_sure(lowest) {
            return Ok(Vec::new());
        }
        let mut candidates = vec![lowest];
        taken.insert(lowest);
        while candidates.len() < CANDIDATES
            && let Some(next) = self.lowest_of(subnet, &taken)
        {
            candidates.push(next);
            taken.insert(next);
        }
        Ok(candidates)
    }

    fn lowest_free(&self, subnet: &Subnet, taken: &BTreeSet<IpAddr>) -> Result<IpAddr> {
        let network = &self.network.name;
        self.lowest_of(subnet, taken).ok_or_else(|| {
            let ranges = self.ranges_of(subnet).map(ToString::to_string).collect::<Vec<_>>();
            let range = match ranges.join(", ") {
                none if none.is_empty() => subnet.ip_range.unwrap_or(subnet.cidr).to_string(),
                ranges => ranges,
            };
            Error::conflict(format!("network `{network}` has no free address left in {range}"))
                .hint("detach something, or make another network")
                .into()
        })
    }

    fn lowest_of(&self, subnet: &Subnet, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        subnet.lowest_free_of(self.ranges, taken)
    }

    /// Returns whether the request names a range of a subnet.
    fn is_named(&self, subnet: &Subnet) -> bool {
        self.ranges.iter().any(|range| range.overlaps(subnet.cidr))
    }

    /// Returns the ranges that a request names of a subnet. One that is in no subnet of the network is for
    /// all of its family, none of which has addresses of it.
    fn ranges_of(&self, subnet: &Subnet) -> impl Iterator<Item = &AddressRange> {
        let cidr = subnet.cidr;
        let is_nowhere =
            |range: &AddressRange| !self.network.subnets.iter().any(|s| range.overlaps(s.cidr));
        self.ranges.iter().filter(move |range| {
            let is_of_family = range.first.is_ipv4() == cidr.is_ipv4();
            is_of_family && (range.overlaps(cidr) || is_nowhere(range))
        })
    }
}

/// The error that an address is taken.
pub(super) fn taken(ip: IpAddr, owner: &str) -> anyhow::Error {
    Error::conflict(format!("address {ip} is taken by {owner}"))
        .hint("leave out `--ip` to use a free address")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::fixtures::{ip, network};

    fn taken_by_web(addresses: &[&str]) -> BTreeMap<IpAddr, String> {
        addresses.iter().map(|a| (ip(a), "`web`".to_owned())).collect()
    }

    fn chosen(pool: &Pool<'_>, subnet: &Subnet) -> String {
        match pool.choose(subnet) {
            Ok(Some(address)) => address.to_string(),
            Ok(None) => "ask".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_lowest_free_address_is_chosen() {
        for (subnet, range, taken, expected) in [
            ("10.0.0.0/24", None, &[][..], "10.0.0.2/24"),
            ("10.0.0.0/24", None, &["10.0.0.2", "10.0.0.4"], "10.0.0.3/24"),
            ("10.0.0.0/24", Some("10.0.0.64/31"), &["10.0.0.64"], "10.0.0.65/24"),
            ("10.0.0.0/24", Some("10.0.0.0/31"), &[], "no free address left in 10.0.0.0/31"),
            ("10.0.0.0/30", None, &["10.0.0.2"], "no free address left in 10.0.0.0/30"),
            ("10.0.0.0/31", None, &[], "10.0.0.1/31"),
            ("10.0.0.0/31", None, &["10.0.0.1"], "no free address left in 10.0.0.0/31"),
            ("fd00::/64", None, &["fd00::2"], "fd00::3/64"),
            ("fd00::/127", None, &[], "fd00::1/127"),
        ] {
            let mut network = network("lab0", "bridge", &[subnet]);
            network.subnets[0].ip_range = range.map(|range| range.parse().unwrap());
            let pool = Pool::new(&network, false, taken_by_web(taken));
            let chosen = chosen(&pool, &network.subnets[0]);
            assert!(chosen.ends_with(expected), "{subnet} {range:?} {taken:?}: {chosen}");
            let question = pool.question(&[], &network.subnets);
            assert!(question.is_err() || question.unwrap().is_empty(), "nobody is asked");
        }
    }

    #[test]
    fn a_request_may_narrow_the_choice() {
        let network = network("lab0", "bridge", &["10.0.0.0/24", "fd00::/64"]);
        for (ranges, taken, expected) in [
            (&[("10.0.0.10", "10.0.0.11")][..], &[][..], "10.0.0.10/24"),
            (&[("10.0.0.10", "10.0.0.11")], &["10.0.0.10"], "10.0.0.11/24"),
            (
                &[("10.0.0.10", "10.0.0.10"), ("10.0.0.20", "10.0.0.30")],
                &["10.0.0.10"],
                "10.0.0.20/24",
            ),
            (&[("10.0.0.10", "10.0.0.10")], &["10.0.0.10"], "left in 10.0.0.10-10.0.0.10"),
            (&[("10.0.0.0", "10.0.1.255")], &[], "10.0.0.2/24"),
            (&[("10.1.0.0", "10.1.0.255")], &[], "left in 10.1.0.0-10.1.0.255"),
            (&[("fd00::10", "fd00::20")], &[], "10.0.0.2/24"),
        ] {
            let ranges: Vec<_> = ranges
                .iter()
                .map(|(first, last)| AddressRange { first: ip(first), last: ip(last) })
                .collect();
            let pool = Pool::new(&network, false, taken_by_web(taken)).within(&ranges);
            let chosen = chosen(&pool, &network.subnets[0]);
            assert!(chosen.ends_with(expected), "{ranges:?} {taken:?}: {chosen}");
        }
    }

    #[test]
    fn an_address_of_a_shared_network_is_asked_for_first() {
        let network = network("lan0", "macvlan", &["10.0.0.0/28"]);
        let subnet = &network.subnets[0];
        let mut pool = Pool::new(&network, true, taken_by_web(&["10.0.0.3"]));
        assert_eq!(chosen(&pool, subnet), "ask");
        let question = pool.question(&[], &network.subnets).unwrap();
        assert_eq!(question.len(), CANDIDATES);
        assert!(question.contains(&ip("10.0.0.2")) && !question.contains(&ip("10.0.0.3")));
        pool.hear(question, BTreeMap::from([(ip("10.0.0.2"), "02:42:00:00:00:09".to_owned())]));
        assert_eq!(chosen(&pool, subnet), "10.0.0.4/28");
        assert!(pool.question(&[], &network.subnets).unwrap().is_empty(), "one is known");
        // The next endpoint of the same command.
        pool.take([(ip("10.0.0.4"), "`db`".to_owned())]);
        assert_eq!(chosen(&pool, subnet), "10.0.0.5/28");
        // All probed addresses are taken by now: the others are probed.
        pool.take((5..=10).map(|n| (IpAddr::from([10, 0, 0, n]), "`x`".to_owned())));
        assert_eq!(chosen(&pool, subnet), "ask");
        let rest = pool.question(&[], &network.subnets).unwrap();
        assert_eq!(rest, (11..=14).map(|n| IpAddr::from([10, 0, 0, n])).collect());
        // Another command does not know the answers.
        let pool = Pool::new(&network, true, BTreeMap::new());
        assert_eq!(chosen(&pool, subnet), "ask");
    }

    #[test]
    fn an_address_that_was_asked_for_is_the_networks_and_nobodys() {
        let dual = ["10.0.0.0/24", "fd00::/64"];
        for (mode, subnets, asked, length, expected) in [
            ("bridge", &dual[..], "10.0.0.5", None, "10.0.0.5/24"),
            ("bridge", &dual, "10.0.0.5", Some(24), "10.0.0.5/24"),
            ("bridge", &dual, "fd00::5", None, "fd00::5/64"),
            ("bridge", &dual, "10.0.0.5", Some(25), "whose length is another"),
            ("bridge", &dual, "10.0.0.1", None, "taken by the network's gateway"),
            ("bridge", &dual, "10.0.0.9", None, "taken by `web`"),
            ("bridge", &dual, "10.0.1.5", Some(24), "in no subnet of network `lab0`"),
            ("bridge", &dual[..1], "fd00::5", Some(64), "in no subnet of network `lab0`"),
            ("foreign", &dual[..1], "fd00::5", Some(64), "fd00::5/64"),
            ("foreign", &dual[..1], "fd00::5", None, "in no subnet of network `lab0`"),
            ("foreign", &[], "192.0.2.5", Some(24), "192.0.2.5/24"),
        ] {
            let network = network("lab0", mode, subnets);
            let pool = Pool::new(&network, false, taken_by_web(&["10.0.0.9"]));
            let found = pool.asked_for(&Address { ip: ip(asked), length });
            let found = found.map_or_else(|error| error.to_string(), |a| a.to_string());
            assert!(found.ends_with(expected), "{mode} {asked} {length:?}: {found}");
        }
        for edge in ["10.0.0.0", "10.0.0.255"] {
            let network = network("lab0", "bridge", &dual);
            let pool = Pool::new(&network, false, BTreeMap::new());
            assert!(pool.asked_for(&Address { ip: ip(edge), length: None }).is_err(), "{edge}");
        }
    }

    #[test]
    fn one_address_of_each_family_is_open_but_where_the_given_one_is_all() {
        let dual = ["10.0.0.0/24", "fd00::/64"];
        for (mode, range, given, expected) in [
            ("bridge", None, &[][..], &dual[..]),
            ("bridge", None, &["10.0.0.5/24"], &dual[1..]),
            ("bridge", None, &["10.0.0.5/24", "fd00::5/64"], &[]),
            ("macvlan", None, &[], &dual),
            ("macvlan", None, &["10.0.0.5/24"], &[]),
            ("macvlan", Some("fd00::100/120"), &["10.0.0.5/24"], &dual[1..]),
            ("macvlan", Some("fd00::100/120"), &[], &dual[1..]),
        ] {
            let mut network = network("lab0", mode, &dual);
            network.subnets[1].ip_range = range.map(|range: &str| range.parse().unwrap());
            let pool = Pool::new(&network, false, BTreeMap::new());
            let given: Vec<_> = given.iter().map(|a| a.parse().unwrap()).collect();
            let open: Vec<_> = pool.open(&given).iter().map(|s| s.cidr.to_string()).collect();
            assert_eq!(open, expected, "{mode} {range:?} {given:?}");
        }
    }
}
