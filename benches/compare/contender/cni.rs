//! The plugins of CNI, called as a runtime calls them: the stock ones, and netcord.

use std::{cell::RefCell, fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    Contender, Operation, PORT, Publisher, TARGET_PORT, Work, crowd_of_links, netcord::program,
};
use crate::{
    host::{GATEWAY, Host, NETWORK, SUBNET, Target},
    process::run_with,
};

/// Where Debian's `containernetworking-plugins` are.
const PLUGINS: &str = "/usr/lib/cni";
/// Where `host-local` keeps one file for each address.
const LEASES: &str = "/run/cni";

/// Rules with more ports than that are refused by `multiport`.
const MULTIPORT: usize = 15;

/// `bridge` with `host-local`, and `portmap` behind it for ports.
pub(crate) struct Cni {
    host: Host,
    masquerade: bool,
    /// What `bridge` answered last, which a runtime hands to the next plugin.
    result: RefCell<Value>,
}

impl Cni {
    /// Prepares its host. With `masquerade` an endpoint gets out, as one of the others does.
    pub(crate) fn new(masquerade: bool) -> Result<Self> {
        Ok(Self { host: Host::fresh()?, masquerade, result: RefCell::default() })
    }

    fn bridge(&self, command: &str, target: &Target) -> Result<()> {
        let config = bridge("bridge", self.masquerade);
        let answer = stock("bridge", command, target, &config)?;
        if command == "ADD" {
            self.result.replace(serde_json::from_str(&answer)?);
        }
        Ok(())
    }

    fn portmap(&self, command: &str, target: &Target, port: u16) -> Result<()> {
        let config = json!({
            "cniVersion": "1.0.0",
            "name": NETWORK,
            "type": "portmap",
            "runtimeConfig": mapping(port),
            "prevResult": *self.result.borrow(),
        });
        stock("portmap", command, target, &config).map(drop)
    }
}

impl Contender for Cni {
    fn name(&self) -> &'static str {
        if self.masquerade { "CNI" } else { "CNI, no masquerade" }
    }

    fn host(&self) -> &Host {
        &self.host
    }

    fn work(&self, operation: Operation) -> Work {
        match (operation, self.masquerade) {
            (Operation::Attach, true) => Work::Is(
                "`bridge` ADD with `isDefaultGateway`, `ipMasq` and `hairpinMode`, which starts \
                 `host-local`: link, bridge port, address, default route and the rules of this \
                 endpoint's masquerade, which netcord has for the network; IPv6 stays on.",
            ),
            (Operation::Attach, false) => Work::Is(
                "the same without `ipMasq` and `hairpinMode`: less than the others do, as the \
                 endpoint does not get out.",
            ),
            (Operation::Detach, _) => Work::Is("`bridge` DEL, which starts `host-local`."),
            (Operation::AttachPublish, true) => {
                Work::Is("`bridge` ADD, then `portmap` ADD with its result, as a runtime does.")
            }
            (Operation::DetachPublished, true) => Work::Is("`portmap` DEL, then `bridge` DEL."),
            (_, false) => Work::No("nothing new"),
        }
    }

    fn perform(&self, operation: Operation, target: &Target) -> Result<()> {
        match operation {
            Operation::Attach => self.bridge("ADD", target),
            Operation::Detach => self.bridge("DEL", target),
            Operation::AttachPublish => {
                self.bridge("ADD", target)?;
                self.portmap("ADD", target, PORT)
            }
            Operation::DetachPublished => {
                self.portmap("DEL", target, PORT)?;
                self.bridge("DEL", target)
            }
        }
    }

    /// Links, leases and rules as ADD would leave them; the bridge is made by the first ADD.
    fn crowd(&self, targets: &[Target]) -> Result<()> {
        let [first, more @ ..] = targets else { return Ok(()) };
        if !Path::new(LEASES).exists() {
            self.bridge("ADD", first)?;
            return self.crowd(more);
        }
        crowd_of_links(targets)?;
        for target in targets {
            let lease = Path::new(LEASES).join(NETWORK).join(target.address.to_string());
            fs::write(lease, format!("{}\r\neth0", target.name))?;
        }
        if let Some(last) = targets.last() {
            let reserved = Path::new(LEASES).join(NETWORK).join("last_reserved_ip.0");
            fs::write(reserved, last.address.to_string())?;
        }
        let (mut chains, mut rules) = (String::new(), String::new());
        for Target { name, address } in targets {
            let chain = format!("CNI-{name:a<24}");
            _ = writeln!(chains, ":{chain} - [0:0]");
            _ = writeln!(rules, "-A POSTROUTING -s {address} -j {chain}");
            _ = writeln!(rules, "-A {chain} -d {SUBNET} -j ACCEPT");
            _ = writeln!(rules, "-A {chain} ! -d 224.0.0.0/4 -j MASQUERADE");
        }
        restore(&format!("*nat\n{chains}{rules}COMMIT\n"))
    }
}

