//! The host that verbs work on: opened once, with what a verb reports to and how it works.

use std::{cell::Cell, collections::BTreeMap};

use anyhow::Result;

use super::Events;
use crate::{
    apply::{self, Told},
    error::{self, Error},
    kernel::Kernel,
    model::{Firewall, LinkName},
    plan::{Plan, Step},
    state::State,
};

/// A plan with this many steps is long.
const MANY_STEPS: usize = 20;

fn step_of(plan: &Plan, number: usize, step: &Step) -> String {
    match plan.len() {
        ..MANY_STEPS => step.why.to_owned(),
        many => format!("step {} of {many}: {}", number + 1, step.why),
    }
}

/// The options of verbs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Report plans ([`Events::plan`]) instead of carrying them out.
    pub dry_run: bool,
    /// The firewall for the rules; `None`: that of the host's networks.
    pub firewall: Option<Firewall>,
}

/// The host that verbs work on, and the receiver of their events.
pub struct Session<'e> {
    pub(super) kernel: Kernel,
    pub(super) events: &'e dyn Events,
    pub(super) dry_run: bool,
    pub(super) firewall: Option<Firewall>,
    /// In a dry run, the plans that were reported so far.
    pub(super) printed: Plan,
    /// Whether anything was repaired before the verb's own plan.
    pub(super) mended: bool,
    /// Networks for which an earlier step failed, with the error.
    pub(super) aside: BTreeMap<LinkName, Error>,
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("dry_run", &self.dry_run).finish_non_exhaustive()
    }
}

impl<'e> Session<'e> {
    /// Opens the host whose network namespace the calling thread is in. A verb moves that thread
    /// between namespaces, so the runtime must have one thread.
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

    /// Opens the host anew, for a program that serves many requests: a namespace that stays open would
    /// not end with its container.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn again(&self) -> Result<Self> {
        Self::open(Options { dry_run: self.dry_run, firewall: self.firewall }, self.events)
    }

    /// Warns of networks that were set aside.
    pub fn close(self) {
        self.warn_of_aside();
    }

    /// Returns whether plans are only reported.
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Reports what the user may want to know.
    pub fn note(&self, text: &str) {
        self.events.note(text);
    }

    /// Takes the error of a verb that undoes: nothing is left to undo of what does not exist.
    pub(super) fn nothing_to_do(&self, error: anyhow::Error) -> Result<()> {
        if !error::is_absent(&error) {
            return Err(error);
        }
        self.events.note(&format!("nothing to do: {error:#}"));
        Ok(())
    }

    /// Carries a plan out, or reports it; returns whether anything changed. `None`: a dry run,
    /// without a result to print.
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
        // Of changes that are carried out together, the first is reported.
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
        let changes: Vec<_> = plan.iter().map(|step| &step.change).collect();
        let mut is_there = self.kernel.hold(&changes).await;
        for (step, is_there) in plan.iter().zip(&mut is_there) {
            *is_there |= self.printed.iter().any(|before| before.change == step.change);
        }
        self.events.plan(plan, &is_there)
    }
}
