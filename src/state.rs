//! Records: what was asked for on this host. The kernel decides what is alive.
//!
//! One JSON file a network, and one for names, below `/run/netcord/HOST/`: a tmpfs, so that they
//! die at reboot with what they describe. HOST is made of the boot's ID and the cookie of the
//! host's network namespace, so that several hosts on one machine never mix.
//!
//! A record is written to another name and renamed, under a lock; an empty or torn one is treated
//! as absent, with a warning.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    error::{Error, Kind},
    model::{Endpoint, LinkName, NamedNetns, NetworkRecord},
    plan::{Change, Record, Resource},
};

/// The version of the records' form. A newer one is refused, never guessed at.
const SCHEMA: u32 = 1;

/// How long to wait for another netcord on this host.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// No honest record is larger: it bounds what a broken one can cost.
const RECORD_MAX: u64 = 16 << 20;

const NAMES_FILE: &str = "names.json";
const NETWORK_PREFIX: &str = "network-";
const LOCK_FILE: &str = "lock";

/// The records of one host.
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
    lock: Option<File>,
    networks: BTreeMap<LinkName, NetworkRecord>,
    names: Vec<NamedNetns>,
    warnings: Vec<String>,
}

/// What a file begins with. It is read by itself: with `#[serde(flatten)]`, a thousand endpoints
/// would become a tree of values first.
const BEGINNING: &str = r#"{"schema":"#;

#[derive(Serialize)]
struct Versioned<'a, T> {
    schema: u32,
    #[serde(flatten)]
    content: &'a T,
}

#[derive(Serialize, Deserialize)]
struct Names {
    names: Vec<NamedNetns>,
}

impl State {
    /// Reads the records of the host with this cookie. What a concurrent change makes of them is
    /// seen whole or not at all.
    pub fn read(cookie: u64) -> Result<Self> {
        let mut state = Self::at(cookie)?;
        state.load()?;
        Ok(state)
    }

    /// Reads the records and keeps all others from changing them until dropped.
    ///
    /// # Errors
    /// When another netcord holds the lock for half a minute; it is named.
    pub fn locked(cookie: u64) -> Result<Self> {
        let mut state = Self::at(cookie)?;
        state.make_dir()?;
        state.lock = Some(lock(&state.dir.join(LOCK_FILE))?);
        state.load()?;
        Ok(state)
    }

    /// As [`State::locked`], but `None` at once when another netcord holds the lock.
    pub fn try_locked(cookie: u64) -> Result<Option<Self>> {
        let mut state = Self::at(cookie)?;
        state.make_dir()?;
        let path = state.dir.join(LOCK_FILE);
        let file = open_lock(&path)?;
        if file.try_lock().is_err() {
            return Ok(None);
        }
        state.lock = Some(file);
        state.load()?;
        Ok(Some(state))
    }

    fn at(cookie: u64) -> Result<Self> {
        let base =
            env::var_os("NETCORD_STATE_DIR").map_or_else(|| "/run/netcord".into(), PathBuf::from);
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .context("cannot read the boot's ID")?;
        let boot = boot.get(..8).unwrap_or_default();
        Ok(Self {
            dir: base.join(format!("{boot}-{cookie}")),
            lock: None,
            networks: BTreeMap::new(),
            names: Vec::new(),
            warnings: Vec::new(),
        })
    }

    /// The lock that keeps others from changing anything on this host.
    ///
    /// # Errors
    /// If the records were opened to look only.
    pub fn lock(&self) -> Result<&File> {
        self.lock.as_ref().context("the records are not locked")
    }

    /// Where the records are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Networks by name.
    pub fn networks(&self) -> &BTreeMap<LinkName, NetworkRecord> {
        &self.networks
    }

    /// The names in `/run/netns` that are ours.
    pub fn names(&self) -> &[NamedNetns] {
        &self.names
    }

    /// What was wrong with records that were read.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// All endpoints with their networks' records.
    pub fn endpoints(&self) -> impl Iterator<Item = (&NetworkRecord, &Endpoint)> {
        self.networks.values().flat_map(|n| n.endpoints.iter().map(move |e| (n, e)))
    }

    /// Makes changes of parts of one file so, in one write; returns what undoes each, or `None` if
    /// it was so.
    pub fn apply(&mut self, changes: &[&Change]) -> Result<Vec<Option<Change>>> {
        let mut inverses = Vec::with_capacity(changes.len());
        let mut news = None;
        for change in changes {
            let inverse = match change {
                Change::Create(Resource::Record(record)) => self.create(record)?,
                Change::Delete(Resource::Record(record)) => self.delete(record),
                _ => None,
            };
            if inverse.is_some() {
                news = Some(change.resource());
            }
            inverses.push(inverse);
        }
        if let Some(Resource::Record(record)) = news {
            self.write(record)?;
        }
        Ok(inverses)
    }

