//! What one more costs when there are many already.

pub(crate) mod endpoints;
pub(crate) mod ports;

use std::time::Duration;

use anyhow::Result;

use crate::measure::Series;

/// One line of a curve.
pub(crate) struct Line {
    /// Whose.
    pub(crate) name: &'static str,
    /// For a number of things, the times of that one.
    pub(crate) points: Vec<(u16, Series)>,
    /// Why it ends early.
    pub(crate) stopped: Option<String>,
}

impl Line {
    fn new(name: &'static str) -> Self {
        Self { name, points: Vec::new(), stopped: None }
    }

    /// The times of the thing of this number.
    pub(crate) fn at(&self, number: u16) -> Option<&Series> {
        self.points.iter().find(|(n, _)| *n == number).map(|(_, series)| series)
    }

    fn add(&mut self, number: u16, times: Vec<Duration>) -> Result<()> {
        if self.stopped.is_none() {
            self.points.push((number, Series::new(times)?));
        }
        Ok(())
    }
}

/// The line of this name.
pub(crate) fn find<'a>(lines: &'a [Line], name: &str) -> Option<&'a Line> {
    lines.iter().find(|line| line.name == name)
}
