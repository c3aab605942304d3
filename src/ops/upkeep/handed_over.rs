//! Finds where engines have moved the inner ends of endpoints. An engine that is called before it
//! makes the namespace reports nothing afterwards; the name in `/run/netns` leads there from then on.

use anyhow::Result;

use super::rebuild::other_end;
use crate::{
    kernel::{Kernel, Netns},
    model::{Endpoint, EndpointId, LinkName, NamedNetns, Network},
    ops::lookup::liveness,
    state::State,
};

/// Adds the namespaces of inner ends that were moved to the records.
pub(in crate::ops) async fn find(kernel: &Kernel, state: &mut State) -> Result<()> {
    // No namespace has the cookie 0.
    if !state.summaries().any(|(_, summary)| summary.cookie == 0) {
        return Ok(());
    }
    state.complete();
    let unmoved = state.endpoints().filter(|(_, endpoint)| endpoint.is_unmoved());
    let unmoved: Vec<_> = unmoved.map(|(r, e)| (r.network.clone(), e.clone())).collect();
    for (network, endpoint) in unmoved {
        let former = endpoint.id();
        if let Some(endpoint) = moved(kernel, &network, endpoint).await? {
            put_on_record(state, &network.name, &former, endpoint);
        }
    }
    Ok(())
}

/// Returns an endpoint as it is inside; `None` if its inner end is not there yet.
async fn moved(kernel: &Kernel, network: &Network, endpoint: Endpoint) -> Result<Option<Endpoint>> {
    let Some(host_ifname) = endpoint.host_ifname() else {
        let Some(parent) = network.driver.parent() else { return Ok(None) };
        let Some(parent) = kernel.link(parent.link.as_str()).await? else { return Ok(None) };
        let found = liveness::moved(network, &endpoint, &parent).await?;
        // A macvlan keeps the name of its creation, as its alias does: that identifies it.
        return Ok(found.map(|(open, _)| Endpoint { cookie: open.cookie(), ..endpoint }));
    };
    let Ok(Some(open)) = Netns::of_name(&endpoint.netns) else { return Ok(None) };
    let Some(port) = kernel.link(host_ifname.as_str()).await? else { return Ok(None) };
    let Some(inner) = other_end(kernel, &open, &port).await else { return Ok(None) };
    let Ok(ifname) = inner.name.parse::<LinkName>() else { return Ok(None) };
    let mac = inner.mac.unwrap_or(endpoint.mac);
    let mut routes = endpoint.routes.clone();
    for route in &mut routes {
        route.link = ifname.clone();
    }
    Ok(Some(Endpoint { cookie: open.cookie(), ifname, mac, routes, ..endpoint }))
}

fn put_on_record(state: &mut State, network: &LinkName, former: &EndpointId, endpoint: Endpoint) {
    let name = state.names().iter().find(|named| named.name == endpoint.netns).cloned();
    if let Some(name) = name {
        state.adopt_name(NamedNetns { cookie: endpoint.cookie, ..name });
    }
    state.adopt_instead(network, former, endpoint);
}
