//! The plans of endpoints and published ports, fitted to this host.

use anyhow::Result;

use crate::{
    kernel::Kernel,
    model::{Endpoint, Network, PublishedPort},
    plan::{self, BridgedFrames, Plan},
};

/// The plan that attaches an endpoint, with its published ports.
pub(in crate::ops) fn attach(
    kernel: &Kernel,
    network: &Network,
    endpoint: &Endpoint,
) -> Result<Plan> {
    Ok(plan::attach(network, endpoint, frames(kernel, &endpoint.ports)?))
}

/// The plan that publishes ports of an endpoint.
pub(in crate::ops) fn publish(
    kernel: &Kernel,
    network: &Network,
    endpoint: &Endpoint,
    ports: &[PublishedPort],
) -> Result<Plan> {
    Ok(plan::publish(network, endpoint, ports, frames(kernel, ports)?))
}

/// It matters to published ports only.
fn frames(kernel: &Kernel, ports: &[PublishedPort]) -> Result<BridgedFrames> {
    if ports.is_empty() { Ok(BridgedFrames::PassBy) } else { kernel.bridged_frames() }
}
