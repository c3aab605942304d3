//! The program of this repository.

use std::{
    env,
    ffi::OsString,
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Contender, Operation, PORT, Publisher, TARGET_PORT, Work};
use crate::{
    host::{Host, NETWORK, SUBNET, Target},
    process::{run, run_with, words},
};

/// Ports that one command publishes where a crowd of them is made.
const CHUNK: usize = 200;
/// Ports by commands are given up on after so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where netcord keeps its records.
const RECORDS: &str = "/run/netcord";

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
                repeat_rule(*first, more)?;
                repeat_record(*first, more)
            }
            _ => self.publish_all(target, ports),
        }
    }
}

fn program() -> OsString {
    env::var_os("NETCORD_BENCH_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_netcord").into())
}

/// Makes the rules of more ports, after the model of one that netcord published.
fn repeat_rule(model: u16, ports: &[u16]) -> Result<()> {
    let model = model.to_string();
    let there = words("iptables-save -t nat")?;
    let rules: Vec<_> = there.lines().filter(|line| line.contains(&model)).collect();
    ensure!(!rules.is_empty(), "netcord made no rule for port {model}");
    let more: String = ports
        .iter()
        .flat_map(|port| rules.iter().map(|rule| rule.replace(&model, &port.to_string()) + "\n"))
        .collect();
    let restore = format!("*nat\n{more}COMMIT\n");
    run_with(Command::new("iptables-restore").arg("--noflush"), &restore).map(drop)
}

/// Writes more ports into the record, after the model of one that netcord published.
fn repeat_record(model: u16, ports: &[u16]) -> Result<()> {
    let model = model.to_string();
    let mut changed = false;
    for file in records()? {
        let text = fs::read_to_string(&file)?;
        if !text.contains(&model) {
            continue;
        }
        let mut record: Value = serde_json::from_str(&text)
            .with_context(|| format!("{} is no JSON", file.display()))?;
        changed |= repeat_element(&mut record, &model, ports)?;
        fs::write(&file, serde_json::to_vec(&record)?)?;
    }
    ensure!(changed, "netcord has no record of port {model}");
    Ok(())
}

/// Repeats the innermost element of an array that tells of the model.
fn repeat_element(value: &mut Value, model: &str, ports: &[u16]) -> Result<bool> {
    match value {
        Value::Array(all) => {
            for inner in all.iter_mut() {
                if repeat_element(inner, model, ports)? {
                    return Ok(true);
                }
            }
            let Some(found) = all.iter().map(Value::to_string).find(|text| text.contains(model))
            else {
                return Ok(false);
            };
            for port in ports {
                all.push(serde_json::from_str(&found.replace(model, &port.to_string()))?);
            }
            Ok(true)
        }
        Value::Object(fields) => {
            for inner in fields.values_mut() {
                if repeat_element(inner, model, ports)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => Ok(false),
    }
}

fn records() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for host in fs::read_dir(RECORDS)? {
        for file in fs::read_dir(host?.path())? {
            files.push(file?.path());
        }
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    Ok(files)
}
