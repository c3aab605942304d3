//! Restores the attributes and the bridge of existing links.

use anyhow::Result;

use crate::{
    kernel::Kernel,
    plan::{Change, Class, LinkAttrs, Plan, Resource, Scope, Step},
};

/// Adds to a plan the changes that restore the attributes of its existing links, and make them
/// ports of their bridge again.
pub(in crate::ops) async fn restore(kernel: &Kernel, plan: &mut Plan) -> Result<()> {
    let mut lost = Vec::new();
    let deletions = plan.iter().map(|step| &step.change);
    let deletions: Vec<_> = deletions.filter(|c| matches!(c, Change::Delete(_))).collect();
    let cut = |made: &Resource| {
        !deletions.is_empty() && deletions.contains(&&Change::delete(made.clone()))
    };
    let makes_link = |step: &&Step| {
        let is_link = matches!(step.change.facts().class, Class::Link { .. });
        is_link && matches!(step.change, Change::Create(_))
    };
    for step in plan.iter().filter(makes_link) {
        let Some(made) = step.change.resource().filter(|made| !cut(made)) else { continue };
        for shape in kernel.drifted_attrs(made).await? {
            lost.push(restored(shape));
        }
        for change in kernel.plugging(made).await? {
            lost.push(Step { why: "the port is not in its bridge", change, scope: Scope::Own });
        }
    }
    after_record(plan, lost);
    Ok(())
}

/// Restores attributes of links before anything else that a plan does.
pub(in crate::ops) fn add(plan: &mut Plan, attrs: Vec<LinkAttrs>) {
    after_record(plan, attrs.into_iter().map(restored).collect());
}

fn restored(attrs: LinkAttrs) -> Step {
    Step::create("attributes of the link were changed", Resource::LinkAttrs(attrs))
}

// After the record, so that a later run can finish.
fn after_record(plan: &mut Plan, steps: Plan) {
    let first = plan.iter().position(|s| !matches!(s.change.facts().class, Class::Record(_)));
    let at = first.unwrap_or(plan.len());
    plan.splice(at..at, steps);
}
