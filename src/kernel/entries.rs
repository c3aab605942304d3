//! Changes of routes, neighbours and FDB entries: many in one system call, so that the entries for a
//! thousand hosts take milliseconds.

use std::{
    collections::{HashMap, HashSet, hash_map},
    io,
    net::IpAddr,
};

use anyhow::{Context, Result};
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use nix::libc;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{
    Kernel, Outcome,
    address::{self, RouteKey, TableRoute},
    datagram, fdb, link, neighbour,
    rtnl::Rtnl,
};
use crate::{
    error::Error,
    model::{LinkName, Mac},
    plan::{Change, Class, Entry, Resource},
};

impl Kernel {
    /// Carries out adjacent changes of the host's entries, or one change in another namespace: all of
    /// them, or none.
    pub async fn apply_entries(&self, changes: &[&Change]) -> Result<Vec<Outcome>> {
        let place = changes.first().and_then(|change| change.facts().place);
        let rtnl = self.in_namespace(place)?;
        let in_turn = place.is_some();
        let mut tables =
            Tables { rtnl, in_turn, indexes: indexes(rtnl, changes).await?, known: None };
        if changes.len() > datagram::FEW {
            tables.known = Some(Known::read(rtnl, &tables.indexes).await?);
        }
        let mut done = Vec::with_capacity(changes.len());
        let Err(failure) = tables.write(changes, &mut done).await else { return Ok(done) };
        tables.known = None;
        let back: Vec<_> = done.iter().rev().filter_map(Outcome::inverse).collect();
        let undone = tables.write(&back, &mut Vec::new()).await;
        undone.with_context(|| format!("{failure:#}; and the rollback failed"))?;
        Err(failure)
    }

    /// Returns for each change whether it has nothing to do, as [`Kernel::holds`] does. For many entries
    /// of the host it reads the tables once.
    pub async fn hold(&self, changes: &[&Change]) -> Vec<bool> {
        let is_of_host =
            |change: &&&Change| change.facts().place.is_none() && entry(change).is_some();
        let entries: Vec<_> = changes.iter().filter(is_of_host).copied().collect();
        let known = async {
            let indexes = indexes(&self.rtnl, &entries).await.ok()?;
            let known = Known::read(&self.rtnl, &indexes).await.ok()?;
            Some((indexes, known))
        };
        let known = if entries.len() > datagram::FEW { known.await } else { None };
        let mut held = Vec::with_capacity(changes.len());
        for change in changes {
            let by_table =
                known.as_ref().filter(|_| is_of_host(&change)).and_then(|(all, known)| {
                    let entry = entry(change)?;
                    let index = index_of(all, entry);
                    Some(
                        index
                            .map_or_else(|| is_deletion(change), |i| known.holds(change, entry, i)),
                    )
                });
            held.push(match by_table {
                Some(is_held) => is_held,
                None => self.holds(change).await,
            });
        }
        held
    }
}

fn is_deletion(change: &Change) -> bool {
    !matches!(change, Change::Create(_))
}

/// The tables of one namespace.
struct Tables<'k> {
    rtnl: &'k Rtnl,
    /// Send one message at a time: to send several in one system call, the thread would have to move
    /// to the namespace.
    in_turn: bool,
    indexes: Indexes<'k>,
    /// What the tables have, if it was read.
    known: Option<Known>,
}

/// The entries of a namespace, by link.
#[derive(Default)]
struct Known {
    routes: HashSet<RouteKey>,
    neighbours: HashMap<(u32, IpAddr), Mac>,
    forwarding: HashMap<u32, fdb::Table>,
}

impl Known {
    async fn read(rtnl: &Rtnl, indexes: &Indexes<'_>) -> Result<Self> {
        let mut known = Self::default();
        let routes = address::all_routes(rtnl).await?;
        known.routes.extend(routes.iter().map(TableRoute::key));
        for index in indexes.values().flatten().copied() {
            for family in [AddressFamily::Inet, AddressFamily::Inet6] {
                for found in fdb::permanent_of(rtnl, family, index).await? {
                    let neighbour = found.address.zip(found.mac);
                    known.neighbours.extend(neighbour.map(|(ip, mac)| ((index, ip), mac)));
                }
            }
            known.forwarding.insert(index, fdb::Table::read(rtnl, index).await?);
        }
        Ok(known)
    }

    /// Returns whether a change of an entry of the link with this index has nothing to do.
    fn holds(&self, change: &Change, entry: Entry<'_>, index: u32) -> bool {
        let is_there = match entry {
            Entry::Route(route) => self.routes.contains(&RouteKey::of(route, index)),
            Entry::Neighbour { address, mac, .. } => {
                self.neighbours.get(&(index, address)) == Some(&mac)
            }
            Entry::Fdb { mac, host, on_bridge, .. } => {
                self.forwarding.get(&index).is_some_and(|table| table.has(mac, host, on_bridge))
            }
            Entry::Replica { host, .. } => {
                self.forwarding.get(&index).is_some_and(|table| table.replicas.contains(&host))
            }
        };
        is_there != is_deletion(change)
    }
}

