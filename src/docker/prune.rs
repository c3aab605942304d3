//! Removes the networks that docker has forgotten. It ignores the answer of `DeleteNetwork`, and calls
//! nobody where nobody listens; and it does not know what a call made that was killed.

use anyhow::Result;

use super::{network_driver::remove_network, options::Settings, protocol::Id, store};
use crate::ops::{Session, owned};

/// Removes what docker asked for and does not have; returns descriptions. The endpoints are left to
/// [`crate::ops::prune`].
///
/// # Errors
/// If a record cannot be read.
pub async fn prune(host: &mut Session<'_>) -> Result<Vec<String>> {
    let mut all = store::all()?;
    all.retain(|asked| !asked.may_be_unanswered());
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let known = match owned::networks_of_docker().await {
        Ok(known) => known,
        Err(error) => {
            host.note(&format!("docker's networks are kept: {error:#}"));
            return Ok(Vec::new());
        }
    };
    let mut pruned = Vec::new();
    for asked in all.into_iter().map(|asked| asked.request) {
        let id = &asked.network_id;
        if known.contains(id.as_str()) {
            continue;
        }
        let settings = Settings::read(&asked)?;
        let what = format!("network {} (docker:{})", settings.network(), id.short());
        match remove(host, &settings, id).await {
            Ok(()) => pruned.push(what),
            Err(error) => host.note(&format!("{what} is kept: {error:#}")),
        }
    }
    Ok(pruned)
}

async fn remove(host: &mut Session<'_>, settings: &Settings, id: &Id) -> Result<()> {
    remove_network(host, settings).await?;
    if host.is_dry_run() { Ok(()) } else { store::remove(id) }
}
