//! `ls`: networks, ours and the bridges of others.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::{Host, find};
use crate::{
    cli,
    error::Error,
    model::{Network, NetworkRecord},
    output::{Row, SCHEMA_VERSION, natural_order},
};

#[derive(Serialize)]
struct Listed {
    schema_version: u32,
    #[serde(flatten)]
    network: Network,
    endpoints: usize,
}

pub(super) async fn run(host: &Host<'_, '_>, args: cli::Ls) -> Result<()> {
    let state = host.look().await?;
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
        if !["name", "mode", "label"].contains(&key.as_str()) {
            let message = format!("filter `{key}` is not known");
            return Err(Error::usage(message).hint("filters are name, mode and label").into());
        }
    }
    let mut records: Vec<_> = records.into_values().filter(|r| matches(r, &args.filter)).collect();
    records.sort_by(|a, b| natural_order(a.network.name.as_str(), b.network.name.as_str()));
    let rows: Vec<_> = records.into_iter().map(row).collect();
    host.output.list(&["NETWORK", "MODE", "SUBNET", "GATEWAY", "ENDPOINTS"], &rows)
}

/// Different keys: all; the same key again: any.
fn matches(record: &NetworkRecord, filters: &[(String, String)]) -> bool {
    let network = &record.network;
    let one = |key: &str, value: &str| match key {
        "name" => network.name.as_str() == value,
        "mode" => network.driver.word() == value,
        _ => match value.split_once('=') {
            Some((label, wanted)) => network.labels.get(label).is_some_and(|v| v == wanted),
            None => network.labels.contains_key(value),
        },
    };
    filters.iter().all(|(key, _)| filters.iter().any(|(k, v)| k == key && one(k, v)))
}

fn row(record: NetworkRecord) -> Row<Listed> {
    let NetworkRecord { network, endpoints } = record;
    let joined = |parts: Vec<String>| if parts.is_empty() { "-".into() } else { parts.join(",") };
    let foreign = if network.driver.is_foreign() { " (foreign)" } else { "" };
    Row {
        cells: vec![
            network.name.to_string(),
            format!("{}{foreign}", network.driver.word()),
            joined(network.subnets.iter().map(|s| s.cidr.to_string()).collect()),
            joined(
                network.subnets.iter().filter_map(|s| s.gateway).map(|g| g.to_string()).collect(),
            ),
            endpoints.len().to_string(),
        ],
        object: Listed { schema_version: SCHEMA_VERSION, network, endpoints: endpoints.len() },
    }
}
