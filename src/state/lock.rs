//! The lock on the records, and whose they are.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::error::{Error, Kind};

/// How long to wait for another netcord on this host.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Whoever could write here could make netcord act on what it never did.
pub(super) fn check_owner(dir: &Path) -> Result<()> {
    let metadata =
        fs::symlink_metadata(dir).with_context(|| format!("cannot look at {}", dir.display()))?;
    let own = fs::metadata("/proc/thread-self")?.uid();
    if metadata.is_dir() && metadata.uid() == own && metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    let message = format!("the state directory {} is not ours alone", dir.display());
    Err(Error::new(Kind::Permission, message)
        .hint("it must be a directory, owned by who runs netcord, and not writable by others")
        .into())
}

pub(super) fn open(path: &Path) -> Result<File> {
    let file =
        File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

pub(super) fn lock(path: &Path) -> Result<File> {
    let file = open(path)?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    // The kernel queues those who wait, in order; only giving up needs a second thread.
    let (sender, receiver) = mpsc::channel();
    let waiting = file.try_clone()?;
    thread::spawn(move || drop(sender.send(waiting.lock())));
    if let Ok(locked) = receiver.recv_timeout(PATIENCE) {
        return locked.map(|()| file).context("cannot lock the records");
    }
    let holder = holder(path).map_or_else(String::new, |pid| format!(" by process {pid}"));
    let message =
        format!("the records have been locked{holder} for {} seconds", PATIENCE.as_secs());
    Err(Error::new(Kind::Timeout, message).hint("see what it waits for, or end it").into())
}

/// Who holds the lock, as `/proc/locks` tells: `1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE ...`.
pub(super) fn holder(path: &Path) -> Option<u32> {
    let inode = format!(":{}", fs::metadata(path).ok()?.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let line =
        locks.lines().find(|l| !l.contains("->") && l.split(' ').any(|w| w.ends_with(&inode)))?;
    line.split_whitespace().nth(4)?.parse().ok()
}
