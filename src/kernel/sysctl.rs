//! Values below `/proc/sys/net`. That directory shows the namespace of the thread that looks, and
//! it is the host's own procfs, whatever a container has mounted.

use std::{collections::HashSet, fs, io, path::PathBuf};

use anyhow::{Context, Result};

use crate::plan::{ACCEPT_DAD, Switch};

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

/// The names of the links that have switches for IPv4: all but those that are too small for it.
pub(super) fn links() -> Result<HashSet<String>> {
    let cannot = "cannot read the names of links";
    let mut names = HashSet::new();
    for entry in fs::read_dir(path("net/ipv4/conf")).context(cannot)? {
        names.extend(entry.context(cannot)?.file_name().into_string().ok());
    }
    Ok(names)
}

/// A link's switches that are not as a new link would have them, and [`ACCEPT_DAD`].
pub(super) fn switches(link: &str) -> Result<Vec<Switch>> {
    let mut found = Vec::new();
    for family in ["ipv4", "ipv6"] {
        let Ok(entries) = fs::read_dir(path(&format!("net/{family}/conf/{link}"))) else {
            continue;
        };
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if LINKS_OWN.contains(&name.as_str()) {
                continue;
            }
            let of =
                |link: &str| fs::read_to_string(path(&format!("net/{family}/conf/{link}/{name}")));
            // Some can only be written, or only be read once they were written.
            let (Ok(own), Ok(default)) = (of(link), of("default")) else { continue };
            if own != default || name == ACCEPT_DAD {
                found.push(Switch { family, name, value: own.trim_end().to_owned() });
            }
        }
    }
    found.sort_by(|a, b| (a.family, &a.name).cmp(&(b.family, &b.name)));
    Ok(found)
}

/// What follows the link by itself, or cannot be set.
const LINKS_OWN: [&str; 3] = ["mtu", "mc_forwarding", "stable_secret"];

fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(key)
}
