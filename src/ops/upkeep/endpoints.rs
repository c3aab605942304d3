//! Opens the namespaces of endpoints on record, and removes endpoints with their leases.

use anyhow::Result;

use crate::{
    kernel::Netns,
    model::{Endpoint, Network},
    ops::{
        Session,
        upkeep::{leases, removal},
    },
    state::State,
};

/// Removes endpoints of a network, and releases their leases; returns whether anything changed.
/// `None`: a dry run.
pub(in crate::ops) async fn away(
    host: &mut Session<'_>,
    state: &mut State,
    network: &Network,
    endpoints: &[Endpoint],
) -> Result<Option<bool>> {
    for endpoint in endpoints {
        open(host, endpoint);
    }
    let plan = removal::endpoints(&host.kernel, state, network, endpoints).await?;
    let kept = leases::kept(endpoints);
    let changed = host.carry_out(&plan, state).await?;
    if changed.is_some() {
        for endpoint in endpoints {
            leases::end(host, network, endpoint, &kept).await?;
        }
    }
    Ok(changed)
}

/// Opens the endpoint's namespace by its name, if that still leads to it.
pub(in crate::ops) fn open(host: &mut Session<'_>, endpoint: &Endpoint) {
    if let Ok(Some(netns)) = Netns::of_name(&endpoint.netns)
        && netns.cookie() == endpoint.cookie
    {
        host.kernel.know(endpoint.netns.clone(), netns);
    }
}
