//! Routes, neighbours and FDB entries, as the kernel's tables have them.

use std::net::IpAddr;

use super::Resource;
use crate::model::{LinkName, Mac, Route};

/// An entry of one of a namespace's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry<'r> {
    /// A route.
    Route(&'r Route),
    /// A permanent neighbour.
    Neighbour {
        /// The link.
        link: &'r LinkName,
        /// Its IP address.
        address: IpAddr,
        /// Its MAC.
        mac: Mac,
    },
    /// An entry of the forwarding table (FDB) of a VXLAN link.
    Fdb {
        /// The VXLAN link.
        link: &'r LinkName,
        /// The MAC of another host's VTEP, or of an endpoint there.
        mac: Mac,
        /// That host.
        host: IpAddr,
        /// Whether the link's bridge has an entry for the MAC, too.
        on_bridge: bool,
    },
    /// A host that gets a copy of broadcasts and multicasts.
    Replica {
        /// The VXLAN link.
        link: &'r LinkName,
        /// The host.
        host: IpAddr,
    },
}

impl<'r> Entry<'r> {
    /// Returns the entry that a resource is.
    pub fn of(resource: &'r Resource) -> Option<Self> {
        if let Resource::Route { route, .. } = resource {
            Some(Self::Route(route))
        } else if let Resource::Neighbour { link, address, mac, .. } = resource {
            Some(Self::Neighbour { link, address: *address, mac: *mac })
        } else if let Resource::FdbEntry { link, mac, host, on_bridge } = resource {
            Some(Self::Fdb { link, mac: *mac, host: *host, on_bridge: *on_bridge })
        } else if let Resource::Replica { link, host } = resource {
            Some(Self::Replica { link, host: *host })
        } else {
            None
        }
    }

    /// Returns the link that it is an entry of; `None` for a route that leads nowhere.
    pub fn link(&self) -> Option<&'r LinkName> {
        match self {
            Self::Route(route) => route.out_link(),
            Self::Neighbour { link, .. } | Self::Fdb { link, .. } | Self::Replica { link, .. } => {
                Some(link)
            }
        }
    }
}
