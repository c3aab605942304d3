//! This host's part of one network: its subnets in the store, and the other hosts.

mod follower;
mod picture;

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use anyhow::Result;
use futures::FutureExt;
use ipnetwork::IpNetwork;
use netcord::{
    agents::netcord_agent::protocol::{Join, Leave, Offer},
    error::{Error, Kind},
    model::{BackendKind, Cidr, LinkName, Mac, Store, Vxlan},
};
use netcord_agent::{
    flannel::{Backend, Config, Lease, Subnets, Tunnel, choose},
    store::{self, Claim, Draft, Event, Follow, Held, Node},
};
use tokio::time::timeout;

pub(crate) use self::follower::{AGAIN, Follower, INTERVAL, SETTLING, loss, rejoin};
use self::picture::Picture;
use crate::{peers::Others, shape};

/// The time to wait for each answer of the store, once this host is a member.
pub(crate) const WAIT: Duration = Duration::from_secs(10);

/// This host's part of a network.
pub(crate) struct Membership {
    network: LinkName,
    store: Store,
    hosts: Vec<IpAddr>,
    config: Config,
    held: Held,
    follow: Follow,
    picture: Picture,
    /// The network's configuration, if this host wrote it.
    draft: Option<Draft>,
}

impl Membership {
    /// Joins a network: reads its configuration, or writes the first one, takes subnets and reads the
    /// other hosts.
    ///
    /// # Errors
    /// If the store does not answer in time, has another configuration than the requested one, or has
    /// no free subnet.
    pub(crate) async fn join(
        join: &Join,
        connection: store::Store,
        there: Option<Config>,
    ) -> Result<Self> {
        let wait = Duration::from_secs(join.wait.into());
        let (config, draft) = match there {
            Some(config) => (config, None),
            None => connection.create_config(&first(join)?).await?,
        };
        let joined = async {
            check(join, &config)?;
            Self::take(&join.network, &join.store, &join.hosts, config, None, connection, wait)
                .await
        };
        match joined.await {
            Ok(joined) => Ok(Self { draft, ..joined }),
            Err(error) => {
                if let Some(draft) = draft {
                    drop(draft.take_back().await);
                }
                Err(error)
            }
        }
    }

    async fn take(
        network: &LinkName,
        store: &Store,
        hosts: &[IpAddr],
        config: Config,
        former: Option<Subnets>,
        connection: store::Store,
        wait: Duration,
    ) -> Result<Self> {
        let (lease, node) = (lease(&config, store, hosts)?, Node::of_this_host()?);
        let held = connection.acquire(Claim { lease, former, ttl: store.ttl, node }).await?;
        let mut follow = connection.follow();
        let picture = match first_picture(&mut follow, &config, wait).await {
            Ok(picture) => picture,
            Err(error) => {
                drop(held.leave().await);
                return Err(error);
            }
        };
        let (network, store, hosts) = (network.clone(), store.clone(), hosts.to_vec());
        Ok(Self { network, store, hosts, config, held, follow, picture, draft: None })
    }

    pub(crate) fn network(&self) -> &LinkName {
        &self.network
    }

    pub(crate) fn offer(&self) -> Offer {
        offer(&self.config, &self.held.subnets(), self.others(), self.picture.skipped())
    }

    /// Takes an event of the store, and those that came with it; returns whether the other hosts may
    /// have changed.
    fn note(&mut self, event: Event) -> bool {
        let mut is_news = self.picture.take(event, &self.config);
        while let Some(event) = self.follow.next().now_or_never() {
            is_news |= self.picture.take(event, &self.config);
        }
        is_news
    }

    fn others(&self) -> Others {
        Others::of(&self.config, &self.held.subnets(), &self.hosts, self.picture.peers())
    }

    /// Gives the subnets back.
    ///
    /// # Errors
    /// If the store does not answer: they are given back when their lease ends.
    pub(crate) async fn leave(self) -> Result<()> {
        self.held.leave().await
    }

    /// Leaves a network that was joined in vain: if this host was its first, the store is as before.
    ///
    /// # Errors
    /// Those of [`Self::leave`].
    pub(crate) async fn abandon(mut self) -> Result<()> {
        let draft = self.draft.take();
        self.leave().await?;
        match draft {
            Some(draft) => draft.take_back().await,
            None => Ok(()),
        }
    }
}

/// Returns what [`Membership::join`] would offer at this moment; writes nothing.
///
/// # Errors
/// Those of [`Membership::join`].
pub(crate) async fn preview(
    join: &Join,
    connection: store::Store,
    there: Option<Config>,
) -> Result<Offer> {
    let wait = Duration::from_secs(join.wait.into());
    let (config, picture) = match there {
        Some(config) => {
            check(join, &config)?;
            let picture = first_picture(&mut connection.follow(), &config, wait).await?;
            (config, picture)
        }
        None => (first(join)?, Picture::default()),
    };
    let lease = lease(&config, &join.store, &join.hosts)?;
    // The real choice is at random; a preview shows the first that is free.
    let choice = choose(&config, &picture.taken(), lease.host(), None, || 0);
    let own = choice.map_err(|e| Error::conflict(e.to_string()))?.subnets();
    let others = Others::of(&config, &own, &join.hosts, picture.peers());
    Ok(offer(&config, &own, others, picture.skipped()))
}

/// Gives this host's subnets back in a network that the agent does not follow.
///
/// # Errors
/// If the store does not answer.
pub(crate) async fn release(leave: &Leave, connection: store::Store, config: Config) -> Result<()> {
    let picture = first_picture(&mut connection.follow(), &config, WAIT).await?;
    let own = picture.peers().find(|peer| peer.lease.host() == leave.host);
    let Some(own) = own.filter(|own| !own.is_reserved) else { return Ok(()) };
    // What is taken again with a lease of our own ends with that lease.
    let node = Node::of_this_host()?;
    let claim =
        Claim { lease: own.lease.clone(), former: Some(own.subnets), ttl: leave.store.ttl, node };
    connection.acquire(claim).await?.leave().await
}

