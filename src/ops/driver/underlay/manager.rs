//! Finds other programs that manage a link, and what they will do after a move.

use std::{fs, path::Path};

use super::request::Underlay;
use crate::ops::{Events, lookup::managers};

/// Warns of a program that manages the link: it does not know of the move, and a restart restores
/// its own configuration.
pub(super) fn warn(events: &dyn Events, args: &Underlay) {
    let (parent, bridge) = (args.parent.as_str(), args.name.as_str());
    let netplan = netplan(parent);
    let found = [
        network_manager(parent, bridge),
        networkd(netplan, parent, bridge),
        ifupdown(parent, bridge),
        dhcp_client(parent, bridge),
    ];
    for text in found.into_iter().flatten() {
        events.warn(&text);
    }
}

fn network_manager(parent: &str, bridge: &str) -> Option<String> {
    managers::network_manager(parent).map(|_| {
        format!(
            "NetworkManager manages `{parent}`: it may configure it again when its lease or its \
             connection changes, and does not make the bridge after a restart; for now: \
             `nmcli device set {parent} managed no`; for good: \
             `nmcli connection add type bridge ifname {bridge} stp no ethernet.cloned-mac-address \
             preserve` and `nmcli connection add type ethernet ifname {parent} master {bridge}`"
        )
    })
}

fn networkd(netplan: Option<String>, parent: &str, bridge: &str) -> Option<String> {
    let link = managers::networkd(parent)?;
    let will = format!(
        "manages `{parent}`: when it restarts or reloads it puts the addresses back on the link, \
         and removes routes that it did not make"
    );
    Some(match netplan {
        Some(file) => format!(
            "netplan (systemd-networkd) {will}; for good: in {file} `bridges: {{{bridge}: \
             {{interfaces: [{parent}], parameters: {{stp: false}}}}}}` with the addresses of \
             `{parent}`, then `netplan try`"
        ),
        None => format!(
            "systemd-networkd {will}; for good: a {bridge}.netdev of `Kind=bridge`, \
             `Bridge={bridge}` in {}, and the addresses in a {bridge}.network",
            link.network_file.unwrap_or_else(|| format!("the .network file of {parent}"))
        ),
    })
}

/// Returns netplan's file that names the link.
fn netplan(parent: &str) -> Option<String> {
    let entries = fs::read_dir("/etc/netplan").ok()?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let names_it = |text: &str| text.lines().any(|l| l.trim().trim_end_matches(':') == parent);
    let found = files.into_iter().find(|file| read(file).is_some_and(|text| names_it(&text)))?;
    Some(found.display().to_string())
}

fn ifupdown(parent: &str, bridge: &str) -> Option<String> {
    let state = read("/run/network/ifstate")?;
    state.lines().any(|line| line.split('=').next() == Some(parent)).then(|| {
        format!(
            "ifupdown manages `{parent}`: `ifdown {parent}` takes away what is no longer there, \
             and a restart does not make the bridge; for good: `iface {bridge} inet ...` with \
             `bridge_ports {parent}`, `bridge_stp off` and `bridge_fd 0` in /etc/network/interfaces"
        )
    })
}

/// DHCP clients.
const DHCP_CLIENTS: [&str; 5] = ["dhclient", "dhcpcd", "udhcpc", "dhcp6c", "pump"];

fn dhcp_client(parent: &str, bridge: &str) -> Option<String> {
    let here = fs::read_link("/proc/self/ns/net").ok()?;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let dir = entry.path();
        let Some(line) = read(dir.join("cmdline")).filter(|line| !line.is_empty()) else {
            continue;
        };
        let words: Vec<_> = line.split('\0').collect();
        let client = words.iter().take(2).find_map(|word| {
            let name = Path::new(word).file_name()?.to_str()?;
            DHCP_CLIENTS.into_iter().find(|client| *client == name)
        });
        let named =
            words.iter().any(|word| *word == parent || word.ends_with(&format!("-i{parent}")));
        let is_here = || fs::read_link(dir.join("ns/net")).is_ok_and(|there| there == here);
        if let Some(client) = client
            && named
            && is_here()
        {
            let pid = entry.file_name();
            let pid = pid.to_string_lossy();
            return Some(format!(
                "{client} (process {pid}) keeps the lease of `{parent}`: at the next renewal it \
                 puts the address back on the link, or takes it away; end it with `kill {pid}` and \
                 run `{client} {bridge}`, which keeps the same lease as the MAC is the same"
            ));
        }
    }
    None
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}
