//! This host's part of a network in a store: of one in which each host has a subnet, or of a flat one.

use std::time::Duration;

use anyhow::{Result, bail};
use netcord::{
    agents::netcord_agent::protocol::{Join, Leave, Offer},
    error::Error,
    model::{LinkName, Network, Store},
};
use netcord_agent::store::{self, Access, Settings};

use crate::{
    flat,
    membership::{self, Membership, WAIT},
};

/// This host's part of a network.
pub(crate) enum Joined {
    /// Each host has a subnet of its own.
    Routed(Box<Membership>),
    /// All hosts share one subnet.
    Flat(flat::Membership),
}

/// What the store has of a network, and what is asked for.
enum Shape<R, F> {
    Routed(R),
    Flat(F),
}

impl Joined {
    /// Joins a network, of the shape that it has in the store, or that was asked for if this host is the
    /// first.
    ///
    /// # Errors
    /// If the store does not answer in time, or has another network than the requested one.
    pub(crate) async fn join(join: &Join) -> Result<Self> {
        let connection = connect(&join.store, wait(join)).await?;
        Ok(match shape(join, connection.settings().await?)? {
            Shape::Routed(there) => {
                Self::Routed(Box::new(Membership::join(join, connection, there).await?))
            }
            Shape::Flat(there) => {
                Self::Flat(flat::Membership::join(join, connection, there).await?)
            }
        })
    }

    /// Joins a network on record again.
    ///
    /// # Errors
    /// If the store does not answer, or the network is another one by now.
    pub(crate) async fn again(network: &Network, store: &Store) -> Result<Self> {
        let is_flat = network.driver.overlay().is_some_and(|overlay| overlay.flat.is_some());
        let connection = connect(store, WAIT).await?;
        Ok(match (connection.settings().await?, is_flat) {
            (Some(Settings::Routed(config)), false) => Self::Routed(Box::new(
                membership::rejoin(network, store, connection, config).await?,
            )),
            (Some(Settings::Flat(config)), true) => Self::Flat(
                flat::Membership::rejoin(network, store, connection, config, WAIT).await?,
            ),
            (Some(Settings::Routed(_) | Settings::Flat(_)), _) => {
                bail!("the network's configuration was changed: remove the network, and join again")
            }
            (None, _) => bail!("the network's configuration was deleted from the store"),
        })
    }

    pub(crate) fn network(&self) -> &LinkName {
        match self {
            Self::Routed(membership) => membership.network(),
            Self::Flat(membership) => membership.network(),
        }
    }

    pub(crate) fn offer(&self) -> Offer {
        match self {
            Self::Routed(membership) => membership.offer(),
            Self::Flat(membership) => membership.offer(),
        }
    }

    /// Leaves a network that was joined in vain: if this host was its first, the store is as before.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(crate) async fn abandon(self) -> Result<()> {
        match self {
            Self::Routed(membership) => membership.abandon().await,
            Self::Flat(membership) => membership.abandon().await,
        }
    }
}

/// Returns what [`Joined::join`] would offer at this moment; writes nothing.
///
/// # Errors
/// Those of [`Joined::join`].
pub(crate) async fn preview(join: &Join) -> Result<Offer> {
    let connection = connect(&join.store, wait(join)).await?;
    match shape(join, connection.settings().await?)? {
        Shape::Routed(there) => membership::preview(join, connection, there).await,
        Shape::Flat(there) => flat::preview(join, connection, there).await,
    }
}

/// Ends this host's part of a network that the agent does not follow.
///
/// # Errors
/// If the store does not answer.
pub(crate) async fn release(leave: &Leave) -> Result<()> {
    let connection = connect(&leave.store, WAIT).await?;
    match connection.settings().await? {
        Some(Settings::Routed(config)) => membership::release(leave, connection, config).await,
        Some(Settings::Flat(config)) => flat::release(leave, connection, config).await,
        None => Ok(()),
    }
}

fn shape(
    join: &Join,
    there: Option<Settings>,
) -> Result<Shape<Option<netcord_agent::flannel::Config>, Option<store::flat::Config>>> {
    Ok(match (there, join.shape.flat) {
        (Some(Settings::Flat(config)), _) => Shape::Flat(Some(config)),
        (Some(Settings::Routed(config)), None) => Shape::Routed(Some(config)),
        (Some(Settings::Routed(_)), Some(_)) => return Err(not_flat(join)),
        (None, Some(_)) => Shape::Flat(None),
        (None, None) => Shape::Routed(None),
    })
}

/// The error that the store has a network of another shape.
pub(crate) fn not_flat(join: &Join) -> anyhow::Error {
    let prefix = &join.store.prefix;
    Error::conflict(format!(
        "the network in the store, under `{prefix}`, is not flat: each host has a subnet of its own"
    ))
    .hint("leave out `--flat`, or give the network a `--prefix` of its own")
    .into()
}

fn wait(join: &Join) -> Duration {
    Duration::from_secs(join.wait.into())
}

async fn connect(store: &Store, wait: Duration) -> Result<store::Store> {
    store::Store::connect(&access(store)?, wait).await
}

fn access(store: &Store) -> Result<Access> {
    let access = Access {
        endpoints: store.endpoints.clone(),
        prefix: store.prefix.clone(),
        ca: store.ca.clone(),
        identity: store.identity.clone().map(|own| (own.cert, own.key)),
        user: store.user.clone().map(|user| (user.name, user.password_file)),
    };
    access.check()?;
    Ok(access)
}
