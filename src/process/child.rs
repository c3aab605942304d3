//! A command in a network namespace of its own, with this program as its parent.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read, Write},
    os::fd::AsRawFd,
};

#[expect(clippy::disallowed_types, reason = "process runs programs")]
use std::process::{Child as Process, Command};

use anyhow::{Context, Result};
use nix::{
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    sys::{
        prctl,
        signal::{SigSet, SigmaskHow, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::{Pid, close, pipe2},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid as RawPid, PidfdFlags, pidfd_open},
};

use super::{
    program::{become_program, exit_code},
    started,
};
use crate::{
    error::{Error, Kind},
    kernel::Netns,
};

/// What opens the start barrier. A pipe that only closes is no such word: it does so too when this program
/// is killed.
const GO: &[u8] = b"go";

/// The signals that people and programs speak to a command by.
const PASSED_ON: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// A command that waits at a barrier: a copy of this program, which is born in the namespace and
/// becomes the command. So there is a process that the namespace can be named by before anything of
/// the command has run.
#[derive(Debug)]
pub struct Child {
    process: Process,
    barrier: File,
    started: u64,
    /// Signals that have come, once they are held back.
    signals: Option<SignalFd>,
}

impl Child {
    /// Starts the copy in a new namespace: with these arguments, the number of the barrier's file, and
    /// `-- CMD`.
    pub fn start(arguments: &[&str], command: &[OsString]) -> Result<Self> {
        let netns = Netns::anonymous()?;
        let (inner, outer) = pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from)?;
        fcntl(&inner, FcntlArg::F_SETFD(FdFlag::empty())).map_err(io::Error::from)?;
        #[expect(clippy::disallowed_types, reason = "process runs programs")]
        let mut copy = Command::new("/proc/self/exe");
        copy.args(arguments).arg(inner.as_raw_fd().to_string()).arg("--").args(command);
        let process = netns.within(|| copy.spawn()).and_then(|spawned| spawned);
        let process = process.context("cannot start a process in the namespace")?;
        let started = started(process.id()).context("the process in the namespace ended")?;
        Ok(Self { process, barrier: outer.into(), started, signals: None })
    }

    /// Its process: the PID, and when it was started.
    pub fn process(&self) -> (u32, u64) {
        (self.process.id(), self.started)
    }

    /// Lets the command run. From here on signals are for the command, and held back for as long as
    /// this program runs.
    pub fn go(&mut self) -> Result<()> {
        let held = SigSet::from_iter(PASSED_ON);
        held.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(io::Error::from)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        self.signals = Some(SignalFd::with_flags(&held, flags).map_err(io::Error::from)?);
        self.barrier.write_all(GO).context("the process in the namespace ended")
    }

    /// Waits for the command's end, and returns its exit code; passes on what signals come
    /// meanwhile.
    pub fn wait(&mut self) -> Result<u8> {
        let pid = self.process.id().cast_signed();
        let raw = RawPid::from_raw(pid).context("the command has no PID")?;
        // It is not waited for yet, so the PID is still its own.
        let end = pidfd_open(raw, PidfdFlags::empty()).map_err(io::Error::from)?;
        while let Some(signals) = &self.signals {
            let mut fds = [PollFd::new(&end, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(io::Error::from(e).into()),
            }
            let ended = fds[0].revents().contains(PollFlags::IN);
            while let Ok(Some(came)) = signals.read_signal() {
                // A terminal speaks to all who are in its foreground, so to the command too.
                let by_somebody = came.ssi_code <= 0;
                let number = i32::try_from(came.ssi_signo).unwrap_or_default();
                if let (true, Ok(signal)) = (by_somebody, Signal::try_from(number)) {
                    // It may have ended by now.
                    let _ = nix::sys::signal::kill(Pid::from_raw(pid), signal);
                }
            }
            if ended {
                break;
            }
        }
        Ok(exit_code(self.process.wait()?))
    }

    /// Ends the copy before it has become the command.
    pub fn end(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

/// Waits at the barrier, and becomes the command. Returns only if that fails.
pub fn at_start_barrier(barrier: i32, command: &[OsString]) -> anyhow::Error {
    match pass(barrier) {
        Ok(()) => become_program(None, command),
        Err(error) => Error::new(Kind::CommandSetup, format!("{error:#}")).into(),
    }
}

fn pass(barrier: i32) -> Result<()> {
    // Nothing outlives the parent, which looks after what is outside.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)?;
    let open = File::open(format!("/proc/self/fd/{barrier}")).context("there is no barrier")?;
    close(barrier).map_err(io::Error::from)?;
    let mut heard = Vec::new();
    open.take(GO.len() as u64).read_to_end(&mut heard)?;
    anyhow::ensure!(heard == GO, "netcord ended before the command was started");
    Ok(())
}
