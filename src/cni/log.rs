//! Messages on standard error, which runtimes put into their logs: warnings, and a line for the call
//! when it ends. On a terminal that line is left out: there a user reads podman's output.

use std::{cell::RefCell, time::Instant};

use super::{environment::Operation, failure::Failure};
use crate::{
    ops::Events,
    output::{Output, Style},
};

/// The log of a call.
pub(super) struct Log {
    output: Output,
    begin: Instant,
    call: RefCell<String>,
}

impl Log {
    pub(super) fn begin() -> Self {
        let output = Output::new(Style::PROGRAM);
        Self { output, begin: Instant::now(), call: RefCell::default() }
    }

    /// Says which call it is.
    pub(super) fn call(&self, operation: Operation, network: &str, container: &str, ifname: &str) {
        let words = [operation.as_str(), network, container, ifname];
        let words = words.into_iter().filter(|word| !word.is_empty());
        *self.call.borrow_mut() = words.collect::<Vec<_>>().join(" ");
    }

    /// Says how the call ended, and how long it took.
    pub(super) fn end(&self, failure: Option<&Failure>) {
        let call = self.call.borrow();
        if call.is_empty() || self.output.terminal().is_some() {
            return;
        }
        let took = self.begin.elapsed().as_millis();
        let how = failure.map_or_else(|| "ok".to_owned(), ToString::to_string);
        self.output.note(&format!("netcord: CNI {call}: {how} ({took} ms)"));
    }
}

impl Events for Log {
    fn warn(&self, text: &str) {
        self.output.warn(text);
    }

    fn note(&self, text: &str) {
        self.output.note(&format!("netcord: {text}"));
    }
}
