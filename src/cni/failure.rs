//! Errors as the specification has them: an object on standard output (CNI 1.1.0, "Error").

use std::fmt;

use serde::{Deserialize, Serialize};

use super::version::Version;
use crate::error::{self, Kind};

/// The meaning of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// A version that the plugin does not support.
    Version,
    /// A field of the configuration that is not supported.
    Unsupported,
    /// The container does not exist. There is nothing to delete.
    UnknownContainer,
    /// The environment variables.
    Environment,
    /// Reading, or another input or output.
    Io,
    /// The configuration is no JSON, or of another shape.
    Decode,
    /// A value in the configuration.
    Config,
    /// The same again may succeed.
    TryAgain,
    /// No container can be attached now.
    Unavailable,
    /// No container can be attached now, and those that are may not be reached by all others.
    Limited,
    /// Others: 100 and netcord's exit code, or the code of a plugin that was called.
    Other(u32),
}

impl Code {
    fn number(self) -> u32 {
        match self {
            Self::Version => 1,
            Self::Unsupported => 2,
            Self::UnknownContainer => 3,
            Self::Environment => 4,
            Self::Io => 5,
            Self::Decode => 6,
            Self::Config => 7,
            Self::TryAgain => 11,
            Self::Unavailable => 50,
            Self::Limited => 51,
            Self::Other(number) => number,
        }
    }
}

/// The first code that plugins may choose.
const OWN: u32 = 100;

/// An operation that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    code: u32,
    message: String,
    details: String,
}

/// The error object.
#[derive(Serialize, Deserialize)]
struct Form {
    #[serde(rename = "cniVersion", default)]
    version: String,
    code: u32,
    msg: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    details: String,
}

impl Failure {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code: code.number(), message: message.into(), details: String::new() }
    }

    /// A field of the configuration that is not supported, and what to do instead.
    pub(super) fn unsupported(field: &str, instead: &str) -> Self {
        Self::new(Code::Unsupported, format!("`{field}` is not supported")).details(instead)
    }

    #[must_use]
    pub(super) fn details(self, details: impl Into<String>) -> Self {
        Self { details: details.into(), ..self }
    }

    /// Reads the error object of another plugin.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let Form { code, msg, details, .. } = serde_json::from_slice(text).ok()?;
        Some(Self { code, message: msg, details })
    }

    /// Returns the error object.
    pub(super) fn json(&self, version: Version) -> String {
        let Self { code, message, details } = self.clone();
        let form = Form { version: version.to_string(), code, msg: message, details };
        serde_json::to_string(&form).unwrap_or_default()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.message, self.code)
    }
}

/// An error of netcord's.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let kind = Kind::of(&error);
        let code = match kind {
            Kind::Usage => Code::Config,
            Kind::Timeout => Code::TryAgain,
            _ => Code::Other(OWN + kind as u32),
        };
        let mut details: Vec<_> = error::hint(&error).into_iter().collect();
        details.extend(error::commands(&error).iter().cloned());
        Self::new(code, format!("{error:#}")).details(details.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn an_error_of_netcord_has_a_code_of_its_own() {
        let conflict = Error::conflict("address 10.0.0.2 is taken").hint("leave it out");
        let failure = Failure::from(anyhow::Error::from(conflict));
        let json = failure.json("1.0.0".parse().unwrap());
        assert_eq!(
            json,
            r#"{"cniVersion":"1.0.0","code":104,"msg":"address 10.0.0.2 is taken","details":"leave it out"}"#
        );
        assert_eq!(Failure::read(json.as_bytes()), Some(failure));
        let code = |error: Error| Failure::from(anyhow::Error::from(error)).code;
        assert_eq!(code(Error::usage("")), 7);
        assert_eq!(code(Error::new(Kind::Timeout, "")), 11);
    }
}