impl Publisher for Cni {
    fn publisher(&self) -> &'static str {
        "CNI portmap"
    }

    fn publish_is(&self) -> &'static str {
        "`portmap` ADD for an endpoint that `bridge` attached before; the others are rules of the \
         shape that it gives a container with so many ports (a jump for each 15 ports, three rules \
         for each port behind it), put there by one `iptables-restore`."
    }

    fn publish(&self, target: &Target, port: u16) -> Result<()> {
        self.portmap("ADD", target, port)
    }

    fn unpublish(&self, target: &Target, port: u16) -> Result<()> {
        self.portmap("DEL", target, port)
    }

    fn fill(&self, target: &Target, ports: &[u16]) -> Result<()> {
        if ports.is_empty() {
            return Ok(());
        }
        // A chain that is declared again would be emptied.
        let chain = format!("CNI-DN-{}-{}", target.name, ports[0]);
        let mut rules = format!("*nat\n:{chain} - [0:0]\n");
        for some in ports.chunks(MULTIPORT) {
            let list: Vec<_> = some.iter().map(u16::to_string).collect();
            _ = writeln!(
                rules,
                "-A CNI-HOSTPORT-DNAT -p tcp -m multiport --dports {} -j {chain}",
                list.join(",")
            );
        }
        let to = target.address;
        for port in ports {
            for from in [SUBNET, "127.0.0.1"] {
                _ = writeln!(
                    rules,
                    "-A {chain} -s {from} -p tcp --dport {port} -j CNI-HOSTPORT-SETMARK"
                );
            }
            _ = writeln!(rules, "-A {chain} -p tcp --dport {port} -j DNAT --to {to}:{port}");
        }
        restore(&(rules + "COMMIT\n"))
    }
}

/// netcord in the place of the whole chain.
pub(crate) struct NetcordCni {
    host: Host,
}

impl NetcordCni {
    /// Prepares its host. As with the other plugins, the first ADD makes the network.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { host: Host::fresh()? })
    }

    fn call(command: &str, target: &Target, port: Option<u16>) -> Result<()> {
        let mut config = bridge("netcord", true);
        if let Some(port) = port {
            config["runtimeConfig"] = mapping(port);
        }
        plugin(Path::new(&program()), command, target, &config).map(drop)
    }
}

impl Contender for NetcordCni {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn host(&self) -> &Host {
        &self.host
    }

    fn work(&self, operation: Operation) -> Work {
        Work::Is(match operation {
            Operation::Attach => {
                "netcord as the plugin, ADD with the configuration that `bridge` gets: the same as \
                 `netcord attach`, with hairpin mode."
            }
            Operation::Detach => "netcord as the plugin, DEL.",
            Operation::AttachPublish => "the same ADD with a port mapping: one call, one process.",
            Operation::DetachPublished => "the same DEL.",
        })
    }

    fn perform(&self, operation: Operation, target: &Target) -> Result<()> {
        match operation {
            Operation::Attach => Self::call("ADD", target, None),
            Operation::AttachPublish => Self::call("ADD", target, Some(PORT)),
            Operation::Detach => Self::call("DEL", target, None),
            Operation::DetachPublished => Self::call("DEL", target, Some(PORT)),
        }
    }

    fn ends_without_ipv6(&self) -> bool {
        true
    }

    /// The first ADD makes the bridge.
    fn crowd(&self, targets: &[Target]) -> Result<()> {
        targets.iter().try_for_each(|target| Self::call("ADD", target, None))
    }
}

impl NetcordCni {
    /// Its word in tables.
    pub(crate) const NAME: &'static str = "netcord as CNI plugin";
}

/// The configuration of a plugin that makes links, with addresses of `host-local`.
fn bridge(plugin: &str, masquerade: bool) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": NETWORK,
        "type": plugin,
        "bridge": NETWORK,
        "isDefaultGateway": true,
        "ipMasq": masquerade,
        "hairpinMode": masquerade,
        "ipam": {
            "type": "host-local",
            "dataDir": LEASES,
            "ranges": [[{ "subnet": SUBNET, "gateway": GATEWAY.to_string() }]],
        },
    })
}

fn mapping(port: u16) -> Value {
    let mapping = json!({ "hostPort": port, "containerPort": TARGET_PORT, "protocol": "tcp" });
    json!({ "portMappings": [mapping] })
}

/// Starts a stock plugin; returns what it prints.
fn stock(name: &str, command: &str, target: &Target, config: &Value) -> Result<String> {
    plugin(&Path::new(PLUGINS).join(name), command, target, config)
}

/// Starts a plugin as the specification says; returns what it prints.
fn plugin(program: &Path, command: &str, target: &Target, config: &Value) -> Result<String> {
    let mut plugin = Command::new(program);
    plugin.env("CNI_COMMAND", command).env("CNI_PATH", PLUGINS).env("CNI_IFNAME", "eth0");
    plugin.env("CNI_CONTAINERID", &target.name).env("CNI_NETNS", target.path());
    run_with(&mut plugin, &config.to_string())
        .with_context(|| format!("{} {command}", program.display()))
}

fn restore(rules: &str) -> Result<()> {
    run_with(Command::new("iptables-restore").arg("--noflush"), rules).map(drop)
}
