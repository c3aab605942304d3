//! Becoming another program, in a namespace, and what came of one.

use std::{
    ffi::OsString,
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
};

#[expect(clippy::disallowed_types, reason = "process runs programs")]
use std::process::{Command, ExitStatus};

use crate::{
    error::{Error, Kind},
    kernel::Netns,
};

/// Becomes a program, in a target's network namespace or in the host's. Signals and exit code are
/// the program's own from there on. Returns only if that fails. Equivalent to `nsenter --net=FILE
/// CMD...`.
pub fn become_program(netns: Option<&Netns>, command: &[OsString]) -> anyhow::Error {
    let Some((program, arguments)) = command.split_first() else {
        return Error::usage("no command to run").into();
    };
    if let Some(netns) = netns
        && let Err(e) = netns.join()
    {
        let message = format!("cannot enter the namespace: {e}");
        return Error::new(Kind::CommandSetup, message).into();
    }
    #[expect(clippy::disallowed_types, reason = "process runs programs")]
    let error = Command::new(program).args(arguments).exec();
    cannot_run(program, &error).into()
}

/// Docker's exit codes for what cannot be started: 127 if it is not there, else 126.
pub(super) fn cannot_run(program: &OsString, error: &io::Error) -> Error {
    let program = program.to_string_lossy();
    match error.kind() {
        io::ErrorKind::NotFound => Error::new(
            Kind::CommandNotFound,
            format!("cannot run `{program}`: there is no such program"),
        ),
        _ => Error::new(Kind::CommandNotExecutable, format!("cannot run `{program}`: {error}")),
    }
}

/// A program's exit code, as a shell tells it: 128 and the signal's number, if it ended by one.
pub(super) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}
