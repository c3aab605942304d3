//! How often an endpoint may be attached, so that a container that fails at once and is started again
//! and again does not keep the host busy.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

/// At most this many times in a [`PERIOD`].
pub(super) const MOST: usize = 5;
/// See [`MOST`].
pub(super) const PERIOD: Duration = Duration::from_secs(60);

/// The attempts of each endpoint within the last period.
#[derive(Default)]
pub(super) struct Pace(HashMap<String, Attempts>);

#[derive(Default)]
struct Attempts {
    at: Vec<Instant>,
    /// Whether it has to wait since.
    waits: bool,
}

/// Whether an endpoint may be attached.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    Later {
        at: Instant,
        /// Whether it did not have to wait before.
        is_news: bool,
    },
}

impl Pace {
    /// Counts an attempt for an endpoint, if it is its turn.
    pub(super) fn turn(&mut self, endpoint: &str, now: Instant) -> Turn {
        for attempts in self.0.values_mut() {
            attempts.at.retain(|at| *at + PERIOD > now);
        }
        self.0.retain(|name, attempts| !attempts.at.is_empty() || name == endpoint);
        let attempts = self.0.entry(endpoint.to_owned()).or_default();
        match attempts.at.first() {
            Some(first) if attempts.at.len() >= MOST => {
                let is_news = !std::mem::replace(&mut attempts.waits, true);
                Turn::Later { at: *first + PERIOD, is_news }
            }
            _ => {
                attempts.waits = false;
                attempts.at.push(now);
                Turn::Now
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_its_turn_again_when_the_period_is_over() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let second = |n| start + Duration::from_secs(n);
        for n in 0..5 {
            assert_eq!(pace.turn("web", second(n)), Turn::Now);
        }
        let later = |is_news| Turn::Later { at: second(60), is_news };
        assert_eq!(pace.turn("web", second(6)), later(true));
        assert_eq!(pace.turn("web", second(59)), later(false));
        assert_eq!(pace.turn("db", second(59)), Turn::Now, "another one");
        assert_eq!(pace.turn("web", second(60)), Turn::Now);
        let later = Turn::Later { at: second(61), is_news: true };
        assert_eq!(pace.turn("web", second(60)), later);
        assert_eq!(pace.turn("db", second(200)), Turn::Now);
        assert_eq!(pace.0.len(), 1, "what is over is forgotten");
    }
}
