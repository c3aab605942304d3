//! Tracked connections to a published port.

use std::net::IpAddr;

use crate::model::{PortRange, Protocol, PublishedPort};

/// Tracked connections whose original destination is one of these ports of the host.
///
/// The original destination is the address that the client sent to, so it is the host's. The
/// target's address appears after DNAT, in the reply direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flows {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The host's address; unspecified: all addresses of that family that the host has.
    pub host_ip: IpAddr,
    /// The ports of the host.
    pub ports: PortRange,
}

impl Flows {
    /// Returns the connections to a published port.
    pub fn towards(port: &PublishedPort) -> Self {
        Self { protocol: port.protocol, host_ip: port.host_ip, ports: port.host }
    }

    /// Returns whether a connection with this original destination may be one of them. This does
    /// not know which addresses the host has.
    pub fn contain(&self, protocol: Protocol, address: IpAddr, port: u16) -> bool {
        let same_address = if self.host_ip.is_unspecified() {
            self.host_ip.is_ipv4() == address.is_ipv4()
        } else {
            self.host_ip == address
        };
        same_address && self.protocol == protocol && self.ports.overlaps(PortRange::single(port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(host_ip: &str) -> PublishedPort {
        PublishedPort {
            host_ip: host_ip.parse().unwrap(),
            host: PortRange { first: 5353, last: 5355 },
            address: "172.18.0.2".parse().unwrap(),
            container: PortRange { first: 53, last: 55 },
            protocol: Protocol::Udp,
            chosen: false,
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_port_is_the_hosts_and_never_the_targets() {
        let flows = Flows::towards(&published("0.0.0.0"));
        for (port, is_one) in [(5352, false), (5353, true), (5355, true), (5356, false)] {
            assert_eq!(flows.contain(Protocol::Udp, ip("192.0.2.1"), port), is_one, "{port}");
        }
        assert!(!flows.contain(Protocol::Udp, ip("172.18.0.2"), 53));
    }

    #[test]
    fn protocol_family_and_address_all_have_to_fit() {
        let (any, one) = (published("0.0.0.0"), published("192.0.2.1"));
        let (any, one) = (Flows::towards(&any), Flows::towards(&one));
        assert!(!any.contain(Protocol::Tcp, ip("192.0.2.1"), 5353));
        assert!(!any.contain(Protocol::Udp, ip("2001:db8::1"), 5353));
        assert!(one.contain(Protocol::Udp, ip("192.0.2.1"), 5353));
        assert!(!one.contain(Protocol::Udp, ip("192.0.2.2"), 5353));
    }
}
