//! netcord as docker calls it: a network driver and an IPAM driver over docker's plugin protocol.
//!
//! docker POSTs JSON to a unix socket, one object a call. A call becomes a request of [`crate::ops`], and
//! its outcome the answer. Nothing is asked of docker's own API, which does not answer while it waits
//! for a call.
//!
//! - `connection`: HTTP over a stream
//! - `protocol`: the bodies
//! - `options`, `wanted`: the options of a network, and the network that is made for them
//! - `network_driver`: the calls of a network driver
//! - `ipam_driver`, `pools`: the calls of an IPAM driver, and what it has assigned
//! - `store`: what docker does not say again after a restart
//! - `prune`: removes what docker has forgotten
//! - `socket`: where docker finds the plugin

mod connection;
mod ipam_driver;
mod network_driver;
mod options;
mod pools;
mod protocol;
mod prune;
mod socket;
mod store;
#[cfg(test)]
mod tests;
mod wanted;

use std::{path::Path, time::Instant};

use anyhow::Result;
use futures::{
    StreamExt,
    channel::mpsc::{self, UnboundedReceiver},
    stream::FuturesUnordered,
};
use serde_json::{Value, json};
use tokio::{net::UnixStream, select};

pub use self::prune::prune;
use self::{
    connection::{Call, serve},
    socket::Process,
};
use crate::{
    error::{self, Error},
    ops::Session,
    process::{service, signal::Held},
};

/// Where docker looks for plugins.
pub const SOCKET: &str = "/run/docker/plugins/netcord.sock";

/// The interfaces of docker's that netcord implements.
const NETWORK: &str = "NetworkDriver";
const IPAM: &str = "IpamDriver";

/// Receives a line for each call.
type Log<'l> = dyn Fn(&str) + 'l;

fn check_options(host: &Session<'_>) -> Result<()> {
    if host.is_dry_run() {
        return Err(Error::usage("`docker-plugin` does not support --dry-run").into());
    }
    Ok(())
}

/// Serves the connection that is this process's standard input, until docker closes it.
///
/// # Errors
/// If standard input is no socket.
pub async fn serve_stdin(host: &Session<'_>, log: &Log<'_>) -> Result<()> {
    check_options(host)?;
    let (sender, mut calls) = mpsc::unbounded();
    let mut connection = std::pin::pin!(serve(socket::of_stdin()?, sender));
    loop {
        select! {
            biased;
            Some(call) = calls.next() => {
                if answer(host, call, log).await == Then::End {
                    return Ok(());
                }
            }
            () = &mut connection => return Ok(()),
        }
    }
}

/// Listens on a socket, and serves it until SIGTERM or SIGINT.
///
/// # Errors
/// If another program listens there.
pub async fn listen(host: &Session<'_>, path: &Path, log: &Log<'_>) -> Result<()> {
    check_options(host)?;
    let held = Held::new()?;
    let listener = socket::bind(path).await?;
    service::ready()?;
    let (sender, mut calls): (_, UnboundedReceiver<Call>) = mpsc::unbounded();
    let mut connections = FuturesUnordered::new();
    loop {
        select! {
            biased;
            // A call is never cut off: what it changes would be left half-made.
            Some(call) = calls.next() => {
                if answer(host, call, log).await == Then::End {
                    break;
                }
            }
            stopped = held.wait() => {
                stopped?;
                held.came();
                break;
            }
            Some(()) = connections.next(), if !connections.is_empty() => {}
            accepted = listener.accept() => {
                let (stream, _): (UnixStream, _) = accepted?;
                connections.push(serve(stream, sender.clone()));
            }
        }
    }
    std::fs::remove_file(path)?;
    Ok(())
}

/// What comes after a call.
#[derive(PartialEq, Eq)]
enum Then {
    /// The next one.
    GoOn,
    /// The end: a signal came, and the call was rolled back.
    End,
}

/// Answers a call. The caller may have gone meanwhile, and calls again.
async fn answer(host: &Session<'_>, call: Call, log: &Log<'_>) -> Then {
    let Call { method, body, caller, reply } = call;
    let began = Instant::now();
    let answer = carry_out(host, &method, &body, caller.as_ref()).await;
    let took = began.elapsed().as_millis();
    let whose = protocol::whose(&body);
    log(&match &answer {
        Ok(Some(_)) => format!("{method}{whose}: done in {took} ms"),
        Ok(None) => format!("{method}: not a call of netcord's drivers"),
        Err(error) => format!("{method}{whose}: failed after {took} ms: {error:#}"),
    });
    let is_interrupted = answer.as_ref().err().is_some_and(error::is_interruption);
    let key = if method.starts_with(IPAM) { "Error" } else { "Err" };
    let answer = answer.unwrap_or_else(|error| Some(json!({key: said(&error)})));
    drop(reply.send(answer));
    if is_interrupted { Then::End } else { Then::GoOn }
}

/// An error with its hint, in one line: docker shows no more.
fn said(error: &anyhow::Error) -> String {
    match error::hint(error) {
        Some(hint) => format!("{error:#} ({hint})"),
        None => format!("{error:#}"),
    }
}

/// Carries out a call; returns `None` if there is no such method.
async fn carry_out(
    host: &Session<'_>,
    method: &str,
    body: &[u8],
    caller: Option<&Process>,
) -> Result<Option<Value>> {
    let mut session = host.again()?;
    let answer = match method.split_once('.') {
        Some(("Plugin", "Activate")) => Ok(Some(json!({"Implements": [NETWORK, IPAM]}))),
        Some((NETWORK, call)) => network_driver::call(&mut session, call, body).await,
        Some((IPAM, call)) => ipam_driver::call(&session, call, body, caller).await,
        _ => Ok(None),
    };
    session.close();
    answer
}
