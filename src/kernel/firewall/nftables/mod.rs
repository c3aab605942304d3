//! Our own table, by netlink: all changes of a plan in one transaction, without a program.
//!
//! - `request`: what is in the table, as requests
//! - `expression`: rules, as the kernel runs them
//! - `data`: keys and values
//! - `read`: our own rules and elements
//! - `standing`: where they differ from a plan
//! - `dump`: all tables, also those of others
//! - `follow`: the rules that a packet meets (nftrace)

mod answer;
mod data;
mod dump;
mod expression;
mod follow;
mod read;
mod request;
mod standing;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use anyhow::Result;
use netlink_packet_core::{NLM_F_ACK, NLM_F_EXCL};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterProtoFamily,
    nftables::{GenMessage, NfTablesMessage},
    none::ControlMessage,
};
use nix::errno::Errno;

use self::request::{Request, inet};
pub(super) use self::standing::Standing;
pub(super) use self::{answer::RuleAnswer, data::number as protocol_number};
pub use follow::{Event, Follower};

use super::{Outcome, Published};
use crate::{
    error::{Error, Kind},
    kernel::{
        datagram,
        nfnetlink::{Socket, is_absent},
    },
    model::{
        LinkName,
        ruleset::{Packet, Ruleset},
    },
    plan::{Change, Nft, Resource, Step, command, nft},
};

/// The maximum size of a change in bytes, except for a long range.
const EACH: usize = 300;
/// The number of changes that fit into any socket with an answer to each.
const FEW: usize = 100;

/// `NFNL_SUBSYS_NFTABLES`
const SUBSYSTEM: u16 = 10;
/// Masks the flags of an attribute's number (`<linux/netlink.h>`).
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Returns whether the kernel has nftables, as far as we may ask.
pub(super) fn is_here() -> bool {
    let get = || {
        let message = NfTablesMessage::GetGen(GenMessage { attributes: Vec::new() });
        Socket::open()?.request(inet(message), 0, |_: NetfilterMessage| {})
    };
    !get().is_err_and(|error| is_absent(&error))
}

/// Returns whether our table exists.
pub(super) fn stands() -> Result<bool> {
    let mut socket = open()?;
    read::has_table(&mut socket)
        .or_else(|e| if is_absent(&e) { Ok(false) } else { Err(e) })
        .map_err(failed)
}

/// Reads our table; returns `None` if there is none.
pub(super) fn standing() -> Result<Option<Standing>> {
    Standing::read(&mut open()?).map_err(failed)
}

/// Returns how an object of our table differs from the plan, a line for each difference.
pub(super) fn damage(standing: Option<&Standing>, nft: &Nft) -> Result<Vec<String>> {
    let Some(standing) = standing else {
        return Ok(vec![format!("not there: table inet {}", nft::TABLE)]);
    };
    Ok(match nft {
        Nft::Table => standing.damage_of_table(),
        Nft::Network(rules) => standing.damage_of_network(rules),
        Nft::Ports(ports) => read::damage_of_ports(&mut open()?, ports).map_err(failed)?,
    })
}

/// Returns all published ports in our table.
pub(super) fn published() -> Result<Vec<Published>> {
    read::published(&mut open()?).map_err(failed)
}

/// Returns all published ports in our table, of a ruleset that was read.
pub(super) fn published_in(ruleset: &Ruleset) -> Vec<Published> {
    read::published_in(ruleset)
}

/// Returns the networks with chains in our table.
pub(super) fn networks() -> Result<Vec<LinkName>> {
    standing::links(&mut open()?, &nft::NAT).map_err(failed)
}

/// Returns the networks whose packets open networks let in.
pub(super) fn open_networks() -> Result<Vec<LinkName>> {
    standing::links(&mut open()?, &nft::OPEN).map_err(failed)
}

/// Returns all tables of all programs; none if the kernel has no nftables.
pub(super) fn ruleset() -> Result<Ruleset> {
    let read = || dump::all(&mut Socket::open()?);
    read().or_else(|e| if is_absent(&e) { Ok(Ruleset::default()) } else { Err(failed(e)) })
}

/// Begins to trace a connection in the thread's namespace.
pub(super) fn follow(packet: &Packet) -> Result<Follower> {
    Follower::begin(packet).map_err(|e| match e.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EEXIST) => Error::conflict("another `trace --live` runs in this namespace")
            .hint("wait until it ends")
            .into(),
        _ => failed(e),
    })
}

