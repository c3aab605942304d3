//! The time of one whole process, and what many of them say together.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

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

/// Runs the process outside any time; if it fails, what it said is in the error.
pub(crate) fn rehearse(mut command: Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {}: {}", output.status, said.trim());
    Ok(())
}

/// Starts the process, waits for its end, and takes the time of both. Failing is an error.
pub(crate) fn time(mut command: Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status();
    let elapsed = start.elapsed();
    let status = status.with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(elapsed)
}
