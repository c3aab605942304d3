//! One line on stderr that shows what takes long.
//!
//! It appears after half a second, and is erased at the end. A thread draws it, since most waits
//! block the main thread. The thread does nothing else: it enters no namespace and receives no
//! signal. There is one terminal, so there is one line.

use std::{
    io::{self, Write},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use unicode_width::UnicodeWidthChar;

use super::Paint;
use crate::{
    model::{Activity, visible},
    process::{signal, terminal},
};

/// The time after which an activity is shown.
const DELAY: Duration = Duration::from_millis(500);
/// The interval at which the line is updated.
const INTERVAL: Duration = Duration::from_millis(100);
/// Moves to the first column, and erases the line.
const ERASE: &str = "\r\u{1b}[K";

static LINE: Mutex<Line> = Mutex::new(Line {
    works: Vec::new(),
    next: 0,
    since: None,
    asides: 0,
    drawn: String::new(),
    thread: Thread::None,
});
/// Notifies the drawing thread that an activity began.
static BEGUN: Condvar = Condvar::new();

/// An activity, until this is dropped. The line shows the activity that began last.
#[derive(Debug)]
#[must_use = "it is over when this is dropped"]
pub struct Doing(Option<u64>);

impl Doing {
    pub(super) fn new(watched: Option<Paint>, text: Activity, limit: Option<Duration>) -> Self {
        Self(watched.map(|paint| line().begin(paint, text, limit)))
    }

    /// Describes the activity in other words from now on. `text` is called only if the line is
    /// shown.
    pub fn say(&self, text: impl FnOnce() -> String) {
        let Some(id) = self.0 else { return };
        let text = text().into();
        if let Some(work) = line().works.iter_mut().find(|work| work.id == id) {
            work.text = text;
        }
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            line().end(id);
        }
    }
}

/// A command owns the terminal until this is dropped.
#[derive(Debug)]
#[must_use = "it is over when this is dropped"]
pub struct HandedOver(());

impl HandedOver {
    pub(super) fn new() -> Self {
        line().step_aside();
        Self(())
    }
}

impl Drop for HandedOver {
    fn drop(&mut self) {
        let mut line = line();
        line.step_back();
        // The time before the command does not count.
        line.since = line.since.map(|_| Instant::now());
    }
}

/// Other output is being printed until this is dropped.
#[must_use]
pub(super) struct Aside(());

/// Erases the line for other output. The lock is free meanwhile: printing may block on the reader.
pub(super) fn aside() -> Aside {
    line().step_aside();
    Aside(())
}

impl Drop for Aside {
    fn drop(&mut self) {
        line().step_back();
    }
}

fn line() -> MutexGuard<'static, Line> {
    LINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The state of the drawing thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thread {
    None,
    Draws,
    /// It also erases the line when a signal ends the process.
    Drew,
}

#[derive(Debug)]
struct Work {
    id: u64,
    paint: Paint,
    text: Activity,
    since: Instant,
    limit: Option<Duration>,
}

#[derive(Debug)]
struct Line {
    works: Vec<Work>,
    next: u64,
    /// The start of the current activity.
    since: Option<Instant>,
    /// The number of values that keep the line away.
    asides: usize,
    /// The text on the screen.
    drawn: String,
    thread: Thread,
}

impl Line {
    fn begin(&mut self, paint: Paint, text: Activity, limit: Option<Duration>) -> u64 {
        let (id, since) = (self.next, Instant::now());
        self.next += 1;
        self.works.push(Work { id, paint, text, since, limit });
        if self.since.is_none() {
            self.since = Some(since);
            BEGUN.notify_one();
        }
        // Without the thread, everything works, but no progress is shown.
        if self.thread == Thread::None && signal::deaf_thread(draw).is_ok() {
            self.thread = Thread::Draws;
        }
        id
    }

    fn end(&mut self, id: u64) {
        self.works.retain(|work| work.id != id);
        if self.works.is_empty() {
            self.since = None;
            self.erase();
        }
    }

    fn step_aside(&mut self) {
        self.asides += 1;
        self.erase();
    }

