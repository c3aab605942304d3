//! SIGINT, SIGTERM and SIGHUP, while a plan is carried out: held back, and asked for between two
//! steps, so that none of them falls into the middle of one. Else they end the program, which may
//! have something to do before.

use std::{io, os::fd::AsFd, thread};

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
    low_level::emulate_default_handler,
};
use tokio::io::unix::AsyncFd;

use crate::error::Kind;

/// Holds the signals back for as long as it lives.
#[derive(Debug)]
pub struct Held {
    file: SignalFd,
    former: SigSet,
}

impl Held {
    /// Begins to hold signals back.
    pub fn new() -> io::Result<Self> {
        let held = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        let former = held.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
        let file = SignalFd::with_flags(&held, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { file, former })
    }

    /// The signal that came since, as the exit code that it asks for.
    pub fn came(&self) -> Option<Kind> {
        let info = self.file.read_signal().ok()??;
        let came = i32::try_from(info.ssi_signo).ok().and_then(|n| Signal::try_from(n).ok());
        Some(if came == Some(Signal::SIGINT) { Kind::Interrupted } else { Kind::Terminated })
    }

    /// Waits for a signal, and leaves it to be asked for.
    #[expect(deprecated, reason = "its successor is unsafe; the descriptor outlives its use here")]
    pub async fn wait(&self) -> io::Result<()> {
        AsyncFd::new(self.file.as_fd())?.readable().await.map(drop)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // What fails here failed in `new` already.
        let _ = self.former.thread_set_mask();
    }
}

/// Starts a thread that no signal is delivered to: what one thread holds back would go to another.
pub fn deaf_thread(body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let former = SigSet::all().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
    let started = thread::Builder::new().spawn(body);
    former.thread_set_mask()?;
    started.map(drop)
}

/// Does something before a signal ends this program, as it would have without. To be called in a
/// [`deaf_thread`], from which another is started; programs that this one becomes or starts have
/// the signals as they were.
pub fn before_death(last: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
    let wait = move || {
        for signal in signals.forever() {
            last();
            // It does not return for these.
            drop(emulate_default_handler(signal));
        }
    };
    thread::Builder::new().spawn(wait).map(drop)
}
