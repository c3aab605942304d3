//! Ports that an engine holds for its container. podman opens the sockets of published ports and hands them
//! to the container's monitor, so that no other program takes them; nobody accepts on them.

use crate::{kernel::sockets::Holder, model::Endpoint, process};

/// Returns whether this process holds ports for the container of an endpoint: the engine that asked for the
/// endpoint names the container in its arguments.
pub(in crate::ops) fn is_reservation(endpoint: &Endpoint, holder: Holder) -> bool {
    let owner = endpoint.owner.as_ref();
    owner.is_some_and(|owner| process::has_argument(holder.pid, &owner.id))
}
