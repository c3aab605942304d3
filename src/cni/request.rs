//! A configuration as requests: the network that it names, and how a container is attached to it.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::Value;

use super::{
    config::{Config, Ipam, PortMapping, Range},
    environment::Attachment,
    failure::{Code, Failure},
    result::{CniResult, CniRoute},
};
use crate::{
    model::{
        Address, AddressRange, Cidr, Firewall, Flag, Flags, Gateway, HostPorts, Interface, Owner,
        PortRange, PortSpec, Protocol, RouteKind, RouteSpec, network_of,
    },
    ops::{attach::Wiring, driver::bridge::Bridge},
};

/// The network of a configuration, and the flags that the configuration speaks of.
pub(super) struct Wanted {
    pub(super) bridge: Bridge,
    pub(super) flags: Flags,
    ranges: Vec<AddressRange>,
}

impl Wanted {
    /// Reads it, with the addresses that another plugin assigned.
    pub(super) fn read(config: &Config, assigned: Option<&CniResult>) -> Result<Self, Failure> {
        let mut bridge = Bridge::new(config.network_name());
        bridge.mtu = (config.mtu != 0).then_some(config.mtu);
        let said = |flag: Flag| match flag {
            Flag::Internal => config.internal,
            Flag::Isolate => config.isolates(),
            Flag::NoMasquerade => config.ip_masq.map(|masquerade| !masquerade),
            Flag::NoSpoof => config.checks_senders(),
            Flag::Open => config.open,
        };
        // As with the plugin `bridge`, a network that is made masquerades only if that is asked for.
        bridge.flags = Flags::of(|flag| said(flag).unwrap_or(flag == Flag::NoMasquerade));
        let flags = Flags::of(|flag| said(flag).is_some());
        let mut ranges = Vec::new();
        for ip in assigned.iter().flat_map(|result| &result.ips) {
            bridge.subnet.push(Cidr(network_of(ip.address)));
            bridge.gateway.extend(ip.gateway);
        }
        for set in sets(config) {
            let (subnet, gateway) = subnet_of(&set)?;
            if bridge.subnet.iter().any(|other| other.0.is_ipv4() == subnet.is_ipv4()) {
                let message = "ipam: two sets of ranges of one IP family";
                return Err(config_error(message)
                    .details("a pod gets one address of each IP family from a netcord network"));
            }
            bridge.subnet.push(Cidr(subnet));
            bridge.gateway.extend(gateway);
            ranges.extend(set.iter().filter(|r| r.start.or(r.end).is_some()).map(|range| {
                let first = range.start.unwrap_or(subnet.network());
                AddressRange { first, last: range.end.unwrap_or(subnet.broadcast()) }
            }));
        }
        Ok(Self { bridge, flags, ranges })
    }

    /// Returns how a container is attached.
    pub(super) fn wiring(
        self,
        config: &Config,
        attachment: &Attachment,
        assigned: Option<&CniResult>,
    ) -> Result<Wiring, Failure> {
        let mut ip = asked(config, attachment)?;
        let given = assigned.iter().flat_map(|result| &result.ips).map(|ip| ip.address);
        ip.extend(given.map(|a| Address { ip: a.ip(), length: Some(a.prefix()) }));
        let all_routes = config.ipam.iter().flat_map(|ipam| &ipam.routes);
        let (defaults, routes): (Vec<_>, Vec<_>) = all_routes
            .chain(assigned.iter().flat_map(|result| &result.routes))
            .partition(|route| route.dst.prefix() == 0);
        // netcord's own addresses come with a default route, those of `host-local` as it is configured.
        let is_default = config.is_default_gateway
            || config.ipam.is_none()
            || config.leases()
            || !defaults.is_empty();
        let gateway = match (is_default, defaults.iter().filter_map(|route| route.gw)) {
            (false, _) => vec![Gateway::None],
            (true, given) => given.map(Gateway::Ip).collect(),
        };
        let gateways = &self.bridge.gateway;
        let subnets = &self.bridge.subnet;
        let routes = routes.into_iter().map(|route| spec(route, subnets, gateways));
        Ok(Wiring {
            ip,
            ranges: self.ranges,
            dhcp: config.leases(),
            gateway,
            mac: config.asked_mac().or(attachment.arguments.mac),
            ifname: Some(attachment.ifname.clone()),
            mtu: self.bridge.mtu,
            route: routes.collect::<Result<_, _>>()?,
            publish: ports(&config.runtime.ports)?,
            name: attachment.netns_name(),
            hairpin: config.hairpin_mode,
            owner: Some(owner(config, attachment)),
            ..Wiring::default()
        })
    }
}

/// Returns who owns an attachment.
pub(super) fn owner(config: &Config, attachment: &Attachment) -> Owner {
    Owner {
        interface: Interface::Cni,
        network: config.name.clone(),
        id: attachment.container.clone(),
        name: attachment.arguments.name(),
    }
}

