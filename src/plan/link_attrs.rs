//! What a link of ours was born with, as far as it can be changed afterwards: by hand, and back.

use super::{LINK_GROUP, Place, Resource};
use crate::model::{LinkName, Mac, MacvlanMode};

/// A link that is there, and what it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkAttrs {
    /// Where it is.
    pub netns: Place,
    /// Its name there.
    pub link: LinkName,
    /// Its own address.
    pub mac: Mac,
    /// Its device group.
    pub group: u32,
    /// What only this kind of link has.
    pub kind: LinkAttrsOf,
}

/// What only one kind of link has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkAttrsOf {
    /// A bridge; its MTU is a resource of its own.
    Bridge {
        /// Whether it speaks the spanning tree protocol.
        stp: bool,
        /// How long a new port only listens, in hundredths of a second.
        forward_delay: u32,
    },
    /// A macvlan.
    Macvlan {
        /// Bytes.
        mtu: u32,
        /// Which of the parent's macvlans it reaches.
        mode: MacvlanMode,
    },
}

impl LinkAttrs {
    /// What a link was born with, if it is of a kind that can be given it back.
    pub fn of(resource: &Resource) -> Option<Self> {
        match resource {
            Resource::Bridge { name, mac, .. } => Some(Self {
                netns: None,
                link: name.clone(),
                mac: *mac,
                group: LINK_GROUP,
                kind: LinkAttrsOf::Bridge { stp: false, forward_delay: 0 },
            }),
            Resource::Macvlan(made) => Some(Self {
                netns: made.netns.clone(),
                link: made.name.clone(),
                mac: made.mac,
                group: LINK_GROUP,
                kind: LinkAttrsOf::Macvlan { mtu: made.mtu, mode: made.mode },
            }),
            _ => None,
        }
    }

    /// The shapes by which a link comes back to this one.
    ///
    /// While a bridge speaks the spanning tree protocol, the kernel takes no delay below two seconds
    /// (`BR_MIN_FORWARD_DELAY`), and of one message it takes the delay first.
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

    /// The words after `ip`.
    pub(super) fn command(&self) -> String {
        let Self { link, mac, group, kind, .. } = self;
        let set = format!("link set dev {link} address {mac} group {group}");
        match kind {
            LinkAttrsOf::Bridge { stp, forward_delay } => {
                let stp = u8::from(*stp);
                format!("{set} type bridge stp_state {stp} forward_delay {forward_delay}")
            }
            LinkAttrsOf::Macvlan { mtu, mode } => {
                format!("{set} mtu {mtu} type macvlan mode {}", mode.as_str())
            }
        }
    }
}
