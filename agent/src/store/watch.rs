//! Following keys: listed once, then every change, across broken connections and compactions.

use etcd_client::{Client, EventType, WatchResponse, WatchStream};
use netcord::error::Error;
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

use super::{
    Shared,
    clock::BackOff,
    connection::large,
    failure,
    keys::{Key, Range},
};

/// What is seen of a range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// All keys: at first, and after changes that nobody kept.
    All(Vec<Key>),
    /// Changes, in the order in which they were made.
    Changes(Vec<Change>),
    /// The store does not answer, for a reason; once for each time that it goes away. A connection that
    /// breaks is not reported if the next attempt succeeds.
    Away(String),
    /// It answers again.
    Back,
}

/// The change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Put(Key),
    Deleted(String),
}

/// A task on this thread that ends with its handle.
#[derive(Debug)]
pub(super) struct Task(JoinHandle<()>);

impl Task {
    pub(super) fn spawn(future: impl Future<Output = ()> + 'static) -> Self {
        Self(tokio::task::spawn_local(future))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How many messages wait for a slow reader before the store has to.
pub(super) const BACKLOG: usize = 64;

/// Follows a range of keys, until nobody listens.
pub(super) fn follow(store: &Shared, range: Range) -> (Task, mpsc::Receiver<Seen>) {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let follower =
        Follower { store: store.clone(), range, sender, next: None, is_away: false, broken: None };
    (Task::spawn(follower.run()), receiver)
}

struct Follower {
    store: Shared,
    range: Range,
    sender: mpsc::Sender<Seen>,
    /// The first revision that was not seen; without one, the keys are listed.
    next: Option<i64>,
    is_away: bool,
    /// When a watch that had begun broke.
    broken: Option<Instant>,
}

/// Why a watch has ended.
enum End {
    /// The changes since then were compacted.
    Compacted,
    /// It could not begin, or etcd ended it, for this reason.
    Refused(String),
    /// It had begun, and its connection broke, for this reason.
    Broken(String),
    /// Nobody listens.
    Unheard,
}

impl Follower {
    async fn run(mut self) {
        let mut back_off = BackOff::new();
        loop {
            let begun = Instant::now();
            let end = self.follow().await;
            // A watch that etcd ends as soon as it has begun it is no success.
            if begun.elapsed() > BackOff::LONGEST {
                back_off = BackOff::new();
            }
            match end {
                End::Compacted => self.next = None,
                // The next attempt finds out more, but not if each watch breaks at once.
                End::Broken(_) if self.was_whole() => {}
                End::Refused(reason) | End::Broken(reason) => {
                    let is_first = !std::mem::replace(&mut self.is_away, true);
                    if is_first && self.tell(Seen::Away(reason)).await.is_err() {
                        return;
                    }
                }
                End::Unheard => return,
            }
            back_off.wait().await;
        }
    }

    /// Returns whether no watch has broken lately, and notes that one has now.
    fn was_whole(&mut self) -> bool {
        let before = self.broken.replace(Instant::now());
        before.is_none_or(|broken| broken.elapsed() > BackOff::LONGEST)
    }

    async fn follow(&mut self) -> End {
        match self.begin().await {
            Ok(stream) => self.read(stream).await,
            Err(end) => end,
        }
    }

    /// Lists the keys if there is no revision to go on from, and begins to watch.
    async fn begin(&mut self) -> Result<WatchStream, End> {
        let failed = |e: Error| End::Refused(e.message);
        let from = if let Some(next) = self.next {
            next
        } else {
            let (keys, revision) = self.list().await.map_err(failed)?;
            self.answered().await?;
            self.tell(Seen::All(keys)).await?;
            *self.next.insert(revision + 1)
        };
        let range = self.range.clone();
        let watch = async |client: &mut Client| {
            large(client).1.watch(range.start.as_str(), Some(range.watch(from))).await
        };
        self.store.connection.once(watch).await.map_err(failed)
    }

    async fn list(&self) -> Result<(Vec<Key>, i64), Error> {
        let range = &self.range;
        let get = async |client: &mut Client| {
            large(client).0.get(range.start.as_str(), range.get()).await
        };
        let answer = self.store.connection.once(get).await?;
        let revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
        Ok((answer.kvs().iter().map(Key::from).collect(), revision))
    }

    async fn read(&mut self, mut stream: WatchStream) -> End {
        loop {
            // The stream does not end with a listener that has gone.
            let message = tokio::select! {
                message = stream.message() => message,
                () = self.sender.closed() => return End::Unheard,
            };
            let end = match message {
                Ok(Some(message)) => self.take(&message).await,
                Ok(None) => Err(End::Broken("the watch has ended".into())),
                Err(e) => Err(End::Broken(failure::reason(&e))),
            };
            if let Err(end) = end {
                // Another endpoint may be better off.
                if matches!(end, End::Refused(_) | End::Broken(_)) {
                    self.store.connection.forget();
                }
                return end;
            }
        }
    }

    async fn take(&mut self, message: &WatchResponse) -> Result<(), End> {
        if message.compact_revision() > 0 {
            return Err(End::Compacted);
        }
        if message.canceled() {
            return Err(End::Refused(format!("the watch was ended: {}", message.cancel_reason())));
        }
        // etcd confirms a watch before its first change.
        self.answered().await?;
        let events = message.events();
        let changes: Vec<_> = events.iter().filter_map(change).collect();
        let last = events.iter().filter_map(etcd_client::Event::kv).next_back();
        if let Some(kv) = last {
            self.tell(Seen::Changes(changes)).await?;
            self.next = Some(kv.mod_revision() + 1);
        } else if !message.created() {
            // A report of progress: nothing has changed up to here.
            self.next = message.header().map(|header| header.revision() + 1).or(self.next);
        }
        Ok(())
    }

    async fn answered(&mut self) -> Result<(), End> {
        if std::mem::take(&mut self.is_away) { self.tell(Seen::Back).await } else { Ok(()) }
    }

    async fn tell(&self, seen: Seen) -> Result<(), End> {
        self.sender.send(seen).await.map_err(|_| End::Unheard)
    }
}

fn change(event: &etcd_client::Event) -> Option<Change> {
    let key = Key::from(event.kv()?);
    Some(match event.event_type() {
        EventType::Put => Change::Put(key),
        EventType::Delete => Change::Deleted(key.name),
    })
}
