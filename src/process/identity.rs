//! Identifies processes by PID and start time, reads their properties from `/proc`, and ends them.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs, io,
    os::{
        fd::OwnedFd,
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::background::NAME;

/// The result of asking a process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// There was no such process.
    NotThere,
    /// It has ended.
    Ended,
    /// It is still running.
    Stays,
}

/// Returns this process's PID and start time.
pub fn own() -> Result<(u32, u64)> {
    let pid = std::process::id();
    Ok((pid, started(pid).context("cannot read /proc")?))
}

/// Returns the start time of a running process in clock ticks; `None` if there is none, or it is a
/// zombie. PIDs are reused, but not a PID with its start time.
pub fn started(pid: u32) -> Option<u64> {
    let fields = stat(pid)?;
    if matches!(fields.first()?.as_str(), "Z" | "X") { None } else { fields.get(19)?.parse().ok() }
}

/// Returns the oldest process of each network namespace other than our own.
pub fn one_of_each_netns() -> Vec<u32> {
    processes_by_netns().into_values().filter_map(|pids| pids.into_iter().min()).collect()
}

/// Returns whether several processes share a network namespace other than our own.
pub fn is_netns_shared() -> bool {
    processes_by_netns().values().any(|pids| pids.len() > 1)
}

/// The processes of each network namespace other than our own.
fn processes_by_netns() -> BTreeMap<PathBuf, Vec<u32>> {
    let netns = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let own = netns("self");
    let mut found: BTreeMap<PathBuf, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Some(inside) = netns(&format!("{pid}")).filter(|n| Some(n) != own.as_ref()) else {
            continue;
        };
        found.entry(inside).or_default().push(pid);
    }
    found
}

/// A copy of this program that runs in the background.
#[derive(Clone, Debug)]
pub struct BackgroundCopy {
    /// Its PID.
    pub pid: u32,
    /// What it was started with.
    pub arguments: Vec<OsString>,
}

impl BackgroundCopy {
    /// Reads the command line of a process, if it is one that `background` starts.
    fn of(pid: u32, line: &[u8]) -> Option<Self> {
        let rest = line.strip_prefix(NAME.to_bytes_with_nul())?;
        let words = rest.strip_suffix(b"\0")?.split(|byte| *byte == 0);
        let arguments = words.map(|word| OsString::from_vec(word.to_vec())).collect();
        Some(Self { pid, arguments })
    }
}

/// Returns the copies of this program that run in the background, also those of an older file of it.
pub fn copies() -> impl Iterator<Item = BackgroundCopy> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        BackgroundCopy::of(pid, &fs::read(entry.path().join("cmdline")).ok()?)
    })
}

/// Returns a copy of this program with these arguments, of the same file, or of one that was replaced
/// by it since.
pub fn with_arguments(arguments: &[OsString]) -> Option<u32> {
    let file = |pid: &str| fs::read_link(format!("/proc/{pid}/exe")).ok().map(without_mark);
    let own = file("self")?;
    let is_it = |copy: &BackgroundCopy| {
        copy.arguments == arguments && file(&copy.pid.to_string()).as_ref() == Some(&own)
    };
    copies().find(is_it).map(|copy| copy.pid)
}

/// Returns the path of a program's file. The kernel marks one that was replaced or removed.
fn without_mark(path: PathBuf) -> PathBuf {
    match path.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(path) => OsStr::from_bytes(path).into(),
        None => path,
    }
}

/// Returns the PIDs and start times of the processes in our network namespace whose command lines begin
/// with these words.
pub fn beginning_with(words: &[&str]) -> Vec<(u32, u64)> {
    let begin: Vec<u8> = words.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
    let netns = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let own = netns("self");
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| {
        let name = entry.file_name();
        let pid = name.to_str()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let is_it = line.starts_with(&begin) && netns(pid) == own;
        let number = pid.parse().ok().filter(|_| is_it)?;
        Some((number, started(number)?))
    })
    .collect()
}

