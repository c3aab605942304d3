//! `export`: prints this host's networks as a script of netcord commands, for use after a reboot,
//! or on another host.

use std::net::IpAddr;

use anyhow::Result;

use super::{
    Session, driver,
    request::words::Words,
    upkeep::{
        containers, default_routes,
        need::{Depth, Extent},
    },
};
use crate::{
    engine::{self, Answer, Container},
    model::{
        Endpoint, LinkName, Mac, NamedNetns, NetnsName, Network, PublishedPort, RouteSpec, Source,
        host_name,
    },
    process::container_id,
    state::State,
};

/// The time to wait for an engine's name of a container.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

const HEADER: &str = "#!/bin/sh\nset -eu\n";

/// Returns this host's networks as a script of netcord commands.
///
/// # Errors
/// If the records or the kernel cannot be read.
pub async fn export(host: &Session<'_>) -> Result<String> {
    let state = host.look(Extent::to(Depth::Names)).await?;
    let mut script = HEADER.to_owned();
    let mut say = |line: &str| {
        script.push_str(line);
        script.push('\n');
    };
    for words in state.networks().values().filter_map(|r| driver::command(&r.network)) {
        say(&words.line());
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
    default_routes::in_turn(&mut endpoints, |(_, endpoint)| endpoint);
    // Engines attach theirs anew.
    for (record, endpoint) in endpoints.into_iter().filter(|(_, e)| e.owner.is_none()) {
        let (network, name) = (&record.network, &endpoint.netns);
        let who = match &endpoint.container {
            Some(container) => Who::Named(containers::name(container).await),
            None => Who::is(&state, name, endpoint.cookie).await,
        };
        match who {
            Who::Named(target) => say(&Words::of(network, endpoint, &target).line()),
            Who::Process(pid) => {
                say(&unknown(name, &pid));
                say(&format!("# {}", Words::of(network, endpoint, PID).line()));
            }
        }
    }
    Ok(script)
}

/// The placeholder for a process in a command.
const PID: &str = "PID";

fn unknown(name: &NetnsName, pid: &str) -> String {
    format!("# `{name}` was process {pid}, which is another after a reboot: say which it is now")
}

/// How a target is named in a command.
enum Who {
    Named(String),
    Process(String),
}

impl Who {
    async fn is(state: &State, name: &NetnsName, cookie: u64) -> Self {
        let is_it = |n: &&NamedNetns| n.cookie == cookie && n.name == *name;
        let Some(NamedNetns { source: Source::Link(file), .. }) = state.names().iter().find(is_it)
        else {
            // A name that another program or `none` made.
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

/// Returns the container of a process, with its engine's name for it.
async fn container(pid: &str) -> Option<Container> {
    let id = container_id(pid.parse().ok()?)?;
    let answers = engine::find_anywhere(&id, PATIENCE).await.into_iter();
    answers.into_iter().find_map(|(_, answer)| match answer {
        Answer::Found(container) => Some(container),
        Answer::NotFound | Answer::Silent(_) => None,
    })
}

impl Words {
    fn of(network: &Network, endpoint: &Endpoint, target: &str) -> Self {
        if endpoint.foreign {
            Self::of_ports(network, endpoint, target)
        } else {
            Self::of_endpoint(network, endpoint, target)
        }
    }

    fn of_ports(network: &Network, endpoint: &Endpoint, target: &str) -> Self {
        let firewall = network.firewall.to_string();
        let words = if network.driver.is_foreign() {
            Self::new(["--firewall", &firewall, "publish", target])
        } else {
            Self::new(["publish", target])
        };
        endpoint.ports.iter().map(port).fold(words, |words, port| words.switch(&port, true))
    }

    fn of_endpoint(network: &Network, endpoint: &Endpoint, target: &str) -> Self {
        let firewall = network.firewall.to_string();
        let words = if network.driver.is_foreign() {
            Self::new(["--firewall", &firewall, "attach", network.name.as_str(), target])
        } else {
            Self::new(["attach", network.name.as_str(), target])
        };
        let leased = endpoint.lease.is_some();
        let given = endpoint.addresses.iter().filter(|a| !(leased && a.is_ipv4()));
        let by_server = |ip: &&IpAddr| leased && ip.is_ipv4();
        let has_derived_mac =
            !leased && endpoint.addresses.first().is_some_and(|a| Mac::of(a.ip()) == endpoint.mac);
        let is_parents = network.driver.is_passthru();
        let is_derived = |name: &LinkName| {
            (0..=u8::MAX).any(|attempt| {
                host_name(&network.name, endpoint.cookie, &endpoint.ifname, attempt) == *name
            })
        };
        let derived: Vec<_> = network.routes_to_others(&endpoint.ifname).collect();
        let routes = endpoint.routes.iter().filter(|route| !derived.contains(route));
        words
            .flags("--ip", given)
            .switch("--dhcp", leased)
            .flags("--gateway", endpoint.gateways.iter().filter(|ip| !by_server(ip)))
            .flags("--gateway", endpoint.gateways.is_empty().then_some("none"))
            .flags("--mac", (!has_derived_mac && !is_parents).then_some(endpoint.mac))
            .flag("--ifname", &endpoint.ifname)
            .flags("--host-ifname", endpoint.host_ifname().filter(|name| !is_derived(name)))
            .flags("--mtu", (endpoint.mtu != network.mtu).then_some(endpoint.mtu))
            .flags("--metric", (endpoint.metric != 0).then_some(endpoint.metric))
            .flags("--route", routes.map(RouteSpec::of))
            .flags("--name", (target != endpoint.netns.as_str()).then_some(&endpoint.netns))
            .flags("--publish", endpoint.ports.iter().map(port))
    }
}

/// Returns a published port in `-p` syntax, with the host's address, so that it is of one family.
fn port(port: &PublishedPort) -> String {
    let PublishedPort { host_ip, host, container, protocol, .. } = port;
    let host_ip = match host_ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    format!("{host_ip}:{host}:{container}/{protocol}")
}
