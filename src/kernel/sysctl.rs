//! Values below `/proc/sys/net`. That directory shows the namespace of the thread that looks, and
//! it is the host's own procfs, whatever a container has mounted.

use std::{fs, io, path::PathBuf};

use anyhow::{Context, Result};

/// Reads a value; `None` if the kernel has no such thing (IPv6 may be absent).
pub(super) fn read(key: &str) -> Result<Option<String>> {
    match fs::read_to_string(path(key)) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("cannot read sysctl {key}")),
    }
}

/// Writes a value if it differs; returns the former one, or `None` if nothing changed. Equivalent
/// to `sysctl -w KEY=VALUE`.
///
/// A value that is not there cannot be wrong: where the kernel has no IPv6, its switches are all
/// off.
pub(super) fn write(key: &str, value: &str) -> Result<Option<String>> {
    match read(key)? {
        Some(former) if former != value => {
            fs::write(path(key), value)
                .with_context(|| format!("cannot set sysctl {key} to {value}"))?;
            Ok(Some(former))
        }
        _ => Ok(None),
    }
}

fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(key)
}
