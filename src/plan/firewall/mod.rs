//! What may pass, as data: the same promises in the words of either of the kernel's firewalls.
//!
//! - `nftables`: a table of our own, which an accept of somebody else's does not undo
//! - `iptables`: chains of our own, after everybody else's rules

mod iptables;
pub mod nftables;

use super::{Plan, Resource, Step};
use crate::model::{Family, Firewall, LinkName, NetnsName, Network, PublishedPort};

pub use iptables::{Chain, Rule, Table, comes_first};
pub use nftables::Nft;

/// What may pass to and from the endpoints of a network of ours.
pub(super) fn network(network: &Network) -> Plan {
    match network.firewall {
        Firewall::Nftables => nftables::network(network),
        Firewall::Iptables => iptables::network(network),
    }
}

/// What a published port needs of a bridge that is somebody else's.
pub(super) fn foreign(network: &Network, port: &PublishedPort) -> Plan {
    match network.firewall {
        Firewall::Nftables => nftables::foreign(network),
        Firewall::Iptables => iptables::foreign(network, port),
    }
}

/// What an underlay network needs where bridged frames meet the firewall: on the physical network
/// nobody asks this host what may pass.
pub(super) fn underlay(network: &Network) -> Plan {
    iptables::underlay(network)
}

/// What leads a published port to its endpoint; `owner` is in it, as a mark that outlives the
/// record.
pub fn port(firewall: Firewall, owner: &str, port: &PublishedPort) -> Resource {
    match firewall {
        Firewall::Nftables => Resource::Nft(Nft::Ports(nftables::port(owner, port))),
        Firewall::Iptables => Resource::Rule(iptables::dnat(owner, port)),
    }
}

/// Whose a published port is: `NETWORK/NAME`.
pub fn owner(network: &LinkName, netns: &NetnsName) -> String {
    format!("{network}/{netns}")
}

/// Takes away what a network has in our table that is on record no more.
pub fn stale_network(network: LinkName) -> Step {
    let rules = nftables::any_rules(network);
    Step::delete(
        "leftover rules of a network that no longer exists",
        Resource::Nft(Nft::Network(rules)),
    )
}

/// What all networks share: it goes when none is left that needs it.
pub fn shared(firewall: Firewall, family: Family) -> Plan {
    match firewall {
        Firewall::Nftables => nftables::shared(),
        Firewall::Iptables => iptables::base(family),
    }
}
