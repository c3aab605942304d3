//! Executes another program in a namespace, and maps its exit status.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::Stdio,
};

#[expect(clippy::disallowed_types, reason = "process runs programs")]
use std::process::{Command, ExitStatus};

use crate::{
    error::{Error, Kind},
    kernel::Netns,
};

/// Executes a program in place of this one, in a target's network namespace or in the host's.
/// Returns only if that fails. Equivalent to `nsenter --net=FILE CMD...`.
pub fn become_program(netns: Option<&Netns>, command: &[OsString]) -> anyhow::Error {
    let Some((program, arguments)) = command.split_first() else {
        return Error::usage("no command to run").into();
    };
    let home = match netns.map(|_| Netns::own()).transpose() {
        Ok(home) => home,
        Err(error) => return error,
    };
    if let Some(netns) = netns
        && let Err(e) = netns.join()
    {
        let message = format!("cannot enter the namespace: {e}");
        return Error::new(Kind::CommandSetup, message).into();
    }
    #[expect(clippy::disallowed_types, reason = "process runs programs")]
    let error = Command::new(program).args(arguments).exec();
    // The caller goes on, with what it began on the host.
    if let Some(Err(e)) = home.map(|home| home.join()) {
        let message = format!("cannot return to the host's namespace: {e}");
        return Error::new(Kind::CommandSetup, message).into();
    }
    cannot_run(program, &error).into()
}

/// Returns the error for a program that cannot be executed, with docker's exit codes: 127 if it
/// does not exist, else 126.
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

/// Returns a program's exit code as a shell reports it: 128 plus the signal's number if a signal
/// ended it.
pub(super) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// Runs another program with this input, and waits for its end. It has this program's environment with
/// these changes, and its errors go where this program's go. Returns whether it succeeded, and its
/// output.
///
/// # Errors
/// If it cannot be run, or its output cannot be read.
pub fn run_with_input(
    program: &Path,
    environment: &[(&str, &str)],
    input: &[u8],
) -> io::Result<(bool, Vec<u8>)> {
    #[expect(clippy::disallowed_types, reason = "process runs programs")]
    let mut child = Command::new(program)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdin = child.stdin.take();
    let written = stdin.map_or(Ok(()), |mut stdin| stdin.write_all(input));
    let output = child.wait_with_output()?;
    match written {
        // It may need no input.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok((output.status.success(), output.stdout)),
    }
}

/// What a program that has ended left.
#[derive(Debug)]
pub struct Output {
    /// Whether it succeeded.
    pub succeeded: bool,
    /// Its standard error.
    pub errors: String,
}

/// Runs a program without input, and waits for its end: its path, and its arguments.
///
/// # Errors
/// If it cannot be run.
pub fn run_to_end(words: &[&OsStr]) -> io::Result<Output> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    #[expect(clippy::disallowed_types, reason = "process runs programs")]
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(Output { succeeded: output.status.success(), errors })
}
