//! Takes addresses for endpoints, and gives them back. An address belongs to whoever wrote its key
//! first: each write compares with what was seen before.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    rc::Rc,
    time::Duration,
};

use anyhow::Result;
use etcd_client::{Client, Compare, CompareOp, PutOptions, Txn, TxnOp};
use netcord::{
    error::{Error, Kind},
    model::{AddressRange, Mac, Subnet},
};
use tokio::time::Instant;

use super::{
    super::{connection::large, view},
    Endpoint, Picture, Presence,
    picture::Known,
};

/// How long hosts that take addresses at once may get in each other's way.
const RACE: Duration = Duration::from_secs(10);

/// How many keys one transaction writes at most: etcd allows 128 operations.
const BATCH: usize = 60;

/// What is asked for an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its target, for people.
    pub name: String,
    /// Its MAC; `None`: the one that is derived from its first address.
    pub mac: Option<Mac>,
    /// The addresses that it must have.
    pub fixed: Vec<IpAddr>,
    /// The subnets from which it gets the lowest free address.
    pub open: Vec<Wish>,
    /// Whether to take the fixed addresses from the hosts that have them.
    pub takeover: bool,
}

/// A subnet from which an address is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The subnet.
    pub subnet: Subnet,
    /// The ranges from which to choose; if empty, the subnet's own.
    pub ranges: Vec<AddressRange>,
}

/// Addresses that this host has taken, and that are on no record yet. Until this value is dropped, they
/// are not given back.
#[derive(Debug)]
pub struct Reserved {
    picture: Rc<RefCell<Picture>>,
    addresses: Vec<IpAddr>,
}

impl Reserved {
    fn new(picture: &Rc<RefCell<Picture>>, addresses: Vec<IpAddr>) -> Self {
        picture.borrow_mut().reserve(&addresses);
        Self { picture: picture.clone(), addresses }
    }

    /// Returns the addresses: the fixed ones, then one of each open subnet.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.picture.borrow_mut().unreserve(&self.addresses);
    }
}

/// The outcome of a comparison of this host's endpoints with the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// The addresses that other hosts have now.
    pub lost: Vec<IpAddr>,
    /// Whether somebody has written in between, so that it has to be repeated.
    pub is_stale: bool,
}

/// A write, and what it changes in the picture.
struct Write {
    address: IpAddr,
    compare: Compare,
    operation: TxnOp,
    after: Option<Endpoint>,
}

impl Presence {
    /// Takes addresses. Those of this host that are on no record count as free.
    ///
    /// # Errors
    /// A fixed address is taken, no address is free, or the store does not answer.
    pub async fn claim(&self, picture: &Rc<RefCell<Picture>>, claim: &Claim) -> Result<Reserved> {
        let end = Instant::now() + RACE;
        loop {
            let addresses = choose(&picture.borrow(), claim)?;
            let reserved = Reserved::new(picture, addresses);
            let mac = claim.mac.or_else(|| first(&reserved.addresses).map(Mac::of));
            let mac = mac.unwrap_or(Mac::PLACEHOLDER);
            let writes: Vec<_> = reserved
                .addresses
                .iter()
                .map(|address| self.put(&picture.borrow(), *address, mac, &claim.name))
                .collect();
            if self.write(picture, &writes).await? {
                return Ok(reserved);
            }
            if Instant::now() > end {
                let message = "no address was got: other hosts were faster all the time";
                return Err(Error::new(Kind::Timeout, message).into());
            }
        }
    }

    /// Returns what [`Presence::claim`] would take at this moment.
    ///
    /// # Errors
    /// Those of [`Presence::claim`].
    pub fn preview(picture: &Picture, claim: &Claim) -> Result<Vec<IpAddr>> {
        choose(picture, claim)
    }

