//! Endpoints on record: their namespaces are opened by name, and they go with their leases.

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

/// Takes endpoints of a network away, and gives back what they leased; tells whether anything
/// changed. `None`: it was a dry run.
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

/// Opens the endpoint's namespace by its name, if it is still there and still the same.
pub(in crate::ops) fn open(host: &mut Session<'_>, endpoint: &Endpoint) {
    if let Ok(Some(netns)) = Netns::of_name(&endpoint.netns)
        && netns.cookie() == endpoint.cookie
    {
        host.kernel.know(endpoint.netns.clone(), netns);
    }
}
