//! Network namespaces: opens each once, and enters it while a closure runs.
//!
//! No other code changes a thread's namespace. Only network namespaces are entered: no path below a
//! container's root is followed, and `/proc` stays the host's.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io, iter,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::{
    fcntl::{OFlag, open},
    getsockopt_impl, libc,
    sched::{CloneFlags, setns, unshare},
    sockopt_impl,
    sys::{
        socket::{AddressFamily, SockFlag, SockType, getsockopt, socket},
        stat::Mode,
        statfs::{NSFS_MAGIC, fstatfs, statfs},
    },
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

use tokio::io::{Interest, unix::AsyncFd};

use super::{Kernel, rtnl::Rtnl};
use crate::{error::Error, model::NetnsName};

/// The directory of names, which `ip netns` uses too.
pub const NETNS_DIR: &str = "/run/netns";

/// An open network namespace. It is used by its file descriptor, since names and PIDs may be
/// reused.
#[derive(Debug)]
pub struct Netns {
    file: OwnedFd,
    cookie: u64,
    rtnl: Rtnl,
    /// The process by which it was opened.
    process: Option<(u32, OwnedFd)>,
    /// Whether it is the one that this thread works in.
    is_own: bool,
}

/// The file of a network namespace, not entered yet. It costs one open, and is enough to compare
/// namespaces.
#[derive(Debug)]
pub struct NetnsFile {
    file: OwnedFd,
    process: Option<(u32, OwnedFd)>,
}

impl NetnsFile {
    /// Opens the namespace of a name in `/run/netns`; returns `None` if there is no such name.
    pub fn of_name(name: &NetnsName) -> Option<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = open(&named(name), flags, Mode::empty()).ok()?;
        let is_netns = fstatfs(&file).is_ok_and(|s| s.filesystem_type() == NSFS_MAGIC);
        is_netns.then_some(Self { file, process: None })
    }

    /// Opens the namespace of a process; returns `None` if there is none, or we lack the privilege.
    pub fn of_process(pid: u32) -> Option<Self> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        let process = pidfd_open(raw, PidfdFlags::empty()).ok()?;
        let path = format!("/proc/{pid}/ns/net");
        let file = open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
        Some(Self { file, process: Some((pid, process)) })
    }

    /// Enters it once, to open a socket in it.
    pub fn enter(self) -> Result<Netns> {
        let mut netns = Netns::of_file(self.file)?;
        netns.process = self.process;
        Ok(netns)
    }

    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }
}

// Linux 5.14: a number for each namespace that is never reused (include/net/net_namespace.h).
const SO_NETNS_COOKIE: i32 = 71;
sockopt_impl!(
    /// The cookie of a socket's network namespace.
    NetnsCookie,
    GetOnly,
    libc::SOL_SOCKET,
    SO_NETNS_COOKIE,
    u64
);

