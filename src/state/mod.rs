//! Records: what was asked for on this host. The kernel decides what is alive.
//!
//! A file a network, and one for names, below `/run/netcord/HOST/`: a tmpfs, so that they die at
//! reboot with what they describe. HOST is made of the boot's ID and the cookie of the host's
//! network namespace, so that several hosts on one machine never mix.
//!
//! Under a lock, a file is replaced by a rename, or a line is added to it; for what is taken away
//! there is always space, see [`reserve`]. A file that is empty or
//! torn is treated as absent, with a warning.

mod file;
mod lock;
mod reserve;
mod unread;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use self::{file::Lines, unread::Unread};
use crate::{
    error::{Error, Kind},
    model::{Endpoint, LinkName, NamedNetns, Network, NetworkRecord, Outline},
    plan::{Change, Record, Resource},
};

/// The version of the records' form. A newer one is refused, never guessed at.
const SCHEMA: u32 = 1;

const NAMES_FILE: &str = "names.json";
const NETWORK_PREFIX: &str = "network-";
const LOCK_FILE: &str = "lock";

/// The records of one host.
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
    lock: Option<File>,
    networks: BTreeMap<LinkName, NetworkRecord>,
    /// By network, what of its record was not asked for.
    unread: BTreeMap<LinkName, Unread>,
    names: Vec<NamedNetns>,
    /// Files that end where a line ends: one more can be added.
    whole: BTreeSet<PathBuf>,
    warnings: Vec<String>,
}

/// The head of a file.
#[derive(Serialize)]
struct Head<'a> {
    schema: u32,
    #[serde(flatten)]
    network: Option<&'a Network>,
}

#[derive(Deserialize)]
struct Version {
    schema: u32,
}

/// Of which endpoints to read more than others have to know.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// Of all.
    All,
    /// Of those of these namespaces, by their cookies.
    Of(&'a [u64]),
}

impl State {
    /// How long it is waited for another netcord on this host.
    pub const PATIENCE: Duration = lock::PATIENCE;

    /// Reads the records of the host with this cookie. What a concurrent change makes of an
    /// endpoint is seen whole or not at all.
    pub fn read(cookie: u64, wanted: Wanted<'_>) -> Result<Self> {
        let mut state = Self::at(cookie)?;
        state.load(wanted)?;
        Ok(state)
    }

    /// Reads the records and keeps all others from changing them until dropped.
    ///
    /// # Errors
    /// When another netcord holds the lock for half a minute; it is named.
    pub fn locked(cookie: u64, wanted: Wanted<'_>) -> Result<Self> {
        let mut state = Self::at(cookie)?;
        state.make_dir()?;
        state.lock = Some(lock::lock(&state.dir.join(LOCK_FILE))?);
        state.load(wanted)?;
        Ok(state)
    }

    /// As [`State::locked`], but `None` at once when another netcord holds the lock.
    pub fn try_locked(cookie: u64) -> Result<Option<Self>> {
        let mut state = Self::at(cookie)?;
        state.make_dir()?;
        let file = lock::open(&state.dir.join(LOCK_FILE))?;
        if file.try_lock().is_err() {
            return Ok(None);
        }
        state.lock = Some(file);
        state.load(Wanted::All)?;
        Ok(Some(state))
    }

