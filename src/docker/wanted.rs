//! A network that netcord makes for docker: a request of the verb of its driver (`-o driver=`).

use std::path::PathBuf;

use anyhow::Result;

use super::{
    options::{Options, pools},
    protocol::CreateNetwork,
};
use crate::{
    error::Error,
    model::{
        BackendKind, Cidr, Flag, Flags, Identity, LinkName, MacvlanMode, Network, Store, Vxlan,
        overlap,
    },
    ops::{
        Changed, Session,
        driver::{
            bridge::{self, Bridge},
            macvlan::{self, Macvlan},
            overlay::{self, ClusterShape, Joining, OnHost, Overlay},
            underlay::{self, Underlay},
        },
    },
};

/// How long a store may take to answer, in seconds: docker waits meanwhile.
const WAIT: u32 = 10;

/// A network to make.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    Bridge(Box<Bridge>),
    Underlay(Box<Underlay>),
    Macvlan(Box<Macvlan>),
    Overlay(Box<Overlay>),
    Joining(Box<Joining>),
}

/// The options of each driver.
const BRIDGE: [&str; 9] = [
    "driver",
    "bridge.name",
    "mtu",
    "isolate",
    "bridge.enable_icc",
    "no-masquerade",
    "bridge.enable_ip_masquerade",
    "no-spoof",
    "open",
];
const UNDERLAY: [&str; 7] =
    ["driver", "bridge.name", "parent", "takeover", "isolate", "bridge.enable_icc", "no-spoof"];
const MACVLAN: [&str; 5] = ["driver", "bridge.name", "parent", "mode", "mtu"];
const OVERLAY: [&str; 21] = [
    "driver",
    "bridge.name",
    "parent",
    "public-ip",
    "mtu",
    "no-masquerade",
    "bridge.enable_ip_masquerade",
    "no-spoof",
    "subnet",
    "backend",
    "vni",
    "port",
    "direct-routing",
    "peer",
    "store",
    "prefix",
    "ca",
    "cert",
    "key",
    "user",
    "password-file",
];

impl Wanted {
    /// Reads a request of docker's.
    ///
    /// # Errors
    /// If an option has no meaning for the driver.
    pub(super) fn read(request: &CreateNetwork, options: &Options<'_>) -> Result<Self, Error> {
        let driver = options.text("driver").unwrap_or("bridge");
        let known: &[&str] = match driver {
            "bridge" => &BRIDGE,
            "underlay" => &UNDERLAY,
            "macvlan" => &MACVLAN,
            "overlay" => &OVERLAY,
            _ => {
                return Err(Error::usage(format!(
                    "option `driver={driver}`: netcord has no such driver"
                ))
                .hint("it has bridge, underlay, macvlan and overlay"));
            }
        };
        let is_of_another = |name: &str| {
            [&BRIDGE[..], &UNDERLAY, &MACVLAN, &OVERLAY].iter().any(|all| all.contains(&name))
        };
        options.check(driver, known, |name| {
            if is_of_another(name) {
                format!("driver {driver} does not have it")
            } else {
                "netcord does not know it".to_owned()
            }
        })?;
        let reader = Reader { request, options, driver };
        reader.check_internal()?;
        match driver {
            "underlay" => reader.underlay(),
            "macvlan" => reader.macvlan(),
            "overlay" if options.text("store").is_some() => reader.joining(),
            "overlay" => reader.overlay(),
            _ => reader.bridge(),
        }
    }

    /// The name of the network.
    pub(super) fn name(&self) -> &LinkName {
        match self {
            Self::Bridge(wanted) => &wanted.name,
            Self::Underlay(wanted) => &wanted.name,
            Self::Macvlan(wanted) => &wanted.name,
            Self::Overlay(wanted) => &wanted.on_host.name,
            Self::Joining(wanted) => &wanted.on_host.name,
        }
    }

    /// Makes the network, unless it is there.
    ///
    /// # Errors
    /// Those of its verb.
    pub(super) async fn ensure(&self, host: &mut Session<'_>) -> Result<Network> {
        let network = |done: Option<Changed<bridge::Made>>| done.map(|done| done.now.network);
        let made = match self {
            Self::Bridge(wanted) => network(bridge::bridge(host, wanted).await?),
            Self::Macvlan(wanted) => network(macvlan::macvlan(host, wanted).await?),
            Self::Overlay(wanted) => network(overlay::overlay(host, wanted).await?),
            Self::Joining(wanted) => network(overlay::join(host, wanted).await?),
            Self::Underlay(wanted) => {
                underlay::underlay(host, wanted).await?.map(|done| done.now.network)
            }
        };
        made.ok_or_else(|| Error::usage("a plugin has no dry run").into())
    }
}

/// Reads a request as that of a driver.
struct Reader<'a> {
    request: &'a CreateNetwork,
    options: &'a Options<'a>,
    driver: &'a str,
}

