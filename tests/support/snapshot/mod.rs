//! The state oracle: everything of a host's network that netcord could change, in a form in which
//! equal states are equal text.
//!
//! Left out is what cannot be the same again: indexes, counters, what neighbours were learned,
//! link-local addresses, which come and go with carrier, and the switches that stay on by promise
//! (forwarding, and what the kernel turns with it). A base chain that iptables made and that holds
//! nothing is none.

#![expect(clippy::disallowed_types, reason = "tests run programs")]

mod lines;
pub(super) mod look;

use std::fmt;

use super::Lab;

/// A host's network, as text.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Snapshot(Vec<String>);

impl Snapshot {
    /// Of a lab, or of a host that is a namespace of it.
    #[track_caller]
    pub(super) fn of(lab: &Lab, host: Option<&str>) -> Self {
        let text = lab.look(host);
        assert!(text.contains("\n== sysctl\n./"), "the snapshot is empty: {text}");
        let mut all = Vec::new();
        for part in text.split("\n== ").skip(1) {
            let (name, text) = part.split_once('\n').unwrap_or((part, ""));
            all.extend(lines::of(name, text));
        }
        Self(all)
    }

    /// The lines of one part, for a look.
    pub(crate) fn part(&self, scope: &str) -> Vec<&str> {
        self.0.iter().map(String::as_str).filter(|l| l.starts_with(scope)).collect()
    }

    /// Without what a later one may differ in.
    pub(crate) fn without(&self, is_left_out: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|l| !is_left_out(l)).cloned().collect())
    }

    /// With each line changed, as where a name cannot be the same.
    pub(crate) fn mapped(&self, change: impl Fn(&str) -> String) -> Self {
        let mut lines: Vec<_> = self.0.iter().map(|l| change(l)).collect();
        lines.sort();
        Self(lines)
    }

    /// Fails, and shows what differs, unless the other is the same.
    #[track_caller]
    pub(crate) fn assert_same(&self, other: &Self, when: &str) {
        if self == other {
            return;
        }
        let missing: Vec<_> =
            self.0.iter().filter(|l| !other.0.contains(l)).map(|l| format!("- {l}")).collect();
        let added: Vec<_> =
            other.0.iter().filter(|l| !self.0.contains(l)).map(|l| format!("+ {l}")).collect();
        panic!("{when}: the host is not the same\n{}\n{}", missing.join("\n"), added.join("\n"));
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}
