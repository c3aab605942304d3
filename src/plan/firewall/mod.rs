//! What may pass, as data: the same promises in the words of either of the kernel's firewalls.
//!
//! - `nftables`: a table of our own, whose drops no accept in another table can override
//! - `iptables`: chains of our own, after the rules of other programs

mod iptables;
pub mod nftables;

use super::{Plan, Resource, Step};
use crate::model::{Family, Firewall, LinkName, NetnsName, Network, PublishedPort, Subnet};

pub use iptables::{Chain, Rule, Table, comes_first};
pub use nftables::Nft;

/// Makes the filter and masquerade rules of a network of ours.
pub(super) fn network(network: &Network) -> Plan {
    match network.firewall {
        // It only switches frames, which meet iptables' rules (br_netfilter), and none of netcord's table.
        Firewall::Nftables if network.is_without_subnet() => Vec::new(),
        Firewall::Iptables if network.is_without_subnet() => iptables::switch(network),
        Firewall::Nftables => nftables::network(network),
        Firewall::Iptables => iptables::network(network),
    }
}

/// Makes the rules that a published port needs on a foreign bridge.
pub(super) fn foreign(network: &Network, port: &PublishedPort) -> Plan {
    match network.firewall {
        Firewall::Nftables => nftables::foreign(network),
        Firewall::Iptables => iptables::foreign(network, port),
    }
}

/// Makes the rules of an underlay network, where bridged frames pass the firewall: this host does
/// not filter the traffic of the physical network.
pub(super) fn underlay(network: &Network) -> Plan {
    iptables::underlay(network)
}

/// Makes the translation of a published port to its endpoint. It contains `owner`, as a mark that
/// outlives the record.
pub fn port(firewall: Firewall, owner: &str, port: &PublishedPort) -> Resource {
    match firewall {
        Firewall::Nftables => Resource::Nft(Nft::Ports(nftables::port(owner, port))),
        Firewall::Iptables => Resource::Rule(iptables::dnat(owner, port)),
    }
}

/// Returns the reason of source NAT: of protocols with ports, or of the others.
fn source_nat(subnet: &Subnet, has_ports: bool) -> &'static str {
    match (subnet.outbound, has_ports) {
        (Some(_), _) => "SNAT: packets to other links get the address of --outbound-addr",
        (None, true) => {
            "masquerade (SNAT): packets to other links get that link's address, so replies return"
        }
        (None, false) => "masquerade for protocols without ports, such as ICMP",
    }
}

/// Returns the owner of a published port, `NETWORK/NAME`.
pub fn owner(network: &LinkName, netns: &NetnsName) -> String {
    format!("{network}/{netns}")
}

/// Deletes the chains of a network that is no longer on record.
pub fn stale_network(network: LinkName, is_open: bool) -> Step {
    let rules = nftables::any_rules(network, is_open);
    Step::delete(
        "leftover rules of a network that no longer exists",
        Resource::Nft(Nft::Network(rules)),
    )
}

/// Makes what all networks share. It is deleted with the last network that needs it.
pub fn shared(firewall: Firewall, family: Family) -> Plan {
    match firewall {
        Firewall::Nftables => nftables::shared(),
        Firewall::Iptables => iptables::base(family),
    }
}
