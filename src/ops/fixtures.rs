//! Networks and endpoints for unit tests.

use std::net::IpAddr;

use serde_json::json;

use crate::model::{Attachment, Endpoint, Mac, Network, NetworkRecord, Subnet};

/// A network of this mode (`foreign`: a foreign bridge), with netcord's choice of gateways.
pub(crate) fn network(name: &str, mode: &str, subnets: &[&str]) -> Network {
    let is_foreign = mode == "foreign";
    let mut form = json!({
        "name": name, "mode": if is_foreign { "bridge" } else { mode }, "foreign": is_foreign,
        "mac": "02:42:00:00:00:01", "mtu": 1500, "subnets": [], "internal": false,
        "isolate": false, "masquerade": mode == "bridge", "firewall": "nftables", "labels": {},
    });
    if mode == "macvlan" {
        form["parent"] = json!({"link": "eth0", "macvlan": {"mode": "bridge", "host_access": []}});
    }
    let network: Network = serde_json::from_value(form).unwrap();
    let subnet = |cidr: &&str| Subnet::new(cidr.parse().unwrap(), None, None).unwrap();
    Network { subnets: subnets.iter().map(subnet).collect(), ..network }
}

/// An endpoint that brings these default routes.
pub(crate) fn endpoint(target: &str, cookie: u64, ifname: &str, gateways: &[&str]) -> Endpoint {
    let host_ifname = format!("nc{cookie}{ifname}").parse().unwrap();
    Endpoint {
        target: target.to_owned(),
        netns: target.parse().unwrap(),
        cookie,
        ifname: ifname.parse().unwrap(),
        attachment: Attachment::Veth { host_ifname },
        mac: Mac::of([10, 0, 0, 2].into()),
        mtu: 1500,
        addresses: Vec::new(),
        gateways: gateways.iter().map(|gateway| ip(gateway)).collect(),
        metric: 0,
        routes: Vec::new(),
        replaced: Vec::new(),
        raises_lo: false,
        lease: None,
        hairpin: false,
        foreign: false,
        container: None,
        owner: None,
        handed_over: None,
        ports: Vec::new(),
    }
}

pub(crate) fn record(network: Network, endpoints: Vec<Endpoint>) -> NetworkRecord {
    NetworkRecord { network, endpoints }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