    fn create(&mut self, record: &Record) -> Result<Option<Change>> {
        let inverse = match record {
            Record::Network(network) => {
                let entry = NetworkRecord { network: network.clone(), endpoints: Vec::new() };
                match self.networks.get_mut(&network.name) {
                    Some(there) if there.network == *network => return Ok(None),
                    Some(there) => {
                        let former = std::mem::replace(&mut there.network, network.clone());
                        Change::Create(Resource::Record(Record::Network(former)))
                    }
                    None => {
                        self.networks.insert(network.name.clone(), entry);
                        deletion(record)
                    }
                }
            }
            Record::Endpoint { network, endpoint } => {
                let endpoints = &mut self.network(network)?.endpoints;
                let is_it = |e: &&mut Endpoint| e.host_ifname == endpoint.host_ifname;
                if let Some(there) = endpoints.iter_mut().find(is_it) {
                    let wanted = Endpoint { ports: there.ports.clone(), ..endpoint.clone() };
                    if *there == wanted {
                        return Ok(None);
                    }
                    let endpoint = std::mem::replace(there, wanted);
                    let network = network.clone();
                    Change::Create(Resource::Record(Record::Endpoint { network, endpoint }))
                } else {
                    endpoints.push(endpoint.clone());
                    deletion(record)
                }
            }
            Record::Port { network, host_ifname, port } => {
                let ports = &mut self.endpoint(network, host_ifname)?.ports;
                if ports.contains(port) {
                    return Ok(None);
                }
                ports.push(port.clone());
                deletion(record)
            }
            Record::Name(name) => match self.names.iter_mut().find(|n| n.name == name.name) {
                Some(there) if there == name => return Ok(None),
                Some(there) => {
                    let former = std::mem::replace(there, name.clone());
                    Change::Create(Resource::Record(Record::Name(former)))
                }
                None => {
                    self.names.push(name.clone());
                    deletion(record)
                }
            },
        };
        Ok(Some(inverse))
    }

    fn delete(&mut self, record: &Record) -> Option<Change> {
        let there = match record {
            Record::Network(network) => self.networks.remove(&network.name).is_some(),
            Record::Endpoint { network, endpoint } => {
                self.networks.get_mut(network).is_some_and(|n| {
                    let before = n.endpoints.len();
                    n.endpoints.retain(|e| e.host_ifname != endpoint.host_ifname);
                    n.endpoints.len() < before
                })
            }
            Record::Port { network, host_ifname, port } => {
                self.endpoint(network, host_ifname).is_ok_and(|endpoint| {
                    let before = endpoint.ports.len();
                    endpoint.ports.retain(|p| p != port);
                    endpoint.ports.len() < before
                })
            }
            Record::Name(name) => {
                let before = self.names.len();
                self.names.retain(|n| n.name != name.name);
                self.names.len() < before
            }
        };
        there.then(|| Change::Create(Resource::Record(record.clone())))
    }

    /// Takes over a record that was made anew from the kernel's marks. Without the lock it is only
    /// known, not written.
    pub fn adopt(&mut self, record: NetworkRecord) -> Result<()> {
        let network = record.network.clone();
        self.networks.insert(network.name.clone(), record);
        if self.lock.is_some() { self.write(&Record::Network(network)) } else { Ok(()) }
    }

    fn network(&mut self, name: &LinkName) -> Result<&mut NetworkRecord> {
        self.networks
            .get_mut(name)
            .with_context(|| format!("there is no record of network `{name}`"))
    }

    fn endpoint(&mut self, network: &LinkName, host_ifname: &LinkName) -> Result<&mut Endpoint> {
        let endpoints = &mut self.network(network)?.endpoints;
        endpoints
            .iter_mut()
            .find(|e| e.host_ifname == *host_ifname)
            .with_context(|| format!("there is no record of endpoint `{host_ifname}`"))
    }

    /// Writes the file that a part is in.
    fn write(&self, record: &Record) -> Result<()> {
        let Some(network) = record.network() else {
            let names = (!self.names.is_empty()).then(|| Names { names: self.names.clone() });
            return Self::put(&self.dir.join(NAMES_FILE), names.as_ref());
        };
        Self::put(
            &self.dir.join(format!("{NETWORK_PREFIX}{network}.json")),
            self.networks.get(network),
        )
    }

