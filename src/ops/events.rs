//! What a verb reports while it works, to its caller: a terminal, a CNI plugin, a test.

use std::{any::Any, time::Duration};

use anyhow::Result;

use crate::{
    model::Activity,
    plan::{Plan, Step},
};

/// Receives what a verb reports while it works. Results and errors are returned instead.
///
/// Each method does nothing unless it is implemented.
pub trait Events {
    /// An activity begins that may take long, for `limit` at most. It ends when the returned value is
    /// dropped.
    fn begin(&self, _activity: Activity, _limit: Option<Duration>) -> Box<dyn Progress> {
        Box::new(())
    }

    /// A step of a plan is about to be carried out. An error stops the plan, and it is rolled back.
    ///
    /// # Errors
    /// As the receiver decides.
    fn before(&self, _number: usize, _step: &Step) -> Result<()> {
        Ok(())
    }

    /// A step was carried out; `changed` is false if there was nothing to do.
    fn step(&self, _step: &Step, _changed: bool) {}

    /// In a dry run: a plan, instead of carrying it out. For each step, whether what it makes is
    /// there already.
    ///
    /// # Errors
    /// If the receiver cannot print it.
    fn plan(&self, _plan: &Plan, _is_there: &[bool]) -> Result<()> {
        Ok(())
    }

    /// Something may not be what the caller wants.
    fn warn(&self, _text: &str) {}

    /// Something is worth knowing.
    fn note(&self, _text: &str) {}

    /// Another program gets the terminal, until the returned value is dropped.
    fn hand_over(&self) -> Box<dyn Any> {
        Box::new(())
    }
}

/// An activity that goes on.
pub trait Progress {
    /// Describes the activity in other words from now on; they are made only if somebody reads them.
    fn update(&self, _words: &dyn Fn() -> String) {}
}

impl Progress for () {}

/// Reports nothing.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Events for Silent {}

impl dyn Events + '_ {
    /// An activity begins; see [`Events::begin`].
    pub(super) fn doing(&self, activity: impl Into<Activity>) -> Box<dyn Progress> {
        self.begin(activity.into(), None)
    }

    /// The same, with a limit.
    pub(super) fn doing_for(
        &self,
        limit: Duration,
        activity: impl Into<Activity>,
    ) -> Box<dyn Progress> {
        self.begin(activity.into(), Some(limit))
    }
}
