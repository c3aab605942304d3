//! Finds programs that manage a link, from their files below `/run`, which are named by the link's
//! index.

use std::fs;

/// Returns NetworkManager's file for a link, if it manages the link.
pub(in crate::ops) fn network_manager(link: &str) -> Option<String> {
    let file = format!("/run/NetworkManager/devices/{}", index(link)?);
    let device = fs::read_to_string(&file).ok()?;
    device.lines().any(|line| line == "managed=true").then_some(file)
}

/// Returns what systemd-networkd stores about a link, if it manages the link.
pub(in crate::ops) fn networkd(link: &str) -> Option<Networkd> {
    let file = format!("/run/systemd/netif/links/{}", index(link)?);
    let text = fs::read_to_string(&file).ok()?;
    let says = |key: &str| text.lines().find_map(|line| line.strip_prefix(key).map(str::to_owned));
    let state = says("ADMIN_STATE=").filter(|state| state != "unmanaged")?;
    Some(Networkd { file, state, network_file: says("NETWORK_FILE=") })
}

/// The state of a link in systemd-networkd.
pub(in crate::ops) struct Networkd {
    /// The file that contains it.
    pub file: String,
    /// `configured`, `configuring`, ...
    pub state: String,
    /// The `.network` file that applies.
    pub network_file: Option<String>,
}

/// Returns the `.link` file by which udev configured a link, if there is one.
pub(in crate::ops) fn udev(link: &str) -> Option<String> {
    let data = fs::read_to_string(format!("/run/udev/data/n{}", index(link)?)).ok()?;
    data.lines().find_map(|line| line.strip_prefix("E:ID_NET_LINK_FILE=").map(str::to_owned))
}

fn index(link: &str) -> Option<String> {
    let index = fs::read_to_string(format!("/sys/class/net/{link}/ifindex")).ok()?;
    Some(index.trim().to_owned())
}
