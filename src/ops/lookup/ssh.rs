//! Finds the SSH connections through which a command was typed, and whether one of them needs a
//! link.

use std::{
    collections::{BTreeSet, HashMap},
    env, fs,
    net::{IpAddr, SocketAddr},
    os::unix::process::parent_id,
};

use anyhow::Result;
use ipnetwork::IpNetwork;

use crate::{
    kernel::{Kernel, Link},
    model::is_link_local,
    process,
};

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    at: SocketAddr,
    /// The link of a link-local address.
    zone: Option<String>,
}

/// A connection, from the environment variables that `sshd` sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ops) struct Connection {
    peer: End,
    /// The server's end; `SSH_CLIENT` has only its port.
    own: Option<End>,
}

/// The links of the host that a connection uses, by name.
#[derive(Debug, Default)]
struct Known {
    /// Links that have the server's address.
    holders: Vec<String>,
    /// Links by which replies leave.
    ways: Vec<String>,
}

/// Returns the client of a connection that comes in by this link, or by one on top of it. `tables`:
/// the destinations of routes by this link in tables that policy rules select.
pub(in crate::ops) async fn peer_by(
    kernel: &Kernel,
    link: &str,
    tables: &[IpNetwork],
) -> Result<Option<IpAddr>> {
    let connections = connections();
    if connections.is_empty() {
        return Ok(None);
    }
    let links = kernel.links().await?;
    let needed = with_uppers(link, &links);
    for connection in connections {
        let known = Known::of(kernel, &links, &connection).await?;
        if connection.comes_by(&needed, &known, tables) {
            return Ok(Some(connection.peer.at.ip()));
        }
    }
    Ok(None)
}

/// Returns the connections of this process and of its ancestors: `sudo` removes the variables, and
/// a user may have come through several hosts. Processes that may not be read are left out.
fn connections() -> Vec<Connection> {
    let mut found: Vec<Connection> = Vec::new();
    let mut add = |name: &str, text: &str| {
        let new = Connection::parse(name, text).filter(|connection| !found.contains(connection));
        found.extend(new);
    };
    for name in VARIABLES {
        if let Ok(text) = env::var(name) {
            add(name, &text);
        }
    }
    let mut pid = parent_id();
    // Process 1 is no user's.
    while pid > 1 {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        for line in String::from_utf8_lossy(&environment).split('\0') {
            if let Some((name, text)) = line.split_once('=') {
                add(name, text);
            }
        }
        pid = process::parent(pid).unwrap_or_default();
    }
    found
}

const VARIABLES: [&str; 2] = ["SSH_CONNECTION", "SSH_CLIENT"];

impl Connection {
    /// `SSH_CONNECTION` is `PEER PORT OWN PORT`, and `SSH_CLIENT` is `PEER PORT OWNPORT`.
    fn parse(name: &str, text: &str) -> Option<Self> {
        if !VARIABLES.contains(&name) {
            return None;
        }
        match text.split_whitespace().collect::<Vec<_>>().as_slice() {
            [peer, port, own, own_port] => {
                Some(Self { peer: End::parse(peer, port)?, own: End::parse(own, own_port) })
            }
            [peer, port, _] => Some(Self { peer: End::parse(peer, port)?, own: None }),
            [peer, ..] => Some(Self { peer: End::parse(peer, "0")?, own: None }),
            [] => None,
        }
    }

    /// Returns whether it comes in by one of these links, as far as that can be known.
    fn comes_by(&self, links: &BTreeSet<String>, known: &Known, tables: &[IpNetwork]) -> bool {
        let zones = [Some(&self.peer), self.own.as_ref()].into_iter().flatten();
        let named = zones.filter_map(|end| end.zone.as_ref());
        named.chain(&known.holders).chain(&known.ways).any(|name| links.contains(name))
            || tables.iter().any(|network| network.contains(self.peer.at.ip()))
    }
}

impl End {
    /// Parses an address, which may be an IPv4-mapped one, or have a zone.
    fn parse(address: &str, port: &str) -> Option<Self> {
        let (ip, zone) = match address.split_once('%') {
            Some((ip, zone)) => (ip, Some(zone.to_owned())),
            None => (address, None),
        };
        let ip: IpAddr = ip.parse().ok()?;
        Some(Self { at: SocketAddr::new(ip.to_canonical(), port.parse().ok()?), zone })
    }
}

