//! The firewalls that distributions come with, on a host of a test. Their files are private to it:
//! what they read and write of the machine's is covered by mounts.

use super::Lab;

/// What `dbus-daemon` needs to know: everybody in the namespace may own and call everything.
const BUS: &str = r#"<busconfig>
<type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default">
<allow user="*"/><allow own="*"/><allow eavesdrop="true"/>
<allow send_destination="*"/><allow receive_sender="*"/>
</policy></busconfig>"#;

impl Lab {
    /// Starts firewalld with this back end, `nftables` or `iptables`, and as it is installed
    /// otherwise; returns once it runs.
    #[track_caller]
    pub(crate) fn start_firewalld(&self, backend: &str) {
        self.sh(&format!(
            "mkdir -p /run/dbus /run/firewalld-etc
             echo '{BUS}' >/run/bus.conf
             echo FirewallBackend={backend} >/run/firewalld-etc/firewalld.conf
             mount --bind /run/firewalld-etc /etc/firewalld
             dbus-daemon --config-file=/run/bus.conf --fork --nopidfile
             setsid firewalld --nofork --nopid --log-file=/run/firewalld.log >/run/firewalld.out 2>&1 &"
        ))
        .ok();
        self.until("firewall-cmd --state");
    }

    /// Turns ufw on, as it is installed.
    #[track_caller]
    pub(crate) fn start_ufw(&self) {
        self.sh("mkdir -p /run/ufw-etc/applications.d
                 cp /usr/share/ufw/*.rules /usr/share/ufw/*.init /usr/share/ufw/ufw.conf /etc/ufw/sysctl.conf /run/ufw-etc
                 mount --bind /run/ufw-etc /etc/ufw
                 cp /etc/default/ufw /run/ufw-default && mount --bind /run/ufw-default /etc/default/ufw
                 ufw --force enable")
            .ok();
    }
}