    fn step_back(&mut self) {
        self.asides -= 1;
        if self.asides == 0 && self.since.is_some() {
            BEGUN.notify_one();
        }
    }

    fn erase(&mut self) {
        if !self.drawn.is_empty() {
            self.drawn.clear();
            write(ERASE);
        }
    }

    /// Draws the line if it is due; returns when to look again, unless another activity begins.
    fn draw(&mut self) -> Option<Duration> {
        let (Some(since), Some(work), 0) = (self.since, self.works.last(), self.asides) else {
            return None;
        };
        let early = DELAY.saturating_sub(since.elapsed());
        if !early.is_zero() {
            return Some(early);
        }
        let Some(columns) = terminal::columns(io::stderr()) else { return Some(INTERVAL) };
        let passed = work.since.elapsed();
        let text = fit(&work.text.now(), &time(passed, work.limit), columns);
        if text != self.drawn {
            if self.thread == Thread::Draws {
                self.thread = Thread::Drew;
                // If this fails, a signal leaves the line on the screen.
                drop(signal::before_death(|| line().step_aside()));
            }
            write(&format!("\r{}\u{1b}[K", work.paint.dim(&text)));
            self.drawn = text;
        }
        Some(INTERVAL)
    }
}

/// The body of the thread, which runs as long as the process.
fn draw() {
    let mut line = line();
    loop {
        line = match line.draw() {
            None => BEGUN.wait(line).unwrap_or_else(PoisonError::into_inner),
            Some(time) => {
                let woken = BEGUN.wait_timeout(line, time);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}

fn write(text: &str) {
    // If stderr fails, there is nowhere to report it.
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

/// Returns the elapsed time and the limit in whole seconds.
fn time(passed: Duration, limit: Option<Duration>) -> String {
    match (passed.as_secs(), limit) {
        (passed, Some(limit)) => format!(" ({passed} s of {} s)", limit.as_secs()),
        (0, None) => String::new(),
        (passed, None) => format!(" ({passed} s)"),
    }
}

/// Columns that stay free: the terminal prints `^C` there, and some terminals wrap at the last
/// column. A wrapped line could not be erased.
const SPARE: usize = 3;

/// Returns text and time as one line of a terminal. The text is cut if needed.
fn fit(text: &str, time: &str, columns: usize) -> String {
    let width = |text: &str| text.chars().filter_map(UnicodeWidthChar::width).sum::<usize>();
    let text = visible(text);
    let room = columns.saturating_sub(SPARE + time.len());
    if width(&text) <= room {
        return text.into_owned() + time;
    }
    let mut cut = String::new();
    for c in text.chars() {
        if width(&cut) + c.width().unwrap_or_default() >= room {
            break;
        }
        cut.push(c);
    }
    match room {
        0 => String::new(),
        _ => cut + "…" + time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_the_terminal() {
        assert_eq!(fit("waiting for `web`", " (3 s)", 80), "waiting for `web` (3 s)");
        assert_eq!(fit("waiting for `web`", " (3 s)", 26), "waiting for `web` (3 s)");
        assert_eq!(fit("waiting for `web`", " (3 s)", 25), "waiting for `we… (3 s)");
        assert_eq!(fit("waiting for `web`", " (3 s)", 9), "", "there is no room");
        assert_eq!(fit("waiting for `web`", " (3 s)", 0), "");
    }

    #[test]
    fn what_is_wide_counts_twice() {
        assert_eq!(fit("網網網", "", 9), "網網網");
        assert_eq!(fit("網網網", "", 8), "網網…");
        assert_eq!(fit("網網網", "", 7), "網…");
    }

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(fit("a\nb\u{1b}[2J", "", 80), "a\\nb\\u{1b}[2J");
    }

    #[test]
    fn time_is_told_in_seconds() {
        let seconds = Duration::from_millis;
        assert_eq!(time(seconds(900), None), "");
        assert_eq!(time(seconds(3900), None), " (3 s)");
        assert_eq!(time(seconds(900), Some(seconds(30_000))), " (0 s of 30 s)");
    }
}
