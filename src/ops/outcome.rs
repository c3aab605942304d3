//! What verbs return.

use std::ffi::OsString;

use anyhow::Result;
use serde::Serialize;

use crate::error::{self, Error, Kind};

/// The outcome of a changing verb: whether anything changed, and what is there now.
#[derive(Debug, Serialize)]
pub struct Changed<T> {
    /// Whether anything changed.
    pub changed: bool,
    /// What is there now.
    #[serde(flatten)]
    pub now: T,
}

/// The outcome of a verb that goes on although a part of it failed, with the first failure.
pub type WithFailure<T> = (T, Option<anyhow::Error>);

impl<T> Changed<T> {
    pub(super) fn new(changed: bool, now: T) -> Self {
        Self { changed, now }
    }
}

/// A failure of netcord itself, where `-- CMD`'s own exit codes are expected: docker's 125.
pub(super) fn before_command<T>(result: Result<T>, command: &[OsString]) -> Result<T> {
    if command.is_empty() {
        return result;
    }
    result.map_err(|error| {
        if error::is_interruption(&error) {
            return error;
        }
        let mut own = Error::new(Kind::CommandSetup, format!("{error:#}"));
        own.hint = error::hint(&error);
        own.commands = error::commands(&error).to_vec();
        own.into()
    })
}
