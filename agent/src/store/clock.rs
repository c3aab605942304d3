//! Time and chance: the clock that also runs while the machine is suspended, and waits that grow.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// Returns the time since boot, with that in suspend. The clock of timers stops there, but a lease
/// in etcd goes on.
pub(super) fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Waits until a time since boot.
pub(super) async fn sleep_until(due: Duration) {
    /// A suspended machine notices at the latest this long after it goes on.
    const SLICE: Duration = Duration::from_secs(30);
    while let Some(rest) = due.checked_sub(since_boot()).filter(|rest| !rest.is_zero()) {
        tokio::time::sleep(rest.min(SLICE)).await;
    }
}

/// Returns random bits, good enough to tell hosts apart: std seeds its hashes from the kernel.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Waits that double, up to a limit, and differ by chance, so that hosts do not come all at once.
#[derive(Debug)]
pub(super) struct BackOff {
    next: Duration,
}

impl BackOff {
    const FIRST: Duration = Duration::from_millis(50);
    pub(super) const LONGEST: Duration = Duration::from_secs(5);

    pub(super) fn new() -> Self {
        Self { next: Self::FIRST }
    }

    /// Returns between half of the present wait and the whole, and doubles it.
    pub(super) fn step(&mut self) -> Duration {
        let half = self.next / 2;
        self.next = (self.next * 2).min(Self::LONGEST);
        let share = u32::try_from(random() % 1000).unwrap_or_default();
        half + half * share / 1000
    }

    pub(super) async fn wait(&mut self) {
        let step = self.step();
        tokio::time::sleep(step).await;
    }
}

#[cfg(test)]
mod tests {
    use super::BackOff;

    #[test]
    fn waits_grow_up_to_a_limit() {
        let mut back_off = BackOff::new();
        let steps: Vec<_> = (0..20).map(|_| back_off.step()).collect();
        assert!(steps[0] <= BackOff::FIRST && steps[0] >= BackOff::FIRST / 2);
        assert!(steps.iter().all(|step| *step <= BackOff::LONGEST));
        assert!(steps[19] >= BackOff::LONGEST / 2);
    }
}
