//! The properties of a resource that the rest of netcord asks for, in one place.
//!
//! [`Resource::facts`] has an arm for each kind, so the compiler demands all of them from whoever
//! adds a kind.

#![deny(clippy::wildcard_enum_match_arm)]

use super::{Chain, Entry, LinkId, Moved, Nft, Record, Resource, Rule, SysctlKey, Tunnel};
use crate::model::{Family, Firewall, LinkName, NetnsName};

/// The properties of a resource by which changes are ordered, grouped, reversed and undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// Which code carries the resource's changes out, and which changes go into one message.
    pub class: Class<'a>,
    /// The namespace in which it is changed; `None`: the host's own.
    pub place: Option<&'a NetnsName>,
    /// The link that it is a part of, and is deleted with.
    pub part_of: Option<LinkAt<'a>>,
    /// How a reverse plan treats it.
    pub reversal: Reversal,
    /// Whether the kernel shows afterwards that the change was made.
    pub lasts: bool,
}

/// Which code carries changes out, and which changes go into one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class<'a> {
    /// An entry of netcord's records. Changes of one file are one write.
    Record(&'a Record),
    /// A name in `/run/netns`.
    Name,
    /// A link.
    Link {
        /// Both ends of a veth pair, or a link's only end.
        ends: [Option<LinkAt<'a>>; 2],
        /// The identity for a deletion; `None` if a rollback can recreate the link.
        id: Option<LinkId>,
    },
    /// An element of a firewall. Changes of one firewall are one transaction.
    Firewall(Element),
    /// A setting of the host that moves between links. Adjacent ones are one message.
    Moved(&'a Moved),
    /// A route, a neighbour or an FDB entry. Adjacent ones of one namespace are sent together.
    Entry(Entry<'a>),
    /// Tracked connections. Adjacent ones are deleted in one pass.
    Flows,
    /// Another object of the kernel. Each change is one message.
    Other,
}

/// An element of a firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// The firewall.
    pub firewall: Firewall,
    /// The IP version; `None`: both.
    pub family: Option<Family>,
    /// Whether it translates a published port, so that nothing else shares it.
    pub is_port: bool,
}

/// A link with its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkAt<'a> {
    /// The namespace; `None`: the host's own.
    pub netns: Option<&'a NetnsName>,
    /// The link's name in it.
    pub name: &'a LinkName,
}

/// How a reverse plan treats a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reversal {
    /// It deletes what was created, and creates what was deleted.
    Opposite,
    /// It repeats the change: a wait, or a deletion.
    Again,
    /// It leaves the change out: there is no former value to restore.
    None,
}

const OTHER: Facts<'static> = Facts {
    class: Class::Other,
    place: None,
    part_of: None,
    reversal: Reversal::Opposite,
    lasts: true,
};

