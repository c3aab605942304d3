//! Follows an engine's events, also after it was away.

use std::time::Duration;

use futures::channel::mpsc::UnboundedSender;
use tokio::time::sleep;

use crate::{
    engine::{ContainerEvent, ContainerEvents},
    model::Engine,
};

/// The time to wait for an engine's answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The bounds of the interval between two attempts to reach an engine, which doubles.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// News of an engine.
pub(super) enum News {
    /// It is followed: what happened before is not reported.
    Follows(Engine),
    /// It is away, for this reason.
    Lost(Engine, String),
    /// Something happened to a container.
    Event(Engine, ContainerEvent),
}

/// Follows an engine as long as somebody receives the news.
pub(super) async fn follow(engine: Engine, news: UnboundedSender<News>) {
    let [soonest, latest] = AGAIN;
    let mut wait = soonest;
    while !news.is_closed() {
        if let Ok(events) = ContainerEvents::of(engine, PATIENCE).await {
            wait = soonest;
            let why = forwarded(engine, events, &news).await;
            drop(news.unbounded_send(News::Lost(engine, format!("{why:#}"))));
        }
        sleep(wait).await;
        wait = (wait * 2).min(latest);
    }
}

/// Forwards an engine's events; returns the error that ended them.
async fn forwarded(
    engine: Engine,
    mut events: ContainerEvents,
    news: &UnboundedSender<News>,
) -> anyhow::Error {
    let mut sent = news.unbounded_send(News::Follows(engine));
    loop {
        if let Err(error) = sent {
            return error.into_send_error().into();
        }
        sent = match events.next().await {
            Ok(event) => news.unbounded_send(News::Event(engine, event)),
            Err(error) => return error,
        };
    }
}