impl Netns {
    /// Opens the namespace of a process: first a pidfd, then the namespace, then checks that the
    /// process still lives, so that the PID cannot have been reused in between.
    pub fn of_process(pid: u32) -> Result<Self> {
        let gone = || {
            Error::not_found(format!("no process {pid}"))
                .hint("see what is running with `ps -e`, or name a container, or a name in /run/netns")
                .absent(&pid.to_string(), iter::empty())
        };
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let process = match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Err(gone().into()),
            // A thread has an ID too, but no pidfd.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {
                return Err(Error::not_found(format!("{pid} is a thread, not a process")).into());
            }
            Err(e) => {
                return Err(io::Error::from(e))
                    .with_context(|| format!("cannot open process {pid}"));
            }
        };
        let path = format!("/proc/{pid}/ns/net");
        let file = match open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(file) => file,
            // A zombie has no namespaces.
            Err(nix::Error::ENOENT | nix::Error::ESRCH) => return Err(gone().into()),
            Err(e) => {
                return Err(io::Error::from(e))
                    .with_context(|| format!("cannot open the namespace of process {pid}"));
            }
        };
        let mut netns = Self::of_file(file)?;
        netns.process = Some((pid, process));
        if netns.lives() { Ok(netns) } else { Err(gone().into()) }
    }

    /// Opens a namespace file: a mount, a `/proc/PID/ns/net`, or a symlink to one.
    ///
    /// # Errors
    /// If it is anything else. The file is checked before it is opened, since opening a
    /// FIFO could block, and opening a device could have effects.
    pub fn of_path(path: &Path) -> Result<Self> {
        let shown = path.display();
        let looked_at = match open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(fd) => fd,
            Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => {
                let error = Error::not_found(format!("no namespace file {shown}"));
                return Err(error.absent(&shown.to_string(), iter::empty()).into());
            }
            Err(e) => {
                return Err(io::Error::from(e)).with_context(|| format!("cannot open {shown}"));
            }
        };
        let no_netns = || Error::not_found(format!("{shown} is not a network namespace"));
        if fstatfs(&looked_at).map_err(io::Error::from)?.filesystem_type() != NSFS_MAGIC {
            return Err(no_netns().into());
        }
        let again = proc_self_fd(&looked_at);
        let file = open(again.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(io::Error::from)
            .with_context(|| format!("cannot open {shown}"))?;
        Self::of_file(file).map_err(|e| match e.downcast_ref::<io::Error>() {
            // setns refuses a namespace of another type.
            Some(io) if io.raw_os_error() == Some(libc::EINVAL) => no_netns().into(),
            _ => e.context(format!("cannot enter {shown}")),
        })
    }

    /// Opens the namespace of this process.
    pub fn own() -> Result<Self> {
        let file = here().context("cannot open the host's namespace")?;
        // Without setns, which takes a privilege even for the thread's own namespace.
        Ok(Self { file, cookie: cookie_here()?, rtnl: Rtnl::open()?, process: None, is_own: true })
    }

    /// Opens the namespace of a name in `/run/netns`; returns `None` if there is no such name, it
    /// dangles, or it is an empty file that a killed run left.
    pub fn of_name(name: &NetnsName) -> Result<Option<Self>> {
        let path = named(name);
        match path.try_exists() {
            Ok(true) if is_placeholder(&path) => Ok(None),
            Ok(true) => Self::of_path(&path).map(Some),
            Ok(false) => Ok(None),
            Err(e) => Err(e).with_context(|| format!("cannot look at {}", path.display())),
        }
    }

    /// Creates a namespace that lives as long as this value, or as a name for it.
    pub fn anonymous() -> Result<Self> {
        // In a thread of its own, so that this one stays where it is.
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            open("/proc/thread-self/ns/net", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        });
        let file = match made.join() {
            Ok(file) => file.map_err(io::Error::from).context("cannot make a network namespace")?,
            Err(_) => anyhow::bail!("cannot make a network namespace: the thread ended"),
        };
        Self::of_file(file)
    }

    fn of_file(file: OwnedFd) -> Result<Self> {
        let (rtnl, cookie) =
            within(&file, || Ok::<_, io::Error>((Rtnl::open()?, cookie_here()?)))??;
        Ok(Self { file, cookie, rtnl, process: None, is_own: false })
    }

    /// Opens its socket again.
    pub(super) fn reconnect(&mut self) -> Result<()> {
        self.rtnl = within(&self.file, Rtnl::open)??;
        Ok(())
    }

    /// Returns its cookie, which is never reused, unlike a name, a PID or an inode.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Returns whether the process by which it was opened still runs. Opened in another way, it
    /// lives as long as it is open.
    pub fn lives(&self) -> bool {
        let Some((_, process)) = &self.process else { return true };
        let mut fds = [PollFd::new(process, PollFlags::IN)];
        // A pidfd is readable once its process has ended.
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(0)
    }

    /// Returns the process by which it was opened.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|(pid, _)| *pid)
    }

    /// Waits until the process by which it was opened has ended; forever, if it was opened in
    /// another way.
    #[expect(deprecated, reason = "its successor is unsafe; the descriptor outlives its use here")]
    pub async fn end(&self) -> io::Result<()> {
        match &self.process {
            Some((_, process)) => {
                let process = AsyncFd::with_interest(process.as_fd(), Interest::READABLE)?;
                process.readable().await.map(drop)
            }
            None => std::future::pending().await,
        }
    }

    /// Runs a closure in the namespace. The closure must not await: other tasks would run in the
    /// namespace too.
    pub(crate) fn within<T>(&self, f: impl FnOnce() -> T) -> io::Result<T> {
        if self.is_own { Ok(f()) } else { within(&self.file, f) }
    }

    /// Moves this thread, and the program that it is about to execute, into the namespace.
    pub(crate) fn join(&self) -> io::Result<()> {
        enter(&self.file)
    }

    pub(super) fn rtnl(&self) -> &Rtnl {
        &self.rtnl
    }

    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }
}

/// Returns whether a file is empty, with nothing mounted on it.
pub(super) fn is_placeholder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.is_file() && m.len() == 0)
        && statfs(path).is_ok_and(|s| s.filesystem_type() != NSFS_MAGIC)
}

/// Returns the file of a name.
pub fn named(name: &NetnsName) -> PathBuf {
    Path::new(NETNS_DIR).join(name.as_str())
}

/// Returns the cookie of the thread's namespace.
pub(super) fn cookie_here() -> io::Result<u64> {
    let any = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    Ok(getsockopt(&any, NetnsCookie)?)
}

/// Opens the thread's namespace.
pub(super) fn here() -> io::Result<OwnedFd> {
    File::open("/proc/thread-self/ns/net").map(OwnedFd::from)
}

fn within<T>(file: &OwnedFd, f: impl FnOnce() -> T) -> io::Result<T> {
    /// Returns to the former namespace however the closure ends. A thread that cannot return must
    /// not continue.
    struct Return(OwnedFd);
    impl Drop for Return {
        fn drop(&mut self) {
            if enter(&self.0).is_err() {
                std::process::abort();
            }
        }
    }
    let back = here()?;
    enter(file)?;
    // Only now is there a way back: a process that may not enter a namespace may not return either.
    let back = Return(back);
    let result = f();
    drop(back);
    Ok(result)
}

#[expect(clippy::disallowed_methods, reason = "the one place that changes namespace")]
fn enter(file: impl AsFd) -> io::Result<()> {
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|e| match e {
        nix::Error::EPERM => io::Error::new(
            io::ErrorKind::PermissionDenied,
            "entering a network namespace needs CAP_SYS_ADMIN",
        ),
        e => e.into(),
    })
}

impl Kernel {
    /// Returns the names in `/run/netns`.
    pub fn netns_names(&self) -> BTreeSet<NetnsName> {
        let entries = fs::read_dir(NETNS_DIR).into_iter().flatten().flatten();
        entries.filter_map(|e| e.file_name().into_string().ok()?.parse().ok()).collect()
    }
}

/// Returns the path by which this process can open an open file again.
pub(super) fn proc_self_fd(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
