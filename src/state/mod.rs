//! Records: what was asked for on this host. The kernel decides what is alive.
//!
//! A file a network, and one for names, below `/run/netcord/HOST/`: a tmpfs, so that they die at
//! reboot with what they describe. HOST is made of the boot's ID and the cookie of the host's
//! network namespace, so that several hosts on one machine never mix.
//!
//! Under a lock, a file is replaced by a rename, or a line is added to it; for what is taken away
//! there is always space, see `reserve`. Of a file that is damaged the lines count that make sense;
//! what is lost is made anew from the kernel's marks (`ops`), with the help of what is left:
//! [`Spare`].

mod file;
mod lazy_record;
mod lock;
mod reserve;
mod spare;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    env, fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use self::spare::Spare;
use self::{file::Lines, lazy_record::LazyRecord, lock::Lock};
use crate::{
    error::{Error, Kind},
    model::{Endpoint, EndpointId, EndpointSummary, LinkName, NamedNetns, Network, NetworkRecord},
    plan::{Change, Class, Record, Resource},
};

/// The version of the records' form. A newer one is refused, never guessed at.
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
    /// By network, what of its record was not asked for.
    unread: BTreeMap<LinkName, LazyRecord>,
    names: Vec<NamedNetns>,
    /// Files that end where a line ends: one more can be added.
    whole: BTreeSet<PathBuf>,
    /// Files that say less than is known, by the network's name; `None`: that of names.
    unwritten: BTreeSet<Option<LinkName>>,
    /// What is left of files that are damaged.
    spare: Spare,
    /// Networks of whose damaged files nothing could be made.
    leftover: BTreeSet<LinkName>,
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
pub enum Load<'a> {
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
    pub fn read(cookie: u64, wanted: Load<'_>) -> Result<Self> {
        let mut state = Self::at(cookie)?;
        state.load(wanted)?;
        Ok(state)
    }

    /// Reads the records and keeps all others from changing them until dropped.
    ///
    /// # Errors
    /// When another netcord holds the lock for half a minute; it is named.
    pub fn locked(cookie: u64, wanted: Load<'_>) -> Result<Self> {
        let mut state = Self::at(cookie)?;
        state.lock = loop {
            lock::make_dir(&state.base, &state.dir)?;
            // Somebody may remove the directory meanwhile.
            if let Some(lock) = Lock::wait(&state.lock_path())? {
                break Some(lock);
            }
        };
        state.load(wanted)?;
        Ok(state)
    }

    /// As [`State::locked`], but `None` at once when another netcord holds the lock.
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

    /// Who keeps others from changing the records of the host with this cookie, if that can be told.
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
            leftover: BTreeSet::new(),
            warnings: Vec::new(),
        })
    }

    fn lock_path(&self) -> PathBuf {
        self.dir.join(LOCK_FILE)
    }

    /// The lock that keeps others from changing anything on this host.
    ///
    /// # Errors
    /// If the records were opened to look only.
    pub fn lock(&self) -> Result<&File> {
        self.lock.as_ref().map(Lock::file).context("the records are not locked")
    }

    /// Whether the records are locked: what is changed is written.
    pub fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    /// Sees to it that nobody else can have got the lock meanwhile.
    ///
    /// # Errors
    /// If somebody removed the directory, or the lock in it.
    pub fn check_lock(&self) -> Result<()> {
        if self.may_write() {
            return Ok(());
        }
        let message = format!("the state directory {} was removed meanwhile", self.dir.display());
        Err(Error::new(Kind::Failed, message).hint("try again").into())
    }

    /// Who has no lock changes what it knows only. So does who lost it: the files are another's.
    fn may_write(&self) -> bool {
        self.lock.as_ref().is_none_or(Lock::stands)
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

    /// Reads what was not asked for. A line that is not understood after all is treated as absent,
    /// with a warning.
    pub fn complete(&mut self) {
        for (name, unread) in std::mem::take(&mut self.unread) {
            let Some(record) = self.networks.get_mut(&name) else { continue };
            if let Some(error) = unread.read(&mut record.endpoints) {
                self.is_damaged(Some(name), &error);
            }
        }
    }

    /// All endpoints with their networks, asked for or not, as far as others have to know of them.
    pub fn summaries(&self) -> impl Iterator<Item = (&Network, EndpointSummary<'_>)> {
        self.networks.iter().flat_map(|(name, record)| {
            let read = record.endpoints.iter().map(EndpointSummary::of);
            read.chain(self.others(name)).map(move |summary| (&record.network, summary))
        })
    }

    /// Endpoints of a network that were not asked for.
    pub fn others(&self, network: &LinkName) -> impl Iterator<Item = EndpointSummary<'_>> {
        self.unread.get(network).into_iter().flat_map(LazyRecord::summaries)
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
            if let (Some(inverse), Class::Record(record)) = (&inverse, change.facts().class) {
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
            if let Err(error) = self.write(record.network(), added, grows) {
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

    /// What is left of records that are damaged.
    pub fn spare(&self) -> &Spare {
        &self.spare
    }

    /// Takes over a network that is on no record, or is to be another than on record.
    pub fn adopt_network(&mut self, network: Network) {
        self.unwritten.insert(Some(network.name.clone()));
        let endpoints = match self.networks.remove(&network.name) {
            Some(record) => record.endpoints,
            None => Vec::new(),
        };
        self.networks.insert(network.name.clone(), NetworkRecord { network, endpoints });
    }

    /// Takes over an endpoint that is on no record, of a network that is, or that has more ports
    /// than on record.
    pub fn adopt_endpoint(&mut self, network: &LinkName, endpoint: Endpoint) {
        let Some(record) = self.networks.get_mut(network) else { return };
        let id = endpoint.id();
        record.endpoints.retain(|e| !e.is(&id));
        record.endpoints.push(endpoint);
        self.unwritten.insert(Some(network.clone()));
    }

    /// Forgets an endpoint that is another network's.
    pub fn disown(&mut self, network: &LinkName, id: &EndpointId) {
        if let Some(record) = self.networks.get_mut(network) {
            record.endpoints.retain(|e| !e.is(id));
            self.unwritten.insert(Some(network.clone()));
        }
    }

    /// Writes what was adopted, and files anew that are damaged. Without the lock it is only known.
    pub fn write_adopted(&mut self) -> Result<()> {
        if self.lock.is_none() {
            return Ok(());
        }
        while let Some(file) = self.unwritten.first().cloned() {
            match &file {
                // It stays for who asks for the network again, or tidies up.
                Some(network) if !self.networks.contains_key(network) => {
                    self.leftover.insert(network.clone());
                }
                _ => self.write(file.as_ref(), None, true)?,
            }
            self.unwritten.remove(&file);
        }
        Ok(())
    }

    /// Removes damaged files of which nothing could be made; tells which.
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

    /// Writes the file of a network, or that of names; if entries were added to it and nothing else
    /// was changed, only these.
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
                // Somebody removed it meanwhile.
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
                    file::replace(&path, &head(Some(network)), endpoints, grows)
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

    /// The file of a network.
    pub fn network_path(&self, network: &LinkName) -> PathBuf {
        self.dir.join(format!("{NETWORK_PREFIX}{network}{SUFFIX}"))
    }

    /// The file of a network, or that of names.
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
        let (names, bad_line) = parse_all(lines);
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
                self.spare.add(misfiled.ok(), parse_all(&lines).0);
                self.is_damaged(Some(name), &why);
                return;
            }
        };
        let some = match wanted {
            Load::All => Err(lines),
            Load::Of(cookies) => LazyRecord::new(lines, cookies),
        };
        let endpoints = match some {
            Ok((endpoints, unread)) => {
                self.unread.insert(name.clone(), unread);
                endpoints
            }
            Err(lines) => {
                let (endpoints, error) = parse_endpoints(&lines);
                if let Some(error) = error {
                    self.is_damaged(Some(name.clone()), &error);
                }
                endpoints
            }
        };
        self.networks.insert(name, NetworkRecord { network, endpoints });
    }

    /// Says that a file, or a line of it, is not understood: it is written anew.
    fn is_damaged(&mut self, network: Option<LinkName>, why: &dyn fmt::Display) {
        let path = self.path(network.as_ref());
        self.whole.remove(&path);
        self.warnings.push(format!("{} is unreadable and is ignored: {why}", path.display()));
        self.unwritten.insert(network);
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

/// The entries that make sense, and what is wrong with the first that does not.
fn parse_all<T: DeserializeOwned>(lines: &Lines) -> (Vec<T>, Option<serde_json::Error>) {
    let (mut entries, mut first) = (Vec::new(), None);
    for line in lines.entries() {
        match serde_json::from_str(line) {
            Ok(entry) => entries.push(entry),
            Err(error) => first = first.or(Some(error)),
        }
    }
    (entries, first)
}

/// The same, of endpoints: of two lines of one endpoint the later counts.
fn parse_endpoints(lines: &Lines) -> (Vec<Endpoint>, Option<serde_json::Error>) {
    let (all, error) = parse_all::<Endpoint>(lines);
    let mut last: HashMap<EndpointId, usize> = HashMap::with_capacity(all.len());
    last.extend(all.iter().enumerate().map(|(at, e)| (e.id(), at)));
    let mut at = 0..;
    let mut all = all;
    all.retain(|e| last.get(&e.id()) == at.next().as_ref());
    (all, error)
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
