//! The plan of a name in `/run/netns`: the notes' step 4.

use std::net::Ipv4Addr;

use ipnetwork::{IpNetwork, Ipv4Network};

use super::{Place, Plan, Record, Resource, Step};
use crate::model::{LinkName, NamedNetns, Source};

const LOOPBACK: Ipv4Network = match Ipv4Network::new_checked(Ipv4Addr::LOCALHOST, 8) {
    Some(network) => network,
    None => unreachable!(),
};

/// Names a namespace; one that has none to name is made, with nothing but a running `lo`.
pub fn name(named: &NamedNetns) -> Plan {
    let mut plan = vec![
        Step::create(
            "write down what is about to be named",
            Resource::Record(Record::Name(named.clone())),
        ),
        Step::create(
            match named.source {
                Source::Made => "a network namespace of its own, held by its name",
                Source::Link(_) => "a name in /run/netns makes the namespace known to `ip netns`",
            },
            Resource::Name(named.clone()),
        ),
    ];
    if named.source == Source::Made {
        plan.extend(lo_up(&Some(named.name.clone())));
    }
    plan
}

/// A running `lo`. The kernel would add its address by itself, and leave it when `lo` goes down
/// again: added by name, it is also taken away.
pub fn lo_up(netns: &Place) -> Plan {
    let link = LinkName::loopback();
    let address = IpNetwork::V4(LOOPBACK);
    let why = "programs expect to reach themselves on 127.0.0.1";
    vec![
        Step::create(why, Resource::Address { netns: netns.clone(), link: link.clone(), address }),
        Step::create(why, Resource::Up { netns: netns.clone(), link }),
    ]
}