    /// Who keeps others from changing the records of the host with this cookie, if that can be told.
    pub fn holder(cookie: u64) -> Option<u32> {
        lock::holder(&Self::at(cookie).ok()?.dir.join(LOCK_FILE))
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
            unread: BTreeMap::new(),
            names: Vec::new(),
            whole: BTreeSet::new(),
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

    /// Networks by name, with their endpoints, as far as they were asked for.
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

    /// Whether there are endpoints that were not asked for: those that are read are not all.
    pub fn is_partial(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Reads what was not asked for. What is not understood after all is treated as absent, with a
    /// warning.
    pub fn complete(&mut self) {
        for (name, unread) in std::mem::take(&mut self.unread) {
            let Some(record) = self.networks.get_mut(&name) else { continue };
            if let Err(e) = unread.read(&mut record.endpoints) {
                self.networks.remove(&name);
                self.warnings.push(unreadable(&self.network_path(&name), &e));
            }
        }
    }

    /// All endpoints with their networks, asked for or not, as far as others have to know of them.
    pub fn outlines(&self) -> impl Iterator<Item = (&Network, Outline<'_>)> {
        self.networks.iter().flat_map(|(name, record)| {
            let read = record.endpoints.iter().map(Outline::of);
            read.chain(self.others(name)).map(move |outline| (&record.network, outline))
        })
    }

    /// Endpoints of a network that were not asked for.
    pub fn others(&self, network: &LinkName) -> impl Iterator<Item = Outline<'_>> {
        self.unread.get(network).into_iter().flat_map(Unread::outlines)
    }

    /// All endpoints that were asked for, with their networks' records.
    pub fn endpoints(&self) -> impl Iterator<Item = (&NetworkRecord, &Endpoint)> {
        self.networks.values().flat_map(|n| n.endpoints.iter().map(move |e| (n, e)))
    }

    /// Makes changes of parts of one file so, in one write; returns what undoes each, or `None` if
    /// it was so.
    pub fn apply(&mut self, changes: &[&Change]) -> Result<Vec<Option<Change>>> {
        if !changes.iter().all(|change| self.is_of_what_was_read(change)) {
            self.complete();
        }
        let mut inverses = Vec::with_capacity(changes.len());
        let (mut news, mut added, mut grows) = (None, Vec::new(), false);
        for change in changes {
            let inverse = match change {
                Change::Create(Resource::Record(record)) => self.create(record)?,
                Change::Delete(Resource::Record(record)) => self.delete(record),
                _ => None,
            };
            if let (Some(inverse), Resource::Record(record)) = (&inverse, change.resource()) {
                // What takes something away again was an addition.
                let is_new = matches!(inverse, Change::Delete(_));
                grows |= is_new;
                added.push(if is_new { Entry::of(record) } else { None });
                news = Some(record);
            }
            inverses.push(inverse);
        }
        if let Some(record) = news {
            let added: Option<Vec<_>> = added.into_iter().collect();
            if let Err(error) = self.write(record, added, grows) {
                self.take_back(&inverses);
                return Err(error);
            }
        }
        Ok(inverses)
    }

    /// Makes what is known agree again with what is written.
    fn take_back(&mut self, inverses: &[Option<Change>]) {
        for inverse in inverses.iter().flatten().rev() {
            match inverse {
                Change::Create(Resource::Record(record)) => drop(self.create(record)),
                Change::Delete(Resource::Record(record)) => drop(self.delete(record)),
                _ => {}
            }
        }
    }

    /// Whether a change needs nothing of what was not read: so it is with a new endpoint, which is
    /// one more line, and one that was asked for.
    fn is_of_what_was_read(&self, change: &Change) -> bool {
        let Resource::Record(record) = change.resource() else { return true };
        match (change, record) {
            (Change::Create(_), Record::Endpoint { network, endpoint })
                if self.whole.contains(&self.network_path(network)) =>
            {
                self.others(network).all(|o| o.host_ifname != endpoint.host_ifname.as_str())
            }
            _ => record.network().is_none_or(|name| !self.unread.contains_key(name)),
        }
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
        if self.lock.is_some() { self.write(&Record::Network(network), None, true) } else { Ok(()) }
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

    /// Writes the file that a part is in; if entries were added to it and nothing else was changed,
    /// only these.
    fn write(&mut self, record: &Record, added: Option<Vec<Entry<'_>>>, grows: bool) -> Result<()> {
        let path = match record.network() {
            Some(network) => self.network_path(network),
            None => self.dir.join(NAMES_FILE),
        };
        let cannot = || format!("cannot write {}", path.display());
        if let Some(added) = added.filter(|_| self.whole.contains(&path)) {
            match file::append(&path, &added) {
                // Somebody removed it meanwhile.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                result => return result.with_context(cannot),
            }
        }
        self.complete();
        let head = |network| Head { schema: SCHEMA, network };
        let written = match record.network() {
            None if self.names.is_empty() => file::remove(&path),
            None => file::replace(&path, &head(None), &self.names, grows),
            Some(network) => match self.networks.get(network) {
                None => file::remove(&path),
                Some(NetworkRecord { network, endpoints }) => {
                    file::replace(&path, &head(Some(network)), endpoints, grows)
                }
            },
        };
        written.with_context(cannot)?;
        self.whole.insert(path);
        if self.networks.is_empty() && self.names.is_empty() {
            reserve::give_back(&self.dir);
        }
        Ok(())
    }

    /// The file of a network.
    pub fn network_path(&self, network: &LinkName) -> PathBuf {
        self.dir.join(format!("{NETWORK_PREFIX}{network}.json"))
    }

    fn load(&mut self, wanted: Wanted<'_>) -> Result<()> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", self.dir.display())),
        };
        lock::check_owner(&self.dir)?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            let is_network =
                name.starts_with(NETWORK_PREFIX) && path.extension().is_some_and(|e| e == "json");
            if !is_network && name != NAMES_FILE {
                continue;
            }
            let lines = Lines::read(&path);
            // `None`: another netcord removed it meanwhile.
            let Some(lines) = lines.with_context(|| format!("cannot read {}", path.display()))?
            else {
                continue;
            };
            let is_whole = lines.is_whole;
            let read = check_version(&path, lines.head()).map(|()| {
                if is_network { self.take_network(lines, wanted) } else { self.take_names(&lines) }
            })?;
            match read {
                Ok(()) if is_whole => drop(self.whole.insert(path)),
                Ok(()) => {}
                Err(e) => self.warnings.push(unreadable(&path, &e)),
            }
        }
        Ok(())
    }

