//! A command in a network namespace of its own, as a child of this process.

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

/// The word that opens the start barrier. End of file does not open it: it also comes when this
/// process is killed.
const GO: &[u8] = b"go";

/// The signals that are passed on to the command.
const PASSED_ON: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// A command that waits at a start barrier: a copy of this program that starts in the namespace,
/// and later executes the command. So a process exists that identifies the namespace before any
/// part of the command runs.
#[derive(Debug)]
pub struct Child {
    process: Process,
    barrier: File,
    started: u64,
    /// Receives signals once they are blocked.
    signals: Option<SignalFd>,
}

impl Child {
    /// Starts the copy in a new namespace, with these arguments, the file descriptor of the
    /// barrier, and `-- CMD`.
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

    /// Returns the child's PID and start time.
    pub fn process(&self) -> (u32, u64) {
        (self.process.id(), self.started)
    }

    /// Lets the command run. From here on, signals are passed on to the command, and do not end
    /// this process.
    pub fn go(&mut self) -> Result<()> {
        let held = SigSet::from_iter(PASSED_ON);
        held.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(io::Error::from)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        self.signals = Some(SignalFd::with_flags(&held, flags).map_err(io::Error::from)?);
        self.barrier.write_all(GO).context("the process in the namespace ended")
    }

    /// Waits for the end of the command and returns its exit code; passes signals on meanwhile.
    pub fn wait(&mut self) -> Result<u8> {
        let pid = self.process.id().cast_signed();
        let raw = RawPid::from_raw(pid).context("the command has no PID")?;
        // The child has not been reaped, so its PID cannot belong to another process.
        let end = pidfd_open(raw, PidfdFlags::empty()).map_err(io::Error::from)?;
        while let Some(signals) = &self.signals {
            let mut fds = [PollFd::new(&end, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(io::Error::from(e).into()),
            }
            let ended = fds[0].revents().contains(PollFlags::IN);
            while let Ok(Some(came)) = signals.read_signal() {
                // A terminal sends its signals to the whole foreground process group, so the
                // command has it already.
                let by_somebody = came.ssi_code <= 0;
                let number = i32::try_from(came.ssi_signo).unwrap_or_default();
                if let (true, Ok(signal)) = (by_somebody, Signal::try_from(number)) {
                    // The child may have ended.
                    let _ = nix::sys::signal::kill(Pid::from_raw(pid), signal);
                }
            }
            if ended {
                break;
            }
        }
        Ok(exit_code(self.process.wait()?))
    }

    /// Ends the copy before it has executed the command.
    pub fn end(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

/// Waits at the barrier, then executes the command. Returns only if that fails.
pub fn at_start_barrier(barrier: i32, command: &[OsString]) -> anyhow::Error {
    match pass(barrier) {
        Ok(()) => become_program(None, command),
        Err(error) => Error::new(Kind::CommandSetup, format!("{error:#}")).into(),
    }
}

fn pass(barrier: i32) -> Result<()> {
    // The command must not outlive its parent, which cleans up on the host.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)?;
    let open = File::open(format!("/proc/self/fd/{barrier}")).context("there is no barrier")?;
    close(barrier).map_err(io::Error::from)?;
    let mut heard = Vec::new();
    open.take(GO.len() as u64).read_to_end(&mut heard)?;
    anyhow::ensure!(heard == GO, "netcord ended before the command was started");
    Ok(())
}
