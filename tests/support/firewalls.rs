//! The firewalls that distributions come with, on a host of a test. Their files are private to it:
//! what they read and write of the machine's is covered by mounts.

use super::Lab;

impl Lab {
    /// Starts firewalld with this back end, `nftables` or `iptables`, and as it is installed
    /// otherwise; returns once it runs.
    #[track_caller]
    pub(crate) fn start_firewalld(&self, backend: &str) {
        self.script(include_str!("sh/firewalld.sh"), &[backend]).ok();
        self.until("firewall-cmd --state");
    }

    /// Turns ufw on, as it is installed.
    #[track_caller]
    pub(crate) fn start_ufw(&self) {
        self.script(include_str!("sh/ufw.sh"), &[]).ok();
    }
}
