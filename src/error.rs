//! Errors for users: the failure and its cause, an exit code, and what to do next.
//!
//! Any layer above `model` and `plan` may use this one. An [`Error`] travels inside
//! `anyhow::Error`; `main` finds it in the chain. Without one, the kind of an [`io::Error`] decides
//! (see [`Kind::of`]), or it is a plain failure.

use std::{fmt, io};

use serde::{Deserialize, Serialize};

use crate::model::Invalid;

/// The exit codes of the command line, a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A failure, or a check that answers "no".
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A network, a target or an address does not exist.
    NotFound = 3,
    /// Exists but differs, is taken, or is in use.
    Conflict = 4,
    /// A privilege is missing.
    Permission = 5,
    /// The kernel or the machine lacks something.
    Missing = 6,
    /// A time limit has passed.
    Timeout = 7,
    /// A failure whose rollback failed too.
    NotRolledBack = 8,
    /// `-- CMD` could not be started, because of netcord.
    CommandSetup = 125,
    /// `CMD` exists, but cannot be executed.
    CommandNotExecutable = 126,
    /// `CMD` does not exist.
    CommandNotFound = 127,
    /// SIGINT; everything is rolled back.
    Interrupted = 130,
    /// SIGTERM; everything is rolled back.
    Terminated = 143,
}

/// A failure: its kind, its message, and perhaps a hint.
#[derive(Debug, Serialize, Deserialize)]
pub struct Error {
    /// The kind, which is the exit code.
    pub kind: Kind,
    /// `WHAT: WHY`, lower case, names in backticks.
    pub message: String,
    /// What to do next, without the word "hint".
    pub hint: Option<String>,
    /// Commands to type, one a line.
    pub commands: Vec<String>,
    /// Whether nothing has the name, nor a similar one: then a verb that undoes has nothing to do.
    #[serde(default)]
    pub is_absent: bool,
}

impl Error {
    /// Makes an error of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message, hint: None, commands: Vec::new(), is_absent: false }
    }

    /// An error in the command line that only the state of the host reveals.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// The error for a name without an object.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// The error for an object that differs, or is taken.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says that nothing has the name, unless it is a typing error of one of these names.
    #[must_use]
    pub fn absent<'a>(mut self, name: &str, names: impl Iterator<Item = &'a str>) -> Self {
        self.is_absent = mistyped(name, names).is_none();
        self
    }

    /// Adds commands to the hint.
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
    /// Returns the word of JSON output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Permission => "permission",
            Self::Missing => "missing",
            Self::Timeout => "timeout",
            Self::NotRolledBack => "not_rolled_back",
            Self::CommandSetup => "command_setup",
            Self::CommandNotExecutable => "command_not_executable",
            Self::CommandNotFound => "command_not_found",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
        }
    }

    /// Returns the kind of any error: that of its [`Error`], else that of its `io::ErrorKind`.
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

/// Returns whether a signal interrupted the command.
pub fn is_interruption(error: &anyhow::Error) -> bool {
    matches!(Kind::of(error), Kind::Interrupted | Kind::Terminated)
}

/// Returns whether the error is that nothing has the name, see [`Error::is_absent`].
pub fn is_absent(error: &anyhow::Error) -> bool {
    error.chain().find_map(|e| e.downcast_ref::<Error>()).is_some_and(|own| own.is_absent)
}

/// Returns the hint of an error, from the innermost code that gave one.
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

/// Returns the commands of the hint.
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

/// Returns the name that was typed wrong: at most one letter in three differs. Names that differ in
/// their digits only (`web`, `web2`) are those of different objects.
pub fn mistyped<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let letters = |name: &str| name.replace(|c: char| c.is_ascii_digit(), "");
    names
        .filter(|name| letters(name) != letters(typed))
        .map(|name| (strsim::damerau_levenshtein(typed, name), name))
        .filter(|(distance, name)| distance * 3 <= typed.len().max(name.len()))
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_not_another_object() {
        let there = ["lab0", "web", "back-end"];
        let meant = |typed: &str| mistyped(typed, there.into_iter());
        for (typed, name) in [
            ("lba0", "lab0"),
            ("labo", "lab0"),
            ("wbe", "web"),
            ("webb", "web"),
            ("bakc-end", "back-end"),
        ] {
            assert_eq!(meant(typed), Some(name), "{typed}");
        }
        for typed in ["lab1", "lab", "lab0", "web2", "web", "db", "front-end", "mail"] {
            assert_eq!(meant(typed), None, "{typed}");
        }
    }
}
