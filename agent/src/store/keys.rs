//! The network's keys: the configuration and the leases in flannel's places, and a place of netcord's.

use std::net::IpAddr;

use etcd_client::{Compare, CompareOp, GetOptions, KeyValue, WatchOptions};

use crate::flannel::Subnets;

/// One key, as it was at some revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) value: Vec<u8>,
    /// The etcd lease with which it ends; 0 is none.
    pub(super) lease: i64,
    /// The revisions at which it was made, and last written.
    pub(super) created: i64,
    pub(super) modified: i64,
}

impl From<&KeyValue> for Key {
    fn from(kv: &KeyValue) -> Self {
        Self {
            name: String::from_utf8_lossy(kv.key()).into_owned(),
            value: kv.value().to_owned(),
            lease: kv.lease(),
            created: kv.create_revision(),
            modified: kv.mod_revision(),
        }
    }
}

/// Where the VXLAN network identifiers of all flat networks of an etcd are.
const VNIS: &str = "/netcord-vnis/";

/// Where the keys of one network are.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

/// A key, or the keys from one to another.
#[derive(Clone, Debug)]
pub(super) struct Range {
    pub(super) start: String,
    end: Option<String>,
}

/// What a key holds, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Config,
    Lease(Subnets),
    /// It lies where leases are, and is none; with the reason.
    Malformed(String),
    /// It is of no concern.
    Other,
}

/// What a key of a flat network holds, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FlatPlace {
    Config,
    /// A host with this address is there.
    Node(IpAddr),
    /// An endpoint has this address.
    Endpoint(IpAddr),
    /// It lies where hosts or endpoints are, and is none; with the reason.
    Malformed(String),
    /// It is of no concern.
    Other,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub(super) fn config(&self) -> String {
        format!("{}/config", self.prefix)
    }

    pub(super) fn lease(&self, subnets: &Subnets) -> String {
        format!("{}/subnets/{subnets}", self.prefix)
    }

    /// What only netcord's hosts say, outside of flannel's places.
    pub(super) fn node(&self, host: IpAddr) -> String {
        format!("{}/x-netcord/nodes/{host}", self.prefix)
    }

    /// Whose an address of a flat network is.
    pub(super) fn endpoint(&self, address: IpAddr) -> String {
        format!("{}/x-netcord/endpoints/{address}", self.prefix)
    }

    /// Returns the range of the configuration, the hosts and the endpoints of a flat network.
    pub(super) fn flat(&self) -> Range {
        // It ends before the first name that does not begin with "x-netcord".
        Range { start: self.config(), end: Some(format!("{}/x-netcore", self.prefix)) }
    }

    pub(super) fn flat_place(&self, name: &str) -> FlatPlace {
        let Some(rest) = name.strip_prefix(&self.prefix) else { return FlatPlace::Other };
        let Some(rest) = rest.strip_prefix("/x-netcord/") else {
            return if rest == "/config" { FlatPlace::Config } else { FlatPlace::Other };
        };
        let (kind, address) = rest.split_once('/').unwrap_or((rest, ""));
        match (kind, address.parse::<IpAddr>()) {
            ("nodes", Ok(host)) => FlatPlace::Node(host),
            ("endpoints", Ok(address)) => FlatPlace::Endpoint(address),
            ("nodes" | "endpoints", Err(_)) => {
                FlatPlace::Malformed(format!("`{address}` is no IP address"))
            }
            _ => FlatPlace::Other,
        }
    }

    /// Returns the range of what netcord's hosts say.
    pub(super) fn own(&self) -> Range {
        let end = format!("{}/x-netcore", self.prefix);
        Range { start: format!("{}/x-netcord", self.prefix), end: Some(end) }
    }

    /// Which network of the whole etcd has a VXLAN network identifier.
    pub(super) fn vni(vni: u32) -> String {
        // So many digits that the order of the names is that of the numbers.
        format!("{VNIS}{vni:08}")
    }

    /// Returns the range of all identifiers, and the identifier in the name of a key.
    pub(super) fn vnis() -> Range {
        let end = format!("{VNIS}~");
        Range { start: VNIS.to_owned(), end: Some(end) }
    }

    pub(super) fn vni_of(name: &str) -> Option<u32> {
        name.strip_prefix(VNIS)?.parse().ok()
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the range of the configuration and the leases, for one list and one watch of both.
    /// flannel looks for leases by `subnets` without a slash.
    pub(super) fn all(&self) -> Range {
        Range { start: self.config(), ..self.leases() }
    }

    /// Returns the range of the leases.
    pub(super) fn leases(&self) -> Range {
        // It ends before the first name that does not begin with "subnets".
        let end = format!("{}/subnett", self.prefix);
        Range { start: format!("{}/subnets", self.prefix), end: Some(end) }
    }

    pub(super) fn place(&self, name: &str) -> Place {
        let Some(rest) = name.strip_prefix(&self.prefix) else { return Place::Other };
        match rest.strip_prefix("/subnets") {
            None if rest == "/config" => Place::Config,
            None => Place::Other,
            Some(rest) => match rest.strip_prefix('/').map(str::parse) {
                Some(Ok(subnets)) => Place::Lease(subnets),
                Some(Err(e)) => Place::Malformed(netcord::model::Invalid::to_string(&e)),
                None => Place::Malformed("its name begins as those of leases do".into()),
            },
        }
    }
}

