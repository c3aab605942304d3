//! VXLAN network identifiers: in one etcd, each flat network has its own, so that hosts of several
//! networks tell their packets apart.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::Result;
use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};
use ipnetwork::IpNetwork;
use netcord::{
    error::{Error, Kind},
    model::{Flat, Vxlan},
};

use super::{
    super::{
        Draft, Inner, Store,
        clock::BackOff,
        keys::{Key, Keys},
    },
    Config,
};

/// The first identifier that is chosen, as docker does. Those below are for networks whose
/// identifier somebody chose.
const FIRST: u32 = 4096;

/// How often to try again after others were faster.
const TRIES: usize = 50;

/// A flat network that is not in the store yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    /// The subnets of the network, one of each family, IPv4 first.
    pub subnets: Vec<IpNetwork>,
    /// The gateways of the subnets.
    pub gateways: Vec<IpAddr>,
    /// The VXLAN network identifier; `None`: the lowest that is free in the store.
    pub vni: Option<u32>,
    /// The UDP port.
    pub port: u16,
    /// The network's settings.
    pub flat: Flat,
}

impl New {
    fn with(&self, vni: u32) -> Config {
        let Self { subnets, gateways, port, flat, .. } = self.clone();
        Config { subnets, gateways, vni, port, flat }
    }
}

impl Store {
    /// Writes the configuration of a flat network unless there is one, with a VXLAN network identifier
    /// that no other network of this etcd has. Returns how to take it back, or `None` if another host was
    /// faster.
    ///
    /// # Errors
    /// The identifier that was asked for is another network's.
    pub async fn create_flat(&self, new: &New) -> Result<Option<(Config, Draft)>> {
        let store = &*self.0;
        let key = store.keys.config();
        let mut back_off = BackOff::new();
        for _ in 0..TRIES {
            let registered = registered(store).await?;
            let (vni, before) = choose(store, new, &registered).await?;
            let config = new.with(vni);
            let create = async |client: &mut Client| {
                let name = Keys::vni(vni);
                let revision = before.as_ref().map_or(0, |key: &Key| key.modified);
                let mut when = vec![
                    Compare::create_revision(key.as_str(), CompareOp::Equal, 0),
                    Compare::mod_revision(name.as_str(), CompareOp::Equal, revision),
                ];
                // The network that had the identifier must still be gone.
                when.extend(before.as_ref().map(|key| {
                    let config = config_of(key);
                    Compare::create_revision(config, CompareOp::Equal, 0)
                }));
                let then = vec![
                    TxnOp::put(key.as_str(), config.to_json(), None),
                    TxnOp::put(name, store.keys.prefix(), None),
                ];
                client.txn(Txn::new().when(when).and_then(then)).await
            };
            let answer = store.connection.call(create).await?;
            if answer.succeeded() {
                let revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
                let draft = Draft { store: self.clone(), revision, vni: Some(Keys::vni(vni)) };
                return Ok(Some((config, draft)));
            }
            let get = async |client: &mut Client| client.get(key.as_str(), None).await;
            if !store.connection.call(get).await?.kvs().is_empty() {
                return Ok(None);
            }
            back_off.wait().await;
        }
        let message = "no VXLAN network identifier was got: other networks were faster";
        Err(Error::new(Kind::Timeout, message).into())
    }

    /// Returns the configuration that [`Store::create_flat`] would write at this moment.
    ///
    /// # Errors
    /// Those of [`Store::create_flat`].
    pub async fn preview_flat(&self, new: &New) -> Result<Config> {
        let (vni, _) = choose(&self.0, new, &registered(&self.0).await?).await?;
        Ok(new.with(vni))
    }
}

/// Returns the identifiers that networks have, with their keys.
async fn registered(store: &Inner) -> Result<BTreeMap<u32, Key>> {
    let range = Keys::vnis();
    let get = async |client: &mut Client| client.get(range.start.as_str(), range.get()).await;
    let answer = store.connection.call(get).await.map_err(|error| match error.kind {
        Kind::Permission => error.hint(
            "flat networks note their VNIs under `/netcord-vnis/`: give the user the right to read and \
             write there",
        ),
        _ => error,
    })?;
    let keys = answer.kvs().iter().map(Key::from);
    Ok(keys.filter_map(|key| Some((Keys::vni_of(&key.name)?, key))).collect())
}

/// Chooses an identifier, and returns it with its key if a network that is gone has left one.
async fn choose(
    store: &Inner,
    new: &New,
    registered: &BTreeMap<u32, Key>,
) -> Result<(u32, Option<Key>)> {
    let Some(wanted) = new.vni else {
        let free = (FIRST..=Vxlan::VNI_MAX).find(|vni| !registered.contains_key(vni));
        let none = || Error::conflict("all VXLAN network identifiers of this store are used");
        return Ok((free.ok_or_else(none)?, None));
    };
    let Some(key) = registered.get(&wanted) else { return Ok((wanted, None)) };
    let config = config_of(key);
    let get = async |client: &mut Client| client.get(config.as_str(), None).await;
    let is_own = key.value == store.keys.prefix().as_bytes();
    if !is_own && !store.connection.call(get).await?.kvs().is_empty() {
        let other = String::from_utf8_lossy(&key.value);
        let other = netcord::model::visible(&other);
        return Err(Error::conflict(format!(
            "VNI {wanted} is that of the network under `{other}`"
        ))
        .hint("leave out `--vni` to get one that is free in the store")
        .into());
    }
    Ok((wanted, Some(key.clone())))
}

/// The configuration's key of the network that has an identifier.
fn config_of(vni: &Key) -> String {
    Keys::new(&String::from_utf8_lossy(&vni.value)).config()
}
