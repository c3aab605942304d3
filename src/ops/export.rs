//! `export`: this host as a script of netcord commands, for after a reboot, or for another host.

use std::net::IpAddr;

use anyhow::Result;

use super::{Session, succession};
use crate::{
    engine::{self, Answer, Container},
    model::{
        Endpoint, Mac, MacvlanMode, Mode, NamedNetns, NetnsName, Network, PublishedPort, Source,
        Subnet, host_name,
    },
    plan::quote,
    process::container_id,
    state::State,
};

/// How long an engine may take to tell what a container is called.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

const HEADER: &str = "#!/bin/sh\nset -eu\n";

/// This host's networks as a script of netcord commands.
///
/// # Errors
/// If the records or the kernel cannot be read.
pub async fn export(host: &Session<'_>) -> Result<String> {
    let state = host.look_at_all().await?;
    let mut script = HEADER.to_owned();
    let mut say = |line: &str| {
        script.push_str(line);
        script.push('\n');
    };
    for network in state.networks().values().map(|r| &r.network).filter(|n| !n.foreign) {
        say(&Words::of_network(network).line());
    }
    for named in state.names().iter().filter(|named| named.kept) {
        let words = Words::new(["none", named.name.as_str()]);
        match &named.source {
            Source::Made => say(&words.line()),
            Source::Link(_) => match Who::is(&state, &named.name, named.cookie).await {
                Who::Named(target) => say(&words.flag("--of", &target).line()),
                Who::Process(pid) => {
                    say(&unknown(&named.name, &pid));
                    say(&format!("# {}", words.flag("--of", PID).line()));
                }
            },
        }
    }
    let mut endpoints: Vec<_> = state.endpoints().collect();
    succession::in_turn(&mut endpoints, |(_, endpoint)| endpoint);
    for (record, endpoint) in endpoints {
        let (network, name) = (&record.network, &endpoint.netns);
        match Who::is(&state, name, endpoint.cookie).await {
            Who::Named(target) => say(&Words::of_endpoint(network, endpoint, &target).line()),
            Who::Process(pid) => {
                say(&unknown(name, &pid));
                say(&format!("# {}", Words::of_endpoint(network, endpoint, PID).line()));
            }
        }
    }
    Ok(script)
}

/// What stands for a process in a command that cannot be known.
const PID: &str = "PID";

fn unknown(name: &NetnsName, pid: &str) -> String {
    format!("# `{name}` was process {pid}, which is another after a reboot: say which it is now")
}

/// How a target is asked for again.
enum Who {
    Named(String),
    Process(String),
}

impl Who {
    async fn is(state: &State, name: &NetnsName, cookie: u64) -> Self {
        let is_it = |n: &&NamedNetns| n.cookie == cookie && n.name == *name;
        let Some(NamedNetns { source: Source::Link(file), .. }) = state.names().iter().find(is_it)
        else {
            // A name that somebody else made, or that `none` did.
            return Self::Named(name.to_string());
        };
        let file = file.to_string_lossy();
        let Some(pid) = file.strip_prefix("/proc/").and_then(|rest| rest.split('/').next()) else {
            return Self::Named(format!("path:{file}"));
        };
        match container(pid).await {
            Some(container) => Self::Named(format!("{}:{}", container.engine, container.name)),
            None => Self::Process(pid.to_owned()),
        }
    }
}

/// The container that a process is in, as its engine calls it.
async fn container(pid: &str) -> Option<Container> {
    let id = container_id(pid.parse().ok()?)?;
    let answers = engine::find_anywhere(&id, PATIENCE).await.into_iter();
    answers.into_iter().find_map(|(_, answer)| match answer {
        Answer::Found(container) => Some(container),
        Answer::NotFound | Answer::Silent(_) => None,
    })
}

/// The words of a command.
struct Words(Vec<String>);

