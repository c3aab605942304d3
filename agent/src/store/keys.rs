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
    use super::{Keys, Place};

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
