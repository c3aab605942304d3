//! What docker asked for: it does so once, and a network outlives the records of netcord, which go with
//! a reboot.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    protocol::{CreateNetwork, Id},
    socket::Process,
};
use crate::error::Error;

pub(super) const DIR: &str = "/var/lib/netcord/docker";

/// No call of docker's takes longer, with the time in which docker notes its answer.
const LONGEST_CALL: Duration = Duration::from_secs(60);

/// A network that docker asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    #[serde(flatten)]
    pub(super) request: CreateNetwork,
    /// The process of netcord's that carried the request out.
    by: Option<Process>,
}

impl Asked {
    /// Returns whether docker may wait for the answer, and not know the network yet.
    pub(super) fn may_be_unanswered(&self) -> bool {
        let written = fs::metadata(path(&self.request.network_id)).and_then(|file| file.modified());
        let age = written.ok().and_then(|written| written.elapsed().ok()).unwrap_or_default();
        age < LONGEST_CALL && self.by.as_ref().is_some_and(Process::runs)
    }
}

/// Returns what docker asked for when it created a network.
///
/// # Errors
/// If that is not on record.
pub(super) fn read(id: &Id) -> Result<CreateNetwork> {
    let asked: Option<Asked> = read_file(&path(id))?;
    asked.map(|asked| asked.request).ok_or_else(|| {
        Error::not_found(format!("docker's network {} is not on record in {DIR}", id.short()))
            .hint("docker sends its options only once: `docker network rm` it, and create it again")
            .into()
    })
}

/// Returns all networks that docker asked for.
pub(super) fn all() -> Result<Vec<Asked>> {
    read_all(Path::new(DIR))
}

/// Writes it, so that it is there after a power failure; if that fails, it is not there.
pub(super) fn write(request: CreateNetwork) -> Result<()> {
    let path = path(&request.network_id);
    let asked = Asked { request, by: Process::this() };
    write_file(&path, &asked).or_else(|error| remove_file(&path).and(Err(error)))
}

/// Removes it; nothing to do if it is not there.
pub(super) fn remove(id: &Id) -> Result<()> {
    remove_file(&path(id))
}

fn path(id: &Id) -> PathBuf {
    Path::new(DIR).join(format!("{id}.json"))
}

/// Reads a record; `None` if there is none.
pub(super) fn read_file<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
}

/// Reads all records of a directory, which may be missing.
pub(super) fn read_all<T: DeserializeOwned>(dir: &Path) -> Result<Vec<T>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", dir.display()))?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            all.extend(read_file(&path)?);
        }
    }
    Ok(all)
}

/// Writes a record, so that it is there after a power failure.
pub(super) fn write_file(path: &Path, value: &impl Serialize) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let dir = path.parent().unwrap_or(Path::new(DIR));
    make_dir(dir).with_context(cannot)?;
    replace(dir, path, &serde_json::to_vec(value)?).with_context(cannot)
}

/// Makes a directory that only its owner can read.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn replace(dir: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(new, path)?;
    File::open(dir)?.sync_all()
}

/// Removes a record, and what a killed process has left of one; nothing to do if there is none.
pub(super) fn remove_file(path: &Path) -> Result<()> {
    for file in [path, &path.with_extension("new")] {
        match fs::remove_file(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed.with_context(|| format!("cannot remove {}", file.display()))?,
        }
    }
    Ok(())
}
