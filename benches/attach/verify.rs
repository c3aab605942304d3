//! Looks at the kernel after an attach or a detach: was the same work done, and done whole?

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::contender::Contender;

/// Fails unless the target has all that an attach is for: a running `eth0` behind a running
/// bridge port, an IPv4 address, the default route, and no IPv6 address at either end.
pub(crate) fn attached(who: Contender, target: &str) -> Result<()> {
    let links = ip(&["-n", target, "addr", "show", "dev", "eth0"])?;
    let link = links.get(0).context("no `eth0` in the target")?;
    ensure!(has_flags(link, &["UP", "LOWER_UP"]), "`eth0` is not running: {link}");

    let addresses = link["addr_info"].as_array().context("no addresses")?;
    let [address] = &addresses[..] else {
        bail!("one address expected, found {}", link["addr_info"])
    };
    let (subnet, _) = who.gateway().rsplit_once('.').context("a gateway is an address")?;
    let local = address["local"].as_str().unwrap_or_default();
    ensure!(
        local.starts_with(&format!("{subnet}.")) && local != who.gateway(),
        "`{local}` is no address of the network"
    );
    ensure!(address["prefixlen"] == 24, "not the length of the subnet: {address}");

    let routes = ip(&["-n", target, "route", "show", "default"])?;
    ensure!(
        routes[0]["gateway"] == who.gateway() && routes[0]["dev"] == "eth0",
        "not the default route: {routes}"
    );

    let ports = ip(&["addr", "show", "master", who.bridge()])?;
    ensure!(
        ports.as_array().is_some_and(|all| all.len() == 1) && has_flags(&ports[0], &["UP"]),
        "one running bridge port expected: {ports}"
    );
    ensure!(
        ports[0]["addr_info"].as_array().is_none_or(Vec::is_empty),
        "a bridge port without addresses expected: {ports}"
    );
    Ok(())
}

/// Fails unless link and bridge port are gone.
pub(crate) fn detached(who: Contender, target: &str) -> Result<()> {
    let links = ip(&["-n", target, "link", "show"])?;
    let left = links.as_array().context("no list of links")?;
    ensure!(left.iter().all(|link| link["ifname"] != "eth0"), "`eth0` is still there: {links}");
    let ports = ip(&["link", "show", "master", who.bridge()])?;
    ensure!(ports.as_array().is_none_or(Vec::is_empty), "a bridge port is still there: {ports}");
    Ok(())
}

fn has_flags(link: &Value, wanted: &[&str]) -> bool {
    let flags = link["flags"].as_array();
    wanted.iter().all(|flag| flags.is_some_and(|flags| flags.iter().any(|f| f == flag)))
}

fn ip(args: &[&str]) -> Result<Value> {
    let output = Command::new("ip").arg("-json").args(args).output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`ip {}`: {}", args.join(" "), complaint.trim());
    // An empty list is sometimes printed as nothing at all.
    let text = if output.stdout.trim_ascii().is_empty() { b"[]" } else { &output.stdout[..] };
    Ok(serde_json::from_slice(text)?)
}
