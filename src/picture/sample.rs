//! Graphs for tests.

use proptest::prelude::*;

use crate::model::{
    EndpointState, Mac, MacvlanMode, PublishedPort,
    graph::{End, Forwarding, Graph, HostLink, Inside, OtherHost, Port, Segment},
};

pub(crate) fn link(name: &str) -> HostLink {
    HostLink {
        name: name.into(),
        up: true,
        mac: Some(Mac::of([192, 0, 2, 1].into())),
        addresses: vec!["192.0.2.1/24".parse().unwrap()],
        gateways: vec!["192.0.2.2".parse().unwrap()],
        ..HostLink::default()
    }
}

pub(crate) fn segment(name: &str, endpoints: u8) -> Segment {
    Segment {
        name: name.into(),
        mode: "bridge",
        foreign: false,
        engine_network: None,
        up: true,
        mac: Some(Mac::of([10, 7, 0, 1].into())),
        addresses: vec!["10.7.0.1/24".parse().unwrap(), "fd00:7::1/64".parse().unwrap()],
        gateways: vec![],
        parent: None,
        macvlan: None,
        host_access: false,
        internal: false,
        isolate: false,
        no_spoof: false,
        open: false,
        masquerade: true,
        masquerade_by: vec!["eth0".into()],
        ports: (0..endpoints).map(|i| port(&format!("web{i}"), i + 2)).collect(),
        peers: vec![],
    }
}

pub(crate) fn port(target: &str, last: u8) -> Port {
    Port {
        link: Some(format!("nc{last:012x}")),
        state: EndpointState::Up,
        end: End::Inside(inside(target, last)),
    }
}

pub(crate) fn inside(target: &str, last: u8) -> Inside {
    let published: PublishedPort =
        format!("0.0.0.0:8{last:03} -> 10.7.0.{last}:80/tcp").parse().unwrap();
    Inside {
        target: Some(target.into()),
        cookie: Some(last.into()),
        nsid: Some(last.into()),
        attached: true,
        link: Some("eth0".into()),
        mac: Some(Mac::of([10, 7, 0, last].into())),
        addresses: vec![
            format!("10.7.0.{last}/24").parse().unwrap(),
            format!("fd00:7::{last:x}/64").parse().unwrap(),
        ],
        gateways: vec!["10.7.0.1".parse().unwrap(), "fd00:7::1".parse().unwrap()],
        // Only some endpoints have published ports.
        published: if last % 5 == 2 { vec![published] } else { vec![] },
    }
}

pub(crate) fn host(links: Vec<HostLink>, segments: Vec<Segment>) -> Graph {
    Graph { forwarding: Forwarding { ipv4: true, ipv6: false }, links, segments }
}

/// Returns a host with a network of this many endpoints.
pub(crate) fn of(endpoints: u8) -> Graph {
    host(vec![link("eth0")], vec![segment("lab0", endpoints)])
}

/// Returns a host with everything that a graph can contain.
pub(crate) fn mixed() -> Graph {
    let nameless = Inside { nsid: Some(4), ..Inside::default() };
    let mut routed = link("routed");
    routed.inside = vec![inside("lone", 9), nameless.clone()];
    let vlan =
        HostLink { kind: "vlan".into(), lower: Some("eth0".into()), up: false, ..link("eth0.100") };
    let mut foreign = segment("docker0", 1);
    foreign.foreign = true;
    foreign.masquerade = false;
    let ends = [
        End::Wire { link_kind: String::new() },
        End::Host { link: "veth7".into() },
        End::Inside(nameless),
    ];
    foreign.ports.extend(ends.into_iter().enumerate().map(|(i, end)| Port {
        link: Some(format!("port{i}")),
        state: EndpointState::Down,
        end,
    }));
    let mut macvlan = segment("lan0", 4);
    macvlan.mode = "macvlan";
    macvlan.macvlan = Some(MacvlanMode::Bridge);
    macvlan.parent = Some("eth0".into());
    macvlan.masquerade = false;
    for port in &mut macvlan.ports {
        port.link = None;
    }
    macvlan.ports[3].state = EndpointState::Dead;
    let mut pods = segment("pods", 1);
    pods.mode = "overlay";
    pods.peers = [("192.0.2.2", "eth0"), ("198.51.100.3", "vx-pods")]
        .map(|(host, via)| OtherHost {
            host: host.parse().unwrap(),
            subnets: vec!["10.5.2.0/24".parse().unwrap()],
            via: vec![via.into()],
        })
        .into();
    let empty = Segment { masquerade_by: vec![], ..segment("empty", 0) };
    host(vec![link("eth0"), vlan, routed], vec![foreign, empty, segment("lab0", 7), macvlan, pods])
}

