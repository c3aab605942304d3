//! Records: what users asked for on this host. The kernel decides what is alive.
//!
//! There is one file for each network, and one for names, in `/run/netcord/HOST/`, a tmpfs, so that
//! they vanish at reboot together with what they describe. HOST combines the boot ID and the cookie
//! of the host's network namespace, so that several hosts on one machine do not mix.
//!
//! Under a lock, a file is replaced by rename, or a line is appended to it. Space for removals is
//! reserved, see `reserve`. Of a damaged file, the valid lines are used. What is lost is rebuilt
//! from the kernel's marks (in `ops`), with the help of the valid lines: [`Spare`].

mod entry;
mod file;
mod lazy_record;
mod lock;
mod reserve;
mod spare;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub use self::spare::Spare;
use self::{entry::Entry, file::Lines, lazy_record::LazyRecord, lock::Lock};
use crate::{
    error::{Error, Kind},
    model::{Endpoint, EndpointId, EndpointSummary, LinkName, NamedNetns, Network, NetworkRecord},
    plan::{Change, Class, Record, Resource},
};

/// The version of the format. A newer one is refused.
const SCHEMA: u32 = 1;

const NAMES_FILE: &str = "names.json";
const NETWORK_PREFIX: &str = "network-";
const SUFFIX: &str = ".json";
const LOCK_FILE: &str = "lock";

/// The records of one host.
#[derive(Debug)]
pub struct State {
    base: PathBuf,
    dir: PathBuf,
    lock: Option<Lock>,
    networks: BTreeMap<LinkName, NetworkRecord>,
    /// By network, the endpoints that were not asked for.
    unread: BTreeMap<LinkName, LazyRecord>,
    names: Vec<NamedNetns>,
    /// Files that end with a line end, so that a line can be appended.
    whole: BTreeSet<PathBuf>,
    /// Files that lack something that is known, by the network's name; `None`: the file of names.
    unwritten: BTreeSet<Option<LinkName>>,
    /// Whether a file lacked something, and was written anew.
    rebuilt: bool,
    /// The valid parts of damaged files.
    spare: Spare,
    /// Networks of whose damaged files nothing is usable.
    leftover: BTreeSet<LinkName>,
    warnings: Vec<String>,
}

/// The first line of a file.
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

/// The endpoints to read in full. The others are only summarized.
#[derive(Clone, Copy, Debug)]
pub enum Load<'a> {
    /// All endpoints.
    All,
    /// The endpoints of these namespaces, by cookie.
    Of(&'a [u64]),
}

impl State {
    /// The time to wait for another netcord on this host.
    pub const PATIENCE: Duration = lock::PATIENCE;

    /// Reads the records of the host with this cookie. Concurrent changes of an endpoint are seen
    /// completely or not at all.
    pub fn read(cookie: u64, wanted: Load<'_>) -> Result<Self> {
        let mut state = Self::at(cookie)?;
        state.load(wanted)?;
        Ok(state)
    }

    /// Reads the records, and locks them until dropped.
    ///
    /// # Errors
    /// If another netcord, which the error names, holds the lock for half a minute.
    pub fn locked(cookie: u64, wanted: Load<'_>) -> Result<Self> {
        let mut state = Self::at(cookie)?;
        state.lock = loop {
            lock::make_dir(&state.base, &state.dir)?;
            // The directory may be removed meanwhile.
            if let Some(lock) = Lock::wait(&state.lock_path())? {
                break Some(lock);
            }
        };
        state.load(wanted)?;
        Ok(state)
    }

    /// The same as [`State::locked`], but returns `None` at once if another netcord holds the lock.
    pub fn try_locked(cookie: u64) -> Result<Option<Self>> {
        let mut state = Self::at(cookie)?;
        lock::make_dir(&state.base, &state.dir)?;
        state.lock = Lock::try_now(&state.lock_path())?;
        if state.lock.is_none() {
            return Ok(None);
        }
        state.load(Load::All)?;
        Ok(Some(state))
    }

    /// Returns whether nobody holds the lock at this moment. Makes the directory of the records.
    pub fn is_free(cookie: u64) -> Result<bool> {
        let state = Self::at(cookie)?;
        lock::make_dir(&state.base, &state.dir)?;
        Ok(Lock::try_now(&state.lock_path())?.is_some())
    }

    /// Returns the process that holds the lock of the host with this cookie, if `/proc` shows it.
    pub fn holder(cookie: u64) -> Option<u32> {
        lock::holder(&Self::at(cookie).ok()?.lock_path())
    }