/// Returns the firewall that a configuration names.
pub(super) fn firewall(config: &Config) -> Result<Option<Firewall>, Failure> {
    match config.ip_masq_backend.as_deref() {
        None | Some("") => Ok(None),
        Some("iptables") => Ok(Some(Firewall::Iptables)),
        Some("nftables") => Ok(Some(Firewall::Nftables)),
        Some(other) => Err(config_error(format!("ipMasqBackend: no firewall `{other}`"))),
    }
}

/// Returns the ranges of addresses: those of the container, else those of the configuration.
fn sets(config: &Config) -> Vec<Vec<Range>> {
    if !config.runtime.ip_ranges.is_empty() {
        return config.runtime.ip_ranges.clone();
    }
    let own = config.ipam.as_ref().filter(|_| config.delegate().is_none());
    own.map(Ipam::sets).unwrap_or_default()
}

/// Returns the subnet of a set of ranges, and its gateway.
fn subnet_of(set: &[Range]) -> Result<(IpNetwork, Option<IpAddr>), Failure> {
    let mut subnets = set.iter().map(|range| {
        let subnet = range.subnet.ok_or_else(|| config_error("ipam: a range without a subnet"))?;
        Ok::<_, Failure>(network_of(subnet))
    });
    let first = subnets.next().ok_or_else(|| config_error("ipam: an empty set of ranges"))??;
    for subnet in subnets {
        if subnet? != first {
            let message = "ipam: the ranges of a set are in several subnets";
            return Err(
                config_error(message).details("a netcord network has one subnet of each IP family")
            );
        }
    }
    Ok((first, set.iter().find_map(|range| range.gateway)))
}

/// Returns the addresses that were asked for. podman asks for the same one twice.
fn asked(config: &Config, attachment: &Attachment) -> Result<Vec<Address>, Failure> {
    let mut all: Vec<Address> = Vec::new();
    for text in config.asked_ips() {
        let address: Address =
            text.parse().map_err(|_| config_error(format!("`{text}` is no address")))?;
        if all.iter().all(|known| known.ip != address.ip) {
            all.push(address);
        }
    }
    if all.is_empty() {
        all.extend(attachment.arguments.ip);
    }
    Ok(all)
}

/// Returns a route. Without a gateway it leads to that of the subnet, as with the plugin `bridge`.
fn spec(route: &CniRoute, subnets: &[Cidr], gateways: &[IpAddr]) -> Result<RouteSpec, Failure> {
    let is_metric = |key: &str| key == "priority";
    let is_set = |(key, value): &(&String, &Value)| !is_metric(key) && !value.is_null();
    if let Some((key, _)) = route.others.iter().find(is_set) {
        return Err(Failure::unsupported(
            &format!("routes: {key}"),
            "leave it out, or set the route with another plugin",
        ));
    }
    let destination = network_of(route.dst);
    let is_same_family = |ip: &&IpAddr| ip.is_ipv4() == destination.is_ipv4();
    let of_subnet = || {
        let subnet = subnets.iter().find(|s| s.0.is_ipv4() == destination.is_ipv4())?;
        subnet.0.iter().nth(1)
    };
    let gateway = route.gw.or_else(|| gateways.iter().find(is_same_family).copied());
    let priority = route.others.get("priority").and_then(Value::as_u64).unwrap_or_default();
    let metric = u32::try_from(priority)
        .map_err(|_| config_error(format!("routes: priority {priority} is too large")))?;
    let kind = RouteKind::Unicast;
    Ok(RouteSpec { kind, destination, gateway: gateway.or_else(of_subnet), metric })
}

/// Returns the ports to publish.
pub(super) fn ports(mappings: &[PortMapping]) -> Result<Vec<PortSpec>, Failure> {
    mappings.iter().map(port).collect()
}

fn port(mapping: &PortMapping) -> Result<PortSpec, Failure> {
    let wrong = |what: &str| config_error(format!("portMappings: `{what}` is not valid"));
    let number = |number: i64| {
        let port = u16::try_from(number).ok().filter(|port| *port != 0);
        port.map(PortRange::single).ok_or_else(|| wrong(&number.to_string()))
    };
    let protocol = match mapping.protocol.to_lowercase().as_str() {
        "" | "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        other => return Err(wrong(other)),
    };
    let host_ip = match mapping.host_ip.as_str() {
        "" => None,
        ip => Some(ip.parse().map_err(|_| wrong(ip))?),
    };
    let host = HostPorts::Range(number(mapping.host)?);
    Ok(PortSpec { host_ip, host, container: number(mapping.container)?, protocol })
}

fn config_error(message: impl Into<String>) -> Failure {
    Failure::new(Code::Config, message)
}
