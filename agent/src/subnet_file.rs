//! flannel's file with a host's subnets (`subnet.env`), for programs that read it, such as docker's
//! start script or flannel's CNI plugin.

use std::{fs, io, path::Path};

use netcord::model::{Flag, Network};

/// Writes the file of a network, if it differs.
///
/// # Errors
/// If the directory or the file cannot be written.
pub(crate) fn write(file: &Path, network: &Network) -> io::Result<()> {
    let text = text(network);
    if fs::read_to_string(file).is_ok_and(|there| there == text) {
        return Ok(());
    }
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    let next = file.with_extension("env.new");
    fs::write(&next, text)?;
    fs::rename(&next, file)
}

fn text(network: &Network) -> String {
    let cluster = network.driver.overlay().map(|overlay| overlay.cluster.clone());
    let mut lines = Vec::new();
    for (all, own) in cluster.iter().flatten().zip(&network.subnets) {
        let family = if all.is_ipv4() { "" } else { "IPV6_" };
        let first = own.gateway.unwrap_or_else(|| own.cidr.ip());
        lines.push(format!("FLANNEL_{family}NETWORK={all}"));
        lines.push(format!("FLANNEL_{family}SUBNET={first}/{}", own.cidr.prefix()));
    }
    lines.push(format!("FLANNEL_MTU={}", network.mtu));
    lines.push(format!("FLANNEL_IPMASQ={}", !network.has(Flag::NoMasquerade)));
    lines.join("\n") + "\n"
}
