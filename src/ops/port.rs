//! `port`: lists published ports of a target, as `docker port` does.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    Session,
    lookup::endpoints::everywhere,
    upkeep::need::{Depth, Extent},
};
use crate::{
    error::Error,
    model::{InnerPort, PublishedPort, Target},
};

/// The published ports to list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Port {
    /// The target that has the ports.
    pub target: Target,
    /// Only this port of the target.
    pub port: Option<InnerPort>,
}

/// Published ports.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// The ports.
    pub ports: Vec<PublishedPort>,
}

/// Lists published ports of a target.
///
/// # Errors
/// If the target is attached to no network, or the port is not published.
pub async fn port(host: &Session<'_>, args: &Port) -> Result<Listed> {
    let state = host.look(Extent::to(Depth::Unattached)).await?;
    let endpoints = everywhere(host, &state, &args.target).await?;
    if endpoints.is_empty() {
        let message = format!("target `{}` is attached to no network", args.target);
        return Err(Error::not_found(message).into());
    }
    let is_meant = |p: &&PublishedPort| match args.port {
        None => true,
        Some(InnerPort { port, protocol }) => {
            p.protocol == protocol && (p.container.first..=p.container.last).contains(&port)
        }
    };
    let ports: Vec<_> = endpoints.iter().flat_map(|(_, e)| &e.ports).filter(is_meant).collect();
    if let (Some(InnerPort { port, protocol }), true) = (args.port, ports.is_empty()) {
        let message = format!("port {port}/{protocol} of `{}` is not published", args.target);
        let is_hosts =
            |p: &&PublishedPort| p.protocol == protocol && p.host.ports().any(|h| h == port);
        let mut all = endpoints.iter().flat_map(|(_, e)| &e.ports);
        let mut error = Error::not_found(message);
        if let Some(hosts) = all.find(is_hosts) {
            error = error.hint(format!(
                "{port} is the host's port of `{}`; what is asked for is the target's",
                hosts.spec()
            ));
        }
        return Err(error.into());
    }
    Ok(Listed { ports: ports.into_iter().cloned().collect() })
}
