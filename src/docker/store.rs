//! What docker asked for: it does so once, and a network outlives the records of netcord, which go with
//! a reboot.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::protocol::{CreateNetwork, Id};
use crate::error::Error;

const DIR: &str = "/var/lib/netcord/docker";

/// Returns what docker asked for when it created a network.
///
/// # Errors
/// If that is not on record.
pub(super) fn read(id: &Id) -> Result<CreateNetwork> {
    let path = path(id);
    let text = fs::read(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::not_found(format!(
            "docker's network {} is not on record in {DIR}",
            id.short()
        ))
        .hint("docker sends its options only once: `docker network rm` it, and create it again")
        .into(),
        _ => anyhow::Error::from(error).context(format!("cannot read {}", path.display())),
    })?;
    serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
}

/// Writes it, so that it is there after a power failure.
pub(super) fn write(request: &CreateNetwork) -> Result<()> {
    let path = path(&request.network_id);
    let cannot = || format!("cannot write {}", path.display());
    fs::DirBuilder::new().recursive(true).mode(0o700).create(DIR).with_context(cannot)?;
    let new = path.with_extension("new");
    replace(&new, &path, &serde_json::to_vec(request)?).with_context(cannot)
}

fn replace(new: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(new, path)?;
    File::open(DIR)?.sync_all()
}

/// Removes it; nothing to do if it is not there.
pub(super) fn remove(id: &Id) -> Result<()> {
    let path = path(id);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("cannot remove {}", path.display())),
    }
}

fn path(id: &Id) -> PathBuf {
    Path::new(DIR).join(format!("{id}.json"))
}
