//! A store: the etcd in which the hosts of an overlay network find each other.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::LinkName;

/// The store of a network, and how this host uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// The URLs of etcd's members: `http://192.0.2.9:2379`.
    pub endpoints: Vec<String>,
    /// The prefix of the network's keys: `/netcord/pods`, or flannel's `/coreos.com/network`.
    pub prefix: String,
    /// The file with the certificates of authorities that etcd's certificate may come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The files with this host's certificate and its private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// The user of etcd, and the file with the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// How long this host's subnet stays its own without a sign of life, in seconds.
    pub ttl: u32,
    /// The file that is written for programs that read flannel's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet_file: Option<PathBuf>,
}

/// A certificate and its private key, in PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The certificate.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// A user of etcd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The name.
    pub name: String,
    /// The file with the password.
    pub password_file: PathBuf,
}

impl Store {
    /// The default time to live of a subnet's lease, which is flannel's: a day.
    pub const TTL: u32 = 86_400;

    /// flannel's default prefix.
    pub const FLANNEL_PREFIX: &str = "/coreos.com/network";

    /// Returns the default prefix of a network.
    pub fn prefix_of(network: &LinkName) -> String {
        format!("/netcord/{network}")
    }

    /// Returns whether the network is flannel's, whose VXLAN links have flannel's names.
    pub fn is_flannel(&self) -> bool {
        self.prefix == Self::FLANNEL_PREFIX
    }
}
