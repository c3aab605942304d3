//! Prints what a verb reports while it works.

use std::{any::Any, cell::RefCell, time::Duration};

use anyhow::Result;

use crate::{
    apply::Watch,
    model::Activity,
    ops::{Events, Progress},
    output::{Doing, Output},
    plan::{Plan, Step},
};

/// Prints events, and calls `watch` before each step.
pub(super) struct Terminal<'o, 'w, 'f> {
    pub(super) output: &'o Output,
    pub(super) watch: RefCell<&'w mut Watch<'f>>,
}

impl Events for Terminal<'_, '_, '_> {
    fn begin(&self, activity: Activity, limit: Option<Duration>) -> Box<dyn Progress> {
        Box::new(self.output.doing(activity, limit))
    }

    fn before(&self, number: usize, step: &Step) -> Result<()> {
        (self.watch.borrow_mut())(number, step)
    }

    fn step(&self, step: &Step, changed: bool) {
        self.output.step(step, changed);
    }

    fn plan(&self, plan: &Plan, is_there: &[bool]) -> Result<()> {
        self.output.script(plan, |i| is_there[i])
    }

    fn warn(&self, text: &str) {
        self.output.warn(text);
    }

    fn note(&self, text: &str) {
        self.output.note(text);
    }

    fn hand_over(&self) -> Box<dyn Any> {
        Box::new(self.output.hand_over())
    }
}

impl Progress for Doing {
    fn update(&self, words: &dyn Fn() -> String) {
        self.say(words);
    }
}
