//! The names of containers. aardvark-dns, a program of podman's, serves them at the gateways of their
//! networks. It reads a file for each network: a line with the addresses that it listens at, and one for
//! each container.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::ErrorKind,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};

use super::command_line::Call;
use crate::{
    error::Error,
    model,
    ops::Events,
    process::{self, Output},
};

/// The domain in which containers are found.
pub(super) const SEARCH: &str = "dns.podman";
const PORT: &str = "53";
const SYSTEMD_RUN: &str = "/usr/bin/systemd-run";
/// Added to the name of a network's file if it forwards no queries.
const INTERNAL: &str = "%int";

/// The names of one container on one network.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) network: String,
    pub(super) is_internal: bool,
    /// Where they are served.
    pub(super) listen: Vec<IpAddr>,
    /// The network's upstream servers, and the container's.
    pub(super) upstreams: Vec<IpAddr>,
    pub(super) own_upstreams: Vec<IpAddr>,
    pub(super) container: String,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) names: Vec<String>,
}

/// Returns the names that can be in a file; warns of the others.
pub(super) fn valid<'n>(names: impl Iterator<Item = &'n str>, events: &dyn Events) -> Vec<String> {
    let mut valid = Vec::new();
    for name in names.filter(|name| !name.is_empty()) {
        if name.contains([',', '\n', ' ']) {
            let why = "name contains invalid chars";
            events.warn(&format!("invalid network alias {name:?}: {why}, ignoring"));
        } else {
            valid.push(name.to_owned());
        }
    }
    valid
}

/// Refuses servers that are one of the addresses at which names are served: that one would ask itself.
fn check_loops(entries: &[Entry]) -> Result<()> {
    for server in entries.iter().flat_map(|e| e.upstreams.iter().chain(&e.own_upstreams)) {
        if let Some(owner) = entries.iter().find(|entry| entry.listen.contains(server)) {
            return Err(Error::usage(format!(
                "DNS server {server} is the gateway of network {:?}; using it would cause \
                 aardvark-dns to forward queries to itself.",
                owner.network
            ))
            .into());
        }
    }
    Ok(())
}

/// The files, and the program that reads them.
pub(super) struct Names<'c> {
    call: &'c Call,
    dir: PathBuf,
}

impl<'c> Names<'c> {
    /// Those of a call.
    ///
    /// # Errors
    /// If it names no directory.
    pub(super) fn of(call: &'c Call) -> Result<Self> {
        let verb = call.verb.as_str();
        let config = call.config.as_ref().ok_or_else(|| {
            Error::usage(format!("--config not specified but required for netavark {verb}"))
        })?;
        Ok(Self { call, dir: config.join("aardvark-dns") })
    }

    /// Returns whether the program is there.
    pub(super) fn can_be_served(&self) -> bool {
        self.call.aardvark.exists()
    }

    /// Has names served. A container's names on a network replace those that it had there.
    ///
    /// # Errors
    /// If another port than that of DNS is asked for, an upstream server is one of the addresses at which
    /// names are served, a file cannot be written, or the program does not start: then nothing is changed.
    pub(super) fn add(&self, entries: &[Entry]) -> Result<()> {
        let port = std::env::var("NETAVARK_DNS_PORT").unwrap_or_default();
        if !port.is_empty() && port != PORT {
            return Err(Error::usage(format!("DNS port {port}: names are served at port 53"))
                .hint("leave out `dns_bind_port` in containers.conf")
                .into());
        }
        let locked = self.locked()?;
        check_loops(entries)?;
        for entry in entries {
            self.write(entry)?;
        }
        let served = self.serve();
        drop(locked);
        if served.is_err() {
            for entry in entries {
                self.remove(&entry.network, &entry.container)?;
            }
        }
        served
    }

