//! The floor: a process of its own that does what [`raw`] does, and nothing else.

use std::{env, process::Command};

use anyhow::{Result, bail};

use super::{Contender, Operation, Work};
use crate::{
    host::{self, GATEWAY, Host, NETWORK, PREFIX, Target},
    process::run,
    raw,
};

/// The first argument of this program where it is the floor.
const ATTACH: &str = "floor-attach";
const DETACH: &str = "floor-detach";

/// As little as the kernel lets anyone do.
pub(crate) struct Floor(Host);

impl Floor {
    /// Prepares its host.
    pub(crate) fn new() -> Result<Self> {
        let host = Host::fresh()?;
        host.within(|| {
            host::new_links_have_no_ipv6()?;
            host::add_bridge()
        })?;
        Ok(Self(host))
    }

    /// Does the work if this process was started as the floor.
    pub(crate) fn serve(words: &[&str]) -> Option<Result<()>> {
        match words {
            [ATTACH, target, address] => Some(
                address
                    .parse()
                    .map_err(Into::into)
                    .and_then(|address| raw::attach(NETWORK, target, (address, PREFIX), GATEWAY)),
            ),
            [DETACH, target] => Some(raw::detach(target)),
            _ => None,
        }
    }
}

impl Contender for Floor {
    fn name(&self) -> &'static str {
        "floor"
    }

    fn host(&self) -> &Host {
        &self.0
    }

    fn work(&self, operation: Operation) -> Work {
        match operation {
            Operation::Attach => Work::Is(
                "one process with two netlink sends: one message makes the veth in place, with \
                 bridge port, names, MTU and hardware addresses, one batch brings `lo` and `eth0` \
                 up and sets address and default route; the address is given, IPv6 is off \
                 beforehand, nothing is looked at or remembered.",
            ),
            Operation::Detach => Work::Is(
                "one process with one message that deletes the host end, nearly all of it the \
                 kernel's own wait.",
            ),
            Operation::AttachPublish | Operation::DetachPublished => Work::No("links only"),
        }
    }

    fn perform(&self, operation: Operation, target: &Target) -> Result<()> {
        let mut command = Command::new(env::current_exe()?);
        match operation {
            Operation::Attach => command.args([ATTACH, &target.name, &target.address.to_string()]),
            Operation::Detach => command.args([DETACH, &target.name]),
            _ => bail!("the floor publishes nothing"),
        };
        run(&mut command).map(drop)
    }

    fn starts_with_ipv6(&self) -> bool {
        false
    }

    fn ends_without_ipv6(&self) -> bool {
        true
    }
}
