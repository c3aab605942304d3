//! The configuration of a network in its store, and the one that was asked for.

use std::net::IpAddr;

use anyhow::Result;
use ipnetwork::IpNetwork;
use netcord::{
    agents::netcord_agent::protocol::Shape,
    error::Error,
    model::{BackendKind, Cidr, Udp},
    ops::driver::overlay::{TunnelFlags, check_families},
};
use netcord_agent::flannel::{Backend, Config, Pool, Vxlan};

/// Returns the configuration that a network's first host writes.
///
/// # Errors
/// If there is no IPv4 subnet, or flannel's rules do not allow what was asked for.
pub(crate) fn config(shape: &Shape) -> Result<Config> {
    let pool = |is_ipv4: bool| -> Result<Option<Pool>> {
        let mut subnets = shape.subnets.iter().filter(|Cidr(cidr)| cidr.is_ipv4() == is_ipv4);
        let Some(Cidr(network)) = subnets.next() else { return Ok(None) };
        if subnets.next().is_some() {
            return Err(Error::usage("--subnet: there are two of one IP family").into());
        }
        let length = shape.lengths[usize::from(!is_ipv4)];
        let [min, max] = if is_ipv4 { shape.bounds } else { [None; 2] };
        Ok(Some(Pool::new(*network, length, min, max)?))
    };
    let kind = shape.backend.unwrap_or(BackendKind::Vxlan);
    let given = TunnelFlags {
        vni: shape.vni.is_some(),
        port: shape.port.is_some(),
        direct_routing: shape.direct_routing,
    };
    given.check(kind)?;
    let blocks: Vec<_> = shape.subnets.iter().map(|Cidr(cidr)| *cidr).collect();
    check_families(kind, &blocks)?;
    let backend = match kind {
        BackendKind::HostGw => Backend::HostGw,
        BackendKind::Udp => Backend::Udp { port: shape.port.unwrap_or(Udp::PORT) },
        BackendKind::Vxlan => {
            let default = Vxlan::default();
            Backend::Vxlan(Vxlan {
                vni: shape.vni.unwrap_or(default.vni),
                port: shape.port.unwrap_or(default.port),
                direct_routing: shape.direct_routing,
                ..default
            })
        }
    };
    let Some(ipv4) = pool(true)? else {
        return Err(Error::usage("a network in a store needs an IPv4 subnet")
            .hint("add one with `--subnet`")
            .into());
    };
    Ok(Config { ipv4, ipv6: pool(false)?, backend })
}

/// Returns what was asked for and differs from the store's configuration.
pub(crate) fn differences(shape: &Shape, there: &Config) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |name: &str, wanted: Option<String>, found_there: String| {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != found_there) {
            found.push(format!("{name} is {found_there}, not {wanted}"));
        }
    };
    let cluster =
        |cidrs: Vec<IpNetwork>| cidrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut asked: Vec<_> = shape.subnets.iter().map(|Cidr(cidr)| network(*cidr)).collect();
    asked.sort_by_key(IpNetwork::is_ipv6);
    let asked = Some(asked).filter(|asked| !asked.is_empty()).map(cluster);
    compare("subnet", asked, cluster(subnets(there)));
    let pools = [Some(there.ipv4), there.ipv6];
    for (wanted, pool) in shape.lengths.iter().zip(pools) {
        if let Some(pool) = pool {
            let wanted = wanted.map(|length| length.to_string());
            compare("host-subnet-len", wanted, pool.subnet_len().to_string());
        }
    }
    let (min, max) = there.ipv4.bounds();
    for (name, wanted, bound) in
        [("subnet-min", shape.bounds[0], min), ("subnet-max", shape.bounds[1], max)]
    {
        compare(name, wanted.map(|ip: IpAddr| ip.to_string()), bound.to_string());
    }
    let backend = shape.backend.map(|kind| kind.as_str().to_owned());
    compare("backend", backend, there.backend.name().to_owned());
    if let Backend::Udp { port } = &there.backend {
        compare("port", shape.port.map(|port| port.to_string()), port.to_string());
    }
    if let Backend::Vxlan(vxlan) = &there.backend {
        compare("VNI", shape.vni.map(|vni| vni.to_string()), vxlan.vni.to_string());
        compare("port", shape.port.map(|port| port.to_string()), vxlan.port.to_string());
        let direct = shape.direct_routing.then(|| true.to_string());
        compare("direct-routing", direct, vxlan.direct_routing.to_string());
    }
    found
}

/// Returns the subnets of the whole network, IPv4 first.
pub(crate) fn subnets(config: &Config) -> Vec<IpNetwork> {
    [Some(config.ipv4), config.ipv6].into_iter().flatten().map(|pool| pool.network()).collect()
}

fn network(cidr: IpNetwork) -> IpNetwork {
    IpNetwork::new(cidr.network(), cidr.prefix()).unwrap_or(cidr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(subnets: &[&str]) -> Shape {
        Shape { subnets: subnets.iter().map(|s| s.parse().unwrap()).collect(), ..Shape::default() }
    }

    #[test]
    fn the_first_host_decides_the_configuration() {
        let made = config(&shape(&["fd00:5::/48", "10.5.0.0/16"])).unwrap();
        assert_eq!(subnets(&made), ["10.5.0.0/16", "fd00:5::/48"].map(|s| s.parse().unwrap()));
        let made = config(&Shape { vni: Some(7), port: Some(4789), ..shape(&["10.5.0.0/16"]) });
        let Backend::Vxlan(vxlan) = made.unwrap().backend else { panic!() };
        assert_eq!((vxlan.vni, vxlan.port, vxlan.direct_routing), (7, 4789, false));
        for wrong in [
            shape(&["fd00:5::/48"]),
            shape(&["10.5.0.0/16", "10.6.0.0/16"]),
            Shape { lengths: [Some(31), None], ..shape(&["10.5.0.0/16"]) },
            Shape { lengths: [Some(16), None], ..shape(&["10.5.0.0/16"]) },
            Shape { bounds: [Some([10, 6, 0, 0].into()), None], ..shape(&["10.5.0.0/16"]) },
            Shape { backend: Some(BackendKind::HostGw), vni: Some(1), ..shape(&["10.5.0.0/16"]) },
        ] {
            assert!(config(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_another_host_says_must_agree() {
        let there = config(&shape(&["10.5.0.0/16"])).unwrap();
        let none = Vec::<String>::new();
        assert_eq!(differences(&Shape::default(), &there), none);
        assert_eq!(differences(&shape(&["10.5.7.0/16"]), &there), none, "host bits");
        let other = Shape {
            lengths: [Some(25), None],
            backend: Some(BackendKind::HostGw),
            vni: Some(2),
            direct_routing: true,
            ..shape(&["10.6.0.0/16"])
        };
        assert_eq!(
            differences(&other, &there),
            [
                "subnet is 10.5.0.0/16, not 10.6.0.0/16",
                "host-subnet-len is 24, not 25",
                "backend is vxlan, not host-gw",
                "VNI is 1, not 2",
                "direct-routing is false, not true",
            ]
        );
    }
}
