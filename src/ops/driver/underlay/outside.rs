//! Whether the host reaches the outside by a link.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::model::{Family, LinkName, SavedRoute};

/// `RTN_UNICAST`
const UNICAST: u8 = 1;

/// What of the host's ways to the outside moves with a link, in words: a default route, also one leg
/// of one, or routes that lead to half of all addresses or more, as 0.0.0.0/1 and 128.0.0.0/1 do.
pub(super) fn carried(routes: &[SavedRoute], link: &LinkName) -> Option<String> {
    let ways: Vec<_> = routes.iter().filter(|route| route.kind == UNICAST).collect();
    if let Some(route) = ways.iter().find(|route| route.destination.prefix() == 0) {
        let mut hops = route.hops.iter().filter(|hop| hop.link == *link).peekable();
        if hops.peek().is_none() {
            return Some("has the address that the host's default route is from".to_owned());
        }
        let gateway = hops.find_map(|hop| hop.gateway);
        let by = gateway.map_or_else(String::new, |gateway| format!(" (via {gateway})"));
        return Some(format!("carries the host's default route{by}"));
    }
    Family::BOTH.into_iter().find_map(|family| {
        let networks = ways.iter().map(|route| route.destination);
        let networks: Vec<_> = networks.filter(|n| Family::of(n.ip()) == family).collect();
        let first = networks.iter().min_by_key(|network| network.prefix())?;
        are_most(&networks)
            .then(|| format!("carries the host's routes to most addresses ({first} and others)"))
    })
}

/// Whether networks of one IP version are half of all public addresses, or more.
fn are_most(networks: &[IpNetwork]) -> bool {
    let Some(first) = networks.first() else { return false };
    let (low, high) = public(Family::of(first.ip()));
    let mut ranges: Vec<_> = networks
        .iter()
        .map(|n| (number(n.network()).max(low), number(n.broadcast()).min(high)))
        .filter(|(first, last)| first <= last)
        .collect();
    ranges.sort_unstable();
    let (mut covered, mut next) = (0, low);
    for (first, last) in ranges {
        let first = first.max(next);
        if first <= last {
            covered += last - first + 1;
            next = last + 1;
        }
    }
    covered >= (high - low) / 2
}

/// The first and the last address that is somebody's: before IPv4's multicast, and IPv6's global
/// unicast (`2000::/3`).
fn public(family: Family) -> (u128, u128) {
    match family {
        Family::V4 => (0, 0xdfff_ffff),
        Family::V6 => (0x2 << 124, (0x4 << 124) - 1),
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

#[cfg(test)]
mod tests {
    fn are_most(networks: &[&str]) -> bool {
        super::are_most(&networks.iter().map(|n| n.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn a_default_route_may_be_in_pieces() {
        for pieces in [
            &["0.0.0.0/0"][..],
            &["0.0.0.0/1", "128.0.0.0/1"],
            &["0.0.0.0/1"],
            &["0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/2"],
            &["::/0"],
            &["::/1", "8000::/1"],
            &["2000::/3"],
            &["2000::/4", "3000::/4"],
        ] {
            assert!(are_most(pieces), "{pieces:?}");
        }
        for pieces in [
            &[][..],
            &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"],
            &["0.0.0.0/2", "0.0.0.0/3", "0.0.0.0/2"],
            &["224.0.0.0/3"],
            &["fc00::/7", "fe80::/10", "ff00::/8"],
            &["8000::/1"],
            &["2001:db8::/32"],
        ] {
            assert!(!are_most(pieces), "{pieces:?}");
        }
    }
}
