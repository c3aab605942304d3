//! The socket of the plugin.

use std::{
    fs::{self, Permissions},
    io::{self, ErrorKind},
    os::{
        fd::AsFd,
        unix::{self, fs::PermissionsExt},
    },
    path::Path,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};

use crate::{error::Error, process};

/// A process. No other one has the same PID and the same start time since the boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    boot: String,
    pid: u32,
    start: u64,
}

impl Process {
    /// Returns the process at the other end; `None` if it cannot be seen from here.
    pub(super) fn of(stream: &UnixStream) -> Option<Self> {
        Self::with(stream.peer_cred().ok()?.pid()?.try_into().ok()?)
    }

    /// Returns this process.
    pub(super) fn this() -> Option<Self> {
        Self::with(std::process::id())
    }

    /// Returns whether it still runs.
    pub(super) fn runs(&self) -> bool {
        Self::with(self.pid).as_ref() == Some(self)
    }

    fn with(pid: u32) -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Self { boot: boot.trim_end().to_owned(), pid, start: process::started(pid)? })
    }
}

/// Returns standard input as a connection.
pub(super) fn of_stdin() -> Result<UnixStream> {
    let stream = unix::net::UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let is_connection = stream.peer_addr().is_ok() && stream.set_nonblocking(true).is_ok();
    if !is_connection {
        return Err(Error::usage("standard input is not a connection of docker's")
            .hint(
                "let systemd start it (`systemctl start netcord-docker.socket`), or use `--listen`",
            )
            .into());
    }
    Ok(UnixStream::from_std(stream)?)
}

/// Listens on a path. The socket is nobody else's from its first moment, and replaces one on which
/// nobody listens any more.
pub(super) async fn bind(path: &Path) -> Result<UnixListener> {
    let cannot = || format!("cannot listen on {}", path.display());
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(cannot)?;
    }
    match UnixStream::connect(path).await {
        Ok(_) => {
            let message = format!("another program listens on {}", path.display());
            return Err(Error::conflict(message)
                .hint("stop it, for example `systemctl stop netcord-docker.socket`")
                .into());
        }
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
        Err(e) => return Err(e).with_context(cannot),
    }
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}", std::process::id()));
    let listener = UnixListener::bind(&new).with_context(cannot)?;
    fs::set_permissions(&new, Permissions::from_mode(0o600)).with_context(cannot)?;
    fs::rename(&new, path).with_context(cannot)?;
    Ok(listener)
}
