//! Names in `/run/netns`: symlinks as in the notes, and mounts as with `ip netns add`.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{OpenOptionsExt, symlink},
    path::Path,
};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::netns::{NETNS_DIR, Netns, is_placeholder, named};
use crate::{
    error::Error,
    model::{NamedNetns, Source},
};

/// Names a namespace; returns `false` if it has the name. Equivalent to `ln -s FILE
/// /run/netns/NAME`, or to `ip netns add NAME` for an open namespace without a file.
pub(super) fn create(named_netns: &NamedNetns, open: Option<&Netns>) -> Result<bool> {
    fs::create_dir_all(NETNS_DIR).with_context(|| format!("cannot make {NETNS_DIR}"))?;
    let path = named(&named_netns.name);
    let result = match &named_netns.source {
        Source::Link(file) => match symlink(file, &path) {
            Err(e)
                if e.kind() == io::ErrorKind::AlreadyExists
                    && (leads_to(&path, file) || stands_for(&path, named_netns.cookie)) =>
            {
                Ok(false)
            }
            result => result.map(|()| true),
        },
        Source::Made => mount_on(&path, named_netns, open),
    };
    result.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::conflict(format!("the name `{}` is taken in {NETNS_DIR}", named_netns.name))
                .hint("choose another name with `--name`")
                .into()
        }
        _ => anyhow::Error::from(e).context(format!("cannot name a namespace {}", path.display())),
    })
}

/// Deletes a name of ours; returns `false` if it does not exist, or is no longer ours. Equivalent
/// to `rm /run/netns/NAME` or `ip netns del NAME`.
pub(super) fn delete(named_netns: &NamedNetns) -> Result<bool> {
    let path = named(&named_netns.name);
    let cannot = || format!("cannot remove {}", path.display());
    match &named_netns.source {
        Source::Link(file) if !leads_to(&path, file) && !was_led_on(&path, named_netns.cookie) => {
            return Ok(false);
        }
        Source::Link(_) => {}
        Source::Made if !path.exists() => return Ok(false),
        Source::Made => match Netns::of_path(&path) {
            Ok(there) if there.cookie() == named_netns.cookie => {
                umount2(&path, MntFlags::MNT_DETACH)
                    .map_err(io::Error::from)
                    .with_context(cannot)?;
            }
            // The name is another namespace's by now.
            Ok(_) => return Ok(false),
            // An empty file with nothing mounted on it.
            Err(_) if is_placeholder(&path) => {}
            Err(e) => return Err(e.context(cannot())),
        },
    }
    match fs::remove_file(&path) {
        // It was removed meanwhile.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true).with_context(cannot),
    }
}

fn leads_to(path: &Path, file: &Path) -> bool {
    fs::read_link(path).is_ok_and(|to| to == file)
}

/// Returns whether a symlink leads to another file of the same namespace, or dangles. `doctor`
/// proposes such a symlink for a process that ended before its namespace.
fn was_led_on(path: &Path, cookie: u64) -> bool {
    path.is_symlink() && (!path.exists() || stands_for(path, cookie))
}

/// Returns whether a symlink leads to a namespace.
fn stands_for(path: &Path, cookie: u64) -> bool {
    path.is_symlink() && Netns::of_path(path).is_ok_and(|there| there.cookie() == cookie)
}

fn mount_on(path: &Path, named_netns: &NamedNetns, open: Option<&Netns>) -> io::Result<bool> {
    let open = open.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    share_mounts()?;
    let placeholder = OpenOptions::new().write(true).create_new(true).mode(0o444).open(path);
    match placeholder {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            if Netns::of_path(path).is_ok_and(|there| there.cookie() == named_netns.cookie) {
                return Ok(false);
            }
            // A killed run left it.
            if !is_placeholder(path) {
                return Err(e);
            }
        }
        Err(e) => return Err(e),
    }
    let source = super::netns::proc_self_fd(open.file());
    let mounted = mount(Some(source.as_str()), path, None::<&str>, MsFlags::MS_BIND, None::<&str>);
    if let Err(e) = mounted {
        // The empty file alone would be a dangling name.
        fs::remove_file(path)?;
        return Err(e.into());
    }
    Ok(true)
}

/// Makes the directory a shared mount, as iproute2 does, so that mounts in it appear and disappear
/// in other mount namespaces too. Otherwise a service with a mount namespace of its own would keep
/// a name busy.
fn share_mounts() -> io::Result<()> {
    let shared = || {
        let flags = MsFlags::MS_SHARED | MsFlags::MS_REC;
        mount(None::<&str>, NETNS_DIR, None::<&str>, flags, None::<&str>)
    };
    if let Err(nix::Error::EINVAL) = shared() {
        // It is no mount point yet.
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(NETNS_DIR), NETNS_DIR, None::<&str>, flags, None::<&str>)?;
        shared()?;
    }
    Ok(())
}
