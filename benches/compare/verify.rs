//! Looks at the kernel after an attach or a detach: was the same work done, and done whole?

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    host::{GATEWAY, NETWORK, PREFIX, Target},
    process::run,
};

/// Fails unless the target has all that an attach is for: a running link behind a running
/// bridge port, an IPv4 address, the default route; and, if so asked, no IPv6 address at either end.
pub(crate) fn attached(target: &Target, neighbours: usize, without_ipv6: bool) -> Result<()> {
    let links = links(target)?;
    let [link] = &links[..] else { bail!("one link besides `lo` expected: {links:?}") };
    ensure!(has_flags(link, &["UP", "LOWER_UP"]), "the link is not running: {link}");

    let addresses = link["addr_info"].as_array().context("no addresses")?;
    let (ipv4, ipv6): (Vec<_>, Vec<_>) = addresses.iter().partition(|a| a["family"] == "inet");
    let [address] = &ipv4[..] else { bail!("one address expected, found {}", link["addr_info"]) };
    let local = address["local"].as_str().unwrap_or_default();
    ensure!(
        local.starts_with("10.77.") && local != GATEWAY.to_string(),
        "`{local}` is no address of the network"
    );
    ensure!(address["prefixlen"] == PREFIX, "not the length of the subnet: {address}");
    ensure!(!without_ipv6 || ipv6.is_empty(), "an IPv6 address: {link}");

    let routes = ip(&["-n", &target.name, "route", "show", "default"])?;
    ensure!(
        routes[0]["gateway"] == GATEWAY.to_string() && routes[0]["dev"] == link["ifname"],
        "not the default route: {routes}"
    );

    let ports = ip(&["addr", "show", "master", NETWORK])?;
    let ports = ports.as_array().context("no bridge ports")?;
    ensure!(ports.len() == neighbours + 1, "{neighbours} bridge ports and one expected");
    for port in ports {
        ensure!(has_flags(port, &["UP"]), "a bridge port is not running: {port}");
        let none = port["addr_info"].as_array().is_none_or(Vec::is_empty);
        ensure!(!without_ipv6 || none, "a bridge port has an address: {port}");
    }
    Ok(())
}

/// Fails unless link and bridge port are gone.
pub(crate) fn detached(target: &Target, neighbours: usize) -> Result<()> {
    let links = links(target)?;
    ensure!(links.is_empty(), "a link is still there: {links:?}");
    let ports = ip(&["link", "show", "master", NETWORK])?;
    let left = ports.as_array().map_or(0, Vec::len);
    ensure!(left == neighbours, "{neighbours} bridge ports expected, found {left}");
    Ok(())
}

/// All links of a target but `lo`: docker counts their numbers up.
fn links(target: &Target) -> Result<Vec<Value>> {
    let links = ip(&["-n", &target.name, "addr", "show"])?;
    let links = links.as_array().context("no list of links")?;
    Ok(links.iter().filter(|link| link["ifname"] != "lo").cloned().collect())
}

fn has_flags(link: &Value, wanted: &[&str]) -> bool {
    let flags = link["flags"].as_array();
    wanted.iter().all(|flag| flags.is_some_and(|flags| flags.iter().any(|f| f == flag)))
}

fn ip(args: &[&str]) -> Result<Value> {
    let output = run(Command::new("ip").arg("-json").args(args))?;
    // An empty list is sometimes printed as nothing at all.
    Ok(serde_json::from_str(if output.trim().is_empty() { "[]" } else { &output })?)
}