/// Returns the configuration of a network that the store does not have yet.
fn first(join: &Join) -> Result<Config> {
    if join.shape.subnets.is_empty() {
        let prefix = &join.store.prefix;
        let message = format!("the store has no network under `{prefix}` yet");
        return Err(Error::not_found(message)
            .hint("the first host gives the network's subnet: `--subnet CIDR`")
            .into());
    }
    shape::config(&join.shape)
}

fn check(join: &Join, config: &Config) -> Result<()> {
    let differences = shape::differences(&join.shape, config);
    if !differences.is_empty() {
        let prefix = &join.store.prefix;
        return Err(Error::conflict(format!(
            "the network in the store, under `{prefix}`, differs: {}",
            differences.join("; ")
        ))
        .hint("leave out what its first host has decided, or give the network a `--prefix` of its own")
        .into());
    }
    Ok(config.check_supported().map_err(|invalid| {
        Error::new(Kind::Conflict, format!("the network in the store: {}", invalid.message))
    })?)
}

/// Returns what this host says about itself. The MACs are those of the VTEPs that netcord makes.
///
/// A host without IPv4 has one VTEP, between IPv6 addresses, which carries packets of both families.
/// flanneld would send them to 0.0.0.0.
fn lease(config: &Config, store: &Store, hosts: &[IpAddr]) -> Result<Lease> {
    let ipv4 = hosts.iter().find_map(|host| match host {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    });
    let ipv6 = hosts.iter().find_map(|host| match host {
        IpAddr::V6(v6) => Some(*v6),
        IpAddr::V4(_) => None,
    });
    let lacks = |family: &str| {
        Error::not_found(format!("this host has no {family} address by which others reach it"))
            .hint("choose the link with `--parent`, or the address with `--public-ip`")
    };
    let host = ipv4.map(IpAddr::V4).or(ipv6.map(IpAddr::V6)).ok_or_else(|| lacks("IPv4"))?;
    if host.is_ipv6() && store.is_flannel() {
        return Err(lacks("IPv4")
            .hint("flannel's hosts reach each other by IPv4: give the network a `--prefix` of its own")
            .into());
    }
    if host.is_ipv6() && !matches!(config.backend, Backend::Vxlan(_)) {
        return Err(lacks("IPv4")
            .hint("the backend vxlan also carries IPv4 between hosts that have IPv6 only")
            .into());
    }
    let public_ip = ipv4.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let public_ipv6 = match config.ipv6 {
        Some(_) => Some(ipv6.ok_or_else(|| lacks("IPv6"))?),
        None => ipv6.filter(|_| host.is_ipv6()),
    };
    let tunnel = match &config.backend {
        Backend::Vxlan(vxlan) => Tunnel::Vxlan {
            vni: vxlan.vni,
            mac: Mac::of_tunnel_end(host),
            ipv6_mac: config.ipv6.and(public_ipv6).map(|v6| Mac::of_tunnel_end(v6.into())),
        },
        Backend::HostGw => Tunnel::HostGw,
        Backend::Udp { .. } => Tunnel::Unnamed,
        Backend::Other(name) => Tunnel::Other(name.clone()),
    };
    Ok(Lease { public_ip, public_ipv6, tunnel })
}

/// Waits until all other hosts were read.
async fn first_picture(follow: &mut Follow, config: &Config, wait: Duration) -> Result<Picture> {
    let mut picture = Picture::default();
    let all = async {
        loop {
            let event = follow.next().await;
            let is_all = matches!(event, Event::All(_));
            picture.take(event, config);
            if is_all {
                break;
            }
        }
        // What was read with them.
        while let Some(event) = follow.next().now_or_never() {
            picture.take(event, config);
        }
    };
    if timeout(wait, all).await.is_err() {
        let message = format!("the store did not list the network's hosts within {wait:?}");
        return Err(Error::new(Kind::Timeout, message).into());
    }
    Ok(picture)
}

fn offer(config: &Config, own: &Subnets, others: Others, skipped: Vec<String>) -> Offer {
    let (backend, vxlan, port) = match &config.backend {
        Backend::Vxlan(vxlan) => (BackendKind::Vxlan, Some(vxlan), vxlan.port),
        Backend::HostGw | Backend::Other(_) => (BackendKind::HostGw, None, Vxlan::PORT),
        Backend::Udp { port } => (BackendKind::Udp, None, *port),
    };
    Offer {
        cluster: shape::subnets(config),
        subnets: own.iter().collect(),
        backend,
        vni: vxlan.map_or(Vxlan::VNI, |vxlan| vxlan.vni),
        port,
        direct_routing: vxlan.is_some_and(|vxlan| vxlan.direct_routing),
        parent_mtu: vxlan.and_then(|vxlan| vxlan.mtu),
        peers: others.specs,
        flat: None,
        gateways: Vec::new(),
        skipped: [others.left_out, skipped].concat(),
    }
}

/// Returns the subnets of a network on record.
fn of_record(subnets: impl Iterator<Item = Cidr>) -> Option<Subnets> {
    let (mut ipv4, mut ipv6) = (None, None);
    for Cidr(cidr) in subnets {
        match cidr {
            IpNetwork::V4(v4) => ipv4 = Some(v4),
            IpNetwork::V6(v6) => ipv6 = Some(v6),
        }
    }
    Some(Subnets { ipv4: ipv4?, ipv6 })
}