    fn at(cookie: u64) -> Result<Self> {
        let base =
            env::var_os("NETCORD_STATE_DIR").map_or_else(|| "/run/netcord".into(), PathBuf::from);
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .context("cannot read the boot's ID")?;
        let boot = boot.get(..8).unwrap_or_default();
        Ok(Self {
            dir: base.join(format!("{boot}-{cookie}")),
            base,
            lock: None,
            networks: BTreeMap::new(),
            unread: BTreeMap::new(),
            names: Vec::new(),
            whole: BTreeSet::new(),
            unwritten: BTreeSet::new(),
            spare: Spare::default(),
            rebuilt: false,
            leftover: BTreeSet::new(),
            warnings: Vec::new(),
        })
    }

    fn lock_path(&self) -> PathBuf {
        self.dir.join(LOCK_FILE)
    }

    /// Returns the lock that excludes other changes on this host.
    ///
    /// # Errors
    /// If the records were opened for reading.
    pub fn lock(&self) -> Result<&File> {
        self.lock.as_ref().map(Lock::file).context("the records are not locked")
    }

    /// Returns whether the records are locked, so that changes are written.
    pub fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    /// Checks that nobody else can have taken the lock meanwhile.
    ///
    /// # Errors
    /// If the directory or the lock file was removed.
    pub fn check_lock(&self) -> Result<()> {
        if self.may_write() {
            return Ok(());
        }
        let message = format!("the state directory {} was removed meanwhile", self.dir.display());
        Err(Error::new(Kind::Failed, message).hint("try again").into())
    }

    /// Without the lock, or after losing it, changes are made in memory only: the files belong to
    /// another process.
    fn may_write(&self) -> bool {
        self.lock.as_ref().is_none_or(Lock::stands)
    }

    /// Returns the directory of the records.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns networks by name, with those of their endpoints that were asked for.
    pub fn networks(&self) -> &BTreeMap<LinkName, NetworkRecord> {
        &self.networks
    }

    /// Returns the names in `/run/netns` that netcord made.
    pub fn names(&self) -> &[NamedNetns] {
        &self.names
    }

    /// Returns the problems with records that were read.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns whether there are endpoints that were not asked for.
    pub fn is_partial(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Reads the endpoints that were not asked for. An invalid line is ignored, with a warning.
    pub fn complete(&mut self) {
        for (name, unread) in std::mem::take(&mut self.unread) {
            let Some(record) = self.networks.get_mut(&name) else { continue };
            if let Some(error) = unread.read(&mut record.endpoints) {
                self.is_damaged(Some(name), &error);
            }
        }
    }

    /// Returns summaries of all endpoints, with their networks.
    pub fn summaries(&self) -> impl Iterator<Item = (&Network, EndpointSummary<'_>)> {
        self.networks.iter().flat_map(|(name, record)| {
            let read = record.endpoints.iter().map(EndpointSummary::of);
            read.chain(self.others(name)).map(move |summary| (&record.network, summary))
        })
    }

    /// Returns summaries of a network's endpoints that were not asked for.
    pub fn others(&self, network: &LinkName) -> impl Iterator<Item = EndpointSummary<'_>> {
        self.unread.get(network).into_iter().flat_map(LazyRecord::summaries)
    }

    /// Returns all endpoints that were asked for, with their networks' records.
    pub fn endpoints(&self) -> impl Iterator<Item = (&NetworkRecord, &Endpoint)> {
        self.networks.values().flat_map(|n| n.endpoints.iter().map(move |e| (n, e)))
    }

