//! Messages on standard error, which is the user's terminal: warnings, and, where `RUST_LOG` asks for
//! them as of netavark, notes and a line for the call when it ends.

use std::{cell::RefCell, env, time::Instant};

use super::command_line::Call;
use crate::{
    ops::Events,
    output::{Output, Style},
};

/// The log of a call.
pub(super) struct Log {
    output: Output,
    begin: Instant,
    is_verbose: bool,
    call: RefCell<String>,
}

impl Log {
    pub(super) fn begin() -> Self {
        let output = Output::new(Style::PROGRAM);
        let level = env::var("RUST_LOG").unwrap_or_default();
        let is_verbose = ["info", "debug", "trace"].iter().any(|word| level.contains(word));
        Self { output, begin: Instant::now(), is_verbose, call: RefCell::default() }
    }

    /// Says which call it is.
    pub(super) fn call(&self, call: &Call) {
        call.verb.as_str().clone_into(&mut self.call.borrow_mut());
    }

    /// Adds which container or network it is of.
    pub(super) fn of(&self, what: &str) {
        let mut call = self.call.borrow_mut();
        call.push(' ');
        call.push_str(what);
    }

    /// Says how the call ended, and how long it took.
    pub(super) fn end(&self, error: Option<&anyhow::Error>) {
        if self.is_verbose {
            let took = self.begin.elapsed().as_millis();
            let how = error.map_or_else(|| "ok".to_owned(), ToString::to_string);
            self.note(&format!("podman {}: {how} ({took} ms)", self.call.borrow()));
        }
    }
}

impl Events for Log {
    fn warn(&self, text: &str) {
        self.output.warn(text);
    }

    fn note(&self, text: &str) {
        if self.is_verbose {
            self.output.note(&format!("netcord: {text}"));
        }
    }
}
