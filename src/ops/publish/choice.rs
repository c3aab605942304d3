//! Chooses the ports of the host for a target, from published and free ones.

use std::net::IpAddr;

use anyhow::Result;

use crate::{
    error::Error,
    model::{Endpoint, HostPorts, NetworkRecord, PortRange, PortSpec, Protocol, PublishedPort},
};

/// More random ports than this are assumed to be a typing error.
const RANDOM_MAX: u32 = 1000;

/// The ports of the host.
pub(super) struct Host<'a> {
    /// Every endpoint on record, with its published ports.
    pub(super) others: &'a [(&'a NetworkRecord, &'a Endpoint)],
    /// The ports from which random ones are chosen, in the order of trial.
    pub(super) ephemeral: &'a dyn Fn() -> Vec<u16>,
    /// Fails if a program of the host listens on a port.
    pub(super) check_socket: &'a dyn Fn(IpAddr, u16, Protocol) -> Result<()>,
}

/// The search for the ports of a request.
pub(super) struct Search<'a> {
    pub(super) host: Host<'a>,
    pub(super) endpoint: &'a Endpoint,
    pub(super) spec: &'a PortSpec,
}

/// An address of the host, and the endpoint's of the same family.
type Pair = (IpAddr, IpAddr);

impl Search<'_> {
    /// Splits the ports of a specification into published ones and new ones.
    pub(super) fn split(
        &self,
        mut addresses: Vec<Pair>,
    ) -> Result<(Vec<PublishedPort>, Vec<PublishedPort>)> {
        let own = self.endpoint.ports.iter();
        let there: Vec<_> = own.filter(|p| p.is_of(self.spec)).cloned().collect();
        let Some(first) = there.first() else {
            return self.fresh(&addresses).map(|fresh| (Vec::new(), fresh));
        };
        // A killed run may have published one family only: the other gets the same ports.
        addresses.retain(|(host_ip, _)| there.iter().all(|p| p.host_ip != *host_ip));
        let mut fresh = Vec::new();
        for known in there.iter().filter(|p| p.host_ip == first.host_ip) {
            self.check(&addresses, known.host)?;
            fresh.extend(self.ports(&addresses, known.host, known.container, known.chosen));
        }
        Ok((there, fresh))
    }

    fn fresh(&self, addresses: &[Pair]) -> Result<Vec<PublishedPort>> {
        let PortSpec { host, container, .. } = *self.spec;
        match host {
            HostPorts::Range(range) if range.count() == container.count() => {
                self.check(addresses, range)?;
                Ok(self.ports(addresses, range, container, false))
            }
            HostPorts::Range(range) => self.first_free(addresses, range.ports(), container, &[]),
            HostPorts::Any if container.count() > RANDOM_MAX => {
                let message = format!("{} random ports are too many at once", container.count());
                Err(Error::usage(message)
                    .hint("give the ports of the host: 8000-8999:8000-8999")
                    .into())
            }
            HostPorts::Any => {
                let (candidates, mut found) = ((self.host.ephemeral)(), Vec::new());
                for port in container.ports() {
                    let (one, candidates) = (PortRange::single(port), candidates.iter().copied());
                    found.extend(self.first_free(addresses, candidates, one, &found)?);
                }
                Ok(found)
            }
        }
    }

    fn ports(
        &self,
        addresses: &[Pair],
        host: PortRange,
        container: PortRange,
        chosen: bool,
    ) -> Vec<PublishedPort> {
        let protocol = self.spec.protocol;
        let of_pair = |(host_ip, address): &Pair| PublishedPort {
            host_ip: *host_ip,
            host,
            address: *address,
            container,
            protocol,
            chosen,
        };
        addresses.iter().map(of_pair).collect()
    }

    /// Returns the first port of the host that is free on all addresses.
    fn first_free(
        &self,
        addresses: &[Pair],
        candidates: impl Iterator<Item = u16>,
        container: PortRange,
        besides: &[PublishedPort],
    ) -> Result<Vec<PublishedPort>> {
        let mut last = None;
        for candidate in candidates {
            let host = PortRange::single(candidate);
            let is_any = self.spec.host == HostPorts::Any;
            let wanted = self.ports(addresses, host, container, is_any);
            if wanted.iter().any(|w| besides.iter().any(|b| b.clashes(w))) {
                continue;
            }
            match self.check(addresses, host) {
                Ok(()) => return Ok(wanted),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::conflict("no port of the host is free").into()))
    }

    /// Checks that these ports of the host are free on all addresses.
    fn check(&self, addresses: &[Pair], host: PortRange) -> Result<()> {
        let protocol = self.spec.protocol;
        for wanted in self.ports(addresses, host, self.spec.container, false) {
            for (record, other) in self.host.others {
                if let Some(clash) = other.ports.iter().find(|p| p.clashes(&wanted)) {
                    let state =
                        if other.is_stopped() { ", whose container has stopped" } else { "" };
                    let message = format!(
                        "port {}/{protocol} of the host is taken by `{}` on network `{}`{state}: {clash}",
                        clash.host, other.target, record.network.name
                    );
                    let (target, spec) = (&other.target, clash.spec());
                    return Err(Error::conflict(message)
                        .hint(format!(
                            "choose another, or take it back: `netcord unpublish {target} {spec}`"
                        ))
                        .into());
                }
            }
            if let Some(clash) = self.endpoint.ports.iter().find(|p| p.clashes(&wanted)) {
                let message = format!(
                    "port {}/{protocol} of the host is asked for twice: {clash}",
                    clash.host
                );
                return Err(Error::conflict(message).into());
            }
            for port in wanted.host.ports() {
                (self.host.check_socket)(wanted.host_ip, port, protocol)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::fixtures::{endpoint, ip, network, record};

    const BOTH: [(&str, &str); 2] = [("0.0.0.0", "10.0.0.2"), ("::", "fd00::2")];

    fn pairs(pairs: &[(&str, &str)]) -> Vec<Pair> {
        pairs.iter().map(|(host, own)| (ip(host), ip(own))).collect()
    }

    /// A port that is published on all IPv4 addresses.
    fn published(host: u16, container: u16, chosen: bool) -> PublishedPort {
        PublishedPort {
            host_ip: ip("0.0.0.0"),
            host: PortRange::single(host),
            address: ip("10.0.0.2"),
            container: PortRange::single(container),
            protocol: Protocol::Tcp,
            chosen,
        }
    }

    /// Returns the chosen ports for an endpoint with ports, on a host where `db` has published
    /// 8080, and a program listens on 8000 with IPv6.
    fn chosen(
        spec: &str,
        own: &[PublishedPort],
        addresses: &[(&str, &str)],
    ) -> Result<Vec<String>> {
        let mut web = endpoint("web", 1, "eth0", &[]);
        web.ports = own.to_vec();
        let mut db = endpoint("db", 2, "eth0", &[]);
        db.ports = vec![published(8080, 80, false)];
        let lab0 = record(network("lab0", "bridge", &["10.0.0.0/24"]), Vec::new());
        let host = Host {
            others: &[(&lab0, &web), (&lab0, &db)],
            ephemeral: &|| vec![8080, 8000, 49152, 49153],
            check_socket: &|host_ip, port, _| match port {
                8000 if host_ip.is_ipv6() => Err(Error::conflict("taken by a program").into()),
                _ => Ok(()),
            },
        };
        let spec = spec.parse().unwrap();
        let (there, fresh) =
            Search { host, endpoint: &web, spec: &spec }.split(pairs(addresses))?;
        let shown = |p: &PublishedPort| format!("{} {}:{}", p.host_ip, p.host, p.container);
        assert!(there.iter().all(|p| own.contains(p)));
        Ok(fresh.iter().map(shown).collect())
    }

    #[test]
    fn ports_are_chosen_that_are_free_on_each_address() {
        for (spec, addresses, expected) in [
            ("81:80", &BOTH[..], &["0.0.0.0 81:80", ":: 81:80"][..]),
            ("8000:80", &BOTH[..1], &["0.0.0.0 8000:80"]),
            // The first free port of a range: 8000 is not free with IPv6.
            ("8000-8002:80", &BOTH, &["0.0.0.0 8001:80", ":: 8001:80"]),
            ("8079-8081:80", &BOTH[..1], &["0.0.0.0 8079:80"]),
            ("8080-8081:80", &BOTH[..1], &["0.0.0.0 8081:80"]),
            ("90-91:80-81", &BOTH[..1], &["0.0.0.0 90-91:80-81"]),
            // Random ports, each a different one.
            ("80", &BOTH[1..], &[":: 8080:80"]),
            ("80", &BOTH, &["0.0.0.0 49152:80", ":: 49152:80"]),
            ("80-81", &BOTH[..1], &["0.0.0.0 8000:80", "0.0.0.0 49152:81"]),
        ] {
            assert_eq!(chosen(spec, &[], addresses).unwrap(), expected, "{spec} {addresses:?}");
        }
    }

    #[test]
    fn a_port_that_is_taken_is_refused_with_its_owner() {
        for (spec, own, why) in [
            ("8080:80", &[][..], "is taken by `db` on network `lab0`"),
            ("8000:80", &[], "taken by a program"),
            ("8079-8080:80-81", &[], "is taken by `db`"),
            ("80-83", &[], "taken by"),
            ("1-1001", &[], "1001 random ports are too many"),
            ("81:90", &[published(81, 80, false)], "is taken by `web`"),
        ] {
            let error = chosen(spec, own, &BOTH).unwrap_err().to_string();
            assert!(error.contains(why), "{spec}: {error}");
        }
    }

    #[test]
    fn what_is_published_stays_and_the_other_family_gets_the_same_after_a_kill() {
        let fixed = [published(81, 80, false)];
        assert_eq!(chosen("81:80", &fixed, &BOTH[..1]).unwrap(), [""; 0]);
        assert_eq!(chosen("81:80", &fixed, &BOTH).unwrap(), [":: 81:80"]);
        let random = [published(49153, 80, true)];
        assert_eq!(chosen("80", &random, &BOTH).unwrap(), [":: 49153:80"]);
        let taken = [published(8000, 80, true)];
        assert!(chosen("80", &taken, &BOTH).is_err(), "a program has it by now");
    }
}
