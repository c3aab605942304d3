//! Follows one network: compares the store, the record and the kernel, and makes them agree. It does so
//! at the beginning, when the kernel may have lost something, and at intervals, each time completely.
//! After a change in the store it compares with the record only, so that the change of one host costs
//! the same however many there are.

use std::{future::pending, net::IpAddr, time::Duration};

use anyhow::{Result, bail};
use netcord::{
    agents::netcord_agent::protocol::Member,
    error::Error,
    kernel::HostWatch,
    model::{self, Cidr, LinkName, Network, Overlay, Store},
    ops::driver::overlay::Against,
};
use netcord_agent::{
    flannel::{Backend, Config},
    store::{self, Notice},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use super::{Membership, WAIT, of_record};
use crate::{service::Service, shape, subnet_file, watched::Command};

/// The interval at which everything is compared even if nothing seems to have happened.
pub(crate) const INTERVAL: Duration = Duration::from_secs(60);
/// The time to wait after a failure.
pub(crate) const AGAIN: Duration = Duration::from_secs(5);
/// The time in which further losses of the kernel belong to the first one.
pub(crate) const SETTLING: Duration = Duration::from_millis(50);

/// Joins a network on record again.
///
/// # Errors
/// If the store does not answer, or the network is another one by now.
pub(crate) async fn rejoin(
    network: &Network,
    store: &Store,
    connection: store::Store,
    config: Config,
) -> Result<Membership> {
    let Some(overlay) = network.driver.overlay() else { bail!("it is no overlay network") };
    let hosts: Vec<IpAddr> = [Some(overlay.host), overlay.second].into_iter().flatten().collect();
    let former = of_record(network.subnets.iter().map(|subnet| Cidr(subnet.cidr)));
    // With another configuration, this host would get other subnets than those of its endpoints.
    if !is_of(&config, overlay) {
        bail!("the network's configuration was changed: remove the network, and join again");
    }
    let name = &network.name;
    let membership =
        Membership::take(name, store, &hosts, config, former, connection, WAIT).await?;
    let got = membership.held.subnets();
    if Some(got) == former {
        return Ok(membership);
    }
    membership.leave().await?;
    let own = network.subnets.iter().map(|subnet| subnet.cidr.to_string()).collect::<Vec<_>>();
    Err(Error::conflict(format!("another host has this host's subnet {} now", own.join(",")))
        .hint("detach the endpoints, remove the network and join again")
        .into())
}

/// Returns whether a network on record has this configuration.
fn is_of(config: &Config, overlay: &Overlay) -> bool {
    let is_same = match (&config.backend, &overlay.backend) {
        (Backend::Vxlan(wanted), model::Backend::Vxlan(there)) => {
            (wanted.vni, wanted.port, wanted.direct_routing)
                == (there.vni, there.port, there.direct_routing)
        }
        (Backend::HostGw, model::Backend::HostGw) => true,
        (Backend::Udp { port }, model::Backend::Udp(there)) => *port == there.port,
        (
            Backend::Vxlan(_) | Backend::HostGw | Backend::Udp { .. } | Backend::Other(_),
            model::Backend::Vxlan(_) | model::Backend::HostGw | model::Backend::Udp(_),
        ) => false,
    };
    is_same && shape::subnets(config) == overlay.cluster
}

/// The work on one network.
pub(crate) struct Follower {
    membership: Membership,
    links: Vec<LinkName>,
    /// The host that has this host's subnet, or why the kernel could not be changed.
    lost: Option<String>,
    failure: Option<String>,
    warnings: Vec<String>,
}

impl Follower {
    pub(crate) fn new(membership: Membership) -> Self {
        Self { membership, links: Vec::new(), lost: None, failure: None, warnings: Vec::new() }
    }

    /// Follows until this host leaves. Returns who asked for that; `None` if the network is gone.
    pub(crate) async fn run(
        &mut self,
        service: &Service,
        questions: &mut mpsc::Receiver<Command>,
        is_ready: &watch::Sender<bool>,
    ) -> Option<oneshot::Sender<Result<()>>> {
        let mut kernel = HostWatch::new().ok();
        let (mut due, mut is_news) = (Instant::now(), false);
        loop {
            let membership = &mut self.membership;
            tokio::select! {
                event = membership.follow.next() => is_news |= membership.note(event),
                notice = membership.held.next() => match notice {
                    Notice::Retaken => self.lost = None,
                    Notice::Lost { to } => {
                        let what = format!("this host's subnet is used by {to} now");
                        service.log(&membership.network, &what);
                        self.lost = Some(what);
                    }
                },
                () = loss(&mut kernel, &self.links) => due = due.min(Instant::now() + SETTLING),
                question = questions.recv() => match question? {
                    Command::Leave(answer) => return Some(answer),
                    Command::Describe(answer) => drop(answer.send(self.describe())),
                    Command::Offer(answer) => drop(answer.send(Ok(self.membership.offer()))),
                },
                against = comparison(due, is_news) => {
                    is_news = false;
                    if !self.apply(service, against).await {
                        // Somebody has removed the network, and could not reach this agent.
                        return None;
                    }
                    is_ready.send_replace(true);
                    if self.failure.is_some() {
                        due = Instant::now() + AGAIN;
                    } else if against == Against::Kernel {
                        due = Instant::now() + INTERVAL;
                    }
                }
            }
        }
    }

    /// Makes the kernel and the record agree with the store; returns whether this host still has the
    /// network.
    async fn apply(&mut self, service: &Service, against: Against) -> bool {
        let Membership { network, store, .. } = &self.membership;
        let others = self.membership.others();
        match service.apply(network, &others.specs, against).await {
            Ok(None) => return false,
            Ok(Some((now, warnings))) => {
                self.failure = None;
                self.warnings = [others.left_out, warnings].concat();
                self.links = now.tunnels().cloned().chain([now.name.clone()]).collect();
                self.links.extend(now.driver.overlay().map(|overlay| overlay.parent.clone()));
                if let Some(file) = &store.subnet_file
                    && let Err(error) = subnet_file::write(file, &now)
                {
                    self.failure = Some(format!("{}: {error}", file.display()));
                }
            }
            Err(error) => {
                let what = format!("{error:#}");
                service.log(network, &what);
                self.failure = Some(what);
            }
        }
        true
    }

    fn describe(&self) -> Member {
        let Membership { network, config, held, picture, .. } = &self.membership;
        let own = self.lost.clone().into_iter().chain(self.failure.clone());
        let lack = picture.lack(config);
        Member {
            network: network.clone(),
            lease: self.lost.is_none().then(|| held.remaining().as_secs()),
            reserved: held.is_reserved(),
            lost: self.lost.clone(),
            away: picture.away(),
            problems: own.chain(picture.problems()).chain(lack).collect(),
            skipped: [self.warnings.clone(), picture.skipped()].concat(),
        }
    }

    pub(crate) async fn leave(self) -> Result<()> {
        if let Some(file) = &self.membership.store.subnet_file {
            drop(std::fs::remove_file(file));
        }
        self.membership.leave().await
    }
}

/// Waits until something is to be compared: with the record after news of the store, and with the
/// kernel at a time.
async fn comparison(due: Instant, is_news: bool) -> Against {
    if is_news && due > Instant::now() {
        return Against::Record;
    }
    sleep_until(due).await;
    Against::Kernel
}

/// Waits until the kernel may have lost something of a network.
pub(crate) async fn loss(kernel: &mut Option<HostWatch>, links: &[LinkName]) {
    let is_open = match kernel {
        Some(watch) => watch.loss(links).await.is_ok(),
        None => pending().await,
    };
    if !is_open {
        *kernel = None;
    }
}