impl Reader<'_> {
    fn bridge(&self) -> Result<Wanted, Error> {
        Ok(Wanted::Bridge(Box::new(Bridge {
            subnet: self.subnets()?,
            gateway: self.gateways(),
            mtu: self.mtu()?,
            ipv6: self.request.options.ipv6,
            flags: self.flags()?,
            label: self.label(),
            ..Bridge::new(self.name()?)
        })))
    }

    fn underlay(&self) -> Result<Wanted, Error> {
        Ok(Wanted::Underlay(Box::new(Underlay {
            name: self.name()?,
            parent: self.parent()?.ok_or_else(|| self.no_parent())?,
            ip_range: Vec::new(),
            gateway: self.gateways(),
            takeover: self.options.switch("takeover")?.unwrap_or_default(),
            confirm_within: None,
            terminal: None,
            flags: self.flags()?,
            label: self.label(),
        })))
    }

    fn macvlan(&self) -> Result<Wanted, Error> {
        let mode = self.options.get("mode", |word| {
            let mode = MacvlanMode::ALL.into_iter().find(|mode| mode.as_str() == word);
            mode.ok_or_else(|| "it is bridge, private, vepa or passthru".to_owned())
        })?;
        Ok(Wanted::Macvlan(Box::new(Macvlan {
            name: self.name()?,
            parent: self.parent()?.ok_or_else(|| self.no_parent())?,
            mode: mode.unwrap_or(MacvlanMode::Bridge),
            subnet: self.subnets()?,
            no_subnet: false,
            gateway: self.gateways(),
            ip_range: Vec::new(),
            mtu: self.mtu()?,
            host_access: false,
            label: self.label(),
        })))
    }

    fn overlay(&self) -> Result<Wanted, Error> {
        let subnet: Vec<Cidr> = self.options.list("subnet", ',')?;
        let host_subnet = self.subnets()?;
        for (what, is_missing) in [
            ("-o subnet=, the subnet of the whole network", subnet.is_empty()),
            ("--subnet, this host's part of it", host_subnet.is_empty()),
        ] {
            if is_missing {
                return Err(Error::usage(format!("driver overlay needs {what}"))
                    .hint("or `-o store=`, and the hosts agree there"));
            }
        }
        // As docker words them: `--subnet` is the network's in netcord's own words.
        let holds =
            |all: &Cidr, host: &Cidr| overlap(all.0, host.0) && all.0.prefix() <= host.0.prefix();
        let is_outside = |host: &&Cidr| !subnet.iter().any(|all| holds(all, host));
        if let Some(host) = host_subnet.iter().find(is_outside) {
            let all = self.options.text("subnet").unwrap_or_default();
            let message = format!("--subnet {}: it is outside of `-o subnet={all}`", host.0);
            return Err(Error::usage(message)
                .hint("`-o subnet=` is the whole network's, `--subnet` this host's part of it"));
        }
        Ok(Wanted::Overlay(Box::new(Overlay {
            on_host: self.on_host()?,
            subnet,
            host_subnet,
            // A peer has commas itself.
            peer: self.options.list("peer", ';')?,
            backend: self.backend()?.unwrap_or(BackendKind::Vxlan),
            vni: self.vni()?,
            port: self.options.parsed("port")?,
            direct_routing: self.direct_routing()?,
            flat: None,
            store: None,
        })))
    }

    fn joining(&self) -> Result<Wanted, Error> {
        if let Some((pool, _)) = pools(self.request).next() {
            return Err(Error::usage(format!(
                "docker assigns addresses of {pool}, and this host's subnet comes from the store"
            ))
            .hint("let netcord assign them: `--ipam-driver null`, without `--subnet`"));
        }
        if self.options.text("peer").is_some() {
            return Err(Error::usage("option `peer`: the hosts come from the store"));
        }
        let shape = ClusterShape {
            flat: None,
            gateways: Vec::new(),
            subnets: self.options.list("subnet", ',')?,
            lengths: [None; 2],
            bounds: [None; 2],
            backend: self.backend()?,
            vni: self.vni()?,
            port: self.options.parsed("port")?,
            direct_routing: self.direct_routing()?,
        };
        let on_host = self.on_host()?;
        let store = self.store()?;
        Ok(Wanted::Joining(Box::new(Joining { on_host, store, shape, wait: WAIT })))
    }

    fn store(&self) -> Result<Store, Error> {
        let endpoints: Vec<String> = self.options.list("store", ',')?;
        let endpoints = endpoints.into_iter().map(|url| url.trim_end_matches('/').to_owned());
        let file = |name| self.options.get(name, absolute);
        // Each host has a network of its own name, so there is no default.
        let prefix = self.options.text("prefix").ok_or_else(|| {
            Error::usage("-o store= needs -o prefix=, the same on all hosts")
                .hint("for example `-o prefix=/netcord/pods`")
        })?;
        let pair = |one: &str, other: &str| {
            Error::usage(format!("options `{one}` and `{other}` belong together"))
        };
        let identity = match (file("cert")?, file("key")?) {
            (Some(cert), Some(key)) => Some(Identity { cert, key }),
            (None, None) => None,
            _ => return Err(pair("cert", "key")),
        };
        let user = match (self.options.text("user"), file("password-file")?) {
            (Some(user), Some(password_file)) => {
                Some(crate::model::User { name: user.to_owned(), password_file })
            }
            (None, None) => None,
            _ => return Err(pair("user", "password-file")),
        };
        Ok(Store {
            endpoints: endpoints.collect(),
            prefix: format!("/{}", prefix.trim_matches('/')),
            ca: file("ca")?,
            identity,
            user,
            ttl: Store::TTL,
            subnet_file: None,
        })
    }

    fn on_host(&self) -> Result<OnHost, Error> {
        Ok(OnHost {
            name: self.name()?,
            parent: self.parent()?,
            public_ip: self.options.parsed("public-ip")?,
            reach: None,
            gateway: self.gateways(),
            ip_range: Vec::new(),
            mtu: self.mtu()?,
            flags: self.flags()?,
            label: self.label(),
        })
    }

    fn name(&self) -> Result<LinkName, Error> {
        let own = || format!("nc-{}", self.request.network_id.short()).parse();
        match self.options.parsed("bridge.name")? {
            Some(name) => Ok(name),
            None => own().map_err(|e: crate::model::Invalid| Error::usage(e.message)),
        }
    }

    fn parent(&self) -> Result<Option<LinkName>, Error> {
        self.options.parsed("parent")
    }

    fn no_parent(&self) -> Error {
        Error::usage(format!("driver {} needs -o parent=, a link of the host", self.driver))
            .hint("for example `-o parent=eth0`")
    }

    fn mtu(&self) -> Result<Option<u32>, Error> {
        self.options.get("mtu", |value| match value.parse() {
            Ok(mtu @ 68..=65535) => Ok(mtu),
            _ => Err("an MTU is from 68 to 65535 bytes".into()),
        })
    }

    fn vni(&self) -> Result<Option<u32>, Error> {
        self.options.get("vni", |value| match value.parse() {
            Ok(vni @ 1..=Vxlan::VNI_MAX) => Ok(vni),
            _ => Err(format!("it is from 1 to {}", Vxlan::VNI_MAX)),
        })
    }

    fn backend(&self) -> Result<Option<BackendKind>, Error> {
        self.options.get("backend", |word| {
            let kind = BackendKind::ALL.into_iter().find(|kind| kind.as_str() == word);
            kind.ok_or_else(|| "it is vxlan, host-gw or udp".to_owned())
        })
    }

    fn direct_routing(&self) -> Result<bool, Error> {
        Ok(self.options.switch("direct-routing")?.unwrap_or_default())
    }

    fn subnets(&self) -> Result<Vec<Cidr>, Error> {
        let all = pools(self.request).map(|(pool, _)| pool.to_string().parse());
        let all: Result<Vec<Cidr>, _> = all.collect();
        let all = all.map_err(|e| Error::usage(format!("--subnet: {e}")))?;
        // docker gives a container one address of each family.
        let is_twice = |is_ipv4| all.iter().filter(|cidr| cidr.0.is_ipv4() == is_ipv4).count() > 1;
        if is_twice(true) || is_twice(false) {
            return Err(Error::usage("--subnet: at most one subnet per IP family"));
        }
        Ok(all)
    }

    fn gateways(&self) -> Vec<std::net::IpAddr> {
        pools(self.request).filter_map(|(_, gateway)| gateway).collect()
    }

    fn flags(&self) -> Result<Flags, Error> {
        let not = |name| Ok::<_, Error>(self.options.switch(name)?.map(|is_on| !is_on));
        let set = |flag: &Flag| {
            let given = match flag {
                Flag::Internal => Some(self.request.options.internal),
                Flag::Isolate => self.options.switch("isolate")?.or(not("bridge.enable_icc")?),
                Flag::NoMasquerade => {
                    self.options.switch("no-masquerade")?.or(not("bridge.enable_ip_masquerade")?)
                }
                Flag::NoSpoof => self.options.switch("no-spoof")?,
                Flag::Open => self.options.switch("open")?,
            };
            Ok::<_, Error>(given.unwrap_or_default())
        };
        let mut given = Vec::new();
        for flag in Flag::ALL {
            if set(&flag)? {
                given.push(flag);
            }
        }
        Ok(Flags::of(|flag| given.contains(&flag)))
    }

    /// Of a physical network, others decide what it reaches.
    fn check_internal(&self) -> Result<(), Error> {
        if self.request.options.internal && matches!(self.driver, "underlay" | "macvlan") {
            let message = format!("driver {} does not support --internal", self.driver);
            return Err(Error::usage(message));
        }
        Ok(())
    }

    /// Whose the network is: one of the same name that is not docker's differs.
    fn label(&self) -> Vec<(String, String)> {
        vec![("com.docker.network.id".into(), self.request.network_id.to_string())]
    }
}

/// The agent reads files from another directory.
fn absolute(path: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    if path.is_absolute() { Ok(path) } else { Err("the path is not absolute".into()) }
}
