//! Who else manages a link, as their own files below `/run` tell: by the link's number.

use std::fs;

/// The file by which NetworkManager says that it manages a link, if it does.
pub(in crate::ops) fn network_manager(link: &str) -> Option<String> {
    let file = format!("/run/NetworkManager/devices/{}", index(link)?);
    let device = fs::read_to_string(&file).ok()?;
    device.lines().any(|line| line == "managed=true").then_some(file)
}

/// What systemd-networkd knows of a link, if it manages it.
pub(in crate::ops) fn networkd(link: &str) -> Option<Networkd> {
    let file = format!("/run/systemd/netif/links/{}", index(link)?);
    let text = fs::read_to_string(&file).ok()?;
    let says = |key: &str| text.lines().find_map(|line| line.strip_prefix(key).map(str::to_owned));
    let state = says("ADMIN_STATE=").filter(|state| state != "unmanaged")?;
    Some(Networkd { file, state, network_file: says("NETWORK_FILE=") })
}

/// What systemd-networkd says of a link.
pub(in crate::ops) struct Networkd {
    /// Where it says so.
    pub file: String,
    /// `configured`, `configuring`, ...
    pub state: String,
    /// The `.network` file that it goes by.
    pub network_file: Option<String>,
}

/// The `.link` file by which udev configured a link, if it did.
pub(in crate::ops) fn udev(link: &str) -> Option<String> {
    let data = fs::read_to_string(format!("/run/udev/data/n{}", index(link)?)).ok()?;
    data.lines().find_map(|line| line.strip_prefix("E:ID_NET_LINK_FILE=").map(str::to_owned))
}

fn index(link: &str) -> Option<String> {
    let index = fs::read_to_string(format!("/sys/class/net/{link}/ifindex")).ok()?;
    Some(index.trim().to_owned())
}
