//! The configuration of a link of the host: reads it completely, and moves it to another link in
//! one message.

mod present;
mod read;
mod ready;
mod write;

use anyhow::Result;
use netlink_packet_core::Nla;
use rtnetlink::packet_route::route::RouteMetric;

use super::{Kernel, Link};
use crate::model::{LinkConfig, LinkName};
use read::read;
use ready::ready;
pub(super) use write::write;

/// Returns a route's metric as number and value; `None` for one with a name (a congestion
/// algorithm).
fn metric(metric: &RouteMetric) -> Option<(u16, u32)> {
    let mut value = [0; 4];
    if matches!(metric, RouteMetric::CcAlgo(_)) || metric.value_len() != value.len() {
        return None;
    }
    metric.emit_value(&mut value);
    Some((metric.kind(), u32::from_ne_bytes(value)))
}

impl Kernel {
    /// Returns the configuration of a link of the host: addresses, routes, policy rules,
    /// neighbours.
    pub async fn link_config(&self, link: &Link) -> Result<LinkConfig> {
        read(&self.rtnl, link, &self.links().await?).await
    }

    /// Waits until a link has carrier and its addresses are usable.
    pub(super) async fn ready(&self, link: &LinkName) -> Result<()> {
        ready(&self.rtnl, link).await
    }
}
