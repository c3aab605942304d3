//! Parses the kernel's message about a link.

use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    link::{
        BridgePortState, BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoKind,
        InfoMacVlan, InfoPortData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkXdp,
        XdpAttached,
    },
};

use super::{Link, LinkKind, Port, VxlanAttrs, bridge::MULTICAST_ROUTER};
use crate::model::Mac;

pub(super) fn parse(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let mut link = Link {
        name: String::new(),
        kind: LinkKind::Other,
        kind_name: String::new(),
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        operates: message.header.flags.contains(LinkFlags::Running),
        mac: None,
        mtu: 0,
        master: None,
        alias: None,
        isolated: false,
        hairpin: false,
        forwards: false,
        port: Port::default(),
        asks: !message.header.flags.contains(LinkFlags::Noarp),
        xdp: false,
        qdisc: String::new(),
        filters_vlans: false,
        index: message.header.index,
        peer: None,
        peer_nsid: None,
        macvlan_mode: None,
        vlan_id: None,
        vxlan: None,
        group: 0,
        stp: false,
        forward_delay: 0,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(bytes) => link.mac = Mac::try_from(bytes.as_slice()).ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(index) => link.master = Some(index),
            LinkAttribute::Link(index) => link.peer = Some(index),
            LinkAttribute::LinkNetNsId(id) => link.peer_nsid = Some(id),
            LinkAttribute::Group(group) => link.group = group,
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::LinkInfo(infos) => parse_info(&mut link, infos),
            LinkAttribute::Qdisc(name) => link.qdisc = name,
            LinkAttribute::Xdp(list) => {
                let is_there = |xdp: &LinkXdp| matches!(xdp, LinkXdp::Attached(how) if *how != XdpAttached::None);
                link.xdp = list.iter().any(is_there);
            }
            _ => {}
        }
    }
    Some(link)
}

fn parse_info(link: &mut Link, infos: Vec<LinkInfo>) {
    for info in infos {
        match info {
            LinkInfo::Kind(kind) => {
                link.kind_name = kind.to_string();
                link.kind = match kind {
                    InfoKind::Bridge => LinkKind::Bridge,
                    InfoKind::Veth => LinkKind::Veth,
                    InfoKind::MacVlan => LinkKind::Macvlan,
                    InfoKind::Vlan => LinkKind::Vlan,
                    InfoKind::Vxlan => LinkKind::Vxlan,
                    InfoKind::Tun => LinkKind::Tun,
                    _ => LinkKind::Other,
                };
            }
            LinkInfo::Data(InfoData::Bridge(data)) => {
                for attribute in data {
                    match attribute {
                        InfoBridge::StpState(state) => link.stp = state != BridgeStpState::Disabled,
                        InfoBridge::ForwardDelay(delay) => link.forward_delay = delay,
                        InfoBridge::VlanFiltering(on) => link.filters_vlans = on,
                        _ => {}
                    }
                }
            }
            LinkInfo::Data(InfoData::MacVlan(data)) => {
                link.macvlan_mode = data.into_iter().find_map(|d| match d {
                    InfoMacVlan::Mode(mode) => Some(mode),
                    _ => None,
                });
            }
            LinkInfo::Data(InfoData::Vxlan(data)) => {
                link.vxlan = Some(Box::new(VxlanAttrs::parse(&data)));
            }
            LinkInfo::Data(InfoData::Vlan(data)) => {
                link.vlan_id = data.into_iter().find_map(|d| match d {
                    InfoVlan::Id(id) => Some(id),
                    _ => None,
                });
            }
            LinkInfo::PortData(InfoPortData::BridgePort(flags)) => {
                for flag in flags {
                    parse_port(link, &flag);
                }
            }
            _ => {}
        }
    }
}

fn parse_port(link: &mut Link, flag: &InfoBridgePort) {
    let port = &mut link.port;
    match flag {
        InfoBridgePort::Isolated(on) => link.isolated = *on,
        InfoBridgePort::HairpinMode(on) => link.hairpin = *on,
        InfoBridgePort::State(state) => {
            link.forwards = *state == BridgePortState::Forwarding;
            port.state = match state {
                BridgePortState::Listening => "listening",
                BridgePortState::Learning => "learning",
                BridgePortState::Forwarding => "forwarding",
                BridgePortState::Blocking => "blocking",
                _ => "disabled",
            };
        }
        InfoBridgePort::Learning(on) => port.learns = *on,
        InfoBridgePort::UnicastFlood(on) => port.floods = *on,
        InfoBridgePort::BroadcastFlood(on) => port.broadcasts = *on,
        InfoBridgePort::MulticastFlood(on) => port.multicasts = *on,
        InfoBridgePort::NeighSupress(on)
        | InfoBridgePort::ProxyARP(on)
        | InfoBridgePort::ProxyARPWifi(on) => port.suppresses |= on,
        InfoBridgePort::MulticastRouter(router) => {
            port.is_multicast_router = u8::from(*router) == MULTICAST_ROUTER;
        }
        InfoBridgePort::Locked(on) => port.locked = *on,
        _ => {}
    }
}
