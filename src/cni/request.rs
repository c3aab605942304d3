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
    ops::{
        attach::Wiring,
        driver::bridge::{Bridge, Said},
    },
};

/// The network of a configuration, and what the configuration speaks of.
pub(super) struct Wanted {
    pub(super) bridge: Bridge,
    pub(super) said: Said,
    ranges: Vec<AddressRange>,
    routers: Vec<IpAddr>,
}

impl Wanted {
    /// Reads it, with the addresses that another plugin assigned.
    pub(super) fn read(config: &Config, assigned: Option<&CniResult>) -> Result<Self, Failure> {
        let mut bridge = Bridge::new(config.network_name());
        bridge.mtu = (config.mtu != 0).then_some(config.mtu);
        let sets = sets(config);
        let subnets = || sets.iter().filter_map(|set| set.first()?.subnet);
        let of_family = |is_ipv4| subnets().filter(|s| s.is_ipv4() == is_ipv4).count();
        let has_several = of_family(true) > 1 || of_family(false) > 1;
        let assigned = assigned.iter().flat_map(|result| &result.ips);
        let is_gateway = config.is_gateway(!sets.is_empty() || assigned.clone().count() > 0);
        let said = |flag: Flag| match flag {
            Flag::Internal => config.internal,
            Flag::Isolate => config.isolates(),
            Flag::NoMasquerade => config.ip_masq.map(|masquerade| !masquerade),
            Flag::NoSpoof => config.checks_senders(),
            Flag::Open => config.open,
        };
        // As with the plugin `bridge`, a network that is made masquerades only if that is asked for.
        bridge.flags = Flags::of(|flag| match flag {
            // The host is no part of a network whose bridge has no address.
            Flag::Internal => !is_gateway || said(flag).unwrap_or_default(),
            _ => said(flag).unwrap_or(flag == Flag::NoMasquerade),
        });
        bridge.no_gateway = !is_gateway;
        let flags = Flags::of(|flag| said(flag).is_some());
        let said = Said { flags, gateway: config.says_gateway().is_some() };
        let (mut ranges, mut routers) = (Vec::new(), Vec::new());
        for ip in assigned {
            bridge.subnet.push(Cidr(network_of(ip.address)));
            bridge.gateway.extend(ip.gateway);
            routers.extend(ip.gateway.or_else(|| first_host(ip.address).filter(|_| is_gateway)));
        }
        for set in &sets {
            let (subnet, gateway) = subnet_of(set)?;
            bridge.subnet.push(Cidr(subnet));
            bridge.gateway.extend(gateway);
            let router = gateway.or_else(|| first_host(subnet));
            // Of several sets of a family, a pod gets an address of each.
            let is_named = |r: &&Range| r.start.or(r.end).is_some() || !is_gateway || has_several;
            let of_set = set.iter().filter(is_named).map(|range| AddressRange {
                first: range.start.unwrap_or(subnet.network()),
                last: range.end.unwrap_or(subnet.broadcast()),
            });
            // The router's address is its own, wherever the router is.
            ranges.extend(of_set.flat_map(|range| match router {
                Some(router) => range.without(router).collect(),
                None => vec![range],
            }));
            routers.extend(router);
        }
        if bridge.no_gateway {
            bridge.gateway.clear();
        }
        Ok(Self { bridge, said, ranges, routers })
    }

