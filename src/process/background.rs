//! Starts copies of this program that continue when this process has ended.

use std::{
    env,
    ffi::{CStr, OsStr, OsString},
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::PathBuf,
    process::{Child, ChildStdin, Stdio},
};

#[expect(clippy::disallowed_types, reason = "process runs programs")]
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::{
    sys::prctl::set_name,
    unistd::{chdir, close, dup2_stderr, dup2_stdout, setsid},
};

/// The process name (`comm`).
pub(super) const NAME: &CStr = c"netcord";

/// The word by which a copy reports that it is ready.
const READY: &str = "ready";

/// A pipe to a copy, which notices when this value is dropped or this process ends.
#[derive(Debug)]
pub struct LivenessPipe {
    _stdin: ChildStdin,
}

/// Starts a copy of this program with these arguments, and returns once it is ready. It waits for
/// the end of the returned pipe.
///
/// # Errors
/// If it ends before it is ready, with its error message.
pub fn start_with_liveness_pipe(arguments: &[OsString]) -> Result<LivenessPipe> {
    let stdin = start_with(arguments, Stdio::piped())?.stdin.take();
    stdin
        .map(|stdin| LivenessPipe { _stdin: stdin })
        .context("a process in the background has no input")
}

/// Starts a copy of this program with these arguments, and returns its PID once it is ready.
///
/// # Errors
/// If it ends before it is ready, with its error message.
pub fn start(arguments: &[OsString]) -> Result<u32> {
    start_with(arguments, Stdio::null()).map(|child| child.id())
}

/// Starts another program of this package, found beside this one or in the PATH, and returns its PID
/// once it is ready.
///
/// # Errors
/// If it does not exist, or ends before it is ready, with its error message.
pub fn start_program(name: &str) -> Result<u32> {
    let beside = env::current_exe().ok().map(|own| own.with_file_name(name));
    let program = beside.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from(name));
    #[expect(clippy::disallowed_types, reason = "process runs programs")]
    let mut command = Command::new(program);
    until_ready(command.stdin(Stdio::null())).map(|child| child.id())
}

fn start_with(arguments: &[OsString], stdin: Stdio) -> Result<Child> {
    #[expect(clippy::disallowed_types, reason = "process runs programs")]
    let mut copy = Command::new("/proc/self/exe");
    copy.arg0(OsStr::from_bytes(NAME.to_bytes())).args(arguments).stdin(stdin);
    until_ready(&mut copy)
}

/// Starts a program, and returns once it has reported that it is ready.
#[expect(clippy::disallowed_types, reason = "process runs programs")]
fn until_ready(command: &mut Command) -> Result<Child> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start a process in the background")?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    if line.trim_end() == READY {
        return Ok(child);
    }
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut said)?;
    }
    child.wait()?;
    let said = said.lines().next().unwrap_or("it said nothing");
    bail!("the process in the background ended: {}", said.trim_start_matches("error: "))
}

/// Gives up everything that belongs to the starter: terminal, directory, and open files, which may
/// be locks, and pipes whose end another program waits for. Must come first, since it would close
/// files of our own.
pub fn detach() -> io::Result<()> {
    setsid()?;
    chdir("/")?;
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for inherited in open.into_iter().filter(|fd| *fd > 2) {
        // The directory listing's own descriptor is closed already.
        let _ = close(inherited);
    }
    Ok(())
}

/// The same for a copy of this program, whose executable has another name.
pub fn detach_copy() -> io::Result<()> {
    set_name(NAME)?;
    detach()
}

/// Reports that this copy is ready, and closes the pipe.
pub fn ready() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stderr(&null)?;
    // Not with `std`, whose standard output is for results.
    let mut starter = File::options().write(true).open("/proc/self/fd/1")?;
    dup2_stdout(&null)?;
    writeln!(starter, "{READY}")
}

/// Waits until the starter drops the liveness pipe, or has ended.
pub fn until_let_go() -> io::Result<()> {
    io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
}

/// Asks the kernel to kill other processes first when memory runs out. Without the privilege,
/// nothing changes.
pub fn protect() {
    drop(fs::write("/proc/self/oom_score_adj", "-900"));
}
