//! A configuration as requests: the network that it defines, and how a container is attached to it.

use std::net::IpAddr;

use anyhow::Result;

use super::{
    definition::{DEFAULT_METRIC, Definition, Ipam, Kind, Subnet},
    options::{Container, Endpoint},
};
use crate::{
    error::Error,
    model::{Address, Cidr, Flag, Flags, Gateway, Interface, LinkName, MacvlanMode, Owner},
    ops::{
        attach::Wiring,
        driver::bridge::{Bridge, Said},
        driver::macvlan::Macvlan,
    },
};

/// The label of a network that was made for podman: what is removed with its last container.
pub(super) const LABEL: &str = "io.podman.network.id";
/// The metric of default routes by a macvlan, as netavark sets it: they come before those by a bridge.
const MACVLAN_METRIC: u32 = 99;

/// An attachment to make.
pub(super) struct Wanted<'c> {
    pub(super) definition: &'c Definition,
    pub(super) endpoint: &'c Endpoint,
    pub(super) network: Place,
    pub(super) wiring: Wiring,
    pub(super) owner: Owner,
}

/// An attachment, as it is found again.
pub(super) struct Made {
    pub(super) owner: Owner,
    pub(super) ifname: LinkName,
}

/// The network that a container is attached to.
pub(super) enum Place {
    /// A bridge of its own, and what the definition speaks of.
    Bridge { bridge: Box<Bridge>, said: Said },
    /// A bridge that is there, and is not changed.
    Unmanaged(LinkName),
    /// A macvlan network. Its parent may be open: the link of the host's default route.
    Macvlan { name: LinkName, parent: Option<LinkName>, options: MacvlanOptions },
}

/// Who makes the bridge of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// netcord, which removes it too.
    Managed,
    /// Another program, or the administrator.
    Unmanaged,
}

/// The options of a bridge network.
#[derive(Debug)]
pub(super) struct BridgeOptions {
    pub(super) mode: Mode,
    mtu: Option<u32>,
    metric: u32,
    no_default_route: bool,
    outbound: Vec<IpAddr>,
    /// Whether it is closed to other networks.
    isolate: Option<bool>,
}

/// The options of a macvlan network.
#[derive(Debug)]
pub(super) struct MacvlanOptions {
    pub(super) mode: MacvlanMode,
    mtu: Option<u32>,
    metric: u32,
    no_default_route: bool,
}

impl BridgeOptions {
    pub(super) const KEYS: &[&str] = &[
        "mode",
        "mtu",
        "metric",
        "no_default_route",
        "isolate",
        "outbound_addr4",
        "outbound_addr6",
        "vlan",
        "vrf",
    ];

    /// Reads them.
    ///
    /// # Errors
    /// If one is invalid, or netcord does not do it.
    pub(super) fn read(network: &Definition) -> Result<Self> {
        let usage = |message: String| anyhow::Error::from(Error::usage(message));
        let mode = match network.option::<String>("mode")?.as_deref() {
            None | Some("" | "managed") => Mode::Managed,
            Some("unmanaged") => Mode::Unmanaged,
            Some(other) => return Err(usage(format!("invalid bridge mode \"{other}\""))),
        };
        if network.option::<u16>("vlan")?.is_some_and(|vlan| vlan > 4094) {
            return Err(usage("vlan must be between 0 and 4094".into()));
        }
        for key in ["vlan", "vrf"] {
            if network.option::<String>(key)?.is_some() {
                let hint = "make such a bridge yourself, and use it with the option mode=unmanaged";
                return Err(Error::usage(format!("option `{key}`: netcord's bridges have none"))
                    .hint(hint)
                    .into());
            }
        }
        let isolate = match network.option::<String>("isolate")?.as_deref() {
            None => None,
            Some("true" | "strict") => Some(true),
            Some("false") => Some(false),
            Some(other) => {
                let message = format!("option `isolate`: \"{other}\" is not true, false or strict");
                return Err(usage(message));
            }
        };
        let outbound = [network.option("outbound_addr4")?, network.option("outbound_addr6")?];
        Ok(Self {
            mode,
            mtu: network.option("mtu")?.filter(|mtu| *mtu != 0),
            metric: network.option("metric")?.unwrap_or(DEFAULT_METRIC),
            no_default_route: network.option("no_default_route")?.unwrap_or(false),
            outbound: outbound.into_iter().flatten().collect(),
            isolate,
        })
    }
}

impl MacvlanOptions {
    pub(super) const KEYS: &[&str] = &["mode", "mtu", "metric", "no_default_route", "bclim"];

