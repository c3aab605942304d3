//! What the options of `docker network create` mean for netcord.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::protocol::{CreateNetwork, IpamData};
use crate::{
    error::Error,
    model::{Cidr, Flag, Flags, LinkName},
    ops::driver::bridge::Bridge,
};

/// Who publishes ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Publisher {
    /// netcord, whose network has the default route.
    Netcord,
    /// docker, on a second link of the container to its bridge `docker_gwbridge`.
    Docker,
}

/// A network, as docker asked for it.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) kind: Kind,
    pub(super) publisher: Publisher,
    pub(super) internal: bool,
    /// The address of the host for ports without one.
    pub(super) binding: Option<IpAddr>,
    /// The beginning of the names of links in containers.
    pub(super) prefix: String,
    /// The subnets that docker assigns addresses from.
    pub(super) pools: Vec<IpNetwork>,
}

/// Which network of netcord's it is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// One that exists without docker (`-o network=NAME`).
    Existing(LinkName),
    /// A bridge network that exists for docker.
    Made(Box<Bridge>),
}

impl Settings {
    /// Returns the name of netcord's network.
    pub(super) fn network(&self) -> &LinkName {
        match &self.kind {
            Kind::Existing(name) => name,
            Kind::Made(bridge) => &bridge.name,
        }
    }

    /// Reads a request of docker's.
    ///
    /// # Errors
    /// If an option has no meaning for netcord: the user relies on it.
    pub(super) fn read(request: &CreateNetwork) -> Result<Self, Error> {
        let mut asked = Asked::default();
        for (key, value) in &request.options.generic {
            asked.take(key, value).map_err(|why| {
                Error::usage(format!("option `{key}={value}`: {why}")).hint(
                    "the options are network, ports, isolate, no-spoof, no-masquerade, mtu, and of \
                     docker's bridge driver bridge.name, bridge.enable_icc, \
                     bridge.enable_ip_masquerade, bridge.host_binding_ipv4, driver.mtu and \
                     container_iface_prefix",
                )
            })?;
        }
        let internal = request.options.internal;
        let data = || request.ipv4.iter().chain(&request.ipv6);
        let pools = data().filter_map(pool).collect();
        let kind = match asked.network.take() {
            Some(name) => {
                if let Some(option) = asked.of_new {
                    return Err(Error::usage(format!(
                        "option `{option}`: network `{name}` exists, and is not changed"
                    )));
                }
                if internal {
                    return Err(Error::usage(format!("--internal: network `{name}` exists"))
                        .hint(format!("make it so: `netcord bridge {name} --internal`")));
                }
                Kind::Existing(name)
            }
            None => Kind::Made(Box::new(bridge(request, &asked, internal)?)),
        };
        let publisher = asked.publisher.unwrap_or(Publisher::Netcord);
        let prefix = asked.prefix.unwrap_or_else(|| "eth".into());
        Ok(Self { kind, publisher, internal, binding: asked.binding, prefix, pools })
    }
}

/// `--ipam-driver null` has the pool of all addresses: then netcord assigns them.
fn pool(data: &IpamData) -> Option<IpNetwork> {
    data.pool.filter(|pool| pool.prefix() > 0)
}

fn bridge(request: &CreateNetwork, asked: &Asked, internal: bool) -> Result<Bridge, Error> {
    let name = match &asked.name {
        Some(name) => name.clone(),
        None => format!("nc-{}", request.network_id.short())
            .parse()
            .map_err(|e| Error::usage(format!("{e}")))?,
    };
    let used: Vec<_> =
        request.ipv4.iter().chain(&request.ipv6).filter(|d| pool(d).is_some()).collect();
    let subnet: Result<Vec<Cidr>, _> =
        used.iter().filter_map(|data| pool(data)).map(|pool| pool.to_string().parse()).collect();
    Ok(Bridge {
        subnet: subnet.map_err(|e| Error::usage(format!("--subnet: {e}")))?,
        gateway: used.iter().filter_map(|data| data.gateway).map(|g| g.ip()).collect(),
        mtu: asked.mtu,
        ipv6: request.options.ipv6,
        flags: Flags::of(|flag| {
            asked.flags.contains(&flag) || (internal && flag == Flag::Internal)
        }),
        label: vec![("com.docker.network.id".into(), request.network_id.to_string())],
        ..Bridge::new(name)
    })
}

/// The options of `-o`, as they are read.
#[derive(Default)]
struct Asked {
    network: Option<LinkName>,
    name: Option<LinkName>,
    publisher: Option<Publisher>,
    mtu: Option<u32>,
    flags: Vec<Flag>,
    binding: Option<IpAddr>,
    prefix: Option<String>,
    /// An option that only a new network can have.
    of_new: Option<String>,
}

impl Asked {
    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key.strip_prefix("com.docker.network.").unwrap_or(key) {
            "network" => self.network = Some(link(value)?),
            "ports" => {
                self.publisher = Some(match value {
                    "netcord" => Publisher::Netcord,
                    "docker" => Publisher::Docker,
                    _ => return Err("ports are published by `netcord` or by `docker`".into()),
                });
            }
            "bridge.host_binding_ipv4" | "host_binding_ipv4" => {
                let binding: IpAddr = value.parse().map_err(|_| "not an IP address")?;
                self.binding = Some(binding).filter(|ip| !ip.is_unspecified());
            }
            "container_iface_prefix" => {
                link(&format!("{value}999"))?;
                self.prefix = Some(value.to_owned());
            }
            "driver" => match value {
                "bridge" => self.of_new = Some(key.to_owned()),
                "underlay" | "overlay" => {
                    return Err(format!(
                        "make the network first (`netcord {value} NAME ...`), and give `-o network=NAME`"
                    ));
                }
                "macvlan" => {
                    return Err("docker has this driver: `docker network create -d macvlan`".into());
                }
                _ => return Err("netcord has no such driver".into()),
            },
            own => {
                self.take_of_new(own, value)?;
                self.of_new = Some(key.to_owned());
            }
        }
        Ok(())
    }

    fn take_of_new(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "bridge.name" => self.name = Some(link(value)?),
            "driver.mtu" | "mtu" => match value.parse() {
                Ok(mtu @ 68..=65535) => self.mtu = Some(mtu),
                _ => return Err("an MTU is from 68 to 65535 bytes".into()),
            },
            "bridge.enable_icc" => self.set(Flag::Isolate, !switch(value)?),
            "isolate" => self.set(Flag::Isolate, switch(value)?),
            "bridge.enable_ip_masquerade" => self.set(Flag::NoMasquerade, !switch(value)?),
            "no-masquerade" => self.set(Flag::NoMasquerade, switch(value)?),
            "no-spoof" => self.set(Flag::NoSpoof, switch(value)?),
            _ => return Err("netcord does not know it".into()),
        }
        Ok(())
    }

    fn set(&mut self, flag: Flag, is_on: bool) {
        self.flags.retain(|there| *there != flag);
        self.flags.extend(is_on.then_some(flag));
    }
}

fn link(name: &str) -> Result<LinkName, String> {
    name.parse().map_err(|e| format!("{e}"))
}

/// Parses a switch as Go does.
fn switch(value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("it is `true` or `false`".into()),
    }
}
