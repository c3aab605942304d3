//! The way into a throwaway host: fresh network and mount namespaces, and fresh users.

use std::{fmt, fs, os::unix::process::CommandExt, path::Path, process::Command, str::FromStr};

use anyhow::{Context, Result, ensure};

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

/// What [`enter`] takes for a host with users of its own, which needs no root.
pub(crate) const OWN_USERS: &[&str] = &["--user", "--map-root-user"];

/// Becomes the same program with the same arguments in fresh namespaces: network, mounts, and what
/// else `unshare` is told; returns only if it fails.
pub(crate) fn enter(unshare: &[&str]) -> Result<()> {
    let outside = Namespaces::of_this_process()?;
    let error = Command::new("unshare")
        .args(unshare)
        .args(["--net", "--mount", "--"])
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
