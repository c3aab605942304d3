//! Time since boot, including suspend, and waits with a deadline in it.

use std::{
    io,
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::inotify,
    io::read,
    time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec,
        clock_gettime, timerfd_create, timerfd_settime,
    },
};
use tokio::io::{Interest, unix::AsyncFd};

/// Returns the time since boot.
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec.try_into().unwrap_or_default())
}

/// Returns the time since the Unix epoch of a time since boot, by the present setting of the wall
/// clock, to the nearest second.
pub fn since_epoch(at: Duration) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let boot = now.saturating_sub(since_boot());
    Duration::from_secs((boot + at + Duration::from_millis(500)).as_secs())
}

/// Waits until a time since boot. After a suspend that lasted longer, it returns at once.
///
/// # Errors
/// If the kernel refuses a timer, since too many files are open.
#[expect(deprecated, reason = "its successor is unsafe; the descriptor is the value's own")]
pub async fn sleep_until(due: Duration) -> io::Result<()> {
    let timer = AsyncFd::with_interest(timer(due)?, Interest::READABLE)?;
    timer.readable().await.map(drop)
}

/// Returns a timer that is readable from a time since boot on.
fn timer(due: Duration) -> io::Result<OwnedFd> {
    let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
    // Zero would switch it off.
    let due = due.max(Duration::from_nanos(1));
    let at = Itimerspec {
        it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: Timespec {
            tv_sec: due.as_secs().cast_signed(),
            tv_nsec: due.subsec_nanos().into(),
        },
    };
    timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &at)?;
    Ok(timer)
}

/// Waits for a condition that depends on the files of a directory, which are replaced or removed.
/// Returns `false` if it does not hold at the deadline (time since boot).
pub fn until<E: From<io::Error>>(
    dir: &Path,
    deadline: Duration,
    mut holds: impl FnMut() -> Result<bool, E>,
) -> Result<bool, E> {
    let errno = |e: rustix::io::Errno| E::from(io::Error::from(e));
    let changes = inotify::init(inotify::CreateFlags::CLOEXEC).map_err(errno)?;
    let kinds = inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::DELETE;
    inotify::add_watch(&changes, dir, kinds).map_err(errno)?;
    let timer = timer(deadline)?;
    loop {
        if holds()? {
            return Ok(true);
        }
        if since_boot() >= deadline {
            return Ok(false);
        }
        let mut fds = [PollFd::new(&changes, PollFlags::IN), PollFd::new(&timer, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(errno(e)),
        }
        if fds[0].revents().contains(PollFlags::IN) {
            // Which file changed does not matter: the condition is evaluated anew.
            read(&changes, &mut [0; 4096]).map_err(errno)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_has_passed_is_not_waited_for() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            sleep_until(Duration::ZERO).await.unwrap();
            let due = since_boot() + Duration::from_millis(1);
            sleep_until(due).await.unwrap();
            assert!(since_boot() >= due);
        });
    }

    #[test]
    fn a_time_since_boot_is_shown_by_the_wall_clock() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let (shown, hour) = (since_epoch(since_boot()), Duration::from_secs(3600));
        assert!(shown.abs_diff(now) <= Duration::from_secs(2), "{shown:?}, {now:?}");
        let later = since_epoch(since_boot() + hour).saturating_sub(shown);
        assert!(later.abs_diff(hour) <= Duration::from_secs(2), "{later:?}");
    }
}
