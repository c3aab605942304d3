//! The network's keys at one revision.

use std::net::IpAddr;

use anyhow::Result;
use etcd_client::{Client, GetResponse, Txn, TxnOp, TxnOpResponse, TxnResponse};
use netcord::error::Error;

use super::{
    Inner,
    connection::large,
    held::Rival,
    keys::{Key, Place, Range},
    node::Node,
};
use crate::flannel::{Config, Lease, Subnets, Taken};

/// What a host sees before it writes.
pub(super) struct View {
    /// The configuration.
    pub(super) config: Option<Key>,
    leases: Vec<(Subnets, Key)>,
    /// Who has this host's address.
    pub(super) node: Option<Key>,
}

impl View {
    /// Reads the configuration, all leases, and who has this address, in one request.
    pub(super) async fn read(store: &Inner, host: IpAddr) -> Result<Self> {
        let (all, node) = (store.keys.all(), Range::one(store.keys.node(host)));
        let get = async |client: &mut Client| {
            let read = |range: &Range| TxnOp::get(range.start.as_str(), range.get());
            large(client).0.txn(Txn::new().and_then([read(&all), read(&node)])).await
        };
        let answer = store.connection.call(get).await?;
        let mut view = Self { config: None, leases: Vec::new(), node: None };
        for key in keys(&answer) {
            match store.keys.place(&key.name) {
                Place::Config => view.config = Some(key),
                Place::Lease(subnets) => view.leases.push((subnets, key)),
                Place::Other if key.name == node.start => view.node = Some(key),
                Place::Malformed(_) | Place::Other => {}
            }
        }
        Ok(view)
    }

    pub(super) fn config(&self, store: &Inner) -> Result<Config> {
        let missing = || {
            Error::not_found(format!("the store has no network at `{}`", store.connection.prefix()))
                .hint(
                    "the first host makes it: `netcord overlay NETWORK --store URL --subnet CIDR`",
                )
        };
        let key = self.config.as_ref().ok_or_else(missing)?;
        store.parse_config(&key.value)
    }

    pub(super) fn taken(&self) -> Vec<Taken> {
        let taken = |(subnets, key): &(Subnets, Key)| Taken {
            subnets: *subnets,
            host: host_of(key),
            created: key.created,
        };
        self.leases.iter().map(taken).collect()
    }

    pub(super) fn lease(&self, subnets: &Subnets) -> Option<&Key> {
        self.leases.iter().find(|(other, _)| other == subnets).map(|(_, key)| key)
    }

    /// The keys of a host's leases, but for those of some subnets.
    pub(super) fn leases_besides(
        &self,
        host: IpAddr,
        subnets: Subnets,
    ) -> impl Iterator<Item = &Key> {
        let is_besides =
            move |(other, key): &&(Subnets, Key)| *other != subnets && host_of(key) == Some(host);
        self.leases.iter().filter(is_besides).map(|(_, key)| key)
    }

    /// Returns the host that has this address too.
    pub(super) fn same_address(&self, node: &Node, host: IpAddr) -> Option<Rival> {
        let key = self.node.as_ref()?;
        let other: Option<Node> = serde_json::from_slice(&key.value).ok();
        let is_other = other.as_ref().is_none_or(|other| other.id != node.id);
        is_other.then(|| Rival { host: Some(host), name: other.map(|other| other.name) })
    }
}

/// Returns the host that a lease is of, if its value can be read.
pub(super) fn host_of(key: &Key) -> Option<IpAddr> {
    Lease::parse(&key.value).ok().map(|lease| lease.host())
}

/// The keys in the answers of a transaction's reads.
pub(super) fn keys(answer: &TxnResponse) -> Vec<Key> {
    let of = |response: GetResponse| response.kvs().iter().map(Key::from).collect::<Vec<_>>();
    let answers = answer.op_responses().into_iter();
    let read = answers.filter_map(|op| match op {
        TxnOpResponse::Get(response) => Some(of(response)),
        _ => None,
    });
    read.flatten().collect()
}
