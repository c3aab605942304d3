//! What netcord writes on a link (`ip link set NAME alias`), so that a lost record can be rebuilt: the
//! owner, and behind it in words the settings that no other mark in the kernel holds.

use std::str::FromStr;

use super::ALIAS_PREFIX;
use crate::model::{Attachment, Backend, Endpoint, Flat, LinkName, Network, Overlay, Store};

/// The kernel's limit (`IFALIASZ`, less its NUL).
const LONGEST: usize = 255;

/// The alias of a network's bridge.
pub(super) fn of_network(network: &Network) -> String {
    let mut alias = of_link(&network.name);
    if let Some(overlay) = network.driver.overlay() {
        alias += &of_overlay(overlay);
    }
    if let Some(parent) = network.driver.uplink() {
        alias.push_str(" parent=");
        alias.push_str(parent.link.as_str());
    }
    for flag in network.flags.iter() {
        alias.push(' ');
        alias.push_str(flag.word());
    }
    let store = network.driver.overlay().and_then(|overlay| overlay.store.as_ref());
    fitting(
        alias
            + &subnets(network)
            + &ranges(network)
            + &outbound(network)
            + &store.map_or_else(String::new, of_store),
    )
}

/// Of an overlay's store: how it is reached without files. Last, as it can be long.
fn of_store(store: &Store) -> String {
    let Store { endpoints, prefix, ca, identity, user, .. } = store;
    let words = format!(" store={} prefix={prefix}", endpoints.join(","));
    let needs_files = ca.is_some() || identity.is_some() || user.is_some();
    let is_words = words.matches(char::is_whitespace).count() == 2;
    if is_words && !needs_files { words } else { String::new() }
}

/// Of an overlay: what the tunnel and the routes to the other hosts do not tell.
fn of_overlay(overlay: &Overlay) -> String {
    let word = format!(" overlay={}", overlay.backend.kind().as_str());
    let cluster = overlay.cluster.iter().fold(word, |words, b| words + &format!(" cluster={b}"));
    let cluster = match overlay.flat {
        Some(Flat { multicast: true }) => cluster + " flat multicast",
        Some(Flat { multicast: false }) => cluster + " flat",
        None => cluster,
    };
    match &overlay.backend {
        Backend::Vxlan(vxlan) if vxlan.direct_routing => cluster + " direct-routing",
        Backend::Vxlan(_) | Backend::Udp(_) => cluster,
        Backend::HostGw => cluster + &outside(overlay),
    }
}

/// Of an overlay: the link and the address by which this host reaches the others.
fn outside(overlay: &Overlay) -> String {
    format!(" via={} host={}", overlay.parent, overlay.host)
}

/// The alias of an overlay's TUN link: how the relay sends what is sent to it.
pub(super) fn of_tun(network: &LinkName, overlay: &Overlay, port: u16) -> String {
    of_link(network) + &outside(overlay) + &format!(" port={port}")
}

/// The words that the kernel keeps: a mark that lacks its last word is better than none.
fn fitting(alias: String) -> String {
    let mut fitting = alias;
    while fitting.len() > LONGEST {
        let end = fitting.rfind(' ').unwrap_or(LONGEST);
        fitting.truncate(end);
    }
    fitting
}

/// The subnets of a bridge that has addresses of its own. The alias keeps them because `ip addr
/// flush` removes the addresses, and the kernel removes those of IPv6 whenever the bridge goes
/// down.
fn subnets(network: &Network) -> String {
    let subnets = network.subnets.iter().filter(|_| network.driver.is_gateway());
    let gateways = subnets.map(|s| {
        // Without a gateway, the address of the subnet itself, which no host can have.
        let ip = s.gateway.unwrap_or(s.cidr.network());
        format!("{ip}/{}", s.cidr.prefix())
    });
    gateways.fold(String::new(), |words, gateway| words + &format!(" subnet={gateway}"))
}

/// The alias of an endpoint's link: of the host end, or of the macvlan, which is the only link that
/// its network has.
pub(super) fn of_endpoint(network: &Network, endpoint: &Endpoint) -> String {
    let owner = format!("{ALIAS_PREFIX}{}/{}", network.name, endpoint.netns);
    let engine = endpoint.owner.as_ref().map_or_else(String::new, |o| format!(" owner={o}"));
    fitting(match endpoint.attachment {
        // Processes inside the target may rename the link.
        Attachment::Macvlan => {
            format!("{owner} link={}{}{engine}", endpoint.ifname, ranges(network))
        }
        Attachment::Veth { .. } => owner + &engine,
    })
}

/// The alias of any other link of ours.
pub(super) fn of_link(name: &LinkName) -> String {
    format!("{ALIAS_PREFIX}{name}")
}

fn ranges(network: &Network) -> String {
    let ranges = network.subnets.iter().filter_map(|subnet| subnet.ip_range);
    ranges.fold(String::new(), |words, range| words + &format!(" range={range}"))
}

fn outbound(network: &Network) -> String {
    let addresses = network.subnets.iter().filter_map(|subnet| subnet.outbound);
    addresses.fold(String::new(), |words, address| words + &format!(" outbound={address}"))
}

/// The parsed alias of a link of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark<'a> {
    /// The network, or the other owner of a link of ours.
    pub network: &'a str,
    /// On an endpoint's link: the target's name in `/run/netns`.
    pub target: Option<&'a str>,
    words: &'a str,
}

impl<'a> Mark<'a> {
    /// Parses an alias; returns `None` if it is not one of ours.
    pub fn read(alias: &'a str) -> Option<Self> {
        let mark = alias.strip_prefix(ALIAS_PREFIX)?;
        let (owner, words) = mark.split_once(' ').unwrap_or((mark, ""));
        let (network, target) = match owner.split_once('/') {
            Some((network, target)) => (network, Some(target)),
            None => (owner, None),
        };
        Some(Self { network, target, words })
    }

    /// Returns whether the alias contains a word.
    pub fn says(&self, word: &str) -> bool {
        self.words.split(' ').any(|w| w == word)
    }

    /// Returns the value of a word `KEY=VALUE`, if it is valid.
    pub fn value<T: FromStr>(&self, key: &'static str) -> Option<T> {
        self.values(key).next()?.parse().ok()
    }

    /// Returns the values of `KEY=VALUE` words.
    pub fn values(&self, key: &'static str) -> impl Iterator<Item = &'a str> {
        let words = self.words.split(' ');
        words.filter_map(move |word| word.strip_prefix(key)?.strip_prefix('='))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_says_whose_a_link_is_and_more() {
        let mark = Mark::read("netcord:mydr0 parent=eth0 isolate range=10.0.0.8/29").unwrap();
        assert_eq!((mark.network, mark.target), ("mydr0", None));
        assert!(mark.says("isolate") && !mark.says("internal") && !mark.says(""));
        assert_eq!(mark.values("range").collect::<Vec<_>>(), ["10.0.0.8/29"]);
        let mark = Mark::read("netcord:lan0/web link=eth0").unwrap();
        assert_eq!((mark.network, mark.target), ("lan0", Some("web")));
        assert_eq!(mark.values("link").next(), Some("eth0"));
        assert_eq!(Mark::read("somebody's"), None);
    }
}
