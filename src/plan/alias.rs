//! What netcord writes on a link (`ip link set NAME alias`), and what that tells when a record is
//! lost: whose it is, and in words behind it what no other mark in the kernel would.

use super::ALIAS_PREFIX;
use crate::model::{Attachment, Endpoint, LinkName, Network};

/// On a network's bridge.
pub(super) fn of_network(network: &Network) -> String {
    let mut alias = of_link(&network.name);
    if let Some(parent) = network.driver.uplink() {
        alias.push_str(" parent=");
        alias.push_str(parent.link.as_str());
    }
    for flag in network.flags.iter() {
        alias.push(' ');
        alias.push_str(flag.word());
    }
    alias + &subnets(network) + &ranges(network)
}

/// Of a bridge with addresses of its own: they are gone after `ip addr flush`, and those of IPv6
/// whenever the bridge is set down.
fn subnets(network: &Network) -> String {
    let subnets = network.subnets.iter().filter(|_| network.driver.is_gateway());
    let gateways = subnets.filter_map(|s| s.gateway.map(|ip| format!("{ip}/{}", s.cidr.prefix())));
    gateways.fold(String::new(), |words, gateway| words + &format!(" subnet={gateway}"))
}

/// On an endpoint's link: the host end, or the macvlan, which is all that there is of its network.
pub(super) fn of_endpoint(network: &Network, endpoint: &Endpoint) -> String {
    let owner = format!("{ALIAS_PREFIX}{}/{}", network.name, endpoint.netns);
    match endpoint.attachment {
        // Who lives with it may give it another name.
        Attachment::Macvlan => format!("{owner} link={}{}", endpoint.ifname, ranges(network)),
        Attachment::Veth { .. } => owner,
    }
}

/// On any other link that is ours.
pub(super) fn of_link(name: &LinkName) -> String {
    format!("{ALIAS_PREFIX}{name}")
}

fn ranges(network: &Network) -> String {
    let ranges = network.subnets.iter().filter_map(|subnet| subnet.ip_range);
    ranges.fold(String::new(), |words, range| words + &format!(" range={range}"))
}

/// What an alias of ours says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark<'a> {
    /// The network, or what else has a link of ours.
    pub network: &'a str,
    /// Of an endpoint's link: what the target is called in `/run/netns`.
    pub target: Option<&'a str>,
    words: &'a str,
}

impl<'a> Mark<'a> {
    /// Reads an alias; `None` if it is none of ours.
    pub fn read(alias: &'a str) -> Option<Self> {
        let mark = alias.strip_prefix(ALIAS_PREFIX)?;
        let (owner, words) = mark.split_once(' ').unwrap_or((mark, ""));
        let (network, target) = match owner.split_once('/') {
            Some((network, target)) => (network, Some(target)),
            None => (owner, None),
        };
        Some(Self { network, target, words })
    }

    /// Whether a word is in it.
    pub fn says(&self, word: &str) -> bool {
        self.words.split(' ').any(|w| w == word)
    }

    /// The values of `KEY=VALUE` in it.
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