    /// Stops serving the names of a container on a network; nothing to do if there are none.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(super) fn remove(&self, network: &str, container: &str) -> Result<()> {
        let _locked = if self.dir.exists() { self.locked()? } else { return Ok(()) };
        let Some((path, text)) = self.file_of(network)? else { return Ok(()) };
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let others: Vec<_> = lines.filter(|line| id_of(line) != Some(container)).collect();
        if others.is_empty() {
            fs::remove_file(&path)?;
        } else {
            self.replace(&path, &joined(first, &others))?;
        }
        self.reload()
    }

    /// Gives a network other upstream servers; nothing to do if it serves no names.
    ///
    /// # Errors
    /// If one is no address, or a file cannot be written.
    pub(super) fn update(&self, network: &str, servers: &[String]) -> Result<()> {
        let parsed = servers.iter().map(|server| {
            server.parse::<IpAddr>().with_context(|| format!("DNS server `{server}`"))
        });
        let servers = parsed.collect::<Result<Vec<_>>>()?;
        let _locked = if self.dir.exists() { self.locked()? } else { return Ok(()) };
        let Some((path, text)) = self.file_of(network)? else { return Ok(()) };
        let mut lines = text.lines();
        let listen = lines.next().and_then(|first| first.split(' ').next()).unwrap_or_default();
        let first = with_servers(listen.to_owned(), &servers);
        self.replace(&path, &joined(&first, &lines.collect::<Vec<_>>()))?;
        self.reload()
    }

    /// Keeps other calls from changing the files.
    fn locked(&self) -> Result<File> {
        fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot create {}", self.dir.display()))?;
        let path = self.dir.with_file_name("aardvark.lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        file.lock()?;
        Ok(file)
    }

    fn paths(&self, network: &str) -> [PathBuf; 2] {
        [self.dir.join(network), self.dir.join(format!("{network}{INTERNAL}"))]
    }

    /// Returns a network's file.
    fn file_of(&self, network: &str) -> Result<Option<(PathBuf, String)>> {
        for path in self.paths(network) {
            match fs::read_to_string(&path) {
                Ok(text) => return Ok(Some((path, text))),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot read {}", path.display()));
                }
            }
        }
        Ok(None)
    }

    fn write(&self, entry: &Entry) -> Result<()> {
        let there = self.file_of(&entry.network)?;
        let (text, former) = there.map_or_else(Default::default, |(path, text)| (text, Some(path)));
        let [open, internal] = self.paths(&entry.network);
        let path = if entry.is_internal { internal } else { open };
        let fresh = with_servers(listed(&entry.listen), &entry.upstreams);
        let mut lines = text.lines();
        let first = lines.next().unwrap_or(&fresh);
        let mut others: Vec<_> =
            lines.filter(|line| id_of(line) != Some(&entry.container)).collect();
        let own = entry.line();
        others.push(&own);
        self.replace(&path, &joined(first, &others))?;
        match former.filter(|former| *former != path) {
            Some(former) => fs::remove_file(former).map_err(Into::into),
            None => Ok(()),
        }
    }

    /// Writes a file as a whole. What is not yet complete is not in the directory that is read.
    fn replace(&self, path: &Path, text: &str) -> Result<()> {
        let new = self.dir.with_file_name("aardvark.new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Returns the running program.
    fn server(&self) -> Option<(u32, u64)> {
        let pid = fs::read_to_string(self.dir.join("aardvark.pid")).ok()?.trim().parse().ok()?;
        let started = process::started(pid)?;
        let name = self.call.aardvark.file_name()?.to_str()?;
        let is_it = process::name(pid).is_some_and(|found| name.starts_with(&found));
        is_it.then_some((pid, started))
    }

    /// Has the running program read its files again; with none left, it ends.
    fn reload(&self) -> Result<()> {
        match self.server() {
            Some((pid, started)) => Ok(process::hang_up(pid, started)?),
            None => Ok(()),
        }
    }

    fn serve(&self) -> Result<()> {
        if self.server().is_some() {
            return self.reload();
        }
        let call = self.call;
        let mut words: Vec<&OsStr> = Vec::new();
        // In a scope of its own, it does not end with the service that podman runs in.
        if Path::new("/run/systemd/system").exists() && Path::new(SYSTEMD_RUN).exists() {
            words.extend([SYSTEMD_RUN, "-q", "--scope"].map(OsStr::new));
            words.extend(call.rootless.then_some(OsStr::new("--user")));
        }
        words.extend([call.aardvark.as_os_str(), "--config".as_ref(), self.dir.as_os_str()]);
        words.extend(["-p", PORT, "run"].map(OsStr::new));
        let output = process::run_to_end(&words).map_err(|error| {
            // As systemd-run says it.
            let program = Path::new(words.first().copied().unwrap_or_default()).display();
            anyhow!("aardvark-dns failed to start: Failed to find executable {program}: {error:#}")
        });
        let Output { succeeded, errors } = output?;
        match (succeeded, errors.trim()) {
            (true, _) => Ok(()),
            (false, "") => Err(anyhow!("aardvark-dns exited unexpectedly without error message")),
            (false, errors) => Err(anyhow!("aardvark-dns failed to start: {errors}")),
        }
    }
}

impl Entry {
    /// Returns its line: the container's ID, its addresses of each IP family, its names, and its own
    /// upstream servers.
    fn line(&self) -> String {
        let of = |family| {
            let all = self.addresses.iter().filter(|ip| model::Family::of(**ip) == family);
            listed(&all.copied().collect::<Vec<_>>())
        };
        let (v4, v6) = (of(model::Family::V4), of(model::Family::V6));
        let line = format!("{} {v4} {v6} {}", self.container, self.names.join(","));
        with_servers(line, &self.own_upstreams)
    }
}

fn id_of(line: &str) -> Option<&str> {
    line.split(' ').next()
}

fn listed(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn with_servers(line: String, servers: &[IpAddr]) -> String {
    if servers.is_empty() { line } else { format!("{line} {}", listed(servers)) }
}

fn joined(first: &str, others: &[&str]) -> String {
    let mut text = format!("{first}\n");
    for line in others {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(container: &str, listen: &[&str]) -> Entry {
        let ips = |ips: &[&str]| ips.iter().map(|ip| ip.parse().unwrap()).collect();
        Entry {
            network: "pn".into(),
            is_internal: false,
            listen: ips(listen),
            upstreams: Vec::new(),
            own_upstreams: ips(&["1.1.1.1"]),
            container: container.into(),
            addresses: ips(&["10.89.0.2", "fd00::2"]),
            names: vec!["web".into(), "www".into()],
        }
    }

    #[test]
    fn a_container_is_a_line() {
        assert_eq!(entry("c1", &[]).line(), "c1 10.89.0.2 fd00::2 web,www 1.1.1.1");
        let bare = Entry { addresses: Vec::new(), own_upstreams: Vec::new(), ..entry("c1", &[]) };
        assert_eq!(bare.line(), "c1   web,www");
    }

    #[test]
    fn a_server_that_would_ask_itself_is_refused() {
        assert!(check_loops(&[entry("c1", &["10.89.0.1"])]).is_ok());
        let error = check_loops(&[entry("c1", &["10.89.0.1", "1.1.1.1"])]).unwrap_err();
        assert!(error.to_string().contains("forward queries to itself"), "{error}");
    }
}
