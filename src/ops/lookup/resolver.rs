//! Where programs ask for names.

use std::{fs, net::IpAddr};

/// The host's own file.
pub(in crate::ops) const HOSTS: &str = "/etc/resolv.conf";

/// The servers that a `resolv.conf` names; none if it is not there.
pub(in crate::ops) fn nameservers(file: &str) -> Vec<IpAddr> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|server| server.trim().parse().ok())
        .collect()
}
