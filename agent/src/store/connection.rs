//! One connection to the store: the first endpoint that answers, until it no longer does.

use std::{cell::RefCell, time::Duration};

use etcd_client::Client;
use futures::{StreamExt, stream::FuturesUnordered};
use netcord::error::{Error, Kind};
use tokio::time::{Instant, timeout_at};

use super::{
    access::{Access, is_tls},
    clock::BackOff,
    failure::{self, Meaning},
};

/// The longest time for one answer; a request that takes longer is sent again, if there is time.
pub(super) const ATTEMPT: Duration = Duration::from_secs(5);

/// The least time for a request, so that one is sent.
const LEAST: Duration = Duration::from_secs(1);

/// etcd's own limit of a request is 1.5 MB, but not of an answer: this has room for 100,000 keys.
const LARGEST_ANSWER: usize = 64 << 20;

/// The connection to a store, which is made again when it breaks.
pub(super) struct Connection {
    access: Access,
    /// How long a request is tried again while no endpoint answers.
    wait: Duration,
    /// The endpoint in use.
    current: RefCell<Option<(String, Client)>>,
}

/// What is asked of the store.
pub(super) trait Request<T>:
    AsyncFnMut(&mut Client) -> Result<T, etcd_client::Error>
{
}

impl<T, F: AsyncFnMut(&mut Client) -> Result<T, etcd_client::Error>> Request<T> for F {}

/// An endpoint that cannot be used.
struct Silent<'a> {
    endpoint: &'a str,
    reason: String,
    verdict: Verdict,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Away,
    /// A refused certificate often looks like this; an etcd that stops, too.
    Closed,
    Refused,
}

const CLOSED: &str = "the connection was closed, as etcd does if it uses TLS";
const CLOSED_TLS: &str = "the connection was closed, as etcd does if it does not accept the \
     certificate, or does not use TLS";

/// A request that was not carried out.
struct Failure {
    error: Error,
    /// Whether it would fail again.
    is_final: bool,
}

impl Connection {
    pub(super) async fn open(access: Access, wait: Duration) -> Result<Self, Error> {
        access.check()?;
        // What is wrong with the files is no matter of the endpoint.
        for endpoint in &access.endpoints {
            access.options(endpoint)?;
        }
        let connection = Self { access, wait, current: RefCell::default() };
        connection.call(async |_| Ok(())).await?;
        Ok(connection)
    }

    pub(super) fn prefix(&self) -> &str {
        &self.access.prefix
    }

    /// Sends a request, again while no endpoint answers and there is time. So a request may be
    /// carried out twice: one that changes something must compare first.
    ///
    /// # Errors
    /// The store refuses it, or no endpoint has answered.
    pub(super) async fn call<T>(&self, mut request: impl Request<T>) -> Result<T, Error> {
        let deadline = Instant::now() + self.wait.max(LEAST);
        let mut back_off = BackOff::new();
        loop {
            let failure = match self.attempt(&mut request, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let step = back_off.step();
            if failure.is_final || Instant::now() + step >= deadline {
                return Err(failure.error);
            }
            tokio::time::sleep(step).await;
        }
    }

    /// Sends a request once, as one who tries again anyway.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub(super) async fn once<T>(&self, mut request: impl Request<T>) -> Result<T, Error> {
        let deadline = Instant::now() + ATTEMPT;
        self.attempt(&mut request, deadline).await.map_err(|failure| failure.error)
    }