    /// Makes the store say of this host's endpoints what its records say: `wanted` are their addresses,
    /// MACs and names. `given` are this host's addresses ([`Picture::given`]) before the records were read:
    /// those that are not wanted are given back.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn settle(
        &self,
        picture: &Rc<RefCell<Picture>>,
        wanted: &BTreeMap<IpAddr, (Mac, String)>,
        given: &BTreeSet<IpAddr>,
    ) -> Result<Settled> {
        let mut settled = Settled::default();
        let mut writes = Vec::new();
        {
            let picture = picture.borrow();
            for (address, (mac, name)) in wanted {
                match picture.get(*address) {
                    Some(known) if known.endpoint.node != self.who.node.id => {
                        settled.lost.push(*address);
                    }
                    Some(known)
                        if known.lease == self.lease()
                            && known.endpoint.mac == *mac
                            && known.endpoint.host == self.who.host => {}
                    _ => writes.push(self.put(&picture, *address, *mac, name)),
                }
            }
            let is_gone = |ip: &IpAddr| given.contains(ip) && !wanted.contains_key(ip);
            let gone = picture.given().into_iter().filter(is_gone);
            writes.extend(gone.map(|address| self.deletion(&picture, address)));
        }
        for batch in writes.chunks(BATCH) {
            if self.write(picture, batch).await? {
                continue;
            }
            for one in batch {
                settled.is_stale |= !self.write(picture, std::slice::from_ref(one)).await?;
            }
        }
        Ok(settled)
    }

    fn put(&self, picture: &Picture, address: IpAddr, mac: Mac, name: &str) -> Write {
        let endpoint = Endpoint {
            host: self.who.host,
            node: self.who.node.id.clone(),
            mac,
            name: name.to_owned(),
        };
        let key = self.store.keys.endpoint(address);
        let options = PutOptions::new().with_lease(self.lease());
        Write {
            address,
            compare: self.unchanged(picture, address),
            operation: TxnOp::put(key, endpoint.to_json(), Some(options)),
            after: Some(endpoint),
        }
    }

    fn deletion(&self, picture: &Picture, address: IpAddr) -> Write {
        let key = self.store.keys.endpoint(address);
        Write {
            address,
            compare: self.unchanged(picture, address),
            operation: TxnOp::delete(key, None),
            after: None,
        }
    }

    /// The condition that a key is as the picture has it.
    fn unchanged(&self, picture: &Picture, address: IpAddr) -> Compare {
        let revision = picture.get(address).map_or(0, |known| known.modified);
        Compare::mod_revision(self.store.keys.endpoint(address), CompareOp::Equal, revision)
    }

    /// Writes all, or nothing if one of the keys is not as the picture has it: then the picture is
    /// corrected. Returns whether it has written.
    async fn write(&self, picture: &Rc<RefCell<Picture>>, writes: &[Write]) -> Result<bool> {
        let read = |write: &Write| TxnOp::get(self.store.keys.endpoint(write.address), None);
        let txn = Txn::new()
            .when(writes.iter().map(|write| write.compare.clone()).collect::<Vec<_>>())
            .and_then(writes.iter().map(|write| write.operation.clone()).collect::<Vec<_>>())
            .or_else(writes.iter().map(read).collect::<Vec<_>>());
        let lease = self.lease();
        let send = async |client: &mut Client| large(client).0.txn(txn.clone()).await;
        let answer = self.store.connection.call(send).await?;
        let mut picture = picture.borrow_mut();
        if !answer.succeeded() {
            let there = view::keys(&answer);
            for write in writes {
                let name = self.store.keys.endpoint(write.address);
                match there.iter().find(|key| key.name == name) {
                    Some(key) => picture.put(key.clone()),
                    None => picture.removed(write.address),
                }
            }
            return Ok(false);
        }
        let modified = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
        for write in writes {
            match &write.after {
                Some(endpoint) => {
                    let known = Known { endpoint: endpoint.clone(), lease, modified };
                    picture.wrote(write.address, known);
                }
                None => picture.removed(write.address),
            }
        }
        Ok(true)
    }
}

/// The address from which an endpoint's MAC is derived: that of IPv4, if it has one.
fn first(addresses: &[IpAddr]) -> Option<IpAddr> {
    addresses.iter().copied().min_by_key(IpAddr::is_ipv6)
}

/// Chooses the addresses of an endpoint.
fn choose(picture: &Picture, claim: &Claim) -> Result<Vec<IpAddr>> {
    let mut chosen = Vec::new();
    for address in &claim.fixed {
        check(picture, *address, claim.takeover)?;
        chosen.push(*address);
    }
    let mut taken: BTreeSet<_> = picture.taken().chain(chosen.clone()).collect();
    for Wish { subnet, ranges } in &claim.open {
        let Some(free) = subnet.lowest_free_of(ranges, &taken) else {
            let message = format!("no address of {} is free in the whole network", subnet.cidr);
            return Err(Error::conflict(message)
                .hint("detach something, on any host of the network")
                .into());
        };
        taken.insert(free);
        chosen.push(free);
    }
    Ok(chosen)
}

/// Checks that an address is free, or this host's and on no record, or may be taken from its host.
fn check(picture: &Picture, address: IpAddr, takeover: bool) -> Result<()> {
    if picture.is_reserved(address) {
        let message = format!("address {address} is being given to another endpoint");
        return Err(Error::conflict(message).hint("try again").into());
    }
    let Some(Endpoint { host, name, .. }) = picture.other(address).filter(|_| !takeover) else {
        return Ok(());
    };
    let name = netcord::model::visible(name);
    Err(Error::conflict(format!("address {address} is taken by `{name}` on host {host}"))
        .hint(
            "detach it there, or leave out `--ip`; if that host is gone, `--takeover` takes the \
             address from it",
        )
        .into())
}
