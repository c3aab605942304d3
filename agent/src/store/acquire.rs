//! Taking subnets: choose from what the store has, write if nothing has changed since, else again.

use std::{net::IpAddr, time::Duration};

use anyhow::Result;
use etcd_client::{Client, Compare, CompareOp, PutOptions, Txn, TxnOp};
use netcord::{
    error::{Error, Kind},
    model::Invalid,
};
use tokio::time::{Instant, timeout};

use super::{
    Inner,
    clock::{self, BackOff},
    connection::{ATTEMPT, large},
    held::Rival,
    kept,
    keys::{Key, Place},
    node::Node,
    view::{self, View},
};
use crate::flannel::{Choice, Lease, Subnets, choose};

/// What a host asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What it says about itself.
    pub lease: Lease,
    /// The subnets that it had in an earlier life.
    pub former: Option<Subnets>,
    /// How many seconds its key outlives the host's last sign of life.
    pub ttl: u32,
    /// Who it is.
    pub node: Node,
}

impl Claim {
    /// flannel's time to live: a day.
    pub const TTL: u32 = 24 * 60 * 60;
}

/// Subnets that were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grip {
    pub(super) subnets: Subnets,
    /// The etcd lease with which the keys end.
    pub(super) etcd_lease: i64,
    /// Whether the key of the subnets has no end.
    pub(super) is_reserved: bool,
}

/// How a write went.
pub(super) enum Written {
    Done(Grip),
    /// Somebody has written in between.
    Raced,
    /// Somebody has subnets that overlap.
    Overlaps(Rival),
}

/// How long hosts that start at once may get in each other's way.
const RACE: Duration = Duration::from_secs(60);

pub(super) async fn acquire(store: &Inner, claim: &Claim) -> Result<Grip> {
    let etcd_lease = kept::grant(store, claim.ttl).await?;
    let acquired = try_to_acquire(store, claim, etcd_lease).await;
    if acquired.is_err() {
        // If the store does not answer either, the lease ends by itself.
        timeout(ATTEMPT, kept::revoke(store, etcd_lease)).await.ok();
    }
    acquired
}

async fn try_to_acquire(store: &Inner, claim: &Claim, etcd_lease: i64) -> Result<Grip> {
    let host = claim.lease.host();
    let end = Instant::now() + RACE;
    let mut back_off = BackOff::new();
    loop {
        let view = View::read(store, host).await?;
        let config = view.config(store)?;
        config.check_supported().map_err(|e| unsupported(store, e))?;
        if let Some(rival) = view.same_address(&claim.node, host) {
            return Err(same_address(store, host, &rival).into());
        }
        let random = || u128::from(clock::random()) << 64 | u128::from(clock::random());
        let choice = choose(&config, &view.taken(), host, claim.former, random).map_err(|e| {
            Error::conflict(e.to_string())
                .hint("a host that is gone gives its subnet back when its lease ends")
        })?;
        if let Written::Done(grip) = write(store, claim, &view, choice, etcd_lease).await? {
            return Ok(grip);
        }
        if Instant::now() > end {
            let message = format!("{host} has no subnet: other hosts were faster");
            return Err(Error::new(Kind::Timeout, message).into());
        }
        back_off.wait().await;
    }
}

fn unsupported(store: &Inner, why: Invalid) -> Error {
    let network = store.connection.prefix();
    let error = Error::conflict(format!("the network at `{network}` cannot be joined: {why}"));
    match why.hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

pub(super) fn same_address(store: &Inner, host: IpAddr, rival: &Rival) -> Error {
    Error::conflict(format!("address {host} is used by another host of the network: {rival}"))
        .hint("give this host another address (--public-ip); if the other one is gone for good:")
        .commands(vec![format!("etcdctl del {}", store.keys.node(host))])
}

/// Writes a choice, if nothing that it depends on has changed since the view.
pub(super) async fn write(
    store: &Inner,
    claim: &Claim,
    view: &View,
    choice: Choice,
    etcd_lease: i64,
) -> Result<Written> {
    let subnets = choice.subnets();
    let before = match choice {
        Choice::Own(_) => view.lease(&subnets),
        Choice::Free(_) => None,
    };
    let is_reserved = before.is_some_and(|key| key.lease == 0);
    let grip = Grip { subnets, etcd_lease, is_reserved };
    let txn = transaction(store, claim, view, grip, before.map_or(0, |key| key.modified));
    let send = async |client: &mut Client| large(client).0.txn(txn.clone()).await;
    let answer = store.connection.call(send).await?;
    if !answer.succeeded() {
        return Ok(Written::Raced);
    }
    // A reservation is somebody's decision.
    if is_reserved {
        return Ok(Written::Done(grip));
    }
    let leases = view::keys(&answer);
    let name = store.keys.lease(&subnets);
    let created = leases.iter().find(|key| key.name == name).map_or(0, |key| key.created);
    // Two hosts may have written overlapping subnets at once: the first keeps its own. An own key
    // may be that of a request whose answer was lost, so it is no exception.
    let first = leases.iter().find(|key| match store.keys.place(&key.name) {
        Place::Lease(other) => key.created < created && other.overlaps(&subnets),
        _ => false,
    });
    let Some(first) = first else { return Ok(Written::Done(grip)) };
    let rival = Rival { host: view::host_of(first), name: None };
    let undo = Txn::new()
        .when([Compare::create_revision(name.as_str(), CompareOp::Equal, created)])
        .and_then([TxnOp::delete(name.as_str(), None)]);
    store.connection.call(async |client: &mut Client| client.txn(undo.clone()).await).await?;
    Ok(Written::Overlaps(rival))
}

/// Writes the lease and the node, and reads all leases in the same revision. `modified` is the
/// revision of the lease's key that is written over, 0 for none.
fn transaction(store: &Inner, claim: &Claim, view: &View, grip: Grip, modified: i64) -> Txn {
    let host = claim.lease.host();
    let (lease, node) = (store.keys.lease(&grip.subnets), store.keys.node(host));
    let unchanged = |key: &str, revision| Compare::mod_revision(key, CompareOp::Equal, revision);
    let ends = || Some(PutOptions::new().with_lease(grip.etcd_lease));
    let who = serde_json::to_string(&claim.node).expect("names are JSON");
    let revision = |key: &Option<Key>| key.as_ref().map_or(0, |key| key.modified);
    let mut when = vec![
        unchanged(&lease, modified),
        unchanged(&node, revision(&view.node)),
        // Who wrote the configuration may take it back until a host has a subnet.
        unchanged(&store.keys.config(), revision(&view.config)),
    ];
    let options = if grip.is_reserved { None } else { ends() };
    let mut then =
        vec![TxnOp::put(lease, claim.lease.to_json(), options), TxnOp::put(node, who, ends())];
    // What the host had before the configuration was another one. Reservations are somebody's wish.
    for key in view.leases_besides(host, grip.subnets).filter(|key| key.lease != 0) {
        when.push(unchanged(&key.name, key.modified));
        then.push(TxnOp::delete(key.name.as_str(), None));
    }
    let all = store.keys.all();
    then.push(TxnOp::get(all.start.as_str(), all.get()));
    Txn::new().when(when).and_then(then)
}
