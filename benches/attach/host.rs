//! A throwaway host: fresh user, network and mount namespaces, with a private `/run`.
//!
//! It dies with the bench, and all in it. The way in is the `unshare` program, also for root:
//! inside, even root has no power over the machine.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};

/// Where the kernel keeps whether a new link of this namespace starts without IPv6.
const IPV6_OFF_FOR_NEW_LINKS: &str = "/proc/sys/net/ipv6/conf/default/disable_ipv6";

/// The bridge for the manual steps and the floor, of the same shape as netcord's.
pub(crate) const PLAIN_BRIDGE: &str = "plain0";
/// Its address, and so the gateway of its endpoints.
pub(crate) const PLAIN_GATEWAY: &str = "10.78.0.1";

/// The host inside, ready for targets.
pub(crate) struct Host {
    kernel_has_ipv6: bool,
}

impl Host {
    /// Gives the host a private `/run`, a running `lo`, and the bridge [`PLAIN_BRIDGE`].
    pub(crate) fn set_up() -> Result<Self> {
        run("mount -t tmpfs -o mode=755 tmpfs /run")?;
        fs::create_dir("/run/netns")?;
        let host = Self { kernel_has_ipv6: Path::new(IPV6_OFF_FOR_NEW_LINKS).exists() };
        run("ip link set lo up")?;
        host.new_links_have_ipv6(false)?;
        run(&format!("ip link add {PLAIN_BRIDGE} type bridge"))?;
        run(&format!("ip addr add {PLAIN_GATEWAY}/24 dev {PLAIN_BRIDGE}"))?;
        run(&format!("ip link set {PLAIN_BRIDGE} up"))?;
        host.new_links_have_ipv6(true)?;
        Ok(host)
    }

    /// Makes a target: a namespace as `ip netns` makes it.
    ///
    /// With `ipv6` false its links start without IPv6.
    pub(crate) fn add_target(&self, name: &str, ipv6: bool) -> Result<()> {
        run(&format!("ip netns add {name}"))?;
        if !ipv6 && self.kernel_has_ipv6 {
            let done = Command::new("ip")
                .args(["netns", "exec", name, "sh", "-c"])
                .arg(format!("echo 1 > {IPV6_OFF_FOR_NEW_LINKS}"))
                .status()?;
            ensure!(done.success(), "cannot turn IPv6 off in `{name}`");
        }
        Ok(())
    }

    /// Decides whether links made on the host from now on start with IPv6.
    pub(crate) fn new_links_have_ipv6(&self, ipv6: bool) -> Result<()> {
        if self.kernel_has_ipv6 {
            fs::write(IPV6_OFF_FOR_NEW_LINKS, if ipv6 { "0" } else { "1" })
                .with_context(|| format!("cannot write {IPV6_OFF_FOR_NEW_LINKS}"))?;
        }
        Ok(())
    }
}

/// Runs a command of plain words.
fn run(line: &str) -> Result<()> {
    let mut words = line.split_whitespace();
    let Some(program) = words.next() else { bail!("an empty command") };
    let status = Command::new(program)
        .args(words)
        .status()
        .with_context(|| format!("cannot start `{program}`"))?;
    ensure!(status.success(), "`{line}` failed: {status}");
    Ok(())
}
