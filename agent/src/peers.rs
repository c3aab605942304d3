//! The other hosts of a network, as netcord makes entries for them.

use std::{collections::BTreeMap, net::IpAddr};

use ipnetwork::IpNetwork;
use netcord::model::PeerSpec;
use netcord_agent::{
    flannel::{Backend, Config, Lease, Subnets, Tunnel},
    store::Peer,
};

/// The other hosts that this one can reach, and the reasons for which others are left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Others {
    pub(crate) specs: Vec<PeerSpec>,
    pub(crate) left_out: Vec<String>,
}

impl Others {
    /// Reads the peers of a network in which this host has these subnets and these addresses.
    pub(crate) fn of<'p>(
        config: &Config,
        own: &Subnets,
        hosts: &[IpAddr],
        peers: impl IntoIterator<Item = &'p Peer>,
    ) -> Self {
        let mut newest: BTreeMap<IpAddr, &Peer> = BTreeMap::new();
        let mut others = Self::default();
        for peer in peers.into_iter().filter(|peer| peer.subnets != *own) {
            let host = peer.lease.host();
            if let Err(why) = check(config, own, hosts, peer) {
                others.left_out.push(format!("host {host} ({}): {why}", joined(&peer.subnets)));
                continue;
            }
            if let Some(before) = newest.insert(host, peer) {
                let (older, newer) =
                    if before.created > peer.created { (peer, before) } else { (before, peer) };
                newest.insert(host, newer);
                others.left_out.push(format!(
                    "host {host} ({}): it also has {}, and got that later",
                    joined(&older.subnets),
                    joined(&newer.subnets)
                ));
            }
        }
        others.specs = newest.values().map(|peer| spec(config, peer)).collect();
        others
    }
}

fn check(config: &Config, own: &Subnets, hosts: &[IpAddr], peer: &Peer) -> Result<(), String> {
    let Peer { subnets, lease, .. } = peer;
    let backend = config.backend.name();
    let is_same = match (&config.backend, &lease.tunnel) {
        (Backend::Vxlan(_), Tunnel::Vxlan { .. })
        | (Backend::HostGw, Tunnel::HostGw)
        | (Backend::Udp { .. }, Tunnel::Unnamed) => true,
        (
            Backend::Vxlan(_) | Backend::HostGw | Backend::Udp { .. } | Backend::Other(_),
            Tunnel::Vxlan { .. } | Tunnel::HostGw | Tunnel::Unnamed | Tunnel::Other(_),
        ) => false,
    };
    if !is_same {
        let other = lease.tunnel.name().unwrap_or("udp");
        return Err(format!("its backend is {other}, and the network's {backend}"));
    }
    if let (Backend::Vxlan(own), Tunnel::Vxlan { vni, .. }) = (&config.backend, &lease.tunnel)
        && own.vni != *vni
    {
        return Err(format!("its VNI is {vni}, and the network's {}", own.vni));
    }
    if let Some(own) = hosts.first()
        && own.is_ipv4() != lease.host().is_ipv4()
    {
        let [its, ours] = [lease.host(), *own].map(|ip| if ip.is_ipv4() { 4 } else { 6 });
        return Err(format!("it is reached by IPv{its}, and this host by IPv{ours}"));
    }
    if hosts.contains(&lease.host()) {
        return Err("it has an address of this host".to_owned());
    }
    if subnets.overlaps(own) {
        return Err(format!("its subnet overlaps with {}, this host's", joined(own)));
    }
    let pools = [Some(config.ipv4), config.ipv6].map(|pool| pool.map(|pool| pool.network()));
    let is_inside = |subnet: IpNetwork| {
        pools.iter().flatten().any(|all| {
            all.is_ipv4() == subnet.is_ipv4()
                && all.contains(subnet.network())
                && all.prefix() <= subnet.prefix()
        })
    };
    match subnets.iter().find(|subnet| !is_inside(*subnet)) {
        Some(subnet) => Err(format!("{subnet} is outside of the network")),
        None => Ok(()),
    }
}

