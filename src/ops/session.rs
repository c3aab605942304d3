//! The host that verbs work on: opened once, with what a verb reports to and how it works.

use std::{cell::Cell, collections::BTreeMap};

use anyhow::Result;

use super::Events;
use crate::{
    apply::{self, Told},
    error::Error,
    kernel::Kernel,
    model::{Firewall, LinkName},
    plan::{Plan, Step},
    state::State,
};

/// From here on a plan is long.
const MANY_STEPS: usize = 20;

fn step_of(plan: &Plan, number: usize, step: &Step) -> String {
    match plan.len() {
        ..MANY_STEPS => step.why.to_owned(),
        many => format!("step {} of {many}: {}", number + 1, step.why),
    }
}

/// How verbs work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Plans are reported ([`Events::plan`]) and not carried out.
    pub dry_run: bool,
    /// The firewall that the rules are to be in; `None`: that of the host's networks.
    pub firewall: Option<Firewall>,
}

/// The host that verbs work on, and the receiver of what they report.
pub struct Session<'e> {
    pub(super) kernel: Kernel,
    pub(super) events: &'e dyn Events,
    pub(super) dry_run: bool,
    pub(super) firewall: Option<Firewall>,
    /// In a dry run, what the script does before.
    pub(super) printed: Plan,
    /// Something was mended before the verb's own plan.
    pub(super) mended: bool,
    /// Networks that something failed for before, and why.
    pub(super) aside: BTreeMap<LinkName, Error>,
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("dry_run", &self.dry_run).finish_non_exhaustive()
    }
}

impl<'e> Session<'e> {
    /// Opens the host whose network namespace the calling thread is in. A verb moves that thread
    /// between namespaces, so it belongs on a runtime of one thread.
    ///
    /// # Errors
    /// If the kernel lacks netlink.
    pub fn open(options: Options, events: &'e dyn Events) -> Result<Self> {
        Ok(Self {
            kernel: Kernel::open()?,
            events,
            dry_run: options.dry_run,
            firewall: options.firewall,
            printed: Plan::new(),
            mended: false,
            aside: BTreeMap::new(),
        })
    }

    /// Warns of networks that a verb went on without.
    pub fn close(self) {
        self.warn_of_aside();
    }

    /// Whether plans are only reported.
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Carries a plan out, or reports it; tells whether anything changed. `None`: it was a dry run,
    /// and there is no result to print.
    pub(super) async fn carry_out(
        &mut self,
        plan: &Plan,
        state: &mut State,
    ) -> Result<Option<bool>> {
        if self.dry_run {
            self.print(plan).await?;
            return Ok(None);
        }
        let events = self.events;
        let doing = events.doing("changing what has to be changed");
        // Of changes that travel together the first is told of.
        let is_next = Cell::new(true);
        let changed = apply::carry_out(
            plan,
            &mut self.kernel,
            state,
            &mut |number, step| {
                if is_next.replace(false) {
                    doing.update(&|| step_of(plan, number, step));
                }
                events.before(number, step)
            },
            &mut |told| match told {
                Told::Done(step, changed) => {
                    is_next.set(true);
                    events.step(step, changed);
                }
                Told::Undoing(left) => {
                    doing.update(&|| format!("undoing what was done: {left} to go"));
                }
            },
        )
        .await?;
        Ok(Some(changed | std::mem::take(&mut self.mended)))
    }

    /// Reports a plan, and which of its steps have nothing to do.
    pub(super) async fn print(&self, plan: &Plan) -> Result<()> {
        let mut is_there = Vec::with_capacity(plan.len());
        for step in plan {
            let is_printed = self.printed.iter().any(|before| before.change == step.change);
            is_there.push(is_printed || self.kernel.holds(&step.change).await);
        }
        self.events.plan(plan, &is_there)
    }
}