    /// Reads them.
    ///
    /// # Errors
    /// If one is invalid, or netcord does not do it.
    pub(super) fn read(network: &Definition) -> Result<Self> {
        let word = network.option::<String>("mode")?.filter(|mode| !mode.is_empty());
        let word = word.as_deref().unwrap_or("bridge");
        let mode = MacvlanMode::ALL.into_iter().find(|mode| mode.as_str() == word);
        let mode = mode.ok_or_else(|| {
            let known = MacvlanMode::ALL.map(MacvlanMode::as_str).join(", ");
            Error::usage(format!("invalid macvlan mode \"{word}\"")).hint(format!("one of {known}"))
        })?;
        if network.option::<i32>("bclim")?.is_some() {
            return Err(Error::usage("option `bclim`: netcord leaves it to the kernel").into());
        }
        Ok(Self {
            mode,
            mtu: network.option("mtu")?.filter(|mtu| *mtu != 0),
            metric: network.option("metric")?.unwrap_or(MACVLAN_METRIC),
            no_default_route: network.option("no_default_route")?.unwrap_or(false),
        })
    }

    /// Returns the network.
    pub(super) fn network(
        &self,
        definition: &Definition,
        name: &LinkName,
        parent: LinkName,
    ) -> Result<Macvlan> {
        Ok(Macvlan {
            name: name.clone(),
            parent,
            mode: self.mode,
            subnet: cidrs(definition.first_subnets())?,
            no_subnet: definition.ipam()? == Ipam::None,
            gateway: definition.first_subnets().filter_map(|subnet| subnet.gateway).collect(),
            ip_range: Vec::new(),
            mtu: None,
            host_access: false,
            label: vec![(LABEL.into(), definition.id.clone())],
        })
    }
}

impl<'c> Wanted<'c> {
    /// Reads it.
    ///
    /// # Errors
    /// If it is invalid, or netcord does not do it.
    pub(super) fn read(
        container: &Container,
        endpoint: &'c Endpoint,
        definition: &'c Definition,
    ) -> Result<Self> {
        let owner = owner(container, definition);
        let wiring = wiring(endpoint, definition, &owner)?;
        let (network, wiring) = match definition.kind()? {
            Kind::Bridge => of_bridge(definition, wiring)?,
            Kind::Macvlan => of_macvlan(definition, wiring)?,
        };
        Ok(Self { definition, endpoint, network, wiring, owner })
    }

    /// Returns whether ports can be published on it.
    pub(super) fn is_published_on(&self) -> bool {
        match &self.network {
            Place::Bridge { bridge, .. } => !bridge.no_subnet && !bridge.flags.has(Flag::Internal),
            Place::Unmanaged(_) | Place::Macvlan { .. } => false,
        }
    }

    /// Returns whether a link on the host is its other end.
    pub(super) fn has_host_end(&self) -> bool {
        match &self.network {
            Place::Bridge { .. } | Place::Unmanaged(_) => true,
            Place::Macvlan { .. } => false,
        }
    }
}

/// Returns who owns an endpoint.
pub(super) fn owner(container: &Container, definition: &Definition) -> Owner {
    let is_word = |name: &String| {
        !name.is_empty()
            && !name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control())
    };
    Owner {
        interface: Interface::Podman,
        network: definition.name.clone(),
        id: container.id.clone(),
        name: Some(container.name.clone()).filter(is_word),
    }
}

/// Returns the network's name: that of its bridge, or one that is derived from its ID.
pub(super) fn name(definition: &Definition) -> Result<LinkName> {
    match definition.kind()? {
        Kind::Bridge => link(definition, "no bridge interface name given"),
        Kind::Macvlan => {
            let id = definition.id.get(..12).unwrap_or(&definition.id);
            Ok(format!("nc-{id}").parse()?)
        }
    }
}

fn link(definition: &Definition, missing: &str) -> Result<LinkName> {
    match definition.network_interface.as_deref() {
        None | Some("") => Err(Error::usage(missing).into()),
        Some(name) => Ok(name.parse()?),
    }
}

fn cidrs<'d>(subnets: impl Iterator<Item = &'d Subnet>) -> Result<Vec<Cidr>> {
    let cidr = |subnet: &Subnet| {
        let cidr = subnet.subnet.to_string().parse();
        cidr.map_err(|e| Error::usage(format!("subnet {}: {e}", subnet.subnet)).into())
    };
    subnets.map(cidr).collect()
}

