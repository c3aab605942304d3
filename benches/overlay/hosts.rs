//! Hosts on one wire: host N is the namespace `hN` with `192.0.2.N/24` on `eth0`.

use std::{env, process::Command};

use anyhow::Result;

use crate::{
    netns::within,
    process::{run, run_with, words},
};

/// Where the store is, and the way to all other hosts.
pub(crate) const WORLD: &str = "h254";

/// Makes the throwaway host's own `/run`.
pub(crate) fn prepare() -> Result<()> {
    words("mount -t tmpfs -o mode=755 tmpfs /run")?;
    words("mkdir /run/netns")?;
    words("ip link add wire type bridge")?;
    words("ip link set wire up")?;
    // A switch costs its hosts nothing.
    let switch = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    script(None, &format!("[ ! -e {switch} ] || echo 0 >{switch}")).map(drop)
}

/// Makes hosts of these numbers.
pub(crate) fn add(numbers: &[u8]) -> Result<()> {
    for number in numbers {
        script(
            None,
            &format!(
                "ip netns add h{number}
                 ip link add p{number} master wire type veth peer name eth0 netns h{number}
                 ip link set p{number} up
                 ip -n h{number} link set lo up; ip -n h{number} link set eth0 up
                 ip -n h{number} addr add 192.0.2.{number}/24 dev eth0"
            ),
        )?;
    }
    Ok(())
}

/// Takes hosts away.
pub(crate) fn remove(numbers: &[u8]) -> Result<()> {
    for number in numbers {
        // The kernel takes a namespace's links away later, and the names have to be free now.
        words(&format!("ip link del p{number}"))?;
        words(&format!("ip netns del h{number}"))?;
    }
    Ok(())
}

/// Runs netcord on a host; returns what it printed.
pub(crate) fn netcord(host: &str, line: &str) -> Result<String> {
    let netcord =
        env::var("NETCORD_BENCH_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_netcord").to_owned());
    within(host, || run(Command::new(netcord).args(line.split_whitespace())))
}

/// Runs a shell script on a host, or outside of all.
pub(crate) fn script(host: Option<&str>, script: &str) -> Result<String> {
    let work = || run_with(Command::new("sh").arg("-eu"), script);
    match host {
        Some(host) => within(host, work),
        None => work(),
    }
}
