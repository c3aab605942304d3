//! A flat overlay network: one subnet and one VXLAN segment over all hosts, as docker's overlay
//! networks. Which host an endpoint is on is known from the store, address by address.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::model::Mac;

/// The settings of a flat network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flat {
    /// Whether broadcasts and multicasts of endpoints are sent to all other hosts, a copy for each.
    pub multicast: bool,
}

/// Where an address of another host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// The MAC of the endpoint.
    pub mac: Mac,
    /// The host that it is on, by the host's address.
    pub host: IpAddr,
}

/// What a host of a flat network knows of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// The addresses of their endpoints.
    pub endpoints: BTreeMap<IpAddr, Remote>,
    /// The hosts themselves, also those without endpoints.
    pub hosts: BTreeMap<IpAddr, String>,
}
