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
use tokio::net::{UnixListener, UnixStream};

use crate::error::Error;

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
