//! netcord-agent: the process of a host that follows the stores of its overlay networks. It is
//! another program of this package, since it needs what netcord does not: etcd and TLS.
//!
//! Here is the other end of its socket.

pub mod protocol;

use std::{
    fs::{File, TryLockError},
    io::{self, ErrorKind},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};

use self::protocol::{Answer, LOCK, Message, Request, SOCKET, Status};
use crate::{
    error::{Error, Kind},
    process::background,
};

/// The name of the program.
pub const PROGRAM: &str = "netcord-agent";

/// The time to wait for an answer that needs no store.
const ANSWER: Duration = Duration::from_secs(5);

/// A connection to the agent of a host.
#[derive(Debug)]
pub struct Connection(BufReader<UnixStream>);

impl Connection {
    /// Connects to the agent whose socket is in the directory of a host's records; returns `None` if
    /// none runs.
    ///
    /// # Errors
    /// If the socket does not accept the connection for another reason.
    pub async fn open(dir: &Path) -> Result<Option<Self>> {
        match UnixStream::connect(dir.join(SOCKET)).await {
            Ok(stream) => Ok(Some(Self(BufReader::new(stream)))),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(e).context("cannot connect to netcord-agent"),
        }
    }

    /// The same, but starts the agent if none runs.
    ///
    /// # Errors
    /// If it is not installed, or ends before it is ready.
    pub async fn open_or_start(dir: &Path) -> Result<Self> {
        if let Some(connection) = Self::open(dir).await? {
            return Ok(connection);
        }
        start()?;
        Self::open(dir).await?.context("netcord-agent ended")
    }

    /// Sends a request, and returns the answer.
    ///
    /// # Errors
    /// The agent's own, if it answers with one, or if there is no answer in time.
    pub async fn ask(&mut self, request: Request, limit: Duration) -> Result<Answer> {
        let answer = timeout(limit, self.exchange(request)).await;
        match answer.map_err(|_| silent(limit))?? {
            Answer::Failed(error) => Err(error.into()),
            answer => Ok(answer),
        }
    }

    async fn exchange(&mut self, request: Request) -> Result<Answer> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let mut line = serde_json::to_vec(&Message { version, request })?;
        line.push(b'\n');
        self.0.get_mut().write_all(&line).await.context("cannot write to netcord-agent")?;
        let mut answer = String::new();
        self.0.read_line(&mut answer).await.context("cannot read from netcord-agent")?;
        if answer.is_empty() {
            bail!("netcord-agent ended before it answered");
        }
        serde_json::from_str(&answer).context("netcord-agent sent no valid answer")
    }
}

/// Returns whether the agent of the host with this directory of records runs.
pub fn runs(dir: &Path) -> bool {
    let lock = File::open(dir.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Makes this process the agent of the host with this directory of records, as long as the returned
/// file is open; returns `None` if there is one.
///
/// # Errors
/// If the file cannot be made.
pub fn claim(dir: &Path) -> io::Result<Option<File>> {
    let lock = File::options().create(true).truncate(false).write(true).open(dir.join(LOCK))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Gives up everything that belongs to the starter; for netcord-agent, which calls it first.
///
/// # Errors
/// If the kernel refuses.
pub fn detach() -> io::Result<()> {
    background::detach()
}

/// Reports to the starter that this process is ready; for netcord-agent.
///
/// # Errors
/// If the starter is gone.
pub fn ready() -> io::Result<()> {
    background::ready()
}

/// Returns what the agent of a host does; `None` if no agent runs.
///
/// # Errors
/// If it does not answer.
pub async fn status(dir: &Path) -> Result<Option<Status>> {
    let Some(mut connection) = Connection::open(dir).await? else { return Ok(None) };
    match connection.ask(Request::Status, ANSWER).await? {
        Answer::Status(status) => Ok(Some(status)),
        _ => bail!("netcord-agent sent another answer than its status"),
    }
}

/// Starts the agent of this host, and returns once it is ready. It reads from the records what it
/// has to follow.
///
/// # Errors
/// If it is not installed, or ends before it is ready.
pub fn start() -> Result<()> {
    match background::start_program(PROGRAM) {
        Ok(_) => Ok(()),
        Err(e) if e.downcast_ref().is_some_and(is_absent) => Err(Error::new(
            Kind::Missing,
            format!("`{PROGRAM}`, which this network needs, is not installed"),
        )
        .hint("it is in netcord's package; it must be beside `netcord`, or in the PATH")
        .into()),
        Err(e) => Err(e),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

fn silent(limit: Duration) -> Error {
    Error::new(Kind::Timeout, format!("netcord-agent did not answer within {limit:?}"))
}
