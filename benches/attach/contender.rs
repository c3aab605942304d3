//! The three ways to attach a target, each as the processes it takes.

use std::{env, ffi::OsString, process::Command};

use anyhow::Result;

use crate::host::{Host, PLAIN_BRIDGE, PLAIN_GATEWAY};

const NETCORD_NETWORK: &str = "lab0";
const NETCORD_GATEWAY: &str = "10.77.0.1";
const PLAIN_ADDRESS: &str = "10.78.0.2/24";

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// The program of this repository.
    Netcord,
    /// The manual steps, as a shell script.
    Script,
    /// As little as the kernel lets anyone do.
    Floor,
}

impl Contender {
    /// Its word in tables and in the names of its targets.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Netcord => "netcord",
            Self::Script => "script",
            Self::Floor => "floor",
        }
    }

    /// Whether its links start with IPv6.
    ///
    /// All three end with none on either end, as an endpoint of an IPv4-only network should.
    /// netcord sees to that itself, within its time; for the others it is so beforehand.
    pub(crate) fn starts_with_ipv6(self) -> bool {
        self == Self::Netcord
    }

    /// The bridge it attaches to.
    pub(crate) fn bridge(self) -> &'static str {
        match self {
            Self::Netcord => NETCORD_NETWORK,
            Self::Script | Self::Floor => PLAIN_BRIDGE,
        }
    }

    /// The gateway its targets must end up with.
    pub(crate) fn gateway(self) -> &'static str {
        match self {
            Self::Netcord => NETCORD_GATEWAY,
            Self::Script | Self::Floor => PLAIN_GATEWAY,
        }
    }

    /// What must be there before its first turn, outside the time.
    pub(crate) fn prepare(self, host: &Host) -> Result<Option<Command>> {
        host.new_links_have_ipv6(self.starts_with_ipv6())?;
        Ok((self == Self::Netcord).then(|| {
            let mut command = netcord();
            command.args(["bridge", NETCORD_NETWORK, "--subnet", "10.77.0.0/24"]);
            command
        }))
    }

    /// The process that attaches the target.
    pub(crate) fn attach(self, target: &str) -> Result<Command> {
        Ok(match self {
            Self::Netcord => {
                let mut command = netcord();
                command.args(["attach", NETCORD_NETWORK, target]);
                command
            }
            Self::Script => {
                let mut command = script(include_str!("script/attach.sh"));
                command.args([PLAIN_BRIDGE, target, PLAIN_ADDRESS, PLAIN_GATEWAY]);
                command
            }
            Self::Floor => {
                let mut command = Command::new(env::current_exe()?);
                command.args(["floor-attach", PLAIN_BRIDGE, target, PLAIN_ADDRESS, PLAIN_GATEWAY]);
                command
            }
        })
    }

    /// The process that detaches it again.
    pub(crate) fn detach(self, target: &str) -> Result<Command> {
        Ok(match self {
            Self::Netcord => {
                let mut command = netcord();
                command.args(["detach", NETCORD_NETWORK, target]);
                command
            }
            Self::Script => {
                let mut command = script(include_str!("script/detach.sh"));
                command.arg(target);
                command
            }
            Self::Floor => {
                let mut command = Command::new(env::current_exe()?);
                command.arg("floor-detach");
                command
            }
        })
    }

    /// One sentence on what its attach consists of.
    pub(crate) fn attach_is(self) -> &'static str {
        match self {
            Self::Netcord => {
                "`netcord attach lab0 NAME`: finds the target, takes the lock, chooses the lowest \
                 free address, keeps a record, and makes link, bridge port, address and default \
                 route, with IPv6 off."
            }
            Self::Script => {
                "the manual steps as one `sh` script, one program each: a name in `/run/netns`, a \
                 veth, its bridge port, the move into the namespace, name, up, address and \
                 default route, with the address given and IPv6 off beforehand; no checks, no \
                 record, no way back."
            }
            Self::Floor => {
                "one process with two netlink sends: one message makes the veth in place, with \
                 bridge port, names, MTU and hardware addresses, one batch brings `lo` and \
                 `eth0` up and sets address and default route, with the address given and IPv6 \
                 off beforehand."
            }
        }
    }

    /// One sentence on what its detach consists of.
    pub(crate) fn detach_is(self) -> &'static str {
        match self {
            Self::Netcord => {
                "`netcord detach lab0 NAME`: removes the link and frees what the record holds."
            }
            Self::Script => "`ip link del` of the host end, and `rm` of the name.",
            Self::Floor => {
                "one process with one message that deletes the host end, nearly all of it the \
                 kernel's own wait."
            }
        }
    }
}

fn netcord() -> Command {
    let other = env::var_os("NETCORD_BENCH_BIN");
    let program = other.unwrap_or_else(|| OsString::from(env!("CARGO_BIN_EXE_netcord")));
    let mut command = Command::new(program);
    // Records belong to the throwaway host, whatever the one who starts the bench has set.
    command.env_remove("NETCORD_STATE_DIR");
    command
}

fn script(text: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", text, "sh"]);
    command
}