    /// Replaces a file in one step, or removes it.
    fn put<T: Serialize>(path: &Path, content: Option<&T>) -> Result<()> {
        let cannot = || format!("cannot write {}", path.display());
        let Some(content) = content else {
            return match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).with_context(cannot),
                _ => Ok(()),
            };
        };
        let text = serde_json::to_vec(&Versioned { schema: SCHEMA, content })?;
        let new = path.with_extension("new");
        let written = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| file.write_all(&text))
            .and_then(|()| fs::rename(&new, path));
        if written.is_err() {
            // What cannot be written whole is not left in half.
            drop(fs::remove_file(&new));
        }
        written.with_context(cannot)
    }

    fn load(&mut self) -> Result<()> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", self.dir.display())),
        };
        check_owner(&self.dir)?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if name == NAMES_FILE {
                if let Some(Names { names }) = self.parse(&path)? {
                    self.names = names;
                }
            } else if name.starts_with(NETWORK_PREFIX)
                && path.extension().is_some_and(|e| e == "json")
                && let Some(record) = self.parse::<NetworkRecord>(&path)?
            {
                self.networks.insert(record.network.name.clone(), record);
            }
        }
        Ok(())
    }

    fn parse<T: DeserializeOwned>(&mut self, path: &Path) -> Result<Option<T>> {
        let text = match fs::metadata(path).and_then(|m| {
            if m.len() > RECORD_MAX {
                Err(io::ErrorKind::FileTooLarge.into())
            } else {
                fs::read(path)
            }
        }) {
            Ok(text) => text,
            // Another netcord removed it meanwhile.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
        };
        if let Some(schema) = schema(&text)
            && schema > SCHEMA
        {
            let message =
                format!("{} was written by a newer netcord (schema {schema})", path.display());
            return Err(Error::new(Kind::Failed, message).hint("use that version").into());
        }
        match serde_json::from_slice(&text) {
            Ok(content) => Ok(Some(content)),
            Err(e) => {
                self.warnings.push(format!("{} is unreadable and is ignored: {e}", path.display()));
                Ok(None)
            }
        }
    }

    /// Makes the directory, for its owner alone; a directory of anybody else's is not used.
    fn make_dir(&self) -> Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.with_context(|| format!("cannot make the state directory {}", self.dir.display()))?;
        check_owner(&self.dir)
    }
}

/// The version of a file, if it begins as ours do.
fn schema(text: &[u8]) -> Option<u32> {
    let number = text.strip_prefix(BEGINNING.as_bytes())?;
    let digits = number.iter().take_while(|b| b.is_ascii_digit()).count();
    str::from_utf8(&number[..digits]).ok()?.parse().ok()
}

fn deletion(record: &Record) -> Change {
    Change::Delete(Resource::Record(record.clone()))
}

/// Whoever could write here could make netcord act on what it never did.
fn check_owner(dir: &Path) -> Result<()> {
    let metadata =
        fs::symlink_metadata(dir).with_context(|| format!("cannot look at {}", dir.display()))?;
    let own = fs::metadata("/proc/thread-self")?.uid();
    if metadata.is_dir() && metadata.uid() == own && metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    let message = format!("the state directory {} is not ours alone", dir.display());
    Err(Error::new(Kind::Permission, message)
        .hint("it must be a directory, owned by who runs netcord, and not writable by others")
        .into())
}

fn open_lock(path: &Path) -> Result<File> {
    let file =
        File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

fn lock(path: &Path) -> Result<File> {
    let file = open_lock(path)?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    // The kernel queues those who wait, in order; only giving up needs a second thread.
    let (sender, receiver) = mpsc::channel();
    let waiting = file.try_clone()?;
    thread::spawn(move || drop(sender.send(waiting.lock())));
    if let Ok(locked) = receiver.recv_timeout(LOCK_PATIENCE) {
        return locked.map(|()| file).context("cannot lock the records");
    }
    let holder = holder(path).map_or_else(String::new, |pid| format!(" by process {pid}"));
    let message =
        format!("the records have been locked{holder} for {} seconds", LOCK_PATIENCE.as_secs());
    Err(Error::new(Kind::Timeout, message).hint("see what it waits for, or end it").into())
}

/// Who holds the lock, as `/proc/locks` tells: `1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE ...`.
fn holder(path: &Path) -> Option<u32> {
    let inode = format!(":{}", fs::metadata(path).ok()?.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let line =
        locks.lines().find(|l| !l.contains("->") && l.split(' ').any(|w| w.ends_with(&inode)))?;
    line.split_whitespace().nth(4)?.parse().ok()
}
