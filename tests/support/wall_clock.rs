//! A wall clock that a test sets, for the programs that it starts with it.
//!
//! libfaketime stands between these programs and the C library. A program of Go does not use that
//! one, so etcd has the machine's clock.

use super::Lab;

/// The words before a program that reads this clock. Its other clocks are the kernel's.
pub(crate) const BY_WALL_CLOCK: &str = "env LD_PRELOAD=$(echo /usr/lib/*/faketime/libfaketime.so.1) \
     FAKETIME_TIMESTAMP_FILE=/run/wall-clock FAKETIME_NO_CACHE=1 FAKETIME_DISABLE_SHM=1 \
     FAKETIME_DONT_FAKE_MONOTONIC=1";

impl Lab {
    /// Sets the clock to so many seconds after the machine's.
    #[track_caller]
    pub(crate) fn set_wall_clock(&self, ahead: i64) {
        self.sh(&format!(
            "echo {ahead:+} > /run/wall-clock.new; mv /run/wall-clock.new /run/wall-clock
             real=$(date +%s); now=$({BY_WALL_CLOCK} date +%s)
             [ $((now - real - {ahead})) -ge 0 ]; [ $((now - real - {ahead})) -le 60 ]"
        ))
        .ok();
    }

    /// Checks that a process reads this clock.
    #[track_caller]
    pub(crate) fn reads_wall_clock(&self, pid: &str) {
        self.sh(&format!("grep -q libfaketime /proc/{pid}/maps")).ok();
    }
}
