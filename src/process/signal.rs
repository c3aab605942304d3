//! Blocks SIGINT, SIGTERM and SIGHUP while a plan is carried out, and asks for them between two
//! steps, so that no signal interrupts a step. At other times they end this process, which may have
//! to clean up before.

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

/// Blocks the signals as long as it exists.
#[derive(Debug)]
pub struct Held {
    file: SignalFd,
    former: SigSet,
}

impl Held {
    /// Blocks the signals.
    pub fn new() -> io::Result<Self> {
        let held = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        let former = held.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
        let file = SignalFd::with_flags(&held, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { file, former })
    }

    /// Returns the exit code for the signal that has arrived since, if one has.
    pub fn came(&self) -> Option<Kind> {
        let info = self.file.read_signal().ok()??;
        let came = i32::try_from(info.ssi_signo).ok().and_then(|n| Signal::try_from(n).ok());
        Some(if came == Some(Signal::SIGINT) { Kind::Interrupted } else { Kind::Terminated })
    }

    /// Waits for a signal, without consuming it.
    #[expect(deprecated, reason = "its successor is unsafe; the descriptor outlives its use here")]
    pub async fn wait(&self) -> io::Result<()> {
        AsyncFd::new(self.file.as_fd())?.readable().await.map(drop)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // This cannot fail if `new` succeeded.
        let _ = self.former.thread_set_mask();
    }
}

/// Starts a thread that blocks all signals: the kernel would deliver to it what another thread
/// blocks.
pub fn deaf_thread(body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let former = SigSet::all().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)?;
    let started = thread::Builder::new().spawn(body);
    former.thread_set_mask()?;
    started.map(drop)
}

/// Runs `last` before a signal ends this process in the default way. Call it in a [`deaf_thread`],
/// since it starts a thread. Programs that this process executes or starts have the default signal
/// actions.
pub fn before_death(last: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
    let wait = move || {
        for signal in signals.forever() {
            last();
            // This does not return for these signals.
            drop(emulate_default_handler(signal));
        }
    };
    thread::Builder::new().spawn(wait).map(drop)
}
