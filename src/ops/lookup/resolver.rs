//! Reads the configuration of the DNS resolver.

use std::{fs, net::IpAddr};

/// The host's own configuration.
pub(in crate::ops) const HOSTS: &str = "/etc/resolv.conf";

/// Returns the servers in a `resolv.conf`; none if the file does not exist.
pub(in crate::ops) fn nameservers(file: &str) -> Vec<IpAddr> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|server| server.trim().parse().ok())
        .collect()
}