impl Resource {
    /// Returns the properties by which changes are ordered, grouped, reversed and undone.
    pub fn facts(&self) -> Facts<'_> {
        match self {
            Self::Record(record) => Facts { class: Class::Record(record), ..OTHER },
            Self::Name(_) => Facts { class: Class::Name, ..OTHER },
            Self::Bridge { name, .. } => {
                link(LinkId::Bridge(name.clone()), [Some(host(name)), None])
            }
            Self::Vlan { name, .. } => link(LinkId::Vlan(name.clone()), [Some(host(name)), None]),
            Self::Vxlan(Tunnel { name, .. }) => {
                link(LinkId::Vxlan(name.clone()), [Some(host(name)), None])
            }
            Self::Tun { name } => link(LinkId::Tun(name.clone()), [Some(host(name)), None]),
            Self::Veth(veth) => {
                let peer = LinkAt { netns: veth.netns.as_ref(), name: &veth.peer };
                link(LinkId::Veth(veth.host.clone()), [Some(host(&veth.host)), Some(peer)])
            }
            Self::Macvlan(made) => {
                let end = LinkAt { netns: made.netns.as_ref(), name: &made.name };
                link(LinkId::Macvlan(made.id()), [Some(end), None])
            }
            Self::CarrierVeth(cable) => {
                let ends = [&cable.port, &cable.loose].map(|end| Some(host(end)));
                Facts { class: Class::Link { ends, id: None }, ..OTHER }
            }
            Self::Chain(Chain { family, .. }) => firewall(Firewall::Iptables, Some(*family), false),
            Self::Rule(rule) => {
                firewall(Firewall::Iptables, Some(rule.family), Rule::is_port(rule))
            }
            Self::Nft(nft) => match nft {
                Nft::Ports(_) => firewall(Firewall::Nftables, None, true),
                Nft::Table | Nft::Network(_) => firewall(Firewall::Nftables, None, false),
            },
            Self::Moved(moved) => Facts { class: Class::Moved(moved), ..OTHER },
            Self::Flows(_) => {
                Facts { class: Class::Flows, reversal: Reversal::Again, lasts: false, ..OTHER }
            }
            Self::Zone { .. } => OTHER,
            Self::WaitReady { link } => {
                Facts { reversal: Reversal::Again, lasts: false, ..part(None, link) }
            }
            Self::Announcement { netns, link, .. } => {
                Facts { reversal: Reversal::None, lasts: false, ..part(netns.as_ref(), link) }
            }
            Self::LinkAttrs(shape) => {
                Facts { reversal: Reversal::None, ..part(shape.netns.as_ref(), &shape.link) }
            }
            Self::Mtu { link, .. } => Facts { reversal: Reversal::None, ..part(None, link) },
            Self::Alias { netns, link, .. } => {
                Facts { reversal: Reversal::None, ..part(netns.as_ref(), link) }
            }
            Self::Port { link, .. } | Self::Clsact { link } | Self::TcFilter { link, .. } => {
                part(None, link)
            }
            Self::Address { netns, link, .. } | Self::Up { netns, link } => {
                part(netns.as_ref(), link)
            }
            Self::Route { netns, route } => entry(netns.as_ref(), Entry::Route(route)),
            Self::Neighbour { netns, link, address, mac } => {
                entry(netns.as_ref(), Entry::Neighbour { link, address: *address, mac: *mac })
            }
            Self::FdbEntry { link, mac, host, on_bridge } => {
                entry(None, Entry::Fdb { link, mac: *mac, host: *host, on_bridge: *on_bridge })
            }
            Self::Replica { link, host } => entry(None, Entry::Replica { link, host: *host }),
            Self::Sysctl { netns, key, reset, .. } => {
                let reversal = if reset.is_some() { Reversal::Opposite } else { Reversal::None };
                Facts { reversal, ..sysctl(netns.as_ref(), key) }
            }
            Self::FormerSysctl { netns, key, .. } => {
                Facts { reversal: Reversal::None, ..sysctl(netns.as_ref(), key) }
            }
        }
    }

    /// Returns the identity for a deletion, if this is a link that no rollback recreates.
    pub fn link_id(&self) -> Option<LinkId> {
        match self.facts().class {
            Class::Link { id, .. } => id,
            Class::Record(_)
            | Class::Name
            | Class::Firewall(_)
            | Class::Moved(_)
            | Class::Entry(_)
            | Class::Flows
            | Class::Other => None,
        }
    }
}

impl LinkId {
    /// The properties of a link of which only the identity is known.
    pub(super) fn facts(&self) -> Facts<'_> {
        let end = match self {
            Self::Bridge(name)
            | Self::Vlan(name)
            | Self::Vxlan(name)
            | Self::Tun(name)
            | Self::Veth(name)
            | Self::Unrecorded(name) => host(name),
            Self::Macvlan(made) => LinkAt { netns: made.netns.as_ref(), name: &made.name },
        };
        Facts { reversal: Reversal::None, ..link(self.clone(), [Some(end), None]) }
    }
}

impl<'a> Facts<'a> {
    /// Returns the firewall element that this is.
    pub fn firewall(&self) -> Option<Element> {
        match self.class {
            Class::Firewall(element) => Some(element),
            Class::Record(_)
            | Class::Name
            | Class::Link { .. }
            | Class::Moved(_)
            | Class::Entry(_)
            | Class::Flows
            | Class::Other => None,
        }
    }

    /// Returns the ends of a link.
    pub fn ends(&self) -> [Option<LinkAt<'a>>; 2] {
        match self.class {
            Class::Link { ends, .. } => ends,
            Class::Record(_)
            | Class::Name
            | Class::Firewall(_)
            | Class::Moved(_)
            | Class::Entry(_)
            | Class::Flows
            | Class::Other => [None; 2],
        }
    }

