//! The value of an address's key: whose the address is.

use std::net::IpAddr;

use netcord::model::{Invalid, Mac};
use serde::{Deserialize, Serialize};

/// The endpoint that has an address, as its host describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its host's address.
    pub host: IpAddr,
    /// Its host's ID ([`super::super::Node`]).
    pub node: String,
    /// Its MAC.
    pub mac: Mac,
    /// Its target, for people.
    pub name: String,
}

impl Endpoint {
    pub(super) fn parse(text: &[u8]) -> Result<Self, Invalid> {
        let endpoint: Self =
            serde_json::from_slice(text).map_err(|e| Invalid::new(e.to_string()))?;
        let host = endpoint.host;
        if host.is_unspecified() || host.is_loopback() || host.is_multicast() {
            return Err(Invalid::new(format!("{host} is no address of a host")));
        }
        Ok(endpoint)
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("addresses and names are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_an_endpoint_is_refused() {
        let good = r#"{"host":"192.0.2.1","node":"n1","mac":"02:42:0a:05:00:02","name":"web"}"#;
        assert_eq!(Endpoint::parse(good.as_bytes()).unwrap().to_json(), good);
        for (from, to) in [
            ("02:42:0a:05:00:02", "01:00:5e:00:00:01"),
            ("02:42:0a:05:00:02", "ff:ff:ff:ff:ff:ff"),
            ("02:42:0a:05:00:02", "00:00:00:00:00:00"),
            ("192.0.2.1", "0.0.0.0"),
            ("192.0.2.1", "127.0.0.1"),
            ("192.0.2.1", "224.0.0.1"),
            ("192.0.2.1", "x"),
        ] {
            assert!(Endpoint::parse(good.replace(from, to).as_bytes()).is_err(), "{to}");
        }
    }
}