    fn take_names(&mut self, lines: &Lines) -> serde_json::Result<()> {
        serde_json::from_str::<Version>(lines.head())?;
        self.names = parse_all(lines)?;
        Ok(())
    }

    fn take_network(&mut self, lines: Lines, wanted: Wanted<'_>) -> serde_json::Result<()> {
        let network: Network = serde_json::from_str(lines.head())?;
        let name = network.name.clone();
        let some = match wanted {
            Wanted::All => Err(lines),
            Wanted::Of(cookies) => Unread::new(lines, cookies),
        };
        let endpoints = match some {
            Ok((endpoints, unread)) => {
                self.unread.insert(name.clone(), unread);
                endpoints
            }
            Err(lines) => parse_all(&lines)?,
        };
        self.networks.insert(name, NetworkRecord { network, endpoints });
        Ok(())
    }

    /// Makes the directory, for its owner alone; a directory of anybody else's is not used.
    fn make_dir(&self) -> Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.with_context(|| format!("cannot make the state directory {}", self.dir.display()))?;
        lock::check_owner(&self.dir)
    }
}

/// An entry of a file.
#[derive(Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Endpoint(&'a Endpoint),
    Name(&'a NamedNetns),
}

impl<'a> Entry<'a> {
    /// The entry that a part is, if it is a whole one.
    fn of(record: &'a Record) -> Option<Self> {
        match record {
            Record::Endpoint { endpoint, .. } => Some(Self::Endpoint(endpoint)),
            Record::Name(name) => Some(Self::Name(name)),
            Record::Network(_) | Record::Port { .. } => None,
        }
    }
}

fn parse_all<T: DeserializeOwned>(lines: &Lines) -> serde_json::Result<Vec<T>> {
    lines.entries().map(serde_json::from_str).collect()
}

fn check_version(path: &Path, head: &str) -> Result<()> {
    match serde_json::from_str(head) {
        Ok(Version { schema }) if schema > SCHEMA => {
            let message =
                format!("{} was written by a newer netcord (schema {schema})", path.display());
            Err(Error::new(Kind::Failed, message).hint("use that version").into())
        }
        _ => Ok(()),
    }
}

fn unreadable(path: &Path, why: &serde_json::Error) -> String {
    format!("{} is unreadable and is ignored: {why}", path.display())
}

fn deletion(record: &Record) -> Change {
    Change::Delete(Resource::Record(record.clone()))
}
