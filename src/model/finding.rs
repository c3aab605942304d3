//! What a diagnosis finds: what is wrong, how one sees it, and what mends it.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Packets do not flow.
    Error,
    /// Some do not, or soon will not.
    Warning,
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What has it: `host`, a network, `NETWORK/TARGET`, a target.
    #[serde(rename = "where")]
    pub place: String,
    /// What is wrong, and what comes of it.
    pub what: String,
    /// What the kernel says, in its own words.
    pub evidence: Vec<String>,
    /// What mends it, for a shell; none where no command can.
    pub command: Option<String>,
}

impl Finding {
    /// Packets do not flow.
    pub fn error(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Severity::Error, place, what)
    }

    /// Some packets do not flow, or soon will not.
    pub fn warning(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Severity::Warning, place, what)
    }

    fn new(severity: Severity, place: impl Into<String>, what: impl Into<String>) -> Self {
        let (place, what) = (place.into(), what.into());
        Self { severity, place, what, evidence: Vec::new(), command: None }
    }

    /// Adds what shows it.
    #[must_use]
    pub fn shown_by(mut self, evidence: impl Into<String>) -> Self {
        self.evidence.push(evidence.into());
        self
    }

    /// Adds what mends it.
    #[must_use]
    pub fn mended_by(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }

    /// Whether both are one trouble, met twice, such as once a family.
    pub fn is_as(&self, other: &Self) -> bool {
        (self.severity, &self.place, &self.what, &self.command)
            == (other.severity, &other.place, &other.what, &other.command)
    }
}