/// Makes changes, all or none: in one transaction, or in several if the socket's buffer cannot be
/// made large enough.
pub(super) fn apply(changes: &[&Change]) -> Result<Vec<Outcome>> {
    let mut socket = open()?;
    let all = socket.holds(changes.len() * EACH);
    let at_once = if all { changes.len() } else { FEW };
    let mut outcomes = Vec::with_capacity(changes.len());
    for part in changes.chunks(at_once.max(1)) {
        if let Err(error) = in_parts(&mut socket, part, &mut outcomes) {
            let inverses: Vec<_> = outcomes.iter().rev().filter_map(Outcome::inverse).collect();
            for part in inverses.chunks(FEW) {
                // The first error is the one to report.
                drop(in_parts(&mut socket, part, &mut Vec::new()));
            }
            return Err(error);
        }
    }
    Ok(outcomes)
}

/// Makes changes in one transaction. If so many requests fail that answers are lost, nothing was
/// done, and it tries each half.
fn in_parts(socket: &mut Socket, changes: &[&Change], outcomes: &mut Vec<Outcome>) -> Result<()> {
    match at_once_or_not(socket, changes) {
        Err(error) if changes.len() > 1 && is_lost(&error) => {
            // The old socket still has answers to the failed transaction.
            *socket = open()?;
            let (first, second) = changes.split_at(changes.len() / 2);
            in_parts(socket, first, outcomes)?;
            in_parts(socket, second, outcomes)
        }
        done => {
            outcomes.extend(done?);
            Ok(())
        }
    }
}

fn is_lost(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(datagram::is_overrun)
}

fn at_once_or_not(socket: &mut Socket, changes: &[&Change]) -> Result<Vec<Outcome>> {
    let mut transaction = Transaction::of(changes);
    if let Some(at) = changes.iter().position(|change| makes_table(change))
        && let Some(standing) = Standing::read(socket).map_err(failed)?
    {
        // Its many requests are not needed only to learn that the table exists.
        transaction.requests.retain(|(change, _)| !makes_table(changes[*change]));
        if !standing.damage_of_table().is_empty() {
            let whole = standing.made_whole().into_iter().map(|request| (at, request));
            transaction.requests.splice(0..0, whole);
            transaction.mends.insert(at);
        }
    }
    loop {
        let failures = transaction.commit(socket).map_err(failed)?;
        if failures.is_empty() {
            return Ok(transaction.outcomes(changes));
        }
        transaction.amend(socket, changes, failures)?;
    }
}

fn makes_table(change: &Change) -> bool {
    matches!(change, Change::Create(Resource::Nft(Nft::Table)))
}

fn open() -> Result<Socket> {
    Socket::open().map_err(failed)
}

/// The requests for many changes.
struct Transaction {
    /// Each with the index of its change.
    requests: Vec<(usize, Request)>,
    /// Changes whose object exists but is damaged.
    mends: BTreeSet<usize>,
}

impl Transaction {
    fn of(changes: &[&Change]) -> Self {
        let of_change = |(i, change): (usize, &&Change)| {
            let requests = match change {
                Change::Create(Resource::Nft(nft)) => request::create(nft),
                Change::Delete(Resource::Nft(nft)) => request::delete(nft),
                _ => Vec::new(),
            };
            requests.into_iter().map(move |request| (i, request))
        };
        let requests = changes.iter().enumerate().flat_map(of_change).collect();
        Self { requests, mends: BTreeSet::new() }
    }

    /// Sends all requests; returns those that failed, in which case nothing was done.
    fn commit(&self, socket: &mut Socket) -> io::Result<BTreeMap<usize, Errno>> {
        let last = self.requests.len().saturating_sub(1);
        let requests =
            self.requests.iter().enumerate().map(|(i, (_, Request { message, flags }))| {
                let ack = if i == last { NLM_F_ACK } else { 0 };
                (inet(message.clone()), flags | ack)
            });
        commit(socket, requests.collect())
    }

