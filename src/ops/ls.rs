//! `ls`: lists networks, ours and foreign bridges.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    Session,
    lookup::{engine_network, find},
    upkeep::need::{Depth, Extent},
};
use crate::{
    error::Error,
    model::{Network, NetworkRecord, natural_order},
};

/// The networks to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ls {
    /// Keys (name, mode or driver, label) and values. All keys must match; of the values of one key, any.
    pub filter: Vec<(String, String)>,
}

/// A network.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// The network.
    #[serde(flatten)]
    pub network: Network,
    /// What docker or podman calls a bridge of theirs (`docker:shop_default`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_network: Option<String>,
    /// The number of its endpoints.
    pub endpoints: usize,
}

/// Lists networks: ours and foreign bridges.
///
/// # Errors
/// If a filter is unknown.
pub async fn ls(host: &Session<'_>, args: &Ls) -> Result<Vec<Listed>> {
    let state = host.look(Extent::to(Depth::Unattached)).await?;
    let mut records: BTreeMap<_, _> = state.networks().clone();
    for link in host.kernel.bridges().await? {
        if let Ok(name) = link.name.parse()
            && !link.is_ours()
            && !records.contains_key(&name)
        {
            let record = find::network(&host.kernel, &state, &name).await?;
            records.insert(name, record.into_owned());
        }
    }
    for (key, _) in &args.filter {
        if !["name", "mode", "driver", "label"].contains(&key.as_str()) {
            let message = format!("filter `{key}` is not known");
            return Err(Error::usage(message)
                .hint("filters are name, mode (or driver) and label")
                .into());
        }
    }
    let mut records: Vec<_> = records.into_values().filter(|r| matches(r, &args.filter)).collect();
    records.sort_by(|a, b| natural_order(a.network.name.as_str(), b.network.name.as_str()));
    let has_foreign = records.iter().any(|record| record.network.driver.is_foreign());
    let mut names = if has_foreign { engine_network::names().await } else { HashMap::new() };
    let listed = records.into_iter().map(|NetworkRecord { network, endpoints }| {
        let engine_network = names.remove(network.name.as_str());
        Listed { engine_network, endpoints: endpoints.len(), network }
    });
    Ok(listed.collect())
}

/// All keys must match; of the values of one key, any.
fn matches(record: &NetworkRecord, filters: &[(String, String)]) -> bool {
    let network = &record.network;
    let one = |key: &str, value: &str| match key {
        "name" => network.name.as_str() == value,
        "mode" | "driver" => network.driver.word() == value,
        _ => match value.split_once('=') {
            Some((label, wanted)) => network.labels.get(label).is_some_and(|v| v == wanted),
            None => network.labels.contains_key(value),
        },
    };
    filters.iter().all(|(key, _)| filters.iter().any(|(k, v)| k == key && one(k, v)))
}
