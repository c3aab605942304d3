//! DHCP leases, and the processes that renew them.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// A DHCP lease of an endpoint. The address is among the endpoint's addresses. Times are seconds
/// since boot (`CLOCK_BOOTTIME`): the wall clock may be set meanwhile, and records end with the boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The server that granted it.
    pub server: Ipv4Addr,
    /// The gateway from the server (option 3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Ipv4Addr>,
    /// Whether the endpoint's default route uses that gateway.
    pub routed: bool,
    /// When it was last granted or renewed.
    pub acquired: u64,
    /// When renewal begins (T1).
    pub renews: u64,
    /// When it expires.
    pub expires: u64,
    /// The process that renews it. `None` until it is started.
    #[serde(rename = "keeper", default, skip_serializing_if = "Option::is_none")]
    pub renewer: Option<AgentProcess>,
}

/// A process that outlives its command, such as a lease renewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentProcess {
    /// The PID.
    pub pid: u32,
    /// The start time in clock ticks since boot, since a PID is reused.
    pub started: u64,
}
