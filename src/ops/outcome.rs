//! The outcomes of verbs.

use std::ffi::OsString;

use anyhow::Result;
use serde::Serialize;

use crate::error::{self, Error, Kind};

/// The outcome of a changing verb: whether anything changed, and the result.
#[derive(Debug, Serialize)]
pub struct Changed<T> {
    /// Whether anything changed.
    pub changed: bool,
    /// The objects that exist now.
    #[serde(flatten)]
    pub now: T,
}

/// The outcome of a verb that continues although a part of it failed, with the first failure.
pub type WithFailure<T> = (T, Option<anyhow::Error>);

impl<T> Changed<T> {
    pub(super) fn new(changed: bool, now: T) -> Self {
        Self { changed, now }
    }
}

/// Turns a failure of netcord itself into docker's exit code 125, where `-- CMD`'s own exit codes
/// are expected.
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
