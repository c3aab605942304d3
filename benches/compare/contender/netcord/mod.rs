//! The program of this repository.

mod repeat;

use std::{
    env,
    ffi::OsString,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{Contender, Operation, PORT, Publisher, TARGET_PORT, Work};
use crate::{
    host::{Host, NETWORK, SUBNET, Target},
    process::run,
};

/// Ports that one command publishes where a crowd of them is made.
const CHUNK: usize = 200;
/// Ports by commands are given up on after so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// netcord, with its own choice of firewall or with a given one.
pub(crate) struct Netcord {
    host: Host,
    firewall: Option<&'static str>,
}

impl Netcord {
    /// Prepares its host.
    pub(crate) fn new(firewall: Option<&'static str>) -> Result<Self> {
        let netcord = Self { host: Host::fresh()?, firewall };
        netcord.host.within(|| netcord.run(&["bridge", NETWORK, "--subnet", SUBNET]))?;
        Ok(netcord)
    }

    /// Whether this netcord lets one choose the firewall.
    pub(crate) fn has_firewalls() -> Result<bool> {
        Ok(run(Command::new(program()).arg("--help"))?.contains("--firewall"))
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(program());
        if let Some(firewall) = self.firewall {
            command.args(["--firewall", firewall]);
        }
        // Records belong to the throwaway host, whatever the one who starts the bench has set.
        run(command.args(arguments).env_remove("NETCORD_STATE_DIR")).map(drop)
    }

    fn uses_iptables(&self) -> Result<bool> {
        Ok(self.firewall == Some("iptables") || !Self::has_firewalls()?)
    }

    fn publish_all(&self, target: &Target, ports: &[u16]) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        for (done, some) in ports.chunks(CHUNK).enumerate() {
            ensure!(
                Instant::now() < end,
                "publishing {} ports more by commands took longer than {} s: {} were done",
                ports.len(),
                PATIENCE.as_secs(),
                done * CHUNK
            );
            let specs: Vec<_> = some.iter().map(|port| format!("{port}:{port}")).collect();
            let mut arguments = vec!["publish", &target.name];
            arguments.extend(specs.iter().map(String::as_str));
            self.run(&arguments)?;
        }
        Ok(())
    }
}

impl Contender for Netcord {
    fn name(&self) -> &'static str {
        "netcord"
    }

    fn host(&self) -> &Host {
        &self.host
    }

    fn work(&self, operation: Operation) -> Work {
        Work::Is(match operation {
            Operation::Attach => {
                "`netcord attach lab0 NAME`: finds the target, takes the lock, chooses the lowest \
                 free address, keeps a record, and makes link, bridge port, address and default \
                 route, with IPv6 off; the network masquerades already."
            }
            Operation::Detach => {
                "`netcord detach lab0 NAME`: removes the link and frees what the record holds."
            }
            Operation::AttachPublish => {
                "`netcord attach lab0 NAME -p 8080:80`: the same, and sees that nobody listens on \
                 the port."
            }
            Operation::DetachPublished => {
                "`netcord detach lab0 NAME`: the same, with the port and its connections."
            }
        })
    }

    fn perform(&self, operation: Operation, target: &Target) -> Result<()> {
        match operation {
            Operation::Attach => self.run(&["attach", NETWORK, &target.name]),
            Operation::AttachPublish => {
                self.run(&["attach", NETWORK, &target.name, "-p", &format!("{PORT}:{TARGET_PORT}")])
            }
            Operation::Detach | Operation::DetachPublished => {
                self.run(&["detach", NETWORK, &target.name])
            }
        }
    }

    fn ends_without_ipv6(&self) -> bool {
        true
    }

    fn crowd(&self, targets: &[Target]) -> Result<()> {
        if targets.is_empty() {
            return Ok(());
        }
        let mut arguments = vec!["attach", NETWORK];
        arguments.extend(targets.iter().map(|target| target.name.as_str()));
        self.run(&arguments)
    }
}

impl Publisher for Netcord {
    fn publisher(&self) -> &'static str {
        match self.firewall {
            Some("iptables") => "netcord --firewall iptables",
            _ => "netcord",
        }
    }

    fn publish_is(&self) -> &'static str {
        "`netcord publish NAME PORT:80`: sees that nobody has the port, keeps a record, and makes \
         the rule; the others were published by netcord, or, where that takes minutes, are its \
         rule and its record of one port, repeated."
    }

    fn publish(&self, target: &Target, port: u16) -> Result<()> {
        self.run(&["publish", &target.name, &format!("{port}:{TARGET_PORT}")])
    }

    fn unpublish(&self, target: &Target, port: u16) -> Result<()> {
        self.run(&["unpublish", &target.name, &format!("{port}:{TARGET_PORT}")])
    }

    fn fill(&self, target: &Target, ports: &[u16]) -> Result<()> {
        match ports {
            [first, more @ ..] if more.len() > CHUNK && self.uses_iptables()? => {
                self.publish_all(target, &[*first])?;
                repeat::rule(*first, more)?;
                repeat::record(*first, more)
            }
            _ => self.publish_all(target, ports),
        }
    }
}

pub(super) fn program() -> OsString {
    env::var_os("NETCORD_BENCH_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_netcord").into())
}