impl Words {
    fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        Self(["netcord"].into_iter().chain(words).map(str::to_owned).collect())
    }

    fn flag<T: ToString + ?Sized>(mut self, name: &str, value: &T) -> Self {
        self.0.extend([name.to_owned(), value.to_string()]);
        self
    }

    fn flags<T: ToString>(self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        values.into_iter().fold(self, |words, value| words.flag(name, &value))
    }

    fn switch(mut self, name: &str, is_on: bool) -> Self {
        if is_on {
            self.0.push(name.to_owned());
        }
        self
    }

    fn line(&self) -> String {
        self.0.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
    }

    fn of_network(network: &Network) -> Self {
        let name = network.name.as_str();
        let words = match (&network.parent, network.mode) {
            (Some(parent), Mode::Underlay) => Self::new(["underlay", name])
                .flag("--parent", &parent.link)
                .switch("--takeover", true)
                .switch("--no-confirm", true),
            (Some(parent), _) => {
                let wiring = parent.macvlan.as_ref();
                Self::new(["macvlan", name])
                    .flag("--parent", &parent.link)
                    .flags("--mode", wiring.map(|w| w.mode.as_str()))
                    .switch("--host-access", wiring.is_some_and(|w| !w.host_access.is_empty()))
            }
            (None, _) => Self::new(["--firewall", &network.firewall.to_string(), "bridge", name]),
        };
        let words = match network.mode {
            // The parent's own.
            Mode::Underlay => words,
            Mode::Bridge | Mode::Macvlan => words
                .flags("--subnet", network.subnets.iter().map(|s| s.cidr))
                .flag("--mtu", &network.mtu),
        };
        let of = |part: fn(&Subnet) -> Option<String>| network.subnets.iter().filter_map(part);
        let labels = network.labels.iter().map(|(key, value)| format!("{key}={value}"));
        words
            .flags("--gateway", of(|s| s.gateway.map(|g| g.to_string())))
            .flags("--ip-range", of(|s| s.ip_range.map(|r| r.to_string())))
            .switch("--internal", network.internal)
            .switch("--isolate", network.isolate)
            .switch("--no-spoof", network.no_spoof)
            .switch("--no-masquerade", network.is_private() && !network.masquerade)
            .flags("--label", labels)
    }

    fn of_endpoint(network: &Network, endpoint: &Endpoint, target: &str) -> Self {
        let firewall = network.firewall.to_string();
        let words = if network.foreign {
            Self::new(["--firewall", &firewall, "attach", network.name.as_str(), target])
        } else {
            Self::new(["attach", network.name.as_str(), target])
        };
        let leased = endpoint.lease.is_some();
        let given = endpoint.addresses.iter().filter(|a| !(leased && a.is_ipv4()));
        let by_server = |ip: &&IpAddr| leased && ip.is_ipv4();
        let has_derived_mac =
            !leased && endpoint.addresses.first().is_some_and(|a| Mac::of(a.ip()) == endpoint.mac);
        let is_parents = network.macvlan().is_some_and(|(_, w)| w.mode == MacvlanMode::Passthru);
        let derived = |attempt| {
            host_name(&network.name, endpoint.cookie, &endpoint.ifname, attempt)
                == endpoint.host_ifname
        };
        let has_derived_name = network.macvlan().is_some() || (0..=u8::MAX).any(derived);
        let routes = endpoint.routes.iter().map(|route| match route.gateway {
            Some(gateway) => format!("{},{gateway}", route.destination),
            None => route.destination.to_string(),
        });
        words
            .flags("--ip", given)
            .switch("--dhcp", leased)
            .flags("--gateway", endpoint.gateways.iter().filter(|ip| !by_server(ip)))
            .flags("--gateway", endpoint.gateways.is_empty().then_some("none"))
            .flags("--mac", (!has_derived_mac && !is_parents).then_some(endpoint.mac))
            .flag("--ifname", &endpoint.ifname)
            .flags("--host-ifname", (!has_derived_name).then_some(&endpoint.host_ifname))
            .flags("--mtu", (endpoint.mtu != network.mtu).then_some(endpoint.mtu))
            .flags("--route", routes)
            .flags("--name", (target != endpoint.netns.as_str()).then_some(&endpoint.netns))
            .flags("--publish", endpoint.ports.iter().map(port))
    }
}

/// A published port as it is asked for: by the host's address, so of one family.
fn port(port: &PublishedPort) -> String {
    let PublishedPort { host_ip, host, container, protocol, .. } = port;
    let host_ip = match host_ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    format!("{host_ip}:{host}:{container}/{protocol}")
}
