//! The time of one operation, and what many of them say together.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// The times of one operation, in ascending order.
pub(crate) struct Series(Vec<Duration>);

impl Series {
    /// A series of at least one time.
    pub(crate) fn new(mut times: Vec<Duration>) -> Result<Self> {
        ensure!(!times.is_empty(), "nothing was measured");
        times.sort_unstable();
        Ok(Self(times))
    }

    /// The time that half of all stay within.
    pub(crate) fn median(&self) -> Duration {
        self.percentile(50)
    }

    /// The time that so many in a hundred stay within (nearest rank).
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0[rank - 1]
    }

    /// How many times longer than the other, by the medians.
    pub(crate) fn ratio(&self, other: &Self) -> f64 {
        self.median().as_secs_f64() / other.median().as_secs_f64()
    }
}

/// Takes the time of it. Failing is an error: nobody is fast by not doing the work.
pub(crate) fn time(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    let done = work();
    let elapsed = start.elapsed();
    done.map(|()| elapsed)
}
