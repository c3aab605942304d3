//! What all of the host has one of.

use anyhow::Result;

use super::snapshot::Snapshot;
use crate::model::Finding;

/// Connection tracking that has no room: new flows are dropped.
pub(super) fn conntrack(snapshot: &Snapshot<'_>) -> Result<Vec<Finding>> {
    let read = |name: &str| -> Result<Option<u64>> {
        let value = snapshot.kernel.sysctl(&format!("net/netfilter/nf_conntrack_{name}"))?;
        Ok(value.and_then(|value| value.parse().ok()))
    };
    let (Some(count), Some(max)) = (read("count")?, read("max")?) else { return Ok(Vec::new()) };
    // No limit is 0.
    if max == 0 || count < max - max / 20 {
        return Ok(Vec::new());
    }
    let what = "the connection tracking table is full: packets of new connections are dropped";
    let finding = Finding::error("host", what)
        .shown_by(format!("net.netfilter.nf_conntrack_count = {count}"))
        .shown_by(format!("net.netfilter.nf_conntrack_max = {max}"))
        .mended_by(format!("sysctl -w net.netfilter.nf_conntrack_max={}", max.max(count) * 2));
    Ok(vec![finding])
}
