//! In and out of namespaces: this program has one thread, and moves it.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns, unshare};

/// A network and a mount namespace of their own, kept by their open files.
pub(crate) struct Room {
    net: File,
    mount: File,
}

impl Room {
    /// Those that this program is in.
    pub(crate) fn here() -> Result<Self> {
        let open = |kind| {
            let path = Path::new("/proc/self/ns").join(kind);
            File::open(&path).with_context(|| format!("cannot open {}", path.display()))
        };
        Ok(Self { net: open("net")?, mount: open("mnt")? })
    }

    /// Fresh ones; this program stays where it is.
    pub(crate) fn fresh() -> Result<Self> {
        let before = Self::here()?;
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
        let fresh = Self::here();
        before.enter()?;
        fresh
    }

    /// Does something in there. What is started there stays there.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = Self::here()?;
        self.enter()?;
        let result = work();
        before.enter()?;
        result
    }

    #[expect(clippy::disallowed_methods, reason = "a bench has hosts of its own")]
    fn enter(&self) -> Result<()> {
        setns(&self.mount, CloneFlags::CLONE_NEWNS).context("cannot enter a mount namespace")?;
        setns(&self.net, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")
    }
}

/// Does something in the network namespace of a name in `/run/netns`.
#[expect(clippy::disallowed_methods, reason = "a bench has targets of its own")]
pub(crate) fn within<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let netns = File::open(Path::new("/run/netns").join(name))
        .with_context(|| format!("no target `{name}`"))?;
    and_back(|| {
        setns(&netns, CloneFlags::CLONE_NEWNET)?;
        work()
    })
}

/// Does something that may leave this program in another network namespace, and takes it back.
#[expect(clippy::disallowed_methods, reason = "a bench has targets of its own")]
pub(crate) fn and_back<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = File::open("/proc/self/ns/net")?;
    let result = work();
    setns(&before, CloneFlags::CLONE_NEWNET)?;
    result
}

/// Writes a switch below `/proc/sys/net` of the network namespace this program is in.
pub(crate) fn set(key: &str, value: &str) -> Result<()> {
    let file = Path::new("/proc/sys/net").join(key);
    fs::write(&file, value).with_context(|| format!("cannot write {}", file.display()))
}