    async fn attempt<T>(
        &self,
        request: &mut impl Request<T>,
        deadline: Instant,
    ) -> Result<T, Failure> {
        let (endpoint, mut client) = self.client(deadline).await?;
        let limit = deadline.min(Instant::now() + ATTEMPT);
        let failure = match timeout_at(limit, request(&mut client)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(e)) => match failure::meaning(&e) {
                Meaning::Away => no_answer(&endpoint, &failure::reason(&e)),
                meaning => Failure {
                    error: refusal(&endpoint, &e),
                    is_final: meaning != Meaning::LoggedOut,
                },
            },
            Err(_) => no_answer(&endpoint, "a request was not answered in time"),
        };
        if !failure.is_final {
            self.forget();
        }
        Err(failure)
    }

    /// Leaves the present endpoint: the next request looks for one that answers.
    pub(super) fn forget(&self) {
        self.current.take();
    }

    /// Returns the present client, or that of the first endpoint that answers.
    async fn client(&self, deadline: Instant) -> Result<(String, Client), Failure> {
        if let Some(current) = self.current.borrow().as_ref() {
            return Ok(current.clone());
        }
        let limit = deadline.min(Instant::now() + ATTEMPT);
        let probes = self.access.endpoints.iter().map(|endpoint| self.probe(endpoint, limit));
        let mut probes: FuturesUnordered<_> = probes.collect();
        let mut silent = Vec::new();
        while let Some(probed) = probes.next().await {
            match probed {
                Ok(found) => {
                    self.current.replace(Some(found.clone()));
                    return Ok(found);
                }
                Err(endpoint) => silent.push(endpoint),
            }
        }
        Err(none_answers(&silent))
    }

    /// Asks an endpoint for a key, which takes a leader as well.
    async fn probe<'a>(
        &self,
        endpoint: &'a str,
        limit: Instant,
    ) -> Result<(String, Client), Silent<'a>> {
        let asked = async {
            let mut client = self.connect(endpoint).await?;
            client.get(format!("{}/config", self.access.prefix), None).await?;
            Ok(client)
        };
        let silent = |reason, verdict| Err(Silent { endpoint, reason, verdict });
        match timeout_at(limit, asked).await {
            Ok(Ok(client)) => Ok((endpoint.to_owned(), client)),
            Ok(Err(e)) if failure::meaning(&e) == Meaning::Refused => {
                silent(failure::reason(&e), Verdict::Refused)
            }
            Ok(Err(e)) if failure::is_closed(&e) && is_tls(endpoint) => {
                silent(CLOSED_TLS.into(), Verdict::Closed)
            }
            Ok(Err(e)) if failure::is_closed(&e) => silent(CLOSED.into(), Verdict::Away),
            Ok(Err(e)) => silent(failure::reason(&e), Verdict::Away),
            Err(_) => silent("no answer".into(), Verdict::Away),
        }
    }

    async fn connect(&self, endpoint: &str) -> Result<Client, etcd_client::Error> {
        let options = |access: &Access| {
            let invalid = |e: Error| etcd_client::Error::InvalidArgs(e.message);
            access.options(endpoint).map_err(invalid)
        };
        match Client::connect([endpoint], Some(options(&self.access)?)).await {
            // As etcdctl does: users can be given before they are asked for.
            Err(e) if failure::meaning(&e) == Meaning::NoUsers => {
                let access = Access { user: None, ..self.access.clone() };
                Client::connect([endpoint], Some(options(&access)?)).await
            }
            other => other,
        }
    }
}

fn no_answer(endpoint: &str, reason: &str) -> Failure {
    let message = format!("etcd at `{endpoint}` does not answer: {reason}");
    Failure { error: Error::new(Kind::Timeout, message), is_final: false }
}

fn refusal(endpoint: &str, error: &etcd_client::Error) -> Error {
    let kind = match failure::meaning(error) {
        Meaning::Refused | Meaning::LoggedOut => Kind::Permission,
        _ => Kind::Failed,
    };
    let reason = failure::reason(error);
    Error::new(kind, format!("etcd at `{endpoint}` refuses the request: {reason}"))
}

fn none_answers(silent: &[Silent<'_>]) -> Failure {
    let list = silent.iter().map(|silent| format!("`{}`: {}", silent.endpoint, silent.reason));
    let list = list.collect::<Vec<_>>().join("; ");
    let has = |verdict| silent.iter().any(|silent| silent.verdict == verdict);
    if has(Verdict::Refused) || has(Verdict::Closed) {
        let error = Error::new(Kind::Permission, format!("etcd refuses this host at {list}"))
            .hint("check the certificates, the user and the password");
        return Failure { error, is_final: has(Verdict::Refused) };
    }
    let error = Error::new(Kind::Timeout, format!("etcd does not answer at {list}"))
        .hint("check that etcd runs, and that this host reaches it");
    Failure { error, is_final: false }
}

/// Lets an answer be as large as a network needs.
pub(super) fn large(client: &Client) -> (etcd_client::KvClient, etcd_client::WatchClient) {
    (
        client.kv_client().max_decoding_message_size(LARGEST_ANSWER),
        client.watch_client().max_decoding_message_size(LARGEST_ANSWER),
    )
}
