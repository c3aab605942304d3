//! The pools of addresses that docker has requested, and the addresses that it has of them.
//!
//! docker keeps the same on record, and requests it again when it starts, before anything else. So a pool
//! that another dockerd has requested is replaced when it is requested again, and is free if no network
//! needs it.

use std::{
    collections::BTreeSet,
    fmt,
    fs::{File, TryLockError},
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{socket::Process, store};
use crate::{
    error::{Error, Kind},
    model::{Invalid, Subnet, overlap},
};

/// How long to wait for a call of another process.
const PATIENCE: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(5);

/// docker's name for a pool, which is its subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct PoolId(pub(super) IpNetwork);

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PoolId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let cidr: IpNetwork =
            text.parse().map_err(|_| Invalid::new(format!("no pool is `{text}`")))?;
        Subnet::new(cidr, None, None).map(|subnet| Self(subnet.cidr))
    }
}

impl TryFrom<String> for PoolId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error: Invalid| error.message)
    }
}

impl From<PoolId> for String {
    fn from(id: PoolId) -> Self {
        id.to_string()
    }
}

/// A pool of addresses.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pool {
    pub(super) id: PoolId,
    /// The range from which addresses are assigned (`--ip-range`).
    pub(super) range: Option<IpNetwork>,
    /// The dockerd that has requested it.
    by: Option<Process>,
    /// The addresses that docker has.
    pub(super) assigned: BTreeSet<IpAddr>,
}

impl Pool {
    pub(super) fn new(id: PoolId, range: Option<IpNetwork>, by: Option<Process>) -> Self {
        Self { id, range, by, assigned: BTreeSet::new() }
    }

    /// Returns whether this dockerd has requested it.
    fn is_of(&self, caller: Option<&Process>) -> bool {
        self.by.is_some() && self.by.as_ref() == caller
    }

    pub(super) fn write(&self) -> Result<()> {
        store::write_file(&path(self.id), self)
    }
}

/// Returns a pool.
///
/// # Errors
/// If it is not on record.
pub(super) fn read(id: PoolId) -> Result<Pool> {
    store::read_file(&path(id))?.ok_or_else(|| {
        Error::not_found(format!("pool {id} is not on record in {}", store::DIR))
            .hint("restart dockerd, which requests its pools again when it starts")
            .into()
    })
}

/// Removes a pool; nothing to do if it is not there.
pub(super) fn remove(id: PoolId) -> Result<()> {
    store::remove_file(&path(id))
}

/// Returns the pools that are in use.
pub(super) fn in_use(caller: Option<&Process>) -> Result<Vec<Pool>> {
    let networks = store::all()?;
    let of_networks: Vec<_> = networks
        .iter()
        .flat_map(|n| n.request.ipv4.iter().chain(&n.request.ipv6))
        .filter_map(|d| d.pool)
        .collect();
    let mut pools: Vec<Pool> = store::read_all(&dir())?;
    pools.retain(|pool| pool.is_of(caller) || of_networks.contains(&pool.id.0));
    Ok(pools)
}

/// Checks that a subnet can become a pool of this dockerd's.
///
/// # Errors
/// If it overlaps with another pool, or is one that this dockerd has requested already.
pub(super) fn check_free(id: PoolId, caller: Option<&Process>) -> Result<()> {
    let is_in_the_way =
        |pool: &Pool| overlap(pool.id.0, id.0) && (pool.id != id || pool.is_of(caller));
    match in_use(caller)?.into_iter().find(is_in_the_way) {
        Some(pool) => {
            let message = format!("pool {id} overlaps with {}, which docker has", pool.id);
            Err(Error::conflict(message)
                .hint("choose another with `--subnet`; if no network has it, restart dockerd")
                .into())
        }
        None => Ok(()),
    }
}

/// A lock on all pools: each call may have a process of its own.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock.
    ///
    /// # Errors
    /// If another call holds it for too long.
    pub(super) async fn wait() -> Result<Self> {
        let path = Path::new(store::DIR).join("lock");
        let cannot = || format!("cannot lock {}", path.display());
        store::make_dir(Path::new(store::DIR)).with_context(cannot)?;
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(false).open(&path);
        let file = file.with_context(cannot)?;
        let until = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
                Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(INTERVAL).await,
                Err(TryLockError::WouldBlock) => {
                    let seconds = PATIENCE.as_secs();
                    let message = format!("another call has held docker's pools for {seconds} s");
                    return Err(Error::new(Kind::Timeout, message)
                        .hint("see what it waits for: `ps -C netcord`")
                        .into());
                }
            }
        }
    }
}

fn dir() -> PathBuf {
    Path::new(store::DIR).join("pools")
}

fn path(id: PoolId) -> PathBuf {
    dir().join(format!("{}.json", id.to_string().replace('/', "-")))
}