    /// Applies changes of one file in one write; returns the inverse of each, or `None` if it had
    /// nothing to do.
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
            if let (Some(inverse), Class::Record(record)) = (&inverse, change.facts().class) {
                // The inverse of an addition is a deletion.
                let is_new = matches!(inverse, Change::Delete(_));
                grows |= is_new;
                added.push(if is_new { Entry::of(record) } else { None });
                news = Some(record);
            }
            inverses.push(inverse);
        }
        if let Some(record) = news {
            let added: Option<Vec<_>> = added.into_iter().collect();
            if let Err(error) = self.write(record.network(), added, grows) {
                self.take_back(&inverses);
                return Err(error);
            }
        }
        Ok(inverses)
    }

    /// Makes the records in memory agree with the file again.
    fn take_back(&mut self, inverses: &[Option<Change>]) {
        for inverse in inverses.iter().flatten().rev() {
            match inverse {
                Change::Create(Resource::Record(record)) => drop(self.create(record)),
                Change::Delete(Resource::Record(record)) => drop(self.delete(record)),
                _ => {}
            }
        }
    }

    /// Returns whether a change needs no endpoint that was not read: it adds one, which appends a
    /// line, or concerns one that was asked for.
    fn is_of_what_was_read(&self, change: &Change) -> bool {
        let Class::Record(record) = change.facts().class else { return true };
        match (change, record) {
            (Change::Create(_), Record::Endpoint { network, endpoint })
                if self.whole.contains(&self.network_path(network)) =>
            {
                let id = endpoint.id();
                self.others(network).all(|summary| !summary.is(&id))
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
                let id = endpoint.id();
                if let Some(there) = endpoints.iter_mut().find(|e| e.is(&id)) {
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
            Record::Port { network, endpoint, port } => {
                let ports = &mut self.endpoint(network, endpoint)?.ports;
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
                    let id = endpoint.id();
                    n.endpoints.retain(|e| !e.is(&id));
                    n.endpoints.len() < before
                })
            }
            Record::Port { network, endpoint, port } => {
                self.endpoint(network, endpoint).is_ok_and(|endpoint| {
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

    /// Returns the valid parts of damaged records.
    pub fn spare(&self) -> &Spare {
        &self.spare
    }

    /// Adopts a network that is on no record, or that differs from its record.
    pub fn adopt_network(&mut self, network: Network) {
        self.unwritten.insert(Some(network.name.clone()));
        let endpoints = match self.networks.remove(&network.name) {
            Some(record) => record.endpoints,
            None => Vec::new(),
        };
        self.networks.insert(network.name.clone(), NetworkRecord { network, endpoints });
    }

    /// Adopts an endpoint that is on no record, of a network that is, or an endpoint with more
    /// ports than its record has.
    pub fn adopt_endpoint(&mut self, network: &LinkName, endpoint: Endpoint) {
        let id = endpoint.id();
        self.adopt_instead(network, &id, endpoint);
    }

    /// Adopts what is known of an endpoint by now, which had another identity before.
    pub fn adopt_instead(&mut self, network: &LinkName, former: &EndpointId, endpoint: Endpoint) {
        let Some(record) = self.networks.get_mut(network) else { return };
        record.endpoints.retain(|e| !e.is(former));
        record.endpoints.push(endpoint);
        self.unwritten.insert(Some(network.clone()));
    }

    /// Adopts what is known of a name by now.
    pub fn adopt_name(&mut self, name: NamedNetns) {
        self.names.retain(|there| there.name != name.name);
        self.names.push(name);
        self.unwritten.insert(None);
    }

    /// Writes adopted parts, and rewrites damaged files. Without the lock, they stay in memory.
    pub fn write_adopted(&mut self) -> Result<()> {
        if self.lock.is_none() {
            return Ok(());
        }
        while let Some(file) = self.unwritten.first().cloned() {
            self.rebuilt = true;
            match &file {
                // Kept until a command creates the network again, or `prune` removes it.
                Some(network) if !self.networks.contains_key(network) => {
                    self.leftover.insert(network.clone());
                }
                _ => self.write(file.as_ref(), None, true)?,
            }
            self.unwritten.remove(&file);
        }
        Ok(())
    }

    /// Returns whether a record was damaged or lost, and was written anew.
    pub fn is_rebuilt(&self) -> bool {
        self.rebuilt
    }

    /// Removes damaged files of which nothing is usable; returns their paths.
    pub fn remove_leftovers(&mut self) -> Result<Vec<PathBuf>> {
        let mut removed = Vec::new();
        while let Some(network) = self.leftover.pop_first() {
            if self.may_write() && !self.networks.contains_key(&network) {
                self.write(Some(&network), None, false)?;
                removed.push(self.network_path(&network));
            }
        }
        Ok(removed)
    }

    fn network(&mut self, name: &LinkName) -> Result<&mut NetworkRecord> {
        self.networks
            .get_mut(name)
            .with_context(|| format!("there is no record of network `{name}`"))
    }

    fn endpoint(&mut self, network: &LinkName, id: &EndpointId) -> Result<&mut Endpoint> {
        let endpoints = &mut self.network(network)?.endpoints;
        endpoints
            .iter_mut()
            .find(|e| e.is(id))
            .with_context(|| format!("there is no record of endpoint `{id}`"))
    }

    /// Writes the file of a network, or that of names. If entries were only added, appends them.
    fn write(
        &mut self,
        network: Option<&LinkName>,
        added: Option<Vec<Entry<'_>>>,
        grows: bool,
    ) -> Result<()> {
        if !self.may_write() {
            return Ok(());
        }
        let path = self.path(network);
        let cannot = || format!("cannot write {}", path.display());
        if let Some(added) = added.filter(|_| self.whole.contains(&path)) {
            match file::append(&path, &added) {
                // The file was removed meanwhile.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                result => return result.with_context(cannot),
            }
        }
        self.complete();
        let head = |network| Head { schema: SCHEMA, network };
        let written = match network {
            None if self.names.is_empty() => file::remove(&path),
            None => file::replace(&path, &head(None), &self.names, grows),
            Some(network) => match self.networks.get(network) {
                None => file::remove(&path),
                Some(NetworkRecord { network, endpoints }) => {
                    let entries: Vec<_> =
                        endpoints.iter().map(|e| Entry::endpoint(&network.name, e)).collect();
                    file::replace(&path, &head(Some(network)), &entries, grows)
                }
            },
        };
        written.with_context(cannot)?;
        self.whole.insert(path);
        self.unwritten.remove(&network.cloned());
        if self.networks.is_empty() && self.names.is_empty() {
            reserve::give_back(&self.dir);
        }
        Ok(())
    }

    /// Returns the path of a network's file.
    pub fn network_path(&self, network: &LinkName) -> PathBuf {
        self.dir.join(format!("{NETWORK_PREFIX}{network}{SUFFIX}"))
    }

    /// Returns the path of a network's file, or of that of names.
    fn path(&self, network: Option<&LinkName>) -> PathBuf {
        network.map_or_else(|| self.dir.join(NAMES_FILE), |name| self.network_path(name))
    }

    fn load(&mut self, wanted: Load<'_>) -> Result<()> {
        if fs::symlink_metadata(&self.base).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            return Ok(());
        }
        lock::check_base(&self.base)?;
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", self.dir.display())),
        };
        lock::check_dir(&self.dir)?;
        for entry in entries {
            let name = entry?.file_name();
            let name = name.to_str().unwrap_or_default();
            let network = name.strip_prefix(NETWORK_PREFIX).and_then(|n| n.strip_suffix(SUFFIX));
            match network.map(str::parse) {
                Some(Ok(network)) => self.load_file(Some(network), wanted)?,
                None if name == NAMES_FILE => self.load_file(None, wanted)?,
                Some(Err(_)) | None => {}
            }
        }
        Ok(())
    }

    fn load_file(&mut self, network: Option<LinkName>, wanted: Load<'_>) -> Result<()> {
        let path = self.path(network.as_ref());
        let lines = match Lines::read(&path) {
            Ok(Some(lines)) => lines,
            // Another netcord removed it meanwhile.
            Ok(None) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                self.is_damaged(network, &e);
                return Ok(());
            }
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
        };
        check_version(&path, lines.head())?;
        if lines.is_whole {
            self.whole.insert(path);
        }
        match network {
            Some(network) => self.take_network(network, lines, wanted),
            None => self.take_names(&lines),
        }
        Ok(())
    }

    fn take_names(&mut self, lines: &Lines) {
        let bad_head = serde_json::from_str::<Version>(lines.head()).err();
        let (names, bad_line) = entry::parse_all(lines);
        self.names = names;
        if let Some(error) = bad_line.or(bad_head) {
            self.is_damaged(None, &error);
        }
    }

    fn take_network(&mut self, name: LinkName, lines: Lines, wanted: Load<'_>) {
        let network = match serde_json::from_str::<Network>(lines.head()) {
            Ok(network) if network.name == name => network,
            misfiled => {
                let found = misfiled.as_ref().map(|network| format!("it is of `{}`", network.name));
                let why = found.unwrap_or_else(ToString::to_string);
                self.spare.add(misfiled.ok(), entry::parse_all(&lines).0);
                self.is_damaged(Some(name), &why);
                return;
            }
        };
        let some = match wanted {
            Load::All => Err(lines),
            Load::Of(cookies) => LazyRecord::new(lines, &name, cookies),
        };
        let endpoints = match some {
            Ok((endpoints, unread)) => {
                self.unread.insert(name.clone(), unread);
                endpoints
            }
            Err(lines) => {
                let entry::Parsed { endpoints, misfiled, error } =
                    entry::parse_endpoints(&lines, &name);
                if let Some(error) = error {
                    self.is_damaged(Some(name.clone()), &error);
                } else if !misfiled.is_empty() {
                    self.is_damaged(Some(name.clone()), &"a line is of another network");
                }
                self.spare.add(None, misfiled);
                endpoints
            }
        };
        self.networks.insert(name, NetworkRecord { network, endpoints });
    }

    /// Warns that a file or a line is damaged, and will be rewritten.
    fn is_damaged(&mut self, network: Option<LinkName>, why: &dyn fmt::Display) {
        let path = self.path(network.as_ref());
        self.whole.remove(&path);
        self.warnings.push(format!("{} is unreadable and is ignored: {why}", path.display()));
        self.unwritten.insert(network);
    }
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

fn deletion(record: &Record) -> Change {
    Change::Delete(Resource::Record(record.clone()))
}
