//! A CNI runtime, as far as a plugin sees one: it calls the plugins of a list in their order, each with
//! the result of the one before (CNI 1.1.0, "Section 4").

use std::{fs, io::Write, process::Stdio};

use serde_json::{Value, json};

use super::{Lab, NETCORD, Run};

/// Where Debian has the stock plugins.
pub(crate) const STOCK: &str = "/usr/lib/cni";

/// A list of plugins, as in `/etc/cni/net.d`.
#[derive(Clone, Debug)]
pub(crate) struct Conflist {
    pub(crate) version: &'static str,
    pub(crate) name: &'static str,
    pub(crate) plugins: Vec<Value>,
}

/// What a runtime knows of a container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Container<'a> {
    pub(crate) id: &'a str,
    /// The file of its namespace; empty: it has ended.
    pub(crate) netns: &'a str,
    /// `CNI_ARGS`.
    pub(crate) arguments: &'a str,
}

impl<'a> Container<'a> {
    /// A container whose namespace is a name in `/run/netns`, and whose ID is that name too.
    pub(crate) fn named(id: &'a str, netns: &'a str) -> Self {
        Self { id, netns, arguments: "" }
    }
}

/// The plugin directory of a host: the stock plugins, and netcord beside them.
pub(crate) fn plugins(lab: &Lab) {
    assert!(fs::exists(format!("{STOCK}/bridge")).unwrap(), "containernetworking-plugins is there");
    lab.sh(&format!(
        "mkdir -p /run/cni-bin && ln -s {STOCK}/* /run/cni-bin/ && ln -s {NETCORD} /run/cni-bin/netcord"
    ))
    .ok();
}

/// Calls one plugin with this configuration.
pub(crate) fn call(lab: &Lab, operation: &str, of: Container<'_>, config: &Value) -> Run {
    let plugin = format!("/run/cni-bin/{}", config["type"].as_str().unwrap_or("netcord"));
    let mut command = lab.command(&plugin);
    command
        .env("CNI_COMMAND", operation)
        .env("CNI_CONTAINERID", of.id)
        .env("CNI_NETNS", of.netns)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_ARGS", of.arguments)
        .env("CNI_PATH", "/run/cni-bin")
        // As Debian has the programs that the stock plugins run.
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(config.to_string().as_bytes()).unwrap();
    Run::new(format!("CNI {operation} {}: {config}", of.id), &child.wait_with_output().unwrap())
}

impl Conflist {
    pub(crate) fn new(name: &'static str, plugins: Vec<Value>) -> Self {
        Self { version: "1.0.0", name, plugins }
    }

    /// The configuration that a plugin of the list gets.
    pub(crate) fn config(&self, plugin: &Value, runtime: &Value, before: Option<&Value>) -> Value {
        let mut config = plugin.clone();
        config["cniVersion"] = json!(self.version);
        config["name"] = json!(self.name);
        let declared = plugin["capabilities"].as_object().into_iter().flatten();
        for (capability, _) in declared.filter(|(_, on)| **on == json!(true)) {
            if let Some(value) = runtime.get(capability) {
                config["runtimeConfig"][capability] = value.clone();
            }
        }
        if let Some(before) = before {
            config["prevResult"] = before.clone();
        }
        config
    }

    /// Attaches a container; returns the result of the last plugin, or the first error.
    pub(crate) fn add(&self, lab: &Lab, of: Container<'_>, runtime: &Value) -> Result<Value, Run> {
        let mut result: Option<Value> = None;
        for plugin in &self.plugins {
            let run = call(lab, "ADD", of, &self.config(plugin, runtime, result.as_ref()));
            if run.code != 0 {
                return Err(run);
            }
            result = Some(serde_json::from_str(&run.stdout).unwrap());
        }
        Ok(result.unwrap())
    }

    /// Detaches a container, with what its ADD gave, if that is known.
    #[track_caller]
    pub(crate) fn del(
        &self,
        lab: &Lab,
        of: Container<'_>,
        runtime: &Value,
        result: Option<&Value>,
    ) {
        for plugin in self.plugins.iter().rev() {
            let run = call(lab, "DEL", of, &self.config(plugin, runtime, result));
            assert_eq!((run.code, run.stdout.as_str()), (0, ""), "{run:?}");
        }
    }

    /// Has netcord compare a container with the result of its ADD. (The stock `portmap` 1.1.1 misses its
    /// own rules where iptables is that of nftables.)
    pub(crate) fn check(
        &self,
        lab: &Lab,
        of: Container<'_>,
        runtime: &Value,
        result: &Value,
    ) -> Option<Run> {
        let plugin = self.plugins.iter().find(|plugin| plugin["type"] == "netcord")?;
        Some(call(lab, "CHECK", of, &self.config(plugin, runtime, Some(result))))
    }
}
