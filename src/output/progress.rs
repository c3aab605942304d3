//! One line on stderr that says what takes so long.
//!
//! It comes when half a second has passed and goes without a trace. A thread draws it, since most
//! of what is waited for blocks the one that works. The thread does nothing else: it enters no
//! namespace and hears no signal. There is one terminal, so there is one line.

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

/// What takes no longer is not spoken of.
const DELAY: Duration = Duration::from_millis(500);
/// How often what is said is brought up to date.
const INTERVAL: Duration = Duration::from_millis(100);
/// To the first column, and nothing from there on.
const ERASE: &str = "\r\u{1b}[K";

static LINE: Mutex<Line> = Mutex::new(Line {
    works: Vec::new(),
    next: 0,
    since: None,
    asides: 0,
    drawn: String::new(),
    thread: Thread::None,
});
/// There is something to do for the thread that draws.
static BEGUN: Condvar = Condvar::new();

/// An activity, until this is dropped. The line shows the activity that began last.
#[derive(Debug)]
#[must_use = "it is over when this is dropped"]
pub struct Doing(Option<u64>);

impl Doing {
    pub(super) fn new(watched: Option<Paint>, text: Activity, limit: Option<Duration>) -> Self {
        Self(watched.map(|paint| line().begin(paint, text, limit)))
    }

    /// Says it in other words from now on, which are made only if somebody watches.
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

/// A command has the terminal until this is dropped.
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
        // What was done before the command is over.
        line.since = line.since.map(|_| Instant::now());
    }
}

/// Something else is being printed until this is dropped.
#[must_use]
pub(super) struct Aside(());

/// Makes room for something else. The line is free meanwhile: whoever prints may be kept waiting
/// by who reads.
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

/// How far the thread that draws has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thread {
    None,
    Draws,
    /// And sees to it that nothing is left when a signal ends the program.
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
    /// Since when an activity goes on.
    since: Option<Instant>,
    /// How many others have the terminal.
    asides: usize,
    /// What is to be seen now.
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
        // Without a thread all is done as well, and nothing is said of it.
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

    /// Draws what is due; returns when to look again, if nobody begins before.
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
                // If that fails, a signal leaves the line where it is.
                drop(signal::before_death(|| line().step_aside()));
            }
            write(&format!("\r{}\u{1b}[K", work.paint.dim(&text)));
            self.drawn = text;
        }
        Some(INTERVAL)
    }
}

/// What the thread does, as long as the program runs.
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
    // There is nowhere left to complain about stderr.
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

/// How long it has taken, and how long it may take, in whole seconds.
fn time(passed: Duration, limit: Option<Duration>) -> String {
    match (passed.as_secs(), limit) {
        (passed, Some(limit)) => format!(" ({passed} s of {} s)", limit.as_secs()),
        (0, None) => String::new(),
        (passed, None) => format!(" ({passed} s)"),
    }
}

/// Columns that stay free: the terminal writes `^C` there, and some begin a new line in the last.
/// What is in another line is not erased.
const SPARE: usize = 3;

/// The text and the time in one line of a terminal. Where there is no room for both, the text is
/// cut.
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