impl Range {
    pub(super) fn one(name: String) -> Self {
        Self { start: name, end: None }
    }

    pub(super) fn get(&self) -> Option<GetOptions> {
        self.end.as_ref().map(|end| GetOptions::new().with_range(end.as_str()))
    }

    /// The condition that none of the keys is there.
    pub(super) fn is_empty(&self) -> Compare {
        let none = Compare::create_revision(self.start.as_str(), CompareOp::Equal, 0);
        match &self.end {
            Some(end) => none.with_range(end.as_str()),
            None => none,
        }
    }

    pub(super) fn watch(&self, from: i64) -> WatchOptions {
        let options = WatchOptions::new().with_start_revision(from).with_progress_notify();
        match &self.end {
            Some(end) => options.with_range(end.as_str()),
            None => options,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FlatPlace, Keys, Place};

    #[test]
    fn keys_are_where_flannel_looks_for_them() {
        let keys = Keys::new("/coreos.com/network");
        let subnets = "10.5.34.0-24".parse().unwrap();
        assert_eq!(keys.config(), "/coreos.com/network/config");
        assert_eq!(keys.lease(&subnets), "/coreos.com/network/subnets/10.5.34.0-24");
        let node = keys.node([10, 0, 0, 2].into());
        assert_eq!(node, "/coreos.com/network/x-netcord/nodes/10.0.0.2");
        assert_eq!(keys.place(&node), Place::Other);
        assert!(node > keys.all().end.unwrap(), "it is outside of flannel's range");
        assert_eq!(keys.place(&keys.lease(&subnets)), Place::Lease(subnets));
        assert_eq!(keys.place(&keys.config()), Place::Config);
        assert_eq!(keys.place("/coreos.com/network/nodes/7"), Place::Other);
    }

    #[test]
    fn keys_of_a_flat_network_are_read_by_their_names() {
        let keys = Keys::new("/netcord/pods");
        let (v4, v6) = ("10.5.0.2".parse().unwrap(), "fd00:5::2".parse().unwrap());
        for address in [v4, v6] {
            let name = keys.endpoint(address);
            assert_eq!(keys.flat_place(&name), FlatPlace::Endpoint(address));
            assert_eq!(keys.flat_place(&keys.node(address)), FlatPlace::Node(address));
            let range = keys.flat();
            assert!(name > range.start && name < range.end.unwrap());
        }
        assert_eq!(keys.flat_place(&keys.config()), FlatPlace::Config);
        let wrong = keys.flat_place("/netcord/pods/x-netcord/endpoints/web");
        assert_eq!(wrong, FlatPlace::Malformed("`web` is no IP address".into()));
        assert_eq!(keys.flat_place("/netcord/pods2/config"), FlatPlace::Other);
        assert_eq!(Keys::vni_of(&Keys::vni(4096)), Some(4096));
        assert!(
            Keys::vni(9999) < Keys::vni(10_000) && Keys::vni(10_000) < Keys::vnis().end.unwrap()
        );
    }

    #[test]
    fn a_malformed_key_among_the_leases_is_named() {
        let place = |name: &str| Keys::new("/n").place(name);
        assert_eq!(
            place("/n/subnets/10.5.34.0-24hi"),
            Place::Malformed("`10.5.34.0-24hi` is not the name of a subnet".into())
        );
        let begins = Place::Malformed("its name begins as those of leases do".into());
        assert_eq!(place("/n/subnets-foo/10.5.34.0-24"), begins);
        assert_eq!(place("/n/subnets"), begins);
    }
}
