//! What the rest of netcord asks about a resource, answered in one place.
//!
//! [`Resource::facts`] has an arm for each kind, so the compiler asks who adds a kind all of it.

#![deny(clippy::wildcard_enum_match_arm)]

use super::{Chain, LinkId, Moved, Nft, Record, Resource, Rule, SysctlKey};
use crate::model::{Family, Firewall, LinkName, NetnsName};

/// What a resource is to the code that orders, groups, reverses and undoes changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// What carries its changes out, and which of them travel together.
    pub class: Class<'a>,
    /// The namespace in which it is changed; `None`: the host's.
    pub place: Option<&'a NetnsName>,
    /// The link that it is a part of: it falls with that.
    pub part_of: Option<LinkAt<'a>>,
    /// What a reverse plan does with it.
    pub reversal: Reversal,
    /// Afterwards one can see that it was done.
    pub lasts: bool,
}

/// What carries changes out, and which of them travel together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class<'a> {
    /// A part of netcord's records: those of one file are one write.
    Record(&'a Record),
    /// A name in `/run/netns`.
    Name,
    /// A link.
    Link {
        /// Both ends of a veth pair, or the only one there is.
        ends: [Option<LinkAt<'a>>; 2],
        /// What it is deleted by; `None` if it can be brought back afterwards.
        id: Option<LinkId>,
    },
    /// A part of a firewall: those of one firewall are one transaction.
    Firewall(Element),
    /// A thing of the host's own: they move in one message.
    Moved(&'a Moved),
    /// Flows: they are looked for together.
    Flows,
    /// Something else in the kernel: each change is a message.
    Other,
}

/// A part of a firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// Which.
    pub firewall: Firewall,
    /// Of which IP version; `None`: of both.
    pub family: Option<Family>,
    /// It leads a published port to its endpoint: nothing else shares it.
    pub is_port: bool,
}

/// A link and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkAt<'a> {
    /// The namespace; `None`: the host's.
    pub netns: Option<&'a NetnsName>,
    /// Its name there.
    pub name: &'a LinkName,
}

/// What a reverse plan does with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reversal {
    /// Deletes what was created, and the other way round.
    Opposite,
    /// The same once more: a wait, or something that is deleted only.
    Again,
    /// Nothing: there is no former value to go back to.
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
    /// What it is to the code that orders, groups, reverses and undoes changes.
    pub fn facts(&self) -> Facts<'_> {
        match self {
            Self::Record(record) => Facts { class: Class::Record(record), ..OTHER },
            Self::Name(_) => Facts { class: Class::Name, ..OTHER },
            Self::Bridge { name, .. } => {
                link(LinkId::Bridge(name.clone()), [Some(host(name)), None])
            }
            Self::Vlan { name, .. } => link(LinkId::Vlan(name.clone()), [Some(host(name)), None]),
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
            Self::Address { netns, link, .. }
            | Self::Up { netns, link }
            | Self::Neighbour { netns, link, .. } => part(netns.as_ref(), link),
            Self::Route { netns, route } => part(netns.as_ref(), &route.link),
            Self::Sysctl { netns, key, reset, .. } => {
                let reversal = if reset.is_some() { Reversal::Opposite } else { Reversal::None };
                Facts { reversal, ..sysctl(netns.as_ref(), key) }
            }
            Self::FormerSysctl { netns, key, .. } => {
                Facts { reversal: Reversal::None, ..sysctl(netns.as_ref(), key) }
            }
        }
    }

    /// What it is deleted by, if it is a link that nothing brings back.
    pub fn link_id(&self) -> Option<LinkId> {
        match self.facts().class {
            Class::Link { id, .. } => id,
            Class::Record(_)
            | Class::Name
            | Class::Firewall(_)
            | Class::Moved(_)
            | Class::Flows
            | Class::Other => None,
        }
    }
}

impl LinkId {
    /// The same of a link of which no more than this is known.
    pub(super) fn facts(&self) -> Facts<'_> {
        let end = match self {
            Self::Bridge(name) | Self::Vlan(name) | Self::Veth(name) | Self::Unrecorded(name) => {
                host(name)
            }
            Self::Macvlan(made) => LinkAt { netns: made.netns.as_ref(), name: &made.name },
        };
        Facts { reversal: Reversal::None, ..link(self.clone(), [Some(end), None]) }
    }
}

impl<'a> Facts<'a> {
    /// The part of a firewall that it is.
    pub fn firewall(&self) -> Option<Element> {
        match self.class {
            Class::Firewall(element) => Some(element),
            Class::Record(_)
            | Class::Name
            | Class::Link { .. }
            | Class::Moved(_)
            | Class::Flows
            | Class::Other => None,
        }
    }

    /// The ends of a link.
    pub fn ends(&self) -> [Option<LinkAt<'a>>; 2] {
        match self.class {
            Class::Link { ends, .. } => ends,
            Class::Record(_)
            | Class::Name
            | Class::Firewall(_)
            | Class::Moved(_)
            | Class::Flows
            | Class::Other => [None; 2],
        }
    }

    /// The links without which it cannot exist.
    pub fn needs(&self) -> Vec<LinkAt<'a>> {
        match self.class {
            Class::Moved(moved) => moved.links().map(host).collect(),
            Class::Record(_)
            | Class::Name
            | Class::Link { .. }
            | Class::Firewall(_)
            | Class::Flows
            | Class::Other => self.part_of.into_iter().collect(),
        }
    }

    /// Whether nothing else shares it, so that two that are equal are still two.
    pub fn is_of_one(&self) -> bool {
        match self.class {
            Class::Record(_) | Class::Flows => true,
            Class::Firewall(element) => element.is_port,
            Class::Name | Class::Link { .. } | Class::Moved(_) | Class::Other => false,
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
