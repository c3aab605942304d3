//! A throwaway host: fresh user, network and mount namespaces, with a private `/run`.
//!
//! It dies with the bench, and all in it. The way in is the `unshare` program, also for root:
//! inside, even root has no power over the machine.

use std::{fmt, fs, os::unix::process::CommandExt, path::Path, process::Command, str::FromStr};

use anyhow::{Context, Result, bail, ensure};

/// Where the kernel keeps whether a new link of this namespace starts without IPv6.
const IPV6_OFF_FOR_NEW_LINKS: &str = "/proc/sys/net/ipv6/conf/default/disable_ipv6";

/// The bridge for the manual steps and the floor, of the same shape as netcord's.
pub(crate) const PLAIN_BRIDGE: &str = "plain0";
/// Its address, and so the gateway of its endpoints.
pub(crate) const PLAIN_GATEWAY: &str = "10.78.0.1";

/// The network and mount namespaces of a process, as the kernel names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Namespaces {
    net: String,
    mount: String,
}

impl Namespaces {
    fn of_this_process() -> Result<Self> {
        let name = |kind| -> Result<String> {
            let link = fs::read_link(Path::new("/proc/self/ns").join(kind))
                .with_context(|| format!("cannot tell the {kind} namespace of this process"))?;
            Ok(link.to_string_lossy().into_owned())
        };
        Ok(Self { net: name("net")?, mount: name("mnt")? })
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.net, self.mount)
    }
}

impl FromStr for Namespaces {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (net, mount) = text.split_once(',').ok_or("two namespaces, with a comma between")?;
        Ok(Self { net: net.to_owned(), mount: mount.to_owned() })
    }
}

/// Becomes the same program with the same arguments in fresh namespaces; returns only if it fails.
pub(crate) fn enter() -> Result<()> {
    let outside = Namespaces::of_this_process()?;
    let error = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount", "--"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .arg(format!("--outside={outside}"))
        .exec();
    Err(error).context("cannot start `unshare`")
}

/// Fails unless both namespaces are others than those that the bench was started in.
pub(crate) fn refuse_to_stay(outside: &Namespaces) -> Result<()> {
    let here = Namespaces::of_this_process()?;
    ensure!(
        here.net != outside.net && here.mount != outside.mount,
        "refusing to measure in the namespaces of the machine ({here})"
    );
    Ok(())
}

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