fn spec(config: &Config, peer: &Peer) -> PeerSpec {
    let Lease { public_ipv6, tunnel, .. } = &peer.lease;
    let first = peer.lease.host();
    let second = public_ipv6.map(IpAddr::V6).filter(|v6| config.ipv6.is_some() && *v6 != first);
    let macs = match tunnel {
        Tunnel::Vxlan { mac, ipv6_mac, .. } => {
            [Some(*mac), ipv6_mac.filter(|_| second.is_some())].into_iter().flatten().collect()
        }
        Tunnel::HostGw | Tunnel::Unnamed | Tunnel::Other(_) => Vec::new(),
    };
    PeerSpec {
        subnets: peer.subnets.iter().collect(),
        hosts: [Some(first), second].into_iter().flatten().collect(),
        macs,
    }
}

fn joined(subnets: &Subnets) -> String {
    subnets.iter().map(|subnet| subnet.to_string()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use netcord::model::Mac;
    use netcord_agent::flannel::Pool;

    use super::*;

    const OWN: &str = "10.5.1.0-24";

    fn config() -> Config {
        Config::parse(br#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}"#).unwrap()
    }

    fn peer(subnets: &str, lease: &str, created: i64) -> Peer {
        Peer {
            subnets: subnets.parse().unwrap(),
            lease: Lease::parse(lease.as_bytes()).unwrap(),
            is_reserved: false,
            created,
        }
    }

    fn vxlan(host: &str, mac: &str) -> String {
        format!(
            r#"{{"PublicIP":"{host}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"{mac}"}}}}"#
        )
    }

    fn of(peers: &[Peer]) -> Others {
        let own = [IpAddr::from([192, 0, 2, 1])];
        Others::of(&config(), &OWN.parse().unwrap(), &own, peers)
    }

    #[test]
    fn a_host_with_flanneld_is_a_peer_by_its_own_mac() {
        let found = of(&[
            peer(OWN, &vxlan("192.0.2.1", "02:76:c0:00:02:01"), 5),
            peer("10.5.61.0-24", &vxlan("172.31.7.2", "82:65:fc:26:2c:f1"), 6),
        ]);
        assert_eq!(found.left_out, Vec::<String>::new());
        let [spec] = found.specs.as_slice() else { panic!("{found:?}") };
        assert_eq!(spec.to_string(), "10.5.61.0/24=172.31.7.2@82:65:fc:26:2c:f1");
        assert_eq!(spec.macs, ["82:65:fc:26:2c:f1".parse::<Mac>().unwrap()]);
        assert_eq!(
            config().ipv4,
            Pool::new("10.5.0.0/16".parse().unwrap(), None, None, None).unwrap()
        );
    }

    #[test]
    fn a_host_that_cannot_be_reached_is_named_and_does_not_keep_the_others() {
        let mac = "82:65:fc:26:2c:f1";
        let found = of(&[
            peer("10.5.2.0-24", r#"{"PublicIP":"192.0.2.2","PublicIPv6":null}"#, 1),
            peer("10.5.3.0-24", r#"{"PublicIP":"192.0.2.3","BackendType":"host-gw"}"#, 2),
            peer("10.5.1.128-25", &vxlan("192.0.2.4", mac), 3),
            peer("10.6.5.0-24", &vxlan("192.0.2.5", mac), 4),
            peer("10.5.6.0-24", &vxlan("192.0.2.1", mac), 5),
            peer("10.5.7.0-24", &vxlan("192.0.2.7", mac), 8),
            peer("10.5.8.0-24", &vxlan("192.0.2.7", mac), 7),
            peer("10.5.9.0-24", &vxlan("192.0.2.9", mac).replace(r#""VNI":1"#, r#""VNI":2"#), 9),
        ]);
        let specs: Vec<_> = found.specs.iter().map(ToString::to_string).collect();
        assert_eq!(specs, [format!("10.5.7.0/24=192.0.2.7@{mac}")]);
        let expected = [
            "host 192.0.2.2 (10.5.2.0/24): its backend is udp, and the network's vxlan",
            "host 192.0.2.3 (10.5.3.0/24): its backend is host-gw, and the network's vxlan",
            "host 192.0.2.4 (10.5.1.128/25): its subnet overlaps with 10.5.1.0/24, this host's",
            "host 192.0.2.5 (10.6.5.0/24): 10.6.5.0/24 is outside of the network",
            "host 192.0.2.1 (10.5.6.0/24): it has an address of this host",
            "host 192.0.2.7 (10.5.8.0/24): it also has 10.5.7.0/24, and got that later",
            "host 192.0.2.9 (10.5.9.0/24): its VNI is 2, and the network's 1",
        ];
        assert_eq!(found.left_out, expected);
    }
}