/// Names with characters that have a meaning in the formats.
pub(crate) fn odd() -> Graph {
    let names = [r#"a"b"#, r"c\", "<i>&amp;", "\u{1b}[31m", "-->", "日本語", "\u{202e}x", "end"];
    let mut graph = of(0);
    for (name, last) in names.into_iter().zip(2..) {
        let mut odd = port(name, last);
        odd.link = Some(name.into());
        graph.segments[0].ports.push(odd);
        graph.links.push(link(name));
    }
    graph
}

/// Any host: links that are connected in all ways, networks on them, targets in several of them.
pub(crate) fn any_host() -> impl Strategy<Value = Graph> {
    let name = prop_oneof![
        "[a-z]{1,4}[0-9]",
        "[a-z0-9@.-]{15}",
        "[a-z]{20}[_-][a-z]{20}[.-][a-z0-9]{22}",
        Just("日本語".to_owned()),
    ];
    let names = proptest::collection::vec(name, 12);
    let links = proptest::collection::vec((0..12_usize, any::<[bool; 4]>(), 0..4_u8), 0..5);
    let ports = proptest::collection::vec((0..12_usize, 0..8_u8, any::<bool>()), 0..30);
    let segments = proptest::collection::vec((0..12_usize, any::<[bool; 4]>(), ports), 0..6);
    (names, links, segments).prop_map(|(names, links, segments)| {
        let links = links.into_iter().map(|(i, [up, has_gateway, leads, has_many], last)| {
            let mut link = link(&names[i]);
            link.up = up;
            link.inside.extend(leads.then(|| inside(&names[usize::from(last)], last + 2)));
            if !has_gateway {
                link.gateways.clear();
            }
            if has_many {
                link.addresses =
                    vec!["2001:db8:1234:5678:9abc:def0:1234:5678/128".parse().unwrap(); 3];
            }
            link
        });
        let segments =
            segments.into_iter().map(|(i, [foreign, is_macvlan, masquerade, others], ports)| {
                let mut segment = segment(&names[i], 0);
                segment.foreign = foreign;
                segment.parent = Some(names[(i + 1) % 12].clone());
                segment.macvlan = is_macvlan.then_some(MacvlanMode::Bridge);
                segment.masquerade_by = names[..usize::from(masquerade) * 2].to_vec();
                if others {
                    segment.peers = mixed().segments[4].peers.clone();
                }
                segment.ports = ports
                    .into_iter()
                    .map(|(name, kind, is_up)| any_port(&names, name, kind, is_up))
                    .collect();
                segment
            });
        host(links.collect(), segments.collect())
    })
}

fn any_port(names: &[String], name: usize, kind: u8, is_up: bool) -> Port {
    let mut port = port(&names[name], u8::try_from(name).unwrap() + 2);
    port.state = if is_up { EndpointState::Up } else { EndpointState::Down };
    port.end = match kind {
        0 => End::Wire { link_kind: String::new() },
        1 => End::Wire { link_kind: "tun".into() },
        2 => End::Host { link: names[(name + 1) % names.len()].clone() },
        3 => End::Inside(Inside::default()),
        _ => return port,
    };
    port
}