/// The indexes of links; `None` for one that is gone.
type Indexes<'k> = HashMap<&'k LinkName, Option<u32>>;

type Message = (RouteNetlinkMessage, u16);

async fn indexes<'k>(rtnl: &Rtnl, changes: &[&'k Change]) -> Result<Indexes<'k>> {
    let mut indexes = Indexes::new();
    for name in changes.iter().filter_map(|change| entry(change)?.link()) {
        if let hash_map::Entry::Vacant(vacant) = indexes.entry(name) {
            let link = link::get(rtnl, name.as_str()).await?;
            vacant.insert(link.map(|link| link.index()));
        }
    }
    Ok(indexes)
}

/// Returns the index of an entry's link; 0 if it is of none, and `None` if the link is gone.
fn index_of(indexes: &Indexes<'_>, entry: Entry<'_>) -> Option<u32> {
    match entry.link() {
        Some(link) => indexes.get(link).copied().flatten(),
        None => Some(0),
    }
}

fn entry(change: &Change) -> Option<Entry<'_>> {
    match change.facts().class {
        Class::Entry(entry) => Some(entry),
        _ => None,
    }
}

impl Tables<'_> {
    /// Makes changes, and adds the outcome of each that succeeded. Each system call sends as many as
    /// can fail without the loss of an answer.
    async fn write(&self, changes: &[&Change], done: &mut Vec<Outcome>) -> Result<()> {
        for part in changes.chunks(datagram::FEW) {
            let messages = part.iter().map(|change| self.message(change));
            let messages = messages.collect::<Result<Vec<_>>>()?;
            let sent: Vec<_> = messages.iter().flatten().cloned().collect();
            let mut answers = self.send(sent).await?.into_iter();
            let mut failure = None;
            for (change, message) in part.iter().zip(messages) {
                let outcome = match message {
                    Some(_) => self.outcome(change, answers.next().flatten()).await,
                    None => Ok(Outcome::Unchanged),
                };
                match outcome {
                    Ok(outcome) => done.push(outcome),
                    Err(error) => drop(failure.get_or_insert(error)),
                }
            }
            if let Some(failure) = failure {
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Sends messages; returns the errno of each that failed.
    async fn send(&self, messages: Vec<Message>) -> Result<Vec<Option<i32>>> {
        if !self.in_turn {
            return datagram::send_all(&messages)?.context("the kernel's answers were lost");
        }
        let mut answers = Vec::with_capacity(messages.len());
        for (message, flags) in messages {
            let errno = |error: io::Error| error.raw_os_error().ok_or(error);
            let answer = self.rtnl.change(message, flags).await;
            answers.push(answer.err().map(errno).transpose()?);
        }
        Ok(answers)
    }

    /// Returns the message of a change; `None` if it is known to have nothing to do.
    fn message(&self, change: &Change) -> Result<Option<Message>> {
        use RouteNetlinkMessage as M;
        const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;
        let Some(entry) = entry(change) else { return Ok(None) };
        let create = matches!(change, Change::Create(_));
        let Some(index) = index_of(&self.indexes, entry) else {
            return match entry.link() {
                Some(link) if create => Err(link::gone(link.as_str())),
                Some(_) | None => Ok(None),
            };
        };
        if self.known.as_ref().is_some_and(|known| known.holds(change, entry, index)) {
            return Ok(None);
        }
        Ok(Some(match entry {
            Entry::Route(route) if create => (M::NewRoute(address::route(index, route)), NEW),
            Entry::Route(route) => (M::DelRoute(address::route(index, route)), 0),
            Entry::Neighbour { address, mac, .. } if create => {
                (M::NewNeighbour(neighbour::permanent(index, address, mac)), NEW)
            }
            Entry::Neighbour { address, .. } => {
                (M::DelNeighbour(neighbour::message(index, address)), 0)
            }
            Entry::Fdb { mac, host, on_bridge, .. } if create => {
                (M::NewNeighbour(fdb::lasting(index, mac, host, on_bridge)), NEW)
            }
            Entry::Fdb { mac, host, on_bridge, .. } => {
                (M::DelNeighbour(fdb::message(index, mac, host, on_bridge)), 0)
            }
            Entry::Replica { host, .. } if create => {
                let message = fdb::lasting(index, Mac::ZERO, host, false);
                (M::NewNeighbour(message), NLM_F_CREATE | NLM_F_APPEND)
            }
            Entry::Replica { host, .. } => {
                (M::DelNeighbour(fdb::message(index, Mac::ZERO, host, false)), 0)
            }
        }))
    }

    async fn outcome(&self, change: &Change, errno: Option<i32>) -> Result<Outcome> {
        let (Some(entry), Some(errno)) = (entry(change), errno) else {
            return Ok(Outcome::done(change));
        };
        let error = io::Error::from_raw_os_error(errno);
        let gone = async || {
            let link = entry.link()?;
            let there = link::get(self.rtnl, link.as_str()).await;
            matches!(there, Ok(None)).then_some(link)
        };
        match change {
            Change::Create(resource) if errno == libc::EEXIST => {
                self.existing(change, resource, entry).await
            }
            Change::Create(_) => Err(match gone().await {
                Some(link) => link::gone(link.as_str()),
                None => not_made(entry, error),
            }),
            Change::Delete(_) if errno == libc::ENOENT && self.is_half(entry).await => {
                Ok(Outcome::done(change))
            }
            // It went with its link, or before.
            _ if matches!(errno, libc::ESRCH | libc::ENOENT) || gone().await.is_some() => {
                Ok(Outcome::Unchanged)
            }
            _ => Err(not_deleted(entry, error)),
        }
    }

    /// Deletes the link's half of an entry whose other half, the bridge's, is gone; returns whether there
    /// was one.
    async fn is_half(&self, entry: Entry<'_>) -> bool {
        let Entry::Fdb { mac, host, on_bridge: true, .. } = entry else { return false };
        let Some(index) = index_of(&self.indexes, entry) else { return false };
        let message = fdb::message(index, mac, host, false);
        self.rtnl.change(RouteNetlinkMessage::DelNeighbour(message), 0).await.is_ok()
    }

    /// The outcome of a creation where the kernel has an entry: a neighbour or FDB entry replaces it,
    /// and a route does not.
    async fn existing(
        &self,
        change: &Change,
        resource: &Resource,
        entry: Entry<'_>,
    ) -> Result<Outcome> {
        let index = index_of(&self.indexes, entry).unwrap_or_default();
        let former = match entry {
            Entry::Route(route) => {
                let all = address::all_routes(self.rtnl).await?;
                return if all.iter().any(|there| there.is_like(route, index)) {
                    Ok(Outcome::Unchanged)
                } else {
                    Err(Error::conflict(format!(
                        "another route to {} is there already",
                        route.destination
                    ))
                    .hint("see it with `ip -n NAME route`")
                    .into())
                };
            }
            Entry::Neighbour { link, address, .. } => {
                let there = neighbour::permanent_mac(self.rtnl, index, address).await?;
                there.map(|mac| Resource::Neighbour {
                    netns: change.facts().place.cloned(),
                    link: link.clone(),
                    address,
                    mac,
                })
            }
            Entry::Fdb { link, mac, on_bridge, .. } => {
                let there = fdb::lasting_host(self.rtnl, index, mac).await?;
                there.map(|host| Resource::FdbEntry { link: link.clone(), mac, host, on_bridge })
            }
            // It is appended, so that it never exists already.
            Entry::Replica { .. } => None,
        };
        if former.as_ref() == Some(resource) {
            return Ok(Outcome::Unchanged);
        }
        if let Some((message, _)) = self.message(change)? {
            let replaced = self.rtnl.change(message, NLM_F_CREATE | NLM_F_REPLACE).await;
            replaced.map_err(|error| not_made(entry, error))?;
        }
        Ok(former.map_or_else(|| Outcome::done(change), |f| Outcome::Done(Change::Create(f))))
    }
}

fn not_made(entry: Entry<'_>, error: io::Error) -> anyhow::Error {
    let what = match entry {
        Entry::Route(route) => {
            let (to, link) = (route.destination, &route.link);
            if route.out_link().is_none() {
                return anyhow::Error::from(error)
                    .context(format!("cannot add the route {} {to}", route.kind));
            }
            if matches!(error.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH)) {
                let gateway = route.gateway.unwrap_or_else(|| to.ip());
                return Error::usage(format!(
                    "route to {to}: its gateway {gateway} cannot be reached from `{link}`"
                ))
                .hint("a gateway must be in a subnet of the link's own addresses")
                .into();
            }
            format!("cannot add the route to {to} by `{link}`")
        }
        Entry::Neighbour { link, address, .. } => {
            format!("cannot add the neighbour entry for {address} to `{link}`")
        }
        Entry::Fdb { link, mac, host, .. } => {
            format!("cannot add the FDB entry for {mac} at host {host} to `{link}`")
        }
        Entry::Replica { link, host } => {
            format!("cannot add host {host} to those that get multicasts by `{link}`")
        }
    };
    anyhow::Error::from(error).context(what)
}

fn not_deleted(entry: Entry<'_>, error: io::Error) -> anyhow::Error {
    anyhow::Error::from(error).context(match entry {
        Entry::Route(route) => format!("cannot delete the route to {}", route.destination),
        Entry::Neighbour { link, address, .. } => {
            format!("cannot delete the neighbour entry for {address} from `{link}`")
        }
        Entry::Replica { link, host } => {
            format!("cannot remove host {host} from those that get multicasts by `{link}`")
        }
        Entry::Fdb { link, mac, host, .. } => {
            format!("cannot delete the FDB entry for {mac} at host {host} from `{link}`")
        }
    })
}
