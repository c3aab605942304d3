//! The attributes that a link of ours was created with and that can be changed, and restored,
//! later.

use super::{LINK_GROUP, Place, Resource, Veth};
use crate::model::{LinkName, Mac, MacvlanMode};

/// An existing link, and the attributes that it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkAttrs {
    /// The link's namespace.
    pub netns: Place,
    /// The link's name there.
    pub link: LinkName,
    /// The MAC.
    pub mac: Mac,
    /// The device group. `None` leaves it as it is: the inner end's is the target's own.
    pub group: Option<u32>,
    /// The attributes of its kind of link.
    pub kind: LinkAttrsOf,
}

/// The attributes of one kind of link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkAttrsOf {
    /// A bridge. Its MTU is a resource of its own.
    Bridge {
        /// Whether it uses the spanning tree protocol.
        stp: bool,
        /// How long a new port stays in the listening and learning states, in hundredths of a
        /// second.
        forward_delay: u32,
    },
    /// An end of a veth pair.
    Veth {
        /// The MTU in bytes.
        mtu: u32,
    },
    /// A macvlan.
    Macvlan {
        /// The MTU in bytes.
        mtu: u32,
        /// The macvlan mode.
        mode: MacvlanMode,
    },
    /// A VXLAN link.
    Vxlan {
        /// Bytes.
        mtu: u32,
    },
}

impl LinkAttrs {
    /// Returns the attributes of a new link, if its kind allows restoring them.
    pub fn of(resource: &Resource) -> Option<Self> {
        match resource {
            Resource::Bridge { name, mac, .. } => Some(Self {
                netns: None,
                link: name.clone(),
                mac: *mac,
                group: Some(LINK_GROUP),
                kind: LinkAttrsOf::Bridge { stp: false, forward_delay: 0 },
            }),
            Resource::Macvlan(made) => Some(Self {
                netns: made.netns.clone(),
                link: made.name.clone(),
                mac: made.mac,
                group: Some(LINK_GROUP),
                kind: LinkAttrsOf::Macvlan { mtu: made.mtu, mode: made.mode },
            }),
            Resource::Vxlan(made) => Some(Self {
                netns: None,
                link: made.name.clone(),
                mac: made.mac,
                group: Some(LINK_GROUP),
                kind: LinkAttrsOf::Vxlan { mtu: made.mtu },
            }),
            _ => None,
        }
    }

    /// Returns the attributes of both ends of a new veth pair.
    pub fn of_ends(veth: &Veth) -> [Self; 2] {
        let kind = LinkAttrsOf::Veth { mtu: veth.mtu };
        let group = Some(LINK_GROUP);
        [
            Self { netns: None, link: veth.host.clone(), mac: veth.host_mac, group, kind },
            Self {
                netns: veth.netns.clone(),
                link: veth.peer.clone(),
                mac: veth.mac,
                group: None,
                kind,
            },
        ]
    }

    /// Returns the changes that restore these attributes.
    ///
    /// While a bridge uses the spanning tree protocol, the kernel refuses a delay below two seconds
    /// (`BR_MIN_FORWARD_DELAY`), and it applies the delay of a message first.
    pub fn back_from(self, there: &Self) -> Vec<Self> {
        let between = match (there.kind, self.kind) {
            (
                LinkAttrsOf::Bridge { stp: true, forward_delay },
                LinkAttrsOf::Bridge { stp: false, .. },
            ) => {
                let kind = LinkAttrsOf::Bridge { stp: false, forward_delay };
                Some(Self { kind, ..self.clone() })
            }
            _ => None,
        };
        let is_last = there == &self;
        between.into_iter().chain((!is_last).then_some(self)).collect()
    }

    /// Returns the arguments of `ip`.
    pub(super) fn command(&self) -> String {
        let Self { link, mac, group, kind, .. } = self;
        let group = group.map(|group| format!(" group {group}")).unwrap_or_default();
        let set = format!("link set dev {link} address {mac}{group}");
        match kind {
            LinkAttrsOf::Bridge { stp, forward_delay } => {
                let stp = u8::from(*stp);
                format!("{set} type bridge stp_state {stp} forward_delay {forward_delay}")
            }
            LinkAttrsOf::Macvlan { mtu, mode } => {
                format!("{set} mtu {mtu} type macvlan mode {}", mode.as_str())
            }
            LinkAttrsOf::Veth { mtu } | LinkAttrsOf::Vxlan { mtu } => format!("{set} mtu {mtu}"),
        }
    }
}
