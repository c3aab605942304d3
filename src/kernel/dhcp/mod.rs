//! DHCP for IPv4, as a client on a link of the host that uses the endpoint's MAC: no part of the
//! exchange is in the endpoint's namespace.
//!
//! It is always the whole exchange, from DISCOVER to ACK. A server offers an existing lease again,
//! so this renews it as well, and the replies reach us although the address is not ours.
//!
//! - `local`: a server on this host

mod local;

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use anyhow::{Context, Result};
use ipnetwork::Ipv4Network;
use mozim::{DhcpV4Client, DhcpV4Config, DhcpV4Lease, DhcpV4State};
use tokio::time::timeout;

use self::local::LocalPort;
use super::{Kernel, Link};
use crate::model::Mac;

/// The time to wait until a server on this host can be reached for a release.
const RELEASE: Duration = Duration::from_secs(1);

/// A lease.
#[derive(Clone, Debug)]
pub struct Leased {
    /// The address with its prefix length.
    pub address: Ipv4Network,
    /// The server.
    pub server: Ipv4Addr,
    /// The gateway.
    pub router: Option<Ipv4Addr>,
    /// The time until renewal (T1), from now.
    pub renew: Duration,
    /// The lifetime, from now.
    pub lasts: Duration,
    message: DhcpV4Lease,
}

impl Leased {
    /// A lease with the parts that a record holds: enough to release it.
    pub fn known(address: Ipv4Addr, server: Ipv4Addr) -> Option<Self> {
        let mut message = DhcpV4Lease::default();
        (message.yiaddr, message.siaddr, message.srv_id) = (address, server, server);
        Some(Self {
            address: Ipv4Network::new(address, 32).ok()?,
            server,
            router: None,
            renew: Duration::ZERO,
            lasts: Duration::ZERO,
            message,
        })
    }

    fn of(mut message: DhcpV4Lease) -> Result<Self> {
        let server = if message.srv_id.is_unspecified() { message.siaddr } else { message.srv_id };
        // The destination of a release; some servers leave the field empty.
        message.siaddr = server;
        let address = Ipv4Network::new(message.yiaddr, message.prefix_length())?;
        // RFC 3442: classless static routes replace the router option.
        let router = match &message.classless_routes {
            Some(routes) => routes.iter().find(|r| r.prefix_length == 0).map(|r| r.router),
            None => message.gateways.as_ref().and_then(|g| g.first().copied()),
        };
        Ok(Self {
            address,
            server,
            router: router.filter(|r| address.contains(*r) && *r != address.ip()),
            renew: Duration::from_secs(message.t1_sec.into()),
            lasts: Duration::from_secs(message.lease_time_sec.into()),
            message,
        })
    }

    /// Returns the address.
    pub fn ip(&self) -> IpAddr {
        self.address.ip().into()
    }
}

/// Requests an address for this MAC from the servers on a link, or renews its lease. Returns `None`
/// if none answered in time. Equivalent to `udhcpc -i LINK` with another MAC.
pub async fn acquire(
    kernel: &Kernel,
    link: &Link,
    mac: Mac,
    patience: Duration,
) -> Result<Option<Leased>> {
    let local = LocalPort::open(kernel, link, mac, patience / 2).await?;
    let mut client = client(link, mac).await?;
    let exchange = async {
        loop {
            if let DhcpV4State::Done(message) = client.run().await? {
                return Leased::of(*message);
            }
        }
    };
    let exchange = timeout(patience, exchange);
    let answer = match &local {
        Some(local) => tokio::select! {
            answer = exchange => answer,
            error = local.pass() => Ok(Err(error.into())),
        },
        None => exchange.await,
    };
    if let Some(local) = local {
        local.close(kernel).await?;
    }
    answer.map_or(Ok(None), |leased| leased.map(Some))
}

/// Releases a lease. There is no reply.
pub async fn release(kernel: &Kernel, link: &Link, mac: Mac, leased: &Leased) -> Result<()> {
    let local = LocalPort::open(kernel, link, mac, RELEASE).await?;
    let mut client = client(link, mac).await?;
    let released = client.release(&leased.message).await.context("cannot release the lease");
    if let Some(local) = local {
        local.pass_all()?;
        local.close(kernel).await?;
    }
    released
}

async fn client(link: &Link, mac: Mac) -> Result<DhcpV4Client> {
    let mut config = DhcpV4Config::new_proxy(&link.name, &mac.to_string())?;
    config.set_iface_index(link.index).use_mac_as_client_id();
    DhcpV4Client::init(config, None).await.context("cannot ask for a lease")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(router: Option<[u8; 4]>) -> DhcpV4Lease {
        let mut message = DhcpV4Lease::default();
        message.yiaddr = [192, 0, 2, 50].into();
        message.subnet_mask = [255, 255, 255, 0].into();
        message.siaddr = [192, 0, 2, 1].into();
        message.gateways = router.map(|r| vec![r.into()]);
        message
    }

    #[test]
    fn a_router_is_used_where_it_can_be_reached() {
        let router = |router| Leased::of(message(router)).unwrap().router;
        assert_eq!(router(Some([192, 0, 2, 1])), Some([192, 0, 2, 1].into()));
        assert_eq!(router(Some([198, 51, 100, 1])), None);
        assert_eq!(router(Some([192, 0, 2, 50])), None, "its own address");
        assert_eq!(router(None), None);
    }

    #[test]
    fn a_server_is_known_by_what_it_calls_itself_first() {
        let mut named = message(None);
        assert_eq!(Leased::of(named.clone()).unwrap().server, Ipv4Addr::from([192, 0, 2, 1]));
        named.srv_id = [192, 0, 2, 2].into();
        let leased = Leased::of(named).unwrap();
        assert_eq!(leased.server, Ipv4Addr::from([192, 0, 2, 2]));
        assert_eq!(leased.address.to_string(), "192.0.2.50/24");
        assert_eq!(leased.message.siaddr, leased.server, "where a release goes");
    }
}
