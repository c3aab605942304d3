//! The differences between an existing object and a request. It is not changed to fit.

use std::{collections::BTreeMap, fmt::Display};

use anyhow::Result;

use crate::{
    error::Error,
    model::{Flags, Network},
};

/// Differences, as text.
#[derive(Debug, Default)]
pub(in crate::ops) struct Differences(Vec<String>);

impl Differences {
    /// Compares the driver of an existing network.
    pub(in crate::ops) fn of_mode(mode: &str, there: &Network) -> Self {
        let mut differences = Self::default();
        differences.compare("mode", mode, there.driver.word());
        differences
    }

    /// Adds a difference, if there is one.
    pub(in crate::ops) fn compare(
        &mut self,
        what: &str,
        wanted: impl Display,
        found: impl Display,
    ) {
        let (wanted, found) = (wanted.to_string(), found.to_string());
        if wanted != found {
            self.0.push(format!("{what} is {found}, not {wanted}"));
        }
    }

    /// Adds flags that differ.
    pub(in crate::ops) fn flags(&mut self, wanted: Flags, there: &Network) {
        self.flags_among(Flags::of(|_| true), wanted, there);
    }

    /// Adds those of some flags that differ.
    pub(in crate::ops) fn flags_among(&mut self, some: Flags, wanted: Flags, there: &Network) {
        for flag in some.iter() {
            self.compare(flag.word(), wanted.has(flag), there.has(flag));
        }
    }

    /// Adds labels that differ or are missing.
    pub(in crate::ops) fn labels(&mut self, wanted: &[(String, String)], there: &Network) {
        let wanted: BTreeMap<_, _> = wanted.iter().map(|(k, v)| (k, v)).collect();
        for (key, value) in wanted {
            let found = there.labels.get(key).map_or("missing", String::as_str);
            self.compare(&format!("label {key}"), value, found);
        }
    }

    /// Fails if an existing network differs.
    pub(in crate::ops) fn refuse_network(self, there: &Network) -> Result<()> {
        let name = &there.name;
        self.refuse(
            &format!("network `{name}` exists"),
            &format!("use it as it is, or remove it first: `netcord rm {name}`"),
        )
    }

    /// Fails if anything differs: `SUBJECT, and differs: ...`.
    pub(in crate::ops) fn refuse(self, subject: &str, hint: &str) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let message = format!("{subject}, and differs: {}", self.0.join("; "));
        Err(Error::conflict(message).hint(hint).into())
    }
}
