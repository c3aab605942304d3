//! Which subnets a host takes: its own again, else those that it had, else free ones by chance.

use std::{fmt, net::IpAddr};

use ipnetwork::IpNetwork;

use super::{
    config::{Config, Pool},
    key::Subnets,
};

/// Subnets that a host has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The subnets.
    pub subnets: Subnets,
    /// The host's address, if the value of the key could be read.
    pub host: Option<IpAddr>,
    /// Grows with each new key: etcd's revision of its creation.
    pub created: i64,
}

/// What a host takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It has a lease of these subnets.
    Own(Subnets),
    /// No host has a lease of these.
    Free(Subnets),
}

impl Choice {
    /// Returns the subnets.
    pub fn subnets(self) -> Subnets {
        match self {
            Self::Own(subnets) | Self::Free(subnets) => subnets,
        }
    }
}

/// There is no free subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfSubnets {
    network: IpNetwork,
    subnet_len: u8,
    count: u128,
    /// The hosts that have had theirs longest, oldest first.
    oldest: Vec<(IpAddr, IpNetwork)>,
}

impl fmt::Display for OutOfSubnets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, subnet_len, count, oldest } = self;
        write!(f, "{network} has no free subnet /{subnet_len}: all {count} are used")?;
        for (i, (host, subnet)) in oldest.iter().enumerate() {
            let lead = if i == 0 { ", longest by" } else { "," };
            write!(f, "{lead} {host} ({subnet})")?;
        }
        Ok(())
    }
}

impl std::error::Error for OutOfSubnets {}

/// How many hosts an error names.
const NAMED: usize = 3;

/// Chooses subnets for a host. `former` are those that it had in an earlier life; `random` returns
/// random bits.
///
/// # Errors
/// All subnets of one family are used.
pub fn choose(
    config: &Config,
    taken: &[Taken],
    host: IpAddr,
    former: Option<Subnets>,
    mut random: impl FnMut() -> u128,
) -> Result<Choice, OutOfSubnets> {
    let is_own = |lease: &&Taken| lease.host == Some(host) && config.fits(&lease.subnets);
    if let Some(own) = taken.iter().find(is_own) {
        return Ok(Choice::Own(own.subnets));
    }
    let others: Vec<_> = taken.iter().filter(|lease| lease.host != Some(host)).collect();
    let is_free = |subnets: &Subnets| !others.iter().any(|lease| lease.subnets.overlaps(subnets));
    if let Some(former) = former.filter(|former| config.fits(former) && is_free(former)) {
        return Ok(Choice::Free(former));
    }
    let mut pick = |pool: &Pool| free(pool, &others, &mut random);
    let ipv4 = pick(&config.ipv4)?;
    let ipv6 = config.ipv6.as_ref().map(&mut pick).transpose()?;
    let (IpNetwork::V4(ipv4), ipv6) = (ipv4, ipv6) else { unreachable!("the pool is of IPv4") };
    let ipv6 = ipv6.and_then(|net| if let IpNetwork::V6(ipv6) = net { Some(ipv6) } else { None });
    Ok(Choice::Free(Subnets { ipv4, ipv6 }))
}

/// Picks one of the free subnets of a pool, each with the same probability.
fn free(
    pool: &Pool,
    taken: &[&Taken],
    random: &mut impl FnMut() -> u128,
) -> Result<IpNetwork, OutOfSubnets> {
    let blocks = taken.iter().flat_map(|lease| lease.subnets.iter());
    let mut spans: Vec<_> = blocks.filter_map(|block| pool.span(block)).collect();
    spans.sort_unstable();
    let mut gaps = Vec::new();
    let mut next = 0;
    for (first, last) in spans {
        if first > next {
            gaps.push((next, first - next));
        }
        next = next.max(last + 1);
    }
    if pool.count() > next {
        gaps.push((next, pool.count() - next));
    }
    let free: u128 = gaps.iter().map(|(_, len)| len).sum();
    if free == 0 {
        return Err(OutOfSubnets::of(pool, taken));
    }
    let mut index = random() % free;
    for (start, len) in gaps {
        if index < len {
            return Ok(pool.nth(start + index));
        }
        index -= len;
    }
    unreachable!("the index is less than the sum of the gaps")
}

impl OutOfSubnets {
    fn of(pool: &Pool, taken: &[&Taken]) -> Self {
        let mut holders: Vec<_> = taken.iter().filter_map(|lease| holder(pool, lease)).collect();
        holders.sort_unstable();
        let oldest = holders.into_iter().take(NAMED).map(|(_, host, subnet)| (host, subnet));
        Self {
            network: pool.network(),
            subnet_len: pool.subnet_len(),
            count: pool.count(),
            oldest: oldest.collect(),
        }
    }
}

