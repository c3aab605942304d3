//! Errors as the user meets them: what failed and why, an exit code, and what to do next.
//!
//! A leaf: any layer above `model` and `plan` may use it. An [`Error`] travels inside
//! `anyhow::Error`; `main` finds it in the chain. An error without one is an [`io::Error`] whose
//! kind decides (see [`Kind::of`]), or plain failure.

use std::{fmt, io};

use crate::model::Invalid;

/// The exit codes of the command line, a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It failed, or a check said "no".
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A network, a target, an address that is not there.
    NotFound = 3,
    /// Exists but differs, is taken, or is in use.
    Conflict = 4,
    /// A privilege is missing.
    Permission = 5,
    /// The kernel or the machine lacks something.
    Missing = 6,
    /// It did not happen in time.
    Timeout = 7,
    /// It failed and could not be undone whole.
    NotRolledBack = 8,
    /// `-- CMD` could not be started, because of netcord.
    CommandSetup = 125,
    /// `CMD` is there and cannot be started.
    CommandNotExecutable = 126,
    /// `CMD` is not there.
    CommandNotFound = 127,
    /// SIGINT, after rolling back.
    Interrupted = 130,
    /// SIGTERM, after rolling back.
    Terminated = 143,
}

/// One failure: its kind, its text, and perhaps the next thing to do.
#[derive(Debug)]
pub struct Error {
    /// Decides the exit code.
    pub kind: Kind,
    /// `WHAT: WHY`, lower case, names in backticks.
    pub message: String,
    /// What to do, without the word "hint".
    pub hint: Option<String>,
    /// What to type then, one below the other.
    pub commands: Vec<String>,
}

impl Error {
    /// An error of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, commands: Vec::new() }
    }

    /// The command line is wrong in a way that only the state of things shows.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Something named is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// Something is there and differs, or is taken.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what to type, below the hint.
    #[must_use]
    pub fn commands(mut self, commands: Vec<String>) -> Self {
        self.commands = commands;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl Kind {
    /// The kind of any error: its own [`Error`], else what its `io::ErrorKind` means.
    pub fn of(error: &anyhow::Error) -> Self {
        if let Some(own) = error.chain().find_map(|e| e.downcast_ref::<Error>()) {
            return own.kind;
        }
        if error.chain().any(<dyn std::error::Error>::is::<Invalid>) {
            return Self::Usage;
        }
        match io_kind(error) {
            Some(io::ErrorKind::PermissionDenied) => Self::Permission,
            Some(io::ErrorKind::Unsupported) => Self::Missing,
            Some(io::ErrorKind::TimedOut) => Self::Timeout,
            _ => Self::Failed,
        }
    }
}

/// Whether it was no failure, but somebody who wanted it to end.
pub fn is_interruption(error: &anyhow::Error) -> bool {
    matches!(Kind::of(error), Kind::Interrupted | Kind::Terminated)
}

/// The advice that goes with an error, from the code that knew most about it.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    if let Some(own) = error.chain().find_map(|e| e.downcast_ref::<Error>()) {
        return own.hint.clone();
    }
    if let Some(invalid) = error.chain().find_map(|e| e.downcast_ref::<Invalid>()) {
        return invalid.hint.clone();
    }
    let advice = match io_kind(error)? {
        io::ErrorKind::PermissionDenied => {
            "run as root (or with CAP_NET_ADMIN and CAP_SYS_ADMIN); \
             `netcord lab` gives a throwaway host without root"
        }
        io::ErrorKind::Unsupported => {
            "the kernel lacks this: load the module that brings it (`modprobe bridge veth`)"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space in the state directory (/run/netcord)"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "the state directory or /proc/sys is read-only here: run netcord on the host itself"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}

/// The commands that go with the advice.
pub fn commands(error: &anyhow::Error) -> &[String] {
    let own = error.chain().find_map(|e| e.downcast_ref::<Error>());
    own.map(|own| own.commands.as_slice()).unwrap_or_default()
}

fn io_kind(error: &anyhow::Error) -> Option<io::ErrorKind> {
    error.chain().find_map(|e| e.downcast_ref::<io::Error>()).map(io::Error::kind)
}

/// A hint at the name that was probably meant; what was typed was not.
pub fn did_you_mean<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    names
        .filter(|name| *name != typed)
        .map(|name| (strsim::damerau_levenshtein(typed, name), name))
        .filter(|(distance, name)| *distance <= 2 && *distance < name.len())
        .min()
        .map(|(_, name)| format!("did you mean `{name}`?"))
}
