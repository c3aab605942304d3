//! The plan of a name in `/run/netns`: the notes' step 4.

use super::{Place, Plan, Record, Resource, Step};
use crate::model::{NamedNetns, Source};

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
        plan.push(lo_up(Some(named.name.clone())));
    }
    plan
}

pub(super) fn lo_up(netns: Place) -> Step {
    Step::create(
        "programs expect to reach themselves on 127.0.0.1",
        Resource::Up { netns, link: "lo".into() },
    )
}
