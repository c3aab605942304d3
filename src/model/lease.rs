//! Leases of DHCP servers, and who renews them.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// What a DHCP server gave an endpoint besides its address, which is among the endpoint's. Times
/// are seconds of the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who gave it, and gets it back.
    pub server: Ipv4Addr,
    /// The gateway that the server named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Ipv4Addr>,
    /// The endpoint has its default route by that gateway.
    pub routed: bool,
    /// When it was given or prolonged last.
    pub acquired: u64,
    /// From when on the server is asked to prolong it.
    pub renews: u64,
    /// When the address is the endpoint's no longer.
    pub expires: u64,
    /// Who asks. `None` until it is started.
    #[serde(rename = "keeper", default, skip_serializing_if = "Option::is_none")]
    pub renewer: Option<AgentProcess>,
}

/// The process that keeps a lease: it lives as long as the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentProcess {
    /// Its process ID.
    pub pid: u32,
    /// When it was started, in the kernel's ticks since boot: a PID is used again.
    pub started: u64,
}
