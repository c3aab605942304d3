//! Network namespaces: opening one once, and entering it for the time of a closure.
//!
//! The only place that changes a thread's namespace. Nothing but the network namespace is ever
//! entered: no path below a container's root is followed, and `/proc` stays the host's.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
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

/// Where names of namespaces live, for `ip netns` and for us.
pub const NETNS_DIR: &str = "/run/netns";

/// An open network namespace. What is done in it is done by its file descriptor: names and PIDs
/// may come to mean another.
#[derive(Debug)]
pub struct Netns {
    file: OwnedFd,
    cookie: u64,
    rtnl: Rtnl,
    /// Of the process whose namespace was asked for.
    process: Option<(u32, OwnedFd)>,
}

/// A network namespace by its file alone: it costs an open, and can be told from others, before it
/// is entered.
#[derive(Debug)]
pub struct NetnsFile {
    file: OwnedFd,
    process: Option<(u32, OwnedFd)>,
}

impl NetnsFile {
    /// Opens what a name in `/run/netns` stands for; `None` if nothing has that name.
    pub fn of_name(name: &NetnsName) -> Option<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = open(&named(name), flags, Mode::empty()).ok()?;
        let is_netns = fstatfs(&file).is_ok_and(|s| s.filesystem_type() == NSFS_MAGIC);
        is_netns.then_some(Self { file, process: None })
    }

    /// Opens the namespace of a process; `None` if there is none, or it may not be looked into.
    pub fn of_process(pid: u32) -> Option<Self> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        let process = pidfd_open(raw, PidfdFlags::empty()).ok()?;
        let path = format!("/proc/{pid}/ns/net");
        let file = open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
        Some(Self { file, process: Some((pid, process)) })
    }

    /// Enters it.
    pub fn enter(self) -> Result<Netns> {
        let mut netns = Netns::of_file(self.file)?;
        netns.process = self.process;
        Ok(netns)
    }

    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }
}

// Linux 5.14: a number for each namespace, never used again (include/net/net_namespace.h).
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
    /// Opens the namespace of a process: the process first, then its namespace, then the process
    /// is asked again whether it lives, so that a PID that was used again cannot slip in between.
    pub fn of_process(pid: u32) -> Result<Self> {
        let gone = || {
            Error::not_found(format!("no process {pid}")).hint(
                "see what is running with `ps -e`, or name a container, or a name in /run/netns",
            )
        };
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let process = match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Err(gone().into()),
            // A thread has an ID too, and only a process has a pidfd.
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
            // A zombie has no namespaces any more.
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

    /// Opens a namespace file: a mount, a `/proc/PID/ns/net`, or a symlink to such.
    ///
    /// # Errors
    /// If it is anything else. It is looked at before it is opened, so that a FIFO cannot make us
    /// wait, nor a device act.
    pub fn of_path(path: &Path) -> Result<Self> {
        let shown = path.display();
        let looked_at = match open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(fd) => fd,
            Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => {
                return Err(Error::not_found(format!("no namespace file {shown}")).into());
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

    /// Opens the namespace that this program is in.
    pub fn own() -> Result<Self> {
        Self::of_file(here().context("cannot open the host's namespace")?)
    }

    /// Opens what a name in `/run/netns` stands for; `None` if nothing has that name, the name
    /// dangles, or it is a file that a killed run came to mount nothing on.
    pub fn of_name(name: &NetnsName) -> Result<Option<Self>> {
        let path = named(name);
        match path.try_exists() {
            Ok(true) if is_placeholder(&path) => Ok(None),
            Ok(true) => Self::of_path(&path).map(Some),
            Ok(false) => Ok(None),
            Err(e) => Err(e).with_context(|| format!("cannot look at {}", path.display())),
        }
    }

    /// Makes a namespace that lives as long as this value, or as a name that is given to it.
    pub fn anonymous() -> Result<Self> {
        // A thread of its own: this one stays where it is.
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
        Ok(Self { file, cookie, rtnl, process: None })
    }

    /// Opens its socket anew.
    pub(super) fn reconnect(&mut self) -> Result<()> {
        self.rtnl = within(&self.file, Rtnl::open)??;
        Ok(())
    }

    /// Which namespace it is: unlike a name, a PID or an inode, a cookie is never used again.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Whether the process that it was opened by still runs. A namespace that was opened by
    /// another way lives as long as it is open.
    pub fn lives(&self) -> bool {
        let Some((_, process)) = &self.process else { return true };
        let mut fds = [PollFd::new(process, PollFlags::IN)];
        // A pidfd is readable once its process has ended.
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(0)
    }

    /// The process that it was opened by.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|(pid, _)| *pid)
    }

    /// Returns when the process that it was opened by has ended; never, if it was opened by
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

    /// Runs a closure in the namespace. It must not wait for other tasks: they would run in it too.
    pub(crate) fn within<T>(&self, f: impl FnOnce() -> T) -> io::Result<T> {
        within(&self.file, f)
    }

    /// Moves this thread, and so the program that it is about to become, into the namespace.
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

/// An empty file that nothing is mounted on.
pub(super) fn is_placeholder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.is_file() && m.len() == 0)
        && statfs(path).is_ok_and(|s| s.filesystem_type() != NSFS_MAGIC)
}

/// The file that stands for a name.
pub fn named(name: &NetnsName) -> PathBuf {
    Path::new(NETNS_DIR).join(name.as_str())
}

/// The cookie of the thread's own namespace.
pub(super) fn cookie_here() -> io::Result<u64> {
    let any = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    Ok(getsockopt(&any, NetnsCookie)?)
}

/// The thread's own namespace.
pub(super) fn here() -> io::Result<OwnedFd> {
    File::open("/proc/thread-self/ns/net").map(OwnedFd::from)
}

fn within<T>(file: &OwnedFd, f: impl FnOnce() -> T) -> io::Result<T> {
    /// Goes back however the closure ends. A thread that cannot go back must not go on.
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
    // Only now is there a way to go back: who may not enter may not come back either.
    let back = Return(back);
    let result = f();
    drop(back);
    Ok(result)
}

#[expect(clippy::disallowed_methods, reason = "the one place that changes namespace")]
fn enter(file: impl AsFd) -> io::Result<()> {
    setns(file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
}

impl Kernel {
    /// The names in `/run/netns`.
    pub fn netns_names(&self) -> BTreeSet<NetnsName> {
        let entries = fs::read_dir(NETNS_DIR).into_iter().flatten().flatten();
        entries.filter_map(|e| e.file_name().into_string().ok()?.parse().ok()).collect()
    }
}

/// The path by which this process reaches an open file again.
pub(super) fn proc_self_fd(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
