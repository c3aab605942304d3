//! Reads and writes values below `/proc/sys/net`. The directory shows the namespace of the thread,
//! and it is the host's own procfs, whatever a container has mounted.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
};

use anyhow::{Context, Result};

use super::{Kernel, Netns};
use crate::{
    model::{Family, LinkName},
    plan::{ACCEPT_DAD, BridgedFrames, Switch},
};

/// The maximum size of a value: one read returns at most a page.
const VALUE_MAX: usize = 4096;

/// Reads a value; returns `None` if the kernel lacks it (IPv6 may be absent).
pub(super) fn read(key: &str) -> Result<Option<String>> {
    match File::open(path(key)).and_then(|file| value_of(&file)) {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("cannot read sysctl {key}")),
    }
}

/// Writes a value if it differs; returns the former one, or `None` if nothing changed. Equivalent
/// to `sysctl -w KEY=VALUE`.
///
/// A value that the kernel lacks counts as set: without IPv6, all its options are off. The file is
/// opened once, since the kernel's lookup walks past the sysctls of all namespaces with the same
/// name.
pub(super) fn write(key: &str, value: &str) -> Result<Option<String>> {
    let cannot = || format!("cannot set sysctl {key} to {value}");
    let file = match File::options().read(true).write(true).open(path(key)) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        // A sysctl that is read-only here may have the value already.
        Err(_) if read(key)?.is_none_or(|former| former == value) => return Ok(None),
        Err(e) => return Err(e).with_context(cannot),
    };
    let former = value_of(&file).with_context(|| format!("cannot read sysctl {key}"))?;
    if former == value {
        return Ok(None);
    }
    // At offset 0: the kernel ignores writes at another.
    file.write_all_at(value.as_bytes(), 0).with_context(cannot)?;
    Ok(Some(former))
}

fn value_of(file: &File) -> io::Result<String> {
    let mut buffer = [0; VALUE_MAX];
    let length = file.read_at(&mut buffer, 0)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned())
}

/// Returns the names of all links, from the directory of their IPv4 sysctls.
///
/// On a host with a thousand links it takes a tenth of the time of a dump. The directory of IPv6
/// would be faster, but lacks links whose MTU is too small for IPv6.
pub(super) fn link_names() -> Result<HashSet<String>> {
    let cannot = "cannot read the names of links";
    let mut names = HashSet::new();
    for entry in fs::read_dir(path("net/ipv4/conf")).context(cannot)? {
        names.extend(entry.context(cannot)?.file_name().into_string());
    }
    for of_no_link in ["all", "default"] {
        names.remove(of_no_link);
    }
    Ok(names)
}

/// Returns whether a link exists, without a message to the kernel.
pub(super) fn has_link(name: &LinkName) -> bool {
    path("net/ipv4/conf").join(name.as_str()).exists()
}

/// Returns the sysctls of a link that differ from those of a new link, and [`ACCEPT_DAD`].
pub(super) fn switches(link: &str) -> Result<Vec<Switch>> {
    let mut found = Vec::new();
    for family in [Family::V4, Family::V6] {
        let conf = format!("net/{}/conf", family.sysctl_name());
        let Ok(entries) = fs::read_dir(path(&format!("{conf}/{link}"))) else {
            continue;
        };
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if LINKS_OWN.contains(&name.as_str()) {
                continue;
            }
            let of = |link: &str| fs::read_to_string(path(&format!("{conf}/{link}/{name}")));
            // Some are write-only, or unreadable until they are written.
            let (Ok(own), Ok(default)) = (of(link), of("default")) else { continue };
            if own != default || name == ACCEPT_DAD {
                found.push(Switch { family, name, value: own.trim_end().to_owned() });
            }
        }
    }
    found.sort_by(|a, b| (a.family, &a.name).cmp(&(b.family, &b.name)));
    Ok(found)
}

/// Values that follow the link by themselves, or cannot be set.
const LINKS_OWN: [&str; 3] = ["mtu", "mc_forwarding", "stable_secret"];

fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(key)
}

impl Kernel {
    /// Returns a value below `/proc/sys`, on the host.
    pub fn sysctl(&self, key: &str) -> Result<Option<String>> {
        read(key)
    }

    /// Returns the sysctls of a link of the host that differ from those of a new link.
    pub fn switches(&self, link: &LinkName) -> Result<Vec<Switch>> {
        switches(link.as_str())
    }

    /// Returns whether this host passes bridged frames to iptables or ip6tables (`br_netfilter`).
    pub fn bridged_frames(&self) -> Result<BridgedFrames> {
        for family in Family::BOTH {
            let value = read(&format!("net/bridge/bridge-nf-call-{}", family.program()))?;
            if value.is_some_and(|v| v != "0") {
                return Ok(BridgedFrames::MeetIptables);
            }
        }
        Ok(BridgedFrames::PassBy)
    }
}

impl Netns {
    /// Returns a value below its `/proc/sys/net`.
    pub fn sysctl(&self, key: &str) -> Result<Option<String>> {
        self.within(|| read(key))?
    }
}
