//! What the options of `docker network create` mean for netcord.

use std::{collections::BTreeMap, net::IpAddr, str::FromStr};

use ipnetwork::IpNetwork;

use super::{
    protocol::{CreateNetwork, IpamData},
    wanted::Wanted,
};
use crate::{
    error::{Error, did_you_mean},
    model::LinkName,
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
    /// One that exists for docker.
    Made(Wanted),
}

/// Options of docker's networks, whatever netcord's network is.
const OF_ALL: [&str; 3] = ["ports", "bridge.host_binding_ipv4", "container_iface_prefix"];

impl Settings {
    /// Returns the name of netcord's network.
    pub(super) fn network(&self) -> &LinkName {
        match &self.kind {
            Kind::Existing(name) => name,
            Kind::Made(wanted) => wanted.name(),
        }
    }

    /// Reads a request of docker's.
    ///
    /// # Errors
    /// If an option has no meaning for netcord: the user relies on it.
    pub(super) fn read(request: &CreateNetwork) -> Result<Self, Error> {
        let options = Options::of(request);
        let kind = match options.parsed("network")? {
            Some(name) => existing(request, &options, name)?,
            None => Kind::Made(Wanted::read(request, &options)?),
        };
        let publisher = options.get("ports", |word| match word {
            "netcord" => Ok(Publisher::Netcord),
            "docker" => Ok(Publisher::Docker),
            _ => Err("ports are published by `netcord` or by `docker`".into()),
        })?;
        let binding: Option<IpAddr> = options.parsed("bridge.host_binding_ipv4")?;
        let prefix = options.get("container_iface_prefix", |prefix| {
            link(&format!("{prefix}999"))?;
            Ok(prefix.to_owned())
        })?;
        Ok(Self {
            kind,
            publisher: publisher.unwrap_or(Publisher::Netcord),
            internal: request.options.internal,
            binding: binding.filter(|ip| !ip.is_unspecified()),
            prefix: prefix.unwrap_or_else(|| "eth".into()),
            pools: pools(request).map(|(pool, _)| pool).collect(),
        })
    }
}

fn existing(request: &CreateNetwork, options: &Options<'_>, name: LinkName) -> Result<Kind, Error> {
    options.check("network", &["network"], |_| {
        format!("network `{name}` exists, and is not changed")
    })?;
    if request.options.internal {
        return Err(Error::usage(format!("--internal: network `{name}` exists"))
            .hint(format!("make it so: `netcord bridge {name} --internal`")));
    }
    Ok(Kind::Existing(name))
}

/// The subnets from which docker assigns addresses, with their gateways. `--ipam-driver null` has the
/// pool of all addresses: then netcord assigns them.
pub(super) fn pools(
    request: &CreateNetwork,
) -> impl Iterator<Item = (IpNetwork, Option<IpAddr>)> + '_ {
    let all = request.ipv4.iter().chain(&request.ipv6);
    all.filter_map(|IpamData { pool, gateway }| {
        let pool = pool.filter(|pool| pool.prefix() > 0)?;
        Some((pool, gateway.map(|gateway| gateway.ip())))
    })
}

/// The options of `-o`, by their names without docker's prefix: as they are typed, with their values.
pub(super) struct Options<'a>(BTreeMap<&'a str, (&'a str, &'a str)>);

impl<'a> Options<'a> {
    fn of(request: &'a CreateNetwork) -> Self {
        let named = |(typed, value): (&'a String, &'a String)| {
            let name = match typed.strip_prefix("com.docker.network.").unwrap_or(typed) {
                "host_binding_ipv4" => "bridge.host_binding_ipv4",
                "driver.mtu" => "mtu",
                "macvlan_mode" => "mode",
                name => name,
            };
            (name, (typed.as_str(), value.as_str()))
        };
        Self(request.options.generic.iter().map(named).collect())
    }

    /// Returns the value of an option.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|(_, value)| *value)
    }

    /// Parses the value of an option.
    pub(super) fn get<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&'a str) -> Result<T, String>,
    ) -> Result<Option<T>, Error> {
        let Some((typed, value)) = self.0.get(name) else { return Ok(None) };
        let parsed = parse(value);
        parsed.map(Some).map_err(|why| Error::usage(format!("option `{typed}={value}`: {why}")))
    }

    /// Parses the value of an option as its type does.
    pub(super) fn parsed<T: FromStr<Err: ToString>>(&self, name: &str) -> Result<Option<T>, Error> {
        self.get(name, |value| value.parse().map_err(|why: T::Err| why.to_string()))
    }

    /// Parses a list of values.
    pub(super) fn list<T: FromStr<Err: ToString>>(
        &self,
        name: &str,
        separator: char,
    ) -> Result<Vec<T>, Error> {
        let all = self.get(name, |value| {
            let words = value.split(separator).map(str::trim).filter(|word| !word.is_empty());
            words.map(|word| word.parse().map_err(|why: T::Err| why.to_string())).collect()
        })?;
        Ok(all.unwrap_or_default())
    }

    /// Parses a switch as Go does.
    pub(super) fn switch(&self, name: &str) -> Result<Option<bool>, Error> {
        self.get(name, |value| match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err("it is `true` or `false`".into()),
        })
    }

    /// Refuses options that are none of these, and none of all networks.
    pub(super) fn check(
        &self,
        driver: &str,
        known: &[&str],
        why: impl Fn(&str) -> String,
    ) -> Result<(), Error> {
        let is_known = |name: &str| OF_ALL.contains(&name) || known.contains(&name);
        match self.0.iter().find(|(name, _)| !is_known(name)) {
            Some((name, (typed, value))) => {
                let all = || OF_ALL.iter().chain(known).chain(["network"].iter()).copied();
                let hint = did_you_mean(name, all()).unwrap_or_else(|| {
                    let names = all().collect::<Vec<_>>().join(", ");
                    format!("the options of {driver} networks are {names}")
                });
                Err(Error::usage(format!("option `{typed}={value}`: {}", why(name))).hint(hint))
            }
            None => Ok(()),
        }
    }
}

fn link(name: &str) -> Result<LinkName, String> {
    name.parse().map_err(|e| format!("{e}"))
}