    /// Returns the links that this cannot exist without.
    pub fn needs(&self) -> Vec<LinkAt<'a>> {
        match self.class {
            Class::Moved(moved) => moved.links().map(host).collect(),
            Class::Record(_)
            | Class::Name
            | Class::Link { .. }
            | Class::Firewall(_)
            | Class::Entry(_)
            | Class::Flows
            | Class::Other => self.part_of.into_iter().collect(),
        }
    }

    /// Returns whether nothing else shares it, so that two equal ones still count twice.
    pub fn is_of_one(&self) -> bool {
        match self.class {
            Class::Record(_) | Class::Flows => true,
            Class::Firewall(element) => element.is_port,
            Class::Name | Class::Link { .. } | Class::Moved(_) | Class::Entry(_) | Class::Other => {
                false
            }
        }
    }
}

fn host(name: &LinkName) -> LinkAt<'_> {
    LinkAt { netns: None, name }
}

fn link(id: LinkId, ends: [Option<LinkAt<'_>>; 2]) -> Facts<'_> {
    let place = ends[0].and_then(|link| link.netns);
    Facts { class: Class::Link { ends, id: Some(id) }, place, ..OTHER }
}

fn part<'a>(netns: Option<&'a NetnsName>, name: &'a LinkName) -> Facts<'a> {
    Facts { place: netns, part_of: Some(LinkAt { netns, name }), ..OTHER }
}

fn entry<'a>(netns: Option<&'a NetnsName>, entry: Entry<'a>) -> Facts<'a> {
    let part_of = entry.link().map(|name| LinkAt { netns, name });
    Facts { class: Class::Entry(entry), place: netns, part_of, ..OTHER }
}

fn sysctl<'a>(netns: Option<&'a NetnsName>, key: &'a SysctlKey) -> Facts<'a> {
    match key {
        SysctlKey::Link { link, .. } => part(netns, link),
        SysctlKey::Namespace(_) => Facts { place: netns, ..OTHER },
    }
}

fn firewall(firewall: Firewall, family: Option<Family>, is_port: bool) -> Facts<'static> {
    Facts { class: Class::Firewall(Element { firewall, family, is_port }), ..OTHER }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Change, Step, Veth, command};

    fn veth(netns: Option<&str>) -> Resource {
        Resource::Veth(Veth {
            host: "nc1".parse().unwrap(),
            host_mac: "02:00:00:00:00:01".parse().unwrap(),
            bridge: "lab0".parse().unwrap(),
            netns: netns.map(|name| name.parse().unwrap()),
            peer: "eth0".parse().unwrap(),
            mac: "02:00:00:00:00:02".parse().unwrap(),
            mtu: 1500,
            up: false,
        })
    }

    #[test]
    fn a_veth_is_one_link_with_two_ends_wherever_its_peer_is() {
        for netns in [None, Some("web")] {
            let veth = veth(netns);
            let ends = veth.facts().ends().map(|end| {
                let end = end.unwrap();
                (end.netns.map(NetnsName::as_str), end.name.as_str())
            });
            assert_eq!(ends, [(None, "nc1"), (netns, "eth0")]);
            let text = command(&Step::create("", veth.clone())).unwrap();
            assert_eq!(text.contains(" netns web"), netns.is_some(), "{text}");
            let deletion = Change::delete(veth);
            assert_eq!(deletion, Change::DeleteLink(LinkId::Veth("nc1".parse().unwrap())));
            assert_eq!(deletion.reversed(), None, "nothing brings a link back");
        }
    }

    #[test]
    fn a_switch_of_a_namespace_is_no_part_of_a_link() {
        let sysctl = |key| Resource::Sysctl { netns: None, key, value: "1".into(), reset: None };
        for family in [Family::V4, Family::V6] {
            assert_eq!(sysctl(SysctlKey::forwarding(family)).facts().part_of, None);
            let eth0 = "eth0".parse().unwrap();
            let of_link = sysctl(SysctlKey::of_link(family, &eth0, "forwarding"));
            assert_eq!(of_link.facts().part_of, Some(LinkAt { netns: None, name: &eth0 }));
        }
    }
}
