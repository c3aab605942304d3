//! One connection to the store: the first endpoint that answers, until it no longer does.

use std::{cell::RefCell, time::Duration};

use anyhow::Result;
use etcd_client::Client;
use futures::{StreamExt, stream::FuturesUnordered};
use netcord::error::{Error, Kind};
use tokio::time::{Instant, timeout_at};

use super::{
    access::Access,
    clock::BackOff,
    failure::{self, Meaning},
};

/// The longest time for one answer; a request that takes longer is sent again, if there is time.
pub(super) const ATTEMPT: Duration = Duration::from_secs(5);

/// etcd's own limit of a request is 1.5 MB, but not of an answer: this has room for 100,000 keys.
const LARGEST_ANSWER: usize = 64 << 20;

/// The connection to a store, which is made again when it breaks.
pub(super) struct Connection {
    access: Access,
    /// How long a request is tried again while no endpoint answers.
    wait: Duration,
    current: RefCell<Option<Client>>,
}

/// Why an endpoint cannot be used.
struct Failed<'a> {
    endpoint: &'a str,
    reason: String,
    is_refused: bool,
}

impl Connection {
    pub(super) async fn open(access: Access, wait: Duration) -> Result<Self> {
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
    pub(super) async fn call<T>(
        &self,
        mut request: impl AsyncFnMut(&mut Client) -> Result<T, etcd_client::Error>,
    ) -> Result<T> {
        let deadline = Instant::now() + self.wait;
        let mut back_off = BackOff::new();
        loop {
            let error = match self.client(deadline).await {
                Ok(mut client) => {
                    let limit = deadline.min(Instant::now() + ATTEMPT);
                    match timeout_at(limit, request(&mut client)).await {
                        Ok(Ok(answer)) => return Ok(answer),
                        Ok(Err(e)) if failure::meaning(&e) == Meaning::Away => {
                            self.no_answer(&failure::reason(&e))
                        }
                        Ok(Err(e)) => return Err(self.refusal(e)),
                        Err(_) => self.no_answer("a request was not answered in time"),
                    }
                }
                Err(e) if e.kind != Kind::Timeout => return Err(e.into()),
                Err(e) => e,
            };
            self.forget();
            if Instant::now() + back_off.step() >= deadline {
                return Err(error.into());
            }
            back_off.wait().await;
        }
    }

    /// Leaves the present endpoint: the next request looks for one that answers.
    pub(super) fn forget(&self) {
        self.current.take();
    }

    /// Returns the present client, or that of the first endpoint that answers.
    async fn client(&self, deadline: Instant) -> Result<Client, Error> {
        if let Some(client) = self.current.borrow().as_ref() {
            return Ok(client.clone());
        }
        let limit = deadline.min(Instant::now() + ATTEMPT);
        let probes = self.access.endpoints.iter().map(|endpoint| self.probe(endpoint, limit));
        let mut probes: FuturesUnordered<_> = probes.collect();
        let mut failed = Vec::new();
        while let Some(probed) = probes.next().await {
            match probed {
                Ok(client) => {
                    self.current.replace(Some(client.clone()));
                    return Ok(client);
                }
                Err(failure) => failed.push(failure),
            }
        }
        Err(none_answers(&failed))
    }

    /// Asks an endpoint for a key, which takes a leader as well.
    async fn probe<'a>(&self, endpoint: &'a str, limit: Instant) -> Result<Client, Failed<'a>> {
        let failed = |reason, is_refused| Failed { endpoint, reason, is_refused };
        let asked = async {
            let mut client = self.connect(endpoint).await?;
            client.get(format!("{}/config", self.access.prefix), None).await?;
            Ok(client)
        };
        match timeout_at(limit, asked).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(e)) => {
                Err(failed(failure::reason(&e), failure::meaning(&e) == Meaning::Refused))
            }
            Err(_) => Err(failed("no answer".into(), false)),
        }
    }

    async fn connect(&self, endpoint: &str) -> Result<Client, etcd_client::Error> {
        let options = |access: &Access| {
            let invalid = |e: anyhow::Error| etcd_client::Error::InvalidArgs(format!("{e:#}"));
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

    fn no_answer(&self, reason: &str) -> Error {
        Error::new(Kind::Timeout, format!("{} does not answer: {reason}", self.name()))
    }

    fn refusal(&self, error: etcd_client::Error) -> anyhow::Error {
        let (kind, reason) = (failure::meaning(&error), failure::reason(&error));
        let kind = if kind == Meaning::Refused { Kind::Permission } else { Kind::Failed };
        let own = Error::new(kind, format!("{} refuses the request: {reason}", self.name()));
        anyhow::Error::new(error).context(own)
    }

    fn name(&self) -> String {
        format!("etcd at `{}`", self.access.endpoints.join("`, `"))
    }
}

fn none_answers(failed: &[Failed<'_>]) -> Error {
    let list = failed.iter().map(|f| format!("`{}`: {}", f.endpoint, f.reason));
    let list = list.collect::<Vec<_>>().join("; ");
    if failed.iter().any(|f| f.is_refused) {
        return Error::new(Kind::Permission, format!("etcd refuses this host at {list}"))
            .hint("check the certificates, the user and the password");
    }
    Error::new(Kind::Timeout, format!("etcd does not answer at {list}"))
        .hint("check that etcd runs, and that this host reaches it")
}

/// Lets an answer be as large as a network needs.
pub(super) fn large(client: &Client) -> (etcd_client::KvClient, etcd_client::WatchClient) {
    (
        client.kv_client().max_decoding_message_size(LARGEST_ANSWER),
        client.watch_client().max_decoding_message_size(LARGEST_ANSWER),
    )
}
