//! The socket on which netcord asks: a line of JSON for each request, and one for each answer.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use anyhow::{Context, Result};
use futures::FutureExt;
use netcord::{
    agents::netcord_agent::protocol::{Answer, Join, Leave, Message, Offer, Request, SOCKET},
    error::{self, Error, Kind},
    model::LinkName,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    task::spawn_local,
    time::timeout,
};

use crate::{
    flat::{self, Claimed},
    joined::{self, Joined},
    service::Service,
};

/// The time to stay without a network and without a connection: a command that has started the agent
/// connects at once.
const IDLE: Duration = Duration::from_secs(3);

/// The agent's socket.
pub(crate) struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

impl Socket {
    /// Makes the socket in a directory of which this process is the only agent.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub(crate) fn bind(dir: &Path) -> Result<Self> {
        let path = dir.join(SOCKET);
        // One that a killed agent left.
        drop(fs::remove_file(&path));
        let listener = UnixListener::bind(&path).context("cannot make the agent's socket")?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Self { path, listener })
    }

    /// Answers requests until there is nothing left to do.
    ///
    /// # Errors
    /// If the socket fails.
    pub(crate) async fn serve(mut self, service: Rc<Service>) -> Result<()> {
        loop {
            match timeout(IDLE, self.listener.accept()).await {
                Ok(accepted) => answer(&service, accepted?.0),
                Err(_) if service.is_idle() => {
                    // After this, nobody connects any more; somebody may have before.
                    drop(fs::remove_file(&self.path));
                    let Some(accepted) = self.listener.accept().now_or_never() else {
                        return Ok(());
                    };
                    answer(&service, accepted?.0);
                    self = Self::bind(service.dir())?;
                }
                Err(_) => {}
            }
        }
    }
}

fn answer(service: &Rc<Service>, stream: UnixStream) {
    let service = service.clone();
    let connected = service.connected();
    spawn_local(async move {
        let mut caller = Caller { service, joined: None, claimed: Vec::new() };
        // A caller that went away needs no answer.
        drop(caller.serve(stream).await);
        if let Some(joined) = caller.joined.take() {
            drop(joined.abandon().await);
        }
        drop(connected);
    });
}

/// A connection, the network that it has joined and that is not followed yet, and the addresses that it
/// has taken and that may be on no record yet.
struct Caller {
    service: Rc<Service>,
    joined: Option<Joined>,
    claimed: Vec<Claimed>,
}

impl Caller {
    async fn serve(&mut self, stream: UnixStream) -> Result<()> {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 0 {
            let answer = self.answer(&line).await.unwrap_or_else(|e| Answer::Failed(own(&e)));
            let mut text = serde_json::to_vec(&answer)?;
            text.push(b'\n');
            stream.get_mut().write_all(&text).await?;
            line.clear();
        }
        Ok(())
    }

    async fn answer(&mut self, line: &str) -> Result<Answer> {
        let Message { request, .. } = understood(line)?;
        match request {
            Request::Status => Ok(Answer::Status(self.service.status().await)),
            Request::Join(join) => {
                let offer = if join.dry_run {
                    joined::preview(&join).await?
                } else {
                    self.join(&join).await?
                };
                Ok(Answer::Offer(Box::new(offer)))
            }
            Request::Follow { network } => self.follow(&network).await,
            Request::Leave(leave) => self.leave(*leave).await,
            Request::Claim(claim) => {
                let handle = self.flat(&claim.network).await?;
                let claimed = handle.claim(&self.service, *claim).await?;
                let addresses = claimed.addresses.clone();
                self.claimed.push(claimed);
                Ok(Answer::Claimed { addresses })
            }
            Request::Settle { network } => {
                self.flat(&network).await?.settle_now(&self.service).await?;
                Ok(Answer::Done)
            }
            Request::Elsewhere { network } => {
                Ok(Answer::Elsewhere(self.flat(&network).await?.elsewhere()))
            }
            Request::Relay { network } => {
                self.service.relay(&network).ready().await?;
                Ok(Answer::Done)
            }
        }
    }

    async fn join(&mut self, join: &Join) -> Result<Offer> {
        if let Some(watched) = self.service.watched(&join.network)
            && let Some(offer) = watched.offer().await?
        {
            return Ok(offer);
        }
        let joined = Joined::join(join).await?;
        let offer = joined.offer();
        self.joined = Some(joined);
        Ok(offer)
    }

    /// Returns what does the work on a flat network.
    async fn flat(&self, network: &LinkName) -> Result<Rc<flat::Handle>> {
        if self.service.watched(network).is_none() {
            self.service.resume().await?;
        }
        match self.service.watched(network) {
            Some(watched) => watched.flat().await,
            None => Err(Error::not_found(format!("no network `{network}` was joined")).into()),
        }
    }

    async fn follow(&mut self, network: &LinkName) -> Result<Answer> {
        if let Some(joined) = self.joined.take_if(|joined| joined.network() == network) {
            self.service.follow(joined);
        } else {
            // It may have ended since: while nothing was on record, the network seemed to be removed.
            self.service.resume().await?;
        }
        match self.service.watched(network) {
            Some(watched) => watched.ready().await,
            None => {
                return Err(Error::not_found(format!("no network `{network}` was joined")).into());
            }
        }
        Ok(Answer::Done)
    }

    async fn leave(&mut self, leave: Leave) -> Result<Answer> {
        match self.service.watched(&leave.network) {
            Some(watched) => watched.leave().await?,
            None => joined::release(&leave).await?,
        }
        Ok(Answer::Done)
    }
}

fn understood(line: &str) -> Result<Message> {
    let own = env!("CARGO_PKG_VERSION");
    let version = |line: &str| -> Option<String> {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(message.get("version")?.as_str()?.to_owned())
    };
    match (serde_json::from_str::<Message>(line), version(line)) {
        (Ok(message), Some(other)) if other == own => Ok(message),
        (_, Some(other)) => Err(Error::conflict(format!(
            "the netcord-agent that runs is version {own}, and this is netcord {other}"
        ))
        .hint("end the agent; the next command that changes something starts the new one")
        .into()),
        (_, None) => Err(Error::usage("not a request to netcord-agent").into()),
    }
}

/// Returns an error in the form in which it travels.
fn own(error: &anyhow::Error) -> Error {
    let mut own = Error::new(Kind::of(error), format!("{error:#}"));
    own.hint = error::hint(error);
    own.commands = error::commands(error).to_vec();
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_another_version_is_refused_by_name() {
        let error = |line: &str| format!("{:#}", understood(line).unwrap_err());
        assert!(error(r#"{"version":"9.9.9","request":{"dance":1}}"#).contains("netcord 9.9.9"));
        assert!(error(r#"{"version":"9.9.9","request":"status"}"#).contains("netcord 9.9.9"));
        assert!(error("hello").contains("not a request"));
        let own = format!(r#"{{"version":"{}","request":"status"}}"#, env!("CARGO_PKG_VERSION"));
        assert_eq!(understood(&own).unwrap().request, Request::Status);
    }
}
