//! The findings of a diagnosis: a fault, its evidence, and the command that repairs it.

use serde::Serialize;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Packets do not flow.
    Error,
    /// Some packets do not flow, or soon will not.
    Warning,
}

impl Severity {
    /// Returns the word that users read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The severity.
    pub severity: Severity,
    /// The place: `host`, a network, `NETWORK/TARGET`, a target.
    #[serde(rename = "where")]
    pub place: String,
    /// The fault and its consequence.
    pub what: String,
    /// The evidence, in the kernel's own words.
    pub evidence: Vec<String>,
    /// The shell command that repairs it, if there is one.
    pub command: Option<String>,
}

impl Finding {
    /// A fault because of which packets do not flow.
    pub fn error(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Severity::Error, place, what)
    }

    /// A fault because of which some packets do not flow, or soon will not.
    pub fn warning(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Severity::Warning, place, what)
    }

    fn new(severity: Severity, place: impl Into<String>, what: impl Into<String>) -> Self {
        let (place, what) = (place.into(), what.into());
        Self { severity, place, what, evidence: Vec::new(), command: None }
    }

    /// Adds evidence.
    #[must_use]
    pub fn shown_by(mut self, evidence: impl Into<String>) -> Self {
        self.evidence.push(evidence.into());
        self
    }

    /// Adds the command that repairs it.
    #[must_use]
    pub fn mended_by(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }

    /// Returns whether both are the same fault, found twice, for example once for each family.
    pub fn is_as(&self, other: &Self) -> bool {
        (self.severity, &self.place, &self.what, &self.command)
            == (other.severity, &other.place, &other.what, &other.command)
    }
}
