//! The lock on the records, and the checks on the owner of their directory.

use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::file;
use crate::error::{Error, Kind};

/// How long to wait for another netcord on this host.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A lock that we hold. If its file is removed, others can get a lock too: see [`Lock::stands`].
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Waits for the lock; returns `None` if its directory is gone.
    pub(super) fn wait(path: &Path) -> Result<Option<Self>> {
        let until = Instant::now() + PATIENCE;
        while let Some(file) = open(path)? {
            let file = lock(file, path, until)?;
            let lock = Self { file, path: path.to_owned() };
            // The file may have been removed during the wait.
            if lock.stands() {
                return Ok(Some(lock));
            }
        }
        Ok(None)
    }

    /// Takes the lock if nobody holds it.
    pub(super) fn try_now(path: &Path) -> Result<Option<Self>> {
        let free = open(path)?.filter(|file| file.try_lock().is_ok());
        let lock = free.map(|file| Self { file, path: path.to_owned() });
        Ok(lock.filter(Self::stands))
    }

    /// Returns whether it still excludes others: whether its file still has its name.
    pub(super) fn stands(&self) -> bool {
        let id = |m: Metadata| (m.dev(), m.ino());
        let named = fs::symlink_metadata(&self.path).ok().map(id);
        named.is_some() && named == self.file.metadata().ok().map(id)
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

/// Makes the directory of a host's records in `base`, accessible only to its owner.
pub(super) fn make_dir(base: &Path, dir: &Path) -> Result<()> {
    if fs::symlink_metadata(base).is_ok() {
        check_base(base)?;
    }
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("cannot make the state directory {}", dir.display()))?;
    check_base(base)?;
    check_dir(dir)
}

/// Checks that nobody else can write to the directory: they could make netcord act on invented
/// records.
///
/// # Errors
/// If others than its owner can.
pub(super) fn check_dir(dir: &Path) -> Result<()> {
    let is_ours_alone =
        |found: &Metadata, own: &Metadata| found.uid() == own.uid() && found.mode() & WRITABLE == 0;
    check(dir, fs::symlink_metadata(dir), is_ours_alone)
}

/// Checks that nobody else can replace the directory. With the sticky bit, as `/tmp` has it, users
/// can rename only their own files.
///
/// # Errors
/// If others can write to this directory, or to one on the path to it.
pub(super) fn check_base(base: &Path) -> Result<()> {
    check(base, fs::metadata(base), |found, own| {
        is_trusted(found, own) && (found.mode() & WRITABLE == 0 || found.mode() & STICKY != 0)
    })?;
    let real = base.canonicalize().with_context(|| cannot_look(base))?;
    let given = std::path::absolute(base).with_context(|| cannot_look(base))?;
    let given = (given != real).then_some(given);
    for above in [Some(&real), given.as_ref()].into_iter().flatten().flat_map(|p| p.ancestors()) {
        check(above, fs::metadata(above), |found, own| {
            let of_group = ![0, own.gid()].contains(&found.gid());
            let others = if of_group { WRITABLE } else { WRITABLE & !GROUP };
            is_trusted(found, own) && (found.mode() & others == 0 || found.mode() & STICKY != 0)
        })?;
    }
    Ok(())
}

/// Bits of a file mode: write permission for others than the owner, and the sticky bit.
const GROUP: u32 = 0o020;
const WRITABLE: u32 = 0o002 | GROUP;
const STICKY: u32 = 0o1000;

/// The owner of the root directory can do everything anyway.
fn is_trusted(found: &Metadata, own: &Metadata) -> bool {
    found.uid() == own.uid() || fs::metadata("/").is_ok_and(|root| root.uid() == found.uid())
}

fn cannot_look(path: &Path) -> String {
    format!("cannot look at {}", path.display())
}

fn check(
    dir: &Path,
    found: io::Result<Metadata>,
    is_safe: impl Fn(&Metadata, &Metadata) -> bool,
) -> Result<()> {
    let found = found.with_context(|| cannot_look(dir))?;
    if found.is_dir() && is_safe(&found, &fs::metadata("/proc/thread-self")?) {
        return Ok(());
    }
    let message = format!("the state directory {} is not ours alone", dir.display());
    Err(Error::new(Kind::Permission, message)
        .hint("it must be a directory, owned by who runs netcord, and not writable by others")
        .into())
}

/// Opens the lock file; returns `None` if its directory is gone.
fn open(path: &Path) -> Result<Option<File>> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    match file::open(path, &mut options) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some).with_context(|| format!("cannot open {}", path.display())),
    }
}

fn lock(file: File, path: &Path, until: Instant) -> Result<File> {
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    // The kernel queues waiting processes in order. Only the timeout needs a second thread.
    let (sender, receiver) = mpsc::channel();
    let waiting = file.try_clone()?;
    thread::spawn(move || drop(sender.send(waiting.lock())));
    if let Ok(locked) = receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
        return locked.map(|()| file).context("cannot lock the records");
    }
    let holder = holder(path).map_or_else(String::new, |pid| format!(" by process {pid}"));
    let message =
        format!("the records have been locked{holder} for {} seconds", PATIENCE.as_secs());
    Err(Error::new(Kind::Timeout, message).hint("see what it waits for, or end it").into())
}

/// Returns the holder of the lock, from `/proc/locks`: `1: FLOCK ADVISORY WRITE PID
/// MAJOR:MINOR:INODE ...`.
pub(super) fn holder(path: &Path) -> Option<u32> {
    let inode = format!(":{}", fs::metadata(path).ok()?.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let line =
        locks.lines().find(|l| !l.contains("->") && l.split(' ').any(|w| w.ends_with(&inode)))?;
    line.split_whitespace().nth(4)?.parse().ok()
}
