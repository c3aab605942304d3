//! One HTTP request over a unix socket.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use anyhow::Context;
use futures::future::{Either, select};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{
    Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::HOST,
};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, task::JoinHandle, time::timeout};

use crate::{
    error::{Error, Kind},
    model::Engine,
};

/// The maximum size of an answer. The list of ten thousand containers is smaller.
const MAX_BODY: usize = 16 << 20;

/// An HTTP response.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// Requests `path` at the first of the sockets that accepts a connection.
///
/// # Errors
/// `Kind::Missing` if none does, `Kind::Timeout` after `patience`; a refused connection
/// keeps its `io::Error`.
pub(super) async fn get(
    engine: Engine,
    sockets: &[PathBuf],
    path: &str,
    patience: Duration,
) -> anyhow::Result<Reply> {
    let exchange = async {
        let (socket, stream) = connect(engine, sockets).await?;
        request(stream, path)
            .await
            .with_context(|| format!("no usable answer from {engine} at {}", socket.display()))
    };
    timeout(patience, exchange).await.unwrap_or_else(|_| {
        let message = format!("{engine} did not answer within {patience:?}");
        Err(Error::new(Kind::Timeout, message)
            .hint(format!("see whether `{engine} ps` answers"))
            .into())
    })
}

/// Requests `path`, whose answer has no end; returns its body, and the task that receives it.
///
/// # Errors
/// As [`get`], and if the engine refuses.
pub(super) async fn follow(
    engine: Engine,
    sockets: &[PathBuf],
    path: &str,
    patience: Duration,
) -> anyhow::Result<(Incoming, JoinHandle<()>)> {
    let exchange = async {
        let (_, stream) = connect(engine, sockets).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let receiving = tokio::spawn(async move { drop(connection.await) });
        let request = Request::get(path).header(HOST, "localhost").body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        if !status.is_success() {
            receiving.abort();
            anyhow::bail!("{engine} refuses (HTTP status {})", status.as_u16());
        }
        Ok((response.into_body(), receiving))
    };
    timeout(patience, exchange).await.unwrap_or_else(|_| {
        let message = format!("{engine} did not answer within {patience:?}");
        Err(Error::new(Kind::Timeout, message).into())
    })
}

async fn connect(engine: Engine, sockets: &[PathBuf]) -> anyhow::Result<(&Path, UnixStream)> {
    let mut refused = None;
    for socket in sockets {
        match UnixStream::connect(socket).await {
            Ok(stream) => return Ok((socket, stream)),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
            // Try the next socket: a user's rootless podman may answer, even if root's directory is
            // not accessible.
            Err(error) => refused = refused.or(Some((socket, error))),
        }
    }
    if let Some((socket, error)) = refused {
        return Err(error).with_context(|| format!("cannot ask {engine} at {}", socket.display()));
    }
    let tried: Vec<_> = sockets.iter().map(|socket| socket.display().to_string()).collect();
    let message = format!("{engine} does not listen at {}", tried.join(" or "));
    let hint = match engine {
        Engine::Docker => "start docker, or set DOCKER_HOST to unix:///PATH of its socket",
        Engine::Podman => {
            "start its service (`systemctl start podman.socket`), or set CONTAINER_HOST to \
             unix:///PATH of its socket"
        }
    };
    Err(Error::new(Kind::Missing, message).hint(hint).into())
}

async fn request(stream: UnixStream, path: &str) -> anyhow::Result<Reply> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path).header(HOST, "localhost").body(Empty::<Bytes>::new())?;
    let exchange = pin!(async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body =
            Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(too_long)?;
        Ok(Reply { status, body: body.to_bytes() })
    });
    // The connection transports the exchange, and is dropped when that has its answer, since there
    // is no second request. If the connection ends first, the exchange has the rest, or the error.
    match select(exchange, connection).await {
        Either::Left((reply, _)) => reply,
        Either::Right((_, exchange)) => exchange.await,
    }
}

fn too_long(error: Box<dyn std::error::Error + Send + Sync>) -> anyhow::Error {
    if error.is::<LengthLimitError>() {
        return anyhow::anyhow!("it is longer than {} MiB", MAX_BODY >> 20);
    }
    anyhow::Error::from_boxed(error)
}