    /// Leaves out changes that have nothing to do, and drops the exclusive flag where the object
    /// exists.
    fn amend(
        &mut self,
        socket: &mut Socket,
        changes: &[&Change],
        failures: BTreeMap<usize, Errno>,
    ) -> Result<()> {
        let mut of_changes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, errno) in failures {
            let (change, Request { flags, .. }) = &self.requests[at];
            let is_expected = match (changes[*change], errno) {
                (Change::Create(_), Errno::EEXIST) => flags & NLM_F_EXCL != 0,
                (Change::Delete(_), Errno::ENOENT) => true,
                _ => false,
            };
            if !is_expected {
                return Err(refused(changes[*change], errno));
            }
            of_changes.entry(*change).or_default().push(at);
        }
        let mut kept = Vec::new();
        for (at, (change, mut request)) in
            std::mem::take(&mut self.requests).into_iter().enumerate()
        {
            let Some(own) = of_changes.get(&change) else {
                kept.push((change, request));
                continue;
            };
            match changes[change] {
                Change::Create(Resource::Nft(Nft::Ports(_))) => {
                    if own.contains(&at) {
                        request.flags &= !NLM_F_EXCL;
                    }
                    kept.push((change, request));
                }
                Change::Delete(_) if !own.contains(&at) => kept.push((change, request)),
                _ => {}
            }
        }
        self.requests = kept;
        let networks = of_changes.into_keys().filter_map(|change| match changes[change] {
            Change::Create(Resource::Nft(Nft::Network(rules))) => Some((change, rules)),
            _ => None,
        });
        let networks: Vec<_> = networks.collect();
        if networks.is_empty() {
            return Ok(());
        }
        let standing = Standing::read(socket).map_err(failed)?;
        for (change, rules) in networks {
            if standing.as_ref().is_none_or(|s| !s.damage_of_network(rules).is_empty()) {
                let anew = request::network(rules, true).into_iter().map(|r| (change, r));
                self.requests.extend(anew);
                self.mends.insert(change);
            }
        }
        Ok(())
    }

    /// Returns the outcomes. A change had nothing to do if none of its requests was needed.
    fn outcomes(&self, changes: &[&Change]) -> Vec<Outcome> {
        let mut outcomes = vec![Outcome::Unchanged; changes.len()];
        for (change, request) in &self.requests {
            let is_a_look =
                matches!(changes[*change], Change::Create(Resource::Nft(Nft::Ports(_))))
                    && request.flags & NLM_F_EXCL == 0;
            if self.mends.contains(change) {
                outcomes[*change] = Outcome::Mended;
            } else if !is_a_look {
                outcomes[*change] = Outcome::done(changes[*change]);
            }
        }
        outcomes
    }
}

/// Sends requests as one transaction, and asks for an answer to the last. Returns those that
/// failed, in which case nothing was done.
fn commit(
    socket: &mut Socket,
    requests: Vec<(NetfilterMessage, u16)>,
) -> io::Result<BTreeMap<usize, Errno>> {
    if requests.is_empty() {
        return Ok(BTreeMap::new());
    }
    let control = |message| {
        let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, SUBSYSTEM);
        (NetfilterMessage::new(header, message), 0)
    };
    let last = requests.len();
    let all = [control(ControlMessage::BatchBegin)]
        .into_iter()
        .chain(requests)
        .chain([control(ControlMessage::BatchEnd)]);
    let answers = socket.send_all(all, last)?;
    let failures = answers.into_iter().skip(1).enumerate();
    Ok(failures.filter_map(|(i, failure)| Some((i, failure?))).collect())
}

/// Returns the kernel's reason for refusing a change.
fn refused(change: &Change, errno: Errno) -> anyhow::Error {
    let what = command_of(change);
    match (change, errno) {
        (Change::Create(Resource::Nft(Nft::Ports(_))), Errno::EEXIST) => {
            Error::conflict(format!("in netcord's own table the port leads elsewhere: {what}"))
                .hint("remove what has no record: `netcord prune`")
                .into()
        }
        (Change::Create(Resource::Nft(Nft::Table)), Errno::ENOENT) => absent(),
        _ => failed(io::Error::from(errno)).context(format!("nftables refused {what}")),
    }
}

/// Returns the first line of the equivalent command.
fn command_of(change: &Change) -> String {
    let step = Step { why: "", change: change.clone(), scope: crate::plan::Scope::Own };
    let command = command(&step).unwrap_or_default();
    format!("`{}`", command.lines().next().unwrap_or_default())
}

fn failed(error: io::Error) -> anyhow::Error {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMSGSIZE) => {
            Error::new(Kind::Failed, "the changes are too large for one transaction")
                .hint("publish a long range in parts, or from the port of the same number")
                .into()
        }
        Some(Errno::EPERM) => {
            super::not_permitted("the firewall can be read and changed only with CAP_NET_ADMIN")
                .into()
        }
        _ if is_absent(&error) => absent(),
        _ => anyhow::Error::from(error).context("nftables does not answer"),
    }
}

fn absent() -> anyhow::Error {
    Error::new(Kind::Missing, "the kernel lacks nftables, or a part of it")
        .hint(
            "load it: `modprobe -a nf_tables nft_chain_nat nft_masq nft_nat nft_fib_inet nft_ct`; \
             or use the other firewall: `netcord --firewall iptables`",
        )
        .into()
}
