//! This host's part of one flat network: its addresses in the store, and the endpoints of other hosts.

mod follower;
mod shape;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::IpAddr,
    rc::Rc,
    time::Duration,
};

use anyhow::Result;
use netcord::{
    agents::netcord_agent::protocol::{Join, Leave, Offer},
    error::{Error, Kind},
    model::{BackendKind, LinkName, Network, Store},
};
use netcord_agent::store::{
    self, Draft, Node, Settings,
    flat::{Config, Follow, Notices, Picture, Presence, Who},
};
use tokio::time::timeout;

pub(crate) use self::follower::{Claimed, Follower, Handle};
use crate::{joined::not_flat, membership::WAIT};

/// This host's part of a network.
pub(crate) struct Membership {
    network: LinkName,
    config: Config,
    presence: Rc<Presence>,
    notices: Notices,
    follow: Follow,
    picture: Rc<RefCell<Picture>>,
    /// The network's configuration, if this host wrote it.
    draft: Cell<Option<Draft>>,
}

impl Membership {
    /// Joins a network: writes its first configuration if there is none, announces this host and reads
    /// the others.
    ///
    /// # Errors
    /// If the store does not answer in time, has another configuration than the requested one, or another
    /// host has this host's address.
    pub(crate) async fn join(
        join: &Join,
        connection: store::Store,
        there: Option<Config>,
    ) -> Result<Self> {
        let wait = Duration::from_secs(join.wait.into());
        let (config, draft) = match there {
            Some(config) => (config, None),
            None => first(join, &connection).await?,
        };
        let joined = async {
            shape::check(join, &config)?;
            let host = host(&join.hosts)?;
            Self::take(&join.network, &join.store, host, config, &connection, wait).await
        };
        match joined.await {
            Ok(joined) => Ok(Self { draft: Cell::new(draft), ..joined }),
            Err(error) => {
                if let Some(draft) = draft {
                    drop(draft.take_back().await);
                }
                Err(error)
            }
        }
    }

    /// Joins a network on record again.
    ///
    /// # Errors
    /// If the store does not answer, or the network is another one by now.
    pub(crate) async fn rejoin(
        network: &Network,
        store: &Store,
        connection: store::Store,
        config: Config,
        wait: Duration,
    ) -> Result<Self> {
        shape::check_record(network, &config)?;
        let host = network.driver.overlay().map(|overlay| overlay.host);
        let host = host.ok_or_else(|| Error::conflict("it is no overlay network"))?;
        Self::take(&network.name, store, host, config, &connection, wait).await
    }

    async fn take(
        network: &LinkName,
        store: &Store,
        host: IpAddr,
        config: Config,
        connection: &store::Store,
        wait: Duration,
    ) -> Result<Self> {
        let node = Node::of_this_host()?;
        let who = Who { host, ttl: store.ttl, node: node.clone() };
        let (presence, notices) = connection.announce(who).await?;
        let mut follow = connection.follow_flat();
        let mut picture = Picture::new(connection, config.clone(), &node);
        if let Err(error) = read(&mut follow, &mut picture, wait).await {
            drop(presence.leave().await);
            return Err(error);
        }
        Ok(Self {
            network: network.clone(),
            config,
            presence: Rc::new(presence),
            notices,
            follow,
            picture: Rc::new(RefCell::new(picture)),
            draft: Cell::default(),
        })
    }

    pub(crate) fn network(&self) -> &LinkName {
        &self.network
    }

    pub(crate) fn offer(&self) -> Offer {
        offer(&self.config, self.picture.borrow().skipped())
    }

    /// Leaves a network that was joined in vain: if this host was its first, the store is as before.
    ///
    /// # Errors
    /// The store does not answer: what this host wrote ends by itself.
    pub(crate) async fn abandon(self) -> Result<()> {
        self.presence.leave().await?;
        match self.draft.take() {
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
    let config = match there {
        Some(config) => {
            shape::check(join, &config)?;
            config
        }
        None => connection.preview_flat(&shape::new(join)?).await?,
    };
    Ok(offer(&config, Vec::new()))
}

/// Ends the keys of this host in a network that the agent does not follow.
///
/// # Errors
/// The store does not answer.
pub(crate) async fn release(leave: &Leave, connection: store::Store, config: Config) -> Result<()> {
    let who = Who { host: leave.host, ttl: leave.store.ttl, node: Node::of_this_host()? };
    let mut picture = Picture::new(&connection, config, &who.node);
    let (presence, _notices) = connection.announce(who).await?;
    read(&mut connection.follow_flat(), &mut picture, WAIT).await?;
    let picture = Rc::new(RefCell::new(picture));
    // What was written with the lease of an earlier life.
    let given = picture.borrow().given();
    presence.settle(&picture, &BTreeMap::new(), &given).await?;
    presence.leave().await
}

/// Waits until all hosts and endpoints were read.
async fn read(follow: &mut Follow, picture: &mut Picture, wait: Duration) -> Result<()> {
    let all = async {
        while !picture.is_listed() {
            picture.take(follow.next().await);
        }
    };
    if timeout(wait, all).await.is_err() {
        let message = format!("the store did not list the network's endpoints within {wait:?}");
        return Err(Error::new(Kind::Timeout, message).into());
    }
    Ok(())
}

/// Writes the configuration of a network that the store does not have yet.
async fn first(join: &Join, connection: &store::Store) -> Result<(Config, Option<Draft>)> {
    if let Some((config, draft)) = connection.create_flat(&shape::new(join)?).await? {
        return Ok((config, Some(draft)));
    }
    // Another host was faster.
    match connection.settings().await? {
        Some(Settings::Flat(config)) => Ok((config, None)),
        Some(Settings::Routed(_)) | None => Err(not_flat(join)),
    }
}

fn host(hosts: &[IpAddr]) -> Result<IpAddr> {
    let none = || Error::not_found("this host has no address by which others reach it");
    Ok(hosts.first().copied().ok_or_else(none)?)
}

fn offer(config: &Config, skipped: Vec<String>) -> Offer {
    Offer {
        cluster: config.subnets.clone(),
        subnets: config.subnets.clone(),
        backend: BackendKind::Vxlan,
        vni: config.vni,
        port: config.port,
        direct_routing: false,
        parent_mtu: None,
        peers: Vec::new(),
        flat: Some(config.flat),
        gateways: config.gateways.clone(),
        skipped,
    }
}