/// What is the same for both drivers.
fn wiring(endpoint: &Endpoint, definition: &Definition, owner: &Owner) -> Result<Wiring> {
    if endpoint.interface_name.is_empty() {
        return Err(Error::usage("no container interface name given").into());
    }
    let mut wiring = Wiring {
        mac: endpoint
            .static_mac
            .as_deref()
            .filter(|mac| !mac.is_empty())
            .map(str::parse)
            .transpose()?,
        ifname: Some(endpoint.interface_name.parse()?),
        host_ifname: endpoint.option("host_interface_name").map(str::parse).transpose()?,
        route: definition
            .routes()
            .iter()
            .map(super::definition::Route::spec)
            .collect::<Result<_>>()?,
        owner: Some(owner.clone()),
        ..Wiring::default()
    };
    match definition.ipam()? {
        Ipam::HostLocal => {
            let ips = endpoint.static_ips.as_ref();
            let ips = ips.ok_or_else(|| Error::usage("no static ips provided"))?;
            wiring.ip = ips.iter().map(|ip| address(*ip, definition)).collect::<Result<_>>()?;
            definition.check_subnets()?;
        }
        Ipam::Dhcp => wiring.dhcp = true,
        Ipam::None => wiring.no_address = true,
    }
    Ok(wiring)
}

fn address(ip: IpAddr, definition: &Definition) -> Result<Address> {
    let subnet = definition.subnets().iter().find(|subnet| subnet.subnet.contains(ip));
    let subnet = subnet.ok_or_else(|| {
        let name = &definition.name;
        Error::usage(format!(
            "static ip {ip}: not all static IPs matched a subnet of network {name}"
        ))
    })?;
    Ok(Address { ip, length: Some(subnet.subnet.prefix()) })
}

fn of_bridge(definition: &Definition, wiring: Wiring) -> Result<(Place, Wiring)> {
    let options = BridgeOptions::read(definition)?;
    let is_managed = options.mode == Mode::Managed;
    if wiring.dhcp && is_managed {
        let message = "cannot use dhcp ipam driver without using the option mode=unmanaged";
        return Err(Error::usage(message).into());
    }
    let name = name(definition)?;
    let has_default = !(options.no_default_route || definition.internal);
    let gateway = match (has_default, is_managed) {
        (false, _) => vec![Gateway::None],
        (true, true) => Vec::new(),
        // The bridge's address need not be that of the router.
        (true, false) => definition.gateways().map(Gateway::Ip).collect(),
    };
    let metric = has_default.then_some(options.metric);
    let wiring = Wiring { gateway, metric, spare_default: has_default, mtu: options.mtu, ..wiring };
    if !is_managed {
        return Ok((Place::Unmanaged(name), wiring));
    }
    let no_subnet = definition.subnets().is_empty();
    let gateway: Vec<_> = definition.gateways().collect();
    let is_open = options.isolate == Some(false) && !definition.internal && !no_subnet;
    let is_set = |flag| match flag {
        Flag::Internal => definition.internal,
        Flag::Open => is_open,
        Flag::Isolate | Flag::NoMasquerade | Flag::NoSpoof => false,
    };
    let said = |flag| is_set(flag) || (flag == Flag::Open && options.isolate.is_some());
    let bridge = Bridge {
        subnet: cidrs(definition.subnets().iter())?,
        no_subnet,
        no_gateway: !no_subnet && gateway.is_empty() && definition.internal,
        gateway,
        outbound_addr: options.outbound,
        mtu: options.mtu,
        flags: Flags::of(is_set),
        label: vec![(LABEL.into(), definition.id.clone())],
        ..Bridge::new(name)
    };
    let said = Said { flags: Flags::of(said), gateway: true };
    let place = Place::Bridge { bridge: Box::new(bridge), said };
    Ok((place, wiring))
}

fn of_macvlan(definition: &Definition, wiring: Wiring) -> Result<(Place, Wiring)> {
    let options = MacvlanOptions::read(definition)?;
    let name = name(definition)?;
    let parent = definition.network_interface.as_deref().filter(|name| !name.is_empty());
    let parent = parent.map(str::parse).transpose()?;
    let has_default = !(options.no_default_route || definition.internal);
    let wiring = Wiring {
        gateway: if has_default { Vec::new() } else { vec![Gateway::None] },
        metric: has_default.then_some(options.metric),
        spare_default: has_default,
        mtu: options.mtu,
        ..wiring
    };
    Ok((Place::Macvlan { name, parent, options }, wiring))
}
