//! Turns a plan into the plan that removes its effect.

use super::{Change, Class, LinkAt, LinkId, Plan, Resource, Scope, Step};

/// Returns the plan that removes a plan's effect: its changes reversed, last first, so that
/// published ports close first and protections go last.
///
/// It leaves out what is deleted with its link anyway, what has no former value, and what `keep`
/// says others still need.
pub fn reverse(plan: &[Step], keep: impl Fn(&Step) -> bool) -> Plan {
    let mut reversed: Plan = Vec::with_capacity(plan.len());
    let falling: Vec<_> = plan.iter().flat_map(made_links).collect();
    let mut flows = Vec::new();
    for step in plan.iter().rev() {
        if matches!(step.scope, Scope::Host | Scope::Run) || keep(step) {
            continue;
        }
        let facts = step.change.facts();
        let falls = facts.part_of.is_some_and(|link| falling.contains(&link));
        if falls && !stands_in_the_way(&step.change, plan) {
            continue;
        }
        let Some(change) = step.change.clone().reversed() else { continue };
        let why = why(&change).unwrap_or(step.why);
        let step = Step { why, change, scope: step.scope };
        // Tracked connections go last, when no rule creates them anew.
        if matches!(facts.class, Class::Flows) { flows.push(step) } else { reversed.push(step) }
    }
    let is_rule = |s: &Step| {
        matches!(s.change, Change::Delete(_))
            && matches!(s.change.facts().class, Class::Firewall(_))
    };
    let after_rules = reversed.iter().rposition(is_rule).map_or(0, |i| i + 1);
    reversed.splice(after_rules..after_rules, flows);
    reversed
}

/// Returns the reason of a removal: that of the creation, which the step had, would not fit.
fn why(change: &Change) -> Option<&'static str> {
    Some(match change {
        Change::DeleteLink(LinkId::Veth(_)) => {
            "delete one end of a veth pair: the other goes with it, and the addresses and routes of both"
        }
        Change::DeleteLink(LinkId::Bridge(_)) => "delete the bridge, with its addresses and routes",
        Change::DeleteLink(_) => "delete the link, with its addresses and routes",
        Change::Create(Resource::Route { .. }) => "bring back the route that was displaced",
        Change::Delete(resource) => match resource {
            Resource::Name(_) => {
                "remove the name in /run/netns: a namespace without a name and a process ends"
            }
            Resource::Port { .. } => "turn the bridge port's flag off again",
            Resource::Up { .. } => "take the link down again",
            Resource::Address { .. } => "remove the address",
            Resource::Route { .. } => "remove the route",
            Resource::Neighbour { .. } | Resource::FdbEntry { .. } | Resource::Replica { .. } => {
                "forget where the other host is reached"
            }
            Resource::Sysctl { .. } => "set the kernel's default again",
            Resource::Clsact { .. } | Resource::TcFilter { .. } => "remove the port's filter",
            Resource::Moved(_) => "give the parent back what was moved from it",
            Resource::Chain(_) | Resource::Rule(_) | Resource::Nft(_) | Resource::Zone { .. } => {
                "remove the firewall rules that nothing needs any more"
            }
            _ => return None,
        },
        Change::Create(_) => return None,
    })
}

/// Returns the same plan without duplicates of what several of its parts share.
///
/// Records and published ports are never shared.
pub fn once(mut plan: Plan) -> Plan {
    let mut shared: Vec<Change> = Vec::new();
    plan.retain(|step| {
        let is_of_one = step.change.facts().is_of_one();
        let is_new = is_of_one || !shared.contains(&step.change);
        if is_new && !is_of_one {
            shared.push(step.change.clone());
        }
        is_new
    });
    plan
}

/// Returns the links that a step creates. Their parts are deleted with them.
fn made_links(step: &Step) -> impl Iterator<Item = LinkAt<'_>> {
    let made = match &step.change {
        Change::Create(resource) => resource.facts().ends(),
        Change::Delete(_) | Change::DeleteLink(_) => [None; 2],
    };
    made.into_iter().flatten()
}

/// Returns whether a route displaced another, and so has to be deleted before that one can return.
fn stands_in_the_way(change: &Change, plan: &[Step]) -> bool {
    let Some(Resource::Route { netns, route }) = change.resource() else { return false };
    plan.iter().any(|step| match &step.change {
        Change::Delete(Resource::Route { netns: place, route: former }) => {
            place == netns && former.destination == route.destination
        }
        _ => false,
    })
}
