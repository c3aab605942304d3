//! The plan of a name in `/run/netns`: the notes' step 4.

use std::net::Ipv4Addr;

use ipnetwork::{IpNetwork, Ipv4Network};

use super::{Place, Plan, Record, Resource, Step};
use crate::model::{LinkName, NamedNetns, Source};

const LOOPBACK: Ipv4Network = match Ipv4Network::new_checked(Ipv4Addr::LOCALHOST, 8) {
    Some(network) => network,
    None => unreachable!(),
};

/// Names a namespace. If there is none to name, makes one with nothing but a running `lo`.
pub fn name(named: &NamedNetns) -> Plan {
    let mut plan = vec![
        Step::create(
            "record the name before it is made, so that a later run can remove it",
            Resource::Record(Record::Name(named.clone())),
        ),
        Step::create(
            match named.source {
                Source::Made => "a new network namespace, kept alive by a bind mount in /run/netns",
                Source::Link(_) => "a name in /run/netns lets `ip netns` find the namespace",
            },
            Resource::Name(named.clone()),
        ),
    ];
    if named.source == Source::Made {
        plan.extend(lo_up(&Some(named.name.clone())));
    }
    plan
}

/// Sets `lo` up. The kernel would add its address by itself, but not remove it when `lo` goes down.
/// An address that we added is removed with the step.
pub fn lo_up(netns: &Place) -> Plan {
    let link = LinkName::loopback();
    let address = IpNetwork::V4(LOOPBACK);
    let why = "programs expect lo to be up and to have 127.0.0.1";
    vec![
        Step::create(why, Resource::Address { netns: netns.clone(), link: link.clone(), address }),
        Step::create(why, Resource::Up { netns: netns.clone(), link }),
    ]
}
