//! Links whose attributes somebody changed, or took out of their bridge.

use anyhow::Result;

use crate::{
    kernel::Kernel,
    plan::{Change, Class, Plan, Resource, Scope, Step},
};

/// Gives links that a plan makes, and that are there, back what was changed of them since, and plugs
/// them in.
pub(in crate::ops) async fn restore(kernel: &Kernel, plan: &mut Plan) -> Result<()> {
    let mut lost = Vec::new();
    let cut = |made: &Resource| plan.iter().any(|s| s.change == Change::delete(made.clone()));
    for step in plan.iter().filter(|step| matches!(step.change, Change::Create(_))) {
        let Some(made) = step.change.resource().filter(|made| !cut(made)) else { continue };
        for shape in kernel.drifted_attrs(made).await? {
            lost.push(Step::create(
                "attributes of the link were changed",
                Resource::LinkAttrs(shape),
            ));
        }
        for change in kernel.plugging(made).await? {
            lost.push(Step { why: "the port is not in its bridge", change, scope: Scope::Own });
        }
    }
    // The record comes first, so that a later run can finish.
    let first = plan.iter().position(|s| !matches!(s.change.facts().class, Class::Record(_)));
    let at = first.unwrap_or(plan.len());
    plan.splice(at..at, lost);
    Ok(())
}
