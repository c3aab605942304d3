//! Time since boot, including suspend, and waits with a deadline in it.

use std::{io, path::Path, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::inotify,
    io::read,
    time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec,
        clock_gettime, timerfd_create, timerfd_settime,
    },
};

/// Returns the time since boot.
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec.try_into().unwrap_or_default())
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
    let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC).map_err(errno)?;
    let at = Itimerspec {
        it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: Timespec {
            tv_sec: deadline.as_secs().cast_signed(),
            tv_nsec: deadline.subsec_nanos().into(),
        },
    };
    timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &at).map_err(errno)?;
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