/// Returns the name of a process (`comm`).
pub fn name(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|n| n.trim_end().to_owned())
}

/// Returns whether a process has this argument.
pub fn has_argument(pid: u32, argument: &str) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
}

/// Returns the full ID of the container that a process belongs to, from its cgroup.
pub fn container_id(pid: u32) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let mut words = groups.rsplit(|c: char| !c.is_ascii_alphanumeric());
    let is_id = |w: &&str| w.len() == 64 && w.bytes().all(|b| b.is_ascii_hexdigit());
    words.find(is_id).map(str::to_owned)
}

/// Returns whether a process has the same root file system as we have.
pub fn shares_files(pid: u32) -> bool {
    let mounts = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    mounts("self").is_some_and(|own| mounts(&pid.to_string()) == Some(own))
}

/// Returns the parent of this process, or the process that adopted it.
pub fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// Returns the fields of `/proc/PID/stat` from the third on, the state. The name before it, in
/// parentheses, may contain anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// Sends SIGTERM to the process with this PID and start time, and waits for its end.
pub fn end(pid: u32, start: u64, patience: Duration) -> io::Result<Ending> {
    end_by(Signal::TERM, pid, start, patience)
}

/// The same as [`end`], with SIGKILL.
pub fn kill(pid: u32, start: u64, patience: Duration) -> io::Result<Ending> {
    end_by(Signal::KILL, pid, start, patience)
}

/// Sends SIGHUP to the process with this PID and start time, by which daemons read their files again;
/// nothing to do if it has ended.
pub fn hang_up(pid: u32, start: u64) -> io::Result<()> {
    send(Signal::HUP, pid, start).map(drop)
}

/// Sends a signal; returns the process, `None` if it has ended.
fn send(signal: Signal, pid: u32, start: u64) -> io::Result<Option<OwnedFd>> {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    let Ok(process) = pidfd_open(raw, PidfdFlags::empty()) else { return Ok(None) };
    // Checked while we hold its pidfd: from here on the PID cannot be reused.
    if started(pid) != Some(start) {
        return Ok(None);
    }
    match pidfd_send_signal(&process, signal) {
        Err(Errno::SRCH) => Ok(None),
        sent => Ok(sent.map(|()| Some(process))?),
    }
}

fn end_by(signal: Signal, pid: u32, start: u64, patience: Duration) -> io::Result<Ending> {
    let Some(process) = send(signal, pid, start)? else { return Ok(Ending::NotThere) };
    let limit = Timespec { tv_sec: i64::try_from(patience.as_secs()).unwrap_or(0), tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit))?;
    Ok(if ended == 0 { Ending::Stays } else { Ending::Ended })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_known_by_its_command_line() {
        let arguments = |line: &[u8]| {
            let words = BackgroundCopy::of(7, line)?.arguments.into_iter();
            Some(words.map(|word| word.into_string().unwrap()).collect::<Vec<_>>())
        };
        let watchdog = arguments(b"netcord\0watchdog\0lan0\0").unwrap();
        assert_eq!(watchdog, ["watchdog", "lan0"]);
        assert_eq!(arguments(b"netcord\0keep-lease\0\0").unwrap(), ["keep-lease", ""]);
        // One that was typed, another program, a zombie, a thread of the kernel.
        for line in
            [&b"/usr/bin/netcord\0watchdog\0"[..], b"netcordd\0watchdog\0", b"", b"netcord\0"]
        {
            assert_eq!(arguments(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_process_is_known_by_its_start() {
        let (pid, start) = own().unwrap();
        assert_eq!(started(pid), Some(start));
        assert_eq!(end(pid, start + 1, Duration::ZERO).unwrap(), Ending::NotThere);
        assert_eq!(started(0), None);
        assert_eq!(end(u32::MAX, 1, Duration::ZERO).unwrap(), Ending::NotThere);
    }
}