fn holder(pool: &Pool, lease: &Taken) -> Option<(i64, IpAddr, IpNetwork)> {
    let subnet = lease.subnets.iter().find(|block| pool.span(*block).is_some())?;
    Some((lease.created, lease.host?, subnet))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::IpAddr};

    use super::{Choice, Taken, choose};
    use crate::flannel::{Config, Subnets};

    const OWN: &str = "10.0.0.1";

    fn config(text: &str) -> Config {
        Config::parse(text.as_bytes()).unwrap()
    }

    fn small() -> Config {
        config(r#"{"Network":"10.5.0.0/22"}"#)
    }

    fn subnets(key: &str) -> Subnets {
        key.parse().unwrap()
    }

    /// Leases as `KEY HOST`, oldest first; without a host, its value could not be read.
    fn taken(leases: &[&str]) -> Vec<Taken> {
        let lease = |(created, text): (i64, &&str)| {
            let (key, host) = text.split_once(' ').unwrap_or((text, ""));
            Taken { subnets: subnets(key), host: host.parse().ok(), created }
        };
        (0..).zip(leases).map(lease).collect()
    }

    fn pick(config: &Config, leases: &[&str], former: Option<&str>, random: u128) -> Choice {
        let host: IpAddr = OWN.parse().unwrap();
        choose(config, &taken(leases), host, former.map(subnets), || random).unwrap()
    }

    #[test]
    fn its_own_lease_comes_first() {
        let leases = ["10.5.1.0-24 10.0.0.2", "10.5.2.0-24 10.0.0.1"];
        let choice = pick(&small(), &leases, Some("10.5.3.0-24"), 0);
        assert_eq!(choice, Choice::Own(subnets("10.5.2.0-24")));
    }

    #[test]
    fn an_own_lease_that_does_not_fit_is_not_taken_and_does_not_stand_in_the_way() {
        let choice = pick(&small(), &["10.5.1.0-25 10.0.0.1"], Some("10.5.1.0-24"), 9);
        assert_eq!(choice, Choice::Free(subnets("10.5.1.0-24")));
    }

    #[test]
    fn former_subnets_are_taken_if_they_are_free_and_fit() {
        let former = |leases: &[&str], key: &str| pick(&small(), leases, Some(key), 0).subnets();
        assert_eq!(former(&[], "10.5.3.0-24"), subnets("10.5.3.0-24"));
        assert_eq!(former(&["10.5.3.0-24 10.0.0.2"], "10.5.3.0-24"), subnets("10.5.1.0-24"));
        assert_eq!(former(&["10.5.2.0-23 10.0.0.2"], "10.5.3.0-24"), subnets("10.5.1.0-24"));
        assert_eq!(former(&[], "10.5.0.0-24"), subnets("10.5.1.0-24"), "below SubnetMin");
        assert_eq!(former(&[], "10.6.3.0-24"), subnets("10.5.1.0-24"), "of another network");
        assert_eq!(former(&[], "10.5.3.0-25"), subnets("10.5.1.0-24"), "of another length");
    }

    #[test]
    fn every_free_subnet_can_be_chosen_and_no_other() {
        let config = config(r#"{"Network":"10.5.0.0/20"}"#);
        // A reservation of four, one that cannot be read, one outside, and part of another.
        let leases = [
            "10.5.4.0-22 10.0.0.2",
            "10.5.9.0-24",
            "10.5.0.0-24 10.0.0.3",
            "10.5.12.64-26 10.0.0.4",
            "10.9.0.0-16 10.0.0.5",
        ];
        let chosen: BTreeSet<_> = (0..100)
            .map(|random| pick(&config, &leases, None, random).subnets().to_string())
            .collect();
        let expected = [1, 2, 3, 8, 10, 11, 13, 14, 15].map(|c| format!("10.5.{c}.0-24"));
        assert_eq!(chosen, BTreeSet::from(expected));
    }

    #[test]
    fn the_families_are_chosen_independently() {
        let config =
            config(r#"{"Network":"10.5.0.0/22","EnableIPv6":true,"IPv6Network":"fd00::/62"}"#);
        let leases = ["10.5.1.0-24&fd00:0:0:3::-64 10.0.0.2", "10.5.3.0-24 10.0.0.3"];
        let choice = pick(&config, &leases, None, 1);
        assert_eq!(choice, Choice::Free(subnets("10.5.2.0-24&fd00:0:0:2::-64")));
    }

    #[test]
    fn the_largest_pool_takes_no_walk() {
        let config = config(
            r#"{"Network":"0.0.0.0/0","SubnetLen":30,"EnableIPv6":true,"IPv6Network":"::/0","IPv6SubnetLen":126}"#,
        );
        let last = pick(&config, &[], None, u128::MAX >> 2).subnets();
        assert!(config.fits(&last), "{last}");
    }

    #[test]
    fn no_free_subnet_is_an_error_that_names_the_oldest_hosts() {
        let leases = [
            "10.5.3.0-24 10.0.0.4",
            "10.5.1.0-24 10.0.0.2",
            "10.5.2.0-25 10.0.0.3",
            "10.5.2.128-25 10.0.0.9",
        ];
        let host = OWN.parse().unwrap();
        let error = choose(&small(), &taken(&leases), host, None, || 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "10.5.0.0/22 has no free subnet /24: all 3 are used, longest by \
             10.0.0.4 (10.5.3.0/24), 10.0.0.2 (10.5.1.0/24), 10.0.0.3 (10.5.2.0/25)"
        );
    }
}
