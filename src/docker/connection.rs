//! HTTP/1.1 over a stream: receives calls, and sends their answers. A call is handed on whole, and what
//! carries it out does not end with its connection.

use std::{convert::Infallible, time::Duration};

use futures::channel::{mpsc::UnboundedSender, oneshot};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::{net::UnixStream, time::timeout};

use super::socket::Process;

/// The longest body: the options of an endpoint with thousands of ports are shorter.
const MAX_BODY: usize = 4 << 20;
/// How long docker may take to send a call.
const PATIENCE: Duration = Duration::from_secs(10);
/// The media type of docker's plugin protocol.
const MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// A call of docker's.
pub(super) struct Call {
    /// For example `NetworkDriver.Join`.
    pub(super) method: String,
    pub(super) body: Bytes,
    /// The process that calls; `None` if it is not known.
    pub(super) caller: Option<Process>,
    /// Where the answer goes; `None`: there is no such method.
    pub(super) reply: oneshot::Sender<Option<Value>>,
}

/// Serves a connection until docker closes it, or sends no call for too long.
pub(super) async fn serve(stream: UnixStream, calls: UnboundedSender<Call>) {
    let caller = Process::of(&stream);
    let service = service_fn(|request| answered(request, caller.clone(), &calls));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // docker opens another connection.
    drop(served);
}

async fn answered(
    request: Request<Incoming>,
    caller: Option<Process>,
    calls: &UnboundedSender<Call>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let method = request.uri().path().trim_start_matches('/').to_owned();
    let body = Limited::new(request.into_body(), MAX_BODY).collect();
    let (status, answer) = match timeout(PATIENCE, body).await {
        Ok(Ok(body)) => match ask(method, body.to_bytes(), caller, calls).await {
            Some(answer) => (StatusCode::OK, answer),
            None => (StatusCode::NOT_FOUND, json!({"Err": "netcord does not have this method"})),
        },
        Ok(Err(error)) => (StatusCode::BAD_REQUEST, json!({"Err": error.to_string()})),
        Err(_) => (StatusCode::REQUEST_TIMEOUT, json!({"Err": "the request did not end in time"})),
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(MEDIA_TYPE));
    Ok(response)
}

async fn ask(
    method: String,
    body: Bytes,
    caller: Option<Process>,
    calls: &UnboundedSender<Call>,
) -> Option<Value> {
    let (reply, answer) = oneshot::channel();
    calls.unbounded_send(Call { method, body, caller, reply }).ok()?;
    answer.await.ok()?
}
