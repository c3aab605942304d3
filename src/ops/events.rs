//! The events that a verb reports to its caller: a terminal, a CNI plugin, a test.

use std::{any::Any, time::Duration};

use anyhow::Result;

use crate::{
    model::Activity,
    plan::{Plan, Step},
};

/// Receives the events of a verb. Results and errors are returned instead.
///
/// By default, each method does nothing.
pub trait Events {
    /// An activity begins that may take long, for `limit` at most. It ends when the returned value
    /// is dropped.
    fn begin(&self, _activity: Activity, _limit: Option<Duration>) -> Box<dyn Progress> {
        Box::new(())
    }

    /// A step of a plan is about to be carried out. An error stops the plan, and it is rolled back.
    ///
    /// # Errors As the receiver decides.
    fn before(&self, _number: usize, _step: &Step) -> Result<()> {
        Ok(())
    }

    /// A step was carried out; `changed` is false if it had nothing to do.
    fn step(&self, _step: &Step, _changed: bool) {}

    /// Reports a plan in a dry run. For each step, `is_there` says whether it has nothing to do.
    ///
    /// # Errors If the receiver cannot print it.
    fn plan(&self, _plan: &Plan, _is_there: &[bool]) -> Result<()> {
        Ok(())
    }

    /// A warning: something may not be what the caller wants.
    fn warn(&self, _text: &str) {}

    /// A note.
    fn note(&self, _text: &str) {}

    /// Another program gets the terminal, until the returned value is dropped.
    fn hand_over(&self) -> Box<dyn Any> {
        Box::new(())
    }
}

/// A running activity.
pub trait Progress {
    /// Changes the description of the activity. The function is called only if somebody reads it.
    fn update(&self, _words: &dyn Fn() -> String) {}
}

impl Progress for () {}

/// Ignores all events.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Events for Silent {}

impl dyn Events + '_ {
    /// Begins an activity; see [`Events::begin`].
    pub(super) fn doing(&self, activity: impl Into<Activity>) -> Box<dyn Progress> {
        self.begin(activity.into(), None)
    }

    /// Begins an activity with a limit.
    pub(super) fn doing_for(
        &self,
        limit: Duration,
        activity: impl Into<Activity>,
    ) -> Box<dyn Progress> {
        self.begin(activity.into(), Some(limit))
    }
}