    /// Returns the address of the router of each subnet that the configuration names, as `host-local` tells
    /// it: also of one that is no address of this host.
    pub(super) fn routers(&self) -> &[IpAddr] {
        &self.routers
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
        let by = self.routers.as_slice();
        if let Some(router) = ip.iter().map(|a| a.ip).find(|ip| by.contains(ip)) {
            return Err(config_error(format!("`{router}` is the gateway of its subnet")));
        }
        let own = if self.bridge.no_gateway { by } else { &[] };
        let given = defaults.iter().filter_map(|r| r.gw.or_else(|| router_for(r.dst, own)));
        // A family without a default route in the configuration has none.
        let lacks = |cidr: &Cidr| !defaults.iter().any(|r| r.dst.is_ipv4() == cidr.0.is_ipv4());
        let is_partial = !config.is_default_gateway
            && !defaults.is_empty()
            && self.bridge.subnet.iter().any(lacks);
        let (gateway, routes) = match (is_default, is_partial) {
            (false, _) => (vec![Gateway::None], routes),
            (true, true) => (vec![Gateway::None], [defaults, routes].concat()),
            (true, false) => (given.map(Gateway::Ip).collect(), routes),
        };
        let routes = routes.into_iter().map(|route| spec(route, by));
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

/// Returns the address that a subnet's gateway has by default.
fn first_host(subnet: IpNetwork) -> Option<IpAddr> {
    network_of(subnet).iter().nth(1)
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
fn spec(route: &CniRoute, routers: &[IpAddr]) -> Result<RouteSpec, Failure> {
    let is_metric = |key: &str| key == "priority";
    let is_set = |(key, value): &(&String, &Value)| !is_metric(key) && !value.is_null();
    if let Some((key, _)) = route.others.iter().find(is_set) {
        return Err(Failure::unsupported(
            &format!("routes: {key}"),
            "leave it out, or set the route with another plugin",
        ));
    }
    let destination = network_of(route.dst);
    let gateway = route.gw.or_else(|| router_for(destination, routers));
    let priority = route.others.get("priority").and_then(Value::as_u64).unwrap_or_default();
    let metric = u32::try_from(priority)
        .map_err(|_| config_error(format!("routes: priority {priority} is too large")))?;
    let kind = RouteKind::Unicast;
    Ok(RouteSpec { kind, destination, gateway, metric })
}

/// Returns the router for a destination: the first one of its IP family.
fn router_for(destination: IpNetwork, routers: &[IpAddr]) -> Option<IpAddr> {
    routers.iter().copied().find(|router| router.is_ipv4() == destination.is_ipv4())
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{cni::config, ops::hostile};

    fn attachment() -> Attachment {
        Attachment {
            container: "0f".into(),
            ifname: "eth0".parse().unwrap(),
            netns: Some(PathBuf::from("/run/netns/cni-1")),
            arguments: crate::cni::environment::Arguments::default(),
        }
    }

    fn config(keys: &Value) -> Config {
        let mut whole = json!({"cniVersion": "1.0.0", "name": "pods"});
        for (key, value) in keys.as_object().unwrap() {
            whole[key] = value.clone();
        }
        config::read(whole.to_string().as_bytes()).unwrap().config
    }

    fn wanted(keys: &Value) -> (Wanted, Wiring) {
        let config = config(keys);
        let wiring = Wanted::read(&config, None).unwrap().wiring(&config, &attachment(), None);
        (Wanted::read(&config, None).unwrap(), wiring.unwrap())
    }

    #[test]
    fn a_bridge_without_an_address_is_one_of_the_plugin_bridge_by_default() {
        let ipam = json!({"type": "host-local", "subnet": "10.22.0.0/24", "gateway": "10.22.0.7",
            "routes": [{"dst": "0.0.0.0/0"}]});
        for (keys, is_gateway, speaks_of_it) in [
            (json!({"ipam": ipam}), false, false),
            (json!({"ipam": ipam, "bridge": "br0"}), false, false),
            (json!({"ipam": ipam, "isGateway": false}), false, true),
            (json!({"ipam": ipam, "isGateway": true}), true, true),
            (json!({"ipam": ipam, "isDefaultGateway": true, "isGateway": false}), true, true),
            (json!({"ipam": ipam, "network": "pods"}), true, false),
            (json!({"ipam": ipam, "network": "pods", "isGateway": false}), false, true),
            (json!({}), true, false),
            (json!({"ipam": {"type": "host-local"}}), true, false),
        ] {
            let (wanted, wiring) = wanted(&keys);
            assert_eq!(!wanted.bridge.no_gateway, is_gateway, "{keys}");
            assert_eq!(!wanted.bridge.flags.has(Flag::Internal), is_gateway, "{keys}");
            assert_eq!(wanted.said.gateway, speaks_of_it, "{keys}");
            let ranges: Vec<_> = wiring.ranges.iter().map(ToString::to_string).collect();
            if is_gateway {
                assert_eq!(ranges, [""; 0], "{keys}");
            } else {
                assert_eq!(ranges, ["10.22.0.0-10.22.0.6", "10.22.0.8-10.22.0.255"], "{keys}");
                let router: IpAddr = "10.22.0.7".parse().unwrap();
                assert_eq!(wiring.gateway, [Gateway::Ip(router)], "{keys}");
            }
        }
    }

    #[test]
    fn a_pod_gets_an_address_of_each_set_of_ranges() {
        let (wanted, wiring) =
            wanted(&json!({"isGateway": true, "ipam": {"type": "host-local", "ranges": [
            [{"subnet": "10.22.0.0/24"}], [{"subnet": "10.23.0.0/24", "rangeStart": "10.23.0.9"}],
            [{"subnet": "fd00::/64", "gateway": "fd00::9"}],
        ], "routes": [{"dst": "192.0.2.0/24"}, {"dst": "2001:db8::/32"}]}}));
        assert_eq!(wanted.bridge.subnet.len(), 3);
        let ranges: Vec<_> = wiring.ranges.iter().map(ToString::to_string).collect();
        assert_eq!(
            ranges[..3],
            ["10.22.0.0-10.22.0.0", "10.22.0.2-10.22.0.255", "10.23.0.9-10.23.0.255"]
        );
        let by: Vec<_> = wiring.route.iter().map(|r| r.gateway.unwrap().to_string()).collect();
        assert_eq!(by, ["10.22.0.1", "fd00::9"]);
    }

    /// The configurations of real runtimes.
    fn real() -> Vec<Value> {
        let containerd = json!({
            "cniVersion": "1.0.0", "name": "pods", "type": "netcord", "bridge": "cni0", "ipMasq": true,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.22.0.0/16"}]],
                "routes": [{"dst": "0.0.0.0/0"}]},
            "runtimeConfig": {
                "portMappings": [{"HostPort": 8090, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}],
                "dns": {"Servers": ["192.0.2.53"], "Searches": ["lab"], "Options": ["ndots:5"]},
                "bandwidth": {"IngressRate": 0}, "cgroupPath": "/k8s"},
        });
        let podman = json!({
            "cniVersion": "1.1.0", "name": "pods", "type": "netcord", "network": "pods", "mtu": 1400,
            "isGateway": false, "isolate": true, "noSpoof": true, "hairpinMode": true,
            "ipMasqBackend": "iptables", "vlan": 0, "vlanTrunk": [],
            "ipam": {"type": "host-local", "subnet": "10.22.0.0/16", "rangeStart": "10.22.0.9",
                "rangeEnd": "10.22.0.99", "gateway": "10.22.0.1",
                "routes": [{"dst": "10.9.0.0/16", "gw": "10.22.0.3", "priority": 7}]},
            "runtimeConfig": {"ips": ["10.22.0.77/16"], "mac": "02:00:00:00:00:09",
                "ipRanges": [[{"subnet": "10.22.0.0/16"}], [{"subnet": "fd00::/64"}]],
                "aliases": {"pods": ["web"]}},
            "args": {"cni": {"ips": ["10.22.0.9"], "mac": "02:00:00:00:00:08"}},
            "cni.dev/valid-attachments": [{"containerID": "0f", "ifname": "eth0"}],
            "prevResult": {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/a"}],
                "ips": [{"address": "10.1.0.2/24", "gateway": "10.1.0.1", "interface": 0}],
                "routes": [{"dst": "0.0.0.0/0"}], "dns": {"nameservers": ["192.0.2.53"]}},
        });
        vec![containerd, podman]
    }

    /// Reads a configuration as an ADD does.
    fn add(text: &[u8]) {
        let Ok(config::Read { config, .. }) = config::read(text) else { return };
        let wanted = config.check().and_then(|()| Wanted::read(&config, config.previous.as_ref()));
        if let Ok(wanted) = wanted {
            drop(wanted.wiring(&config, &attachment(), config.previous.as_ref()));
        }
    }

    #[test]
    fn the_configurations_that_are_damaged_are_read_whole() {
        for whole in real() {
            config::read(whole.to_string().as_bytes()).unwrap().config.check().unwrap();
        }
    }

    proptest! {
        #![proptest_config(hostile::cases())]

        #[test]
        fn any_bytes_are_read_or_refused(bytes in hostile::bytes()) {
            add(&bytes);
        }

        #[test]
        fn a_hostile_configuration_is_read_or_refused(text in hostile::damaged(real())) {
            add(&text);
        }
    }
}