impl Known {
    async fn of(
        kernel: &Kernel,
        links: &HashMap<u32, Link>,
        connection: &Connection,
    ) -> Result<Self> {
        let name = |index: u32| links.get(&index).map(|link| link.name.clone());
        let mut known = Self::default();
        // A zone names the link.
        if let Some(own) = connection.own.as_ref().filter(|own| own.zone.is_none()) {
            let addresses = kernel.addresses().await?;
            let same = addresses.iter().filter(|a| a.address.ip() == own.at.ip());
            let holders = same.flat_map(|a| links.values().filter(|link| link.has(a)));
            known.holders = holders.map(|link| link.name.clone()).collect();
        }
        // Each link has a route to it.
        if is_link_local(connection.peer.at.ip()) {
            return Ok(known);
        }
        // Policy rules may select by the source, or not.
        for own in [connection.own.as_ref().map(|own| own.at), None] {
            let way = kernel.answers_leave_by(connection.peer.at, own).await?;
            known.ways.extend(way.and_then(name));
        }
        Ok(known)
    }
}

/// Returns a link and those on top of it, by name.
fn with_uppers(link: &str, links: &HashMap<u32, Link>) -> BTreeSet<String> {
    let mut names = BTreeSet::from([link.to_owned()]);
    loop {
        let below: Vec<_> = links.values().filter(|l| names.contains(&l.name)).collect();
        let is_above =
            |upper: &Link| below.iter().any(|l| upper.is_upper_of(l) || l.is_port_of(upper));
        let above = links.values().filter(|upper| is_above(upper)).map(|l| l.name.clone());
        let before = names.len();
        let above: Vec<_> = above.collect();
        names.extend(above);
        if names.len() == before {
            return names;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(text: &str) -> Connection {
        Connection::parse("SSH_CONNECTION", text).unwrap()
    }

    fn comes_by(text: &str, holders: &[&str], ways: &[&str], tables: &[&str]) -> bool {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let known = Known { holders: names(holders), ways: names(ways) };
        let tables: Vec<_> = tables.iter().map(|t| t.parse().unwrap()).collect();
        connection(text).comes_by(&BTreeSet::from(["eth0".to_owned()]), &known, &tables)
    }

    #[test]
    fn what_sshd_says_is_understood() {
        let mapped = connection("::ffff:192.0.2.2 4711 ::ffff:192.0.2.1 22");
        assert_eq!(mapped.peer.at, "192.0.2.2:4711".parse().unwrap());
        assert_eq!(mapped.own.unwrap().at, "192.0.2.1:22".parse().unwrap());
        let local = connection("fe80::1%eth0 4711 fe80::2%eth0 22");
        assert_eq!(local.peer.zone.as_deref(), Some("eth0"));
        assert_eq!(local.peer.at.ip(), "fe80::1".parse::<IpAddr>().unwrap());
        let client = Connection::parse("SSH_CLIENT", "192.0.2.2 4711 22").unwrap();
        assert_eq!((client.peer.at.port(), client.own), (4711, None));
        for (name, text) in [
            ("SSH_CONNECTION", ""),
            ("SSH_CONNECTION", "UNKNOWN 1 2 3"),
            ("SSH_TTY", "192.0.2.2 1 2"),
        ] {
            assert_eq!(Connection::parse(name, text), None, "{name}={text}");
        }
    }

    #[test]
    fn each_trace_of_the_link_is_enough() {
        let plain = "192.0.2.2 4711 192.0.2.1 22";
        assert!(!comes_by(plain, &["eth1"], &["eth1"], &["198.51.100.0/24"]));
        assert!(comes_by(plain, &["eth0"], &["eth1"], &[]), "the server's address is on it");
        assert!(comes_by(plain, &["lo"], &["eth1", "eth0"], &[]), "answers leave by it");
        assert!(comes_by(plain, &[], &[], &["192.0.0.0/8"]), "a rule may choose that table");
        assert!(comes_by("fe80::1%eth0 4711 fe80::2%eth0 22", &[], &[], &[]), "the zone");
        assert!(!comes_by("fe80::1%eth1 4711 fe80::2%eth1 22", &[], &[], &[]));
    }
}
