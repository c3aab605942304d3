//! The relay of a network: the process that carries its packets between the TUN link and UDP packets
//! (backend udp). netcord-agent starts it, and starts it again if it ends. It reads the kernel's routes
//! to learn where the other hosts are, and needs no other input.

use std::{io::ErrorKind, net::UdpSocket, path::Path, time::Duration};

use anyhow::Result;

use crate::{
    agents::netcord_agent::{Connection, protocol::Request},
    error::Error,
    model::{LinkName, Network, Udp},
    ops::{Session, upkeep::need::Extent},
    state::State,
};

/// The time to wait until the relay runs.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the agent, which will start a network's relay.
pub(super) struct Starter {
    agent: Connection,
    network: LinkName,
}

impl Starter {
    /// Connects to the agent, or starts it, if the network needs a relay. `dir` is that of the host's
    /// records.
    ///
    /// # Errors
    /// If netcord-agent is not installed, or does not start: then nothing was changed yet.
    pub(super) async fn of(
        host: &Session<'_>,
        network: &Network,
        dir: &Path,
    ) -> Result<Option<Self>> {
        let needs_relay = network.driver.overlay().is_some_and(|o| o.backend.udp().is_some());
        if !needs_relay || host.dry_run {
            return Ok(None);
        }
        let agent = Connection::open_or_start(dir).await?;
        Ok(Some(Self { agent, network: network.name.clone() }))
    }

    /// Waits until the relay of the network, which is on record, runs. A failure is a warning: the
    /// network is made, and the agent tries again.
    pub(super) async fn ready(mut self, host: &Session<'_>) {
        let _doing = host.events.doing_for(PATIENCE, "starting the relay");
        let name = self.network.clone();
        let request = Request::Relay { network: self.network };
        if let Err(error) = self.agent.ask(request, PATIENCE).await {
            host.events.warn(&format!(
                "network `{name}` does not reach other hosts yet: {error:#}; netcord-agent tries again"
            ));
        }
    }
}

/// Checks that a new network's relay can have its UDP port.
///
/// # Errors
/// If another network or a program has it, or this host's address is not IPv4.
pub(super) fn check(network: &Network, state: &State) -> Result<()> {
    let Some(overlay) = network.driver.overlay() else { return Ok(()) };
    let Some(udp) = overlay.backend.udp() else { return Ok(()) };
    let host = overlay.host;
    if host.is_ipv6() {
        return Err(Error::usage(format!(
            "backend udp: hosts reach each other by IPv4, and {host} is IPv6"
        ))
        .hint("choose this host's IPv4 address with `--public-ip`")
        .into());
    }
    let port = udp.port;
    if let Some((other, _)) = with_relay(state).find(|(_, other)| other.port == port) {
        let message = format!("UDP port {port}, the tunnel's, is that of network `{}`", other.name);
        return Err(Error::conflict(message)
            .hint("choose another with `--port`, the same on all hosts of the network")
            .into());
    }
    match UdpSocket::bind((host, port)) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == ErrorKind::AddrInUse => Err(Error::conflict(format!(
            "UDP port {port}, the tunnel's, is in use on this host by a program"
        ))
        .hint(format!(
            "find it with `ss -ulnp sport = :{port}`, or choose another with `--port` on all hosts"
        ))
        .into()),
        Err(e) => Err(e.into()),
    }
}

/// Returns the networks on record that need a relay; for netcord-agent.
///
/// # Errors
/// If the records cannot be read.
pub async fn relayed(host: &Session<'_>) -> Result<Vec<Network>> {
    let state = host.look(Extent::of(None)).await?;
    Ok(with_relay(&state).map(|(network, _)| network.clone()).collect())
}

/// Returns the networks whose relay does not run: no process has their TUN link open.
///
/// # Errors
/// If the links cannot be read.
pub(in crate::ops) async fn stopped<'s>(
    host: &Session<'_>,
    state: &'s State,
) -> Result<Vec<&'s Network>> {
    let mut stopped = Vec::new();
    for (network, udp) in with_relay(state) {
        let link = host.kernel.link(udp.device.as_str()).await?;
        if !link.is_some_and(|link| link.carrier) {
            stopped.push(network);
        }
    }
    Ok(stopped)
}

/// Starts the relays that do not run; returns whether there was one.
///
/// # Errors
/// If netcord-agent does not start.
pub(in crate::ops) async fn start_stopped(host: &Session<'_>, state: &State) -> Result<bool> {
    let stopped = stopped(host, state).await?;
    for network in &stopped {
        if let Some(starter) = Starter::of(host, network, state.dir()).await? {
            starter.ready(host).await;
        }
    }
    Ok(!stopped.is_empty())
}

fn with_relay(state: &State) -> impl Iterator<Item = (&Network, &Udp)> {
    let networks = state.networks().values().map(|record| &record.network);
    networks.filter_map(|network| Some((network, network.driver.overlay()?.backend.udp()?)))
}
