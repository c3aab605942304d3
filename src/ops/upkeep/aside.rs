//! Networks for which the housekeeping before a verb failed. They are set aside: a verb for other
//! networks goes on, and warns at its end; a verb that concerns one fails with the error.

use anyhow::Result;

use crate::{
    error::{self, Error, Kind, hint, is_interruption},
    model::LinkName,
    ops::Session,
};

impl Session<'_> {
    /// Sets a network aside, with the error and the command that tries again.
    ///
    /// # Errors If it was an interruption, which concerns the verb.
    pub(in crate::ops) fn set_aside(
        &mut self,
        network: &LinkName,
        what: &str,
        why: &anyhow::Error,
        command: &str,
    ) -> Result<()> {
        let kind = Kind::of(why);
        let message = format!("network `{network}` {what}: {why:#}");
        let before = hint(why).map_or_else(String::new, |hint| format!("; before that: {hint}"));
        let error = Error::new(kind, message)
            .hint(format!("`{command}` tries again{before}"))
            .commands(error::commands(why).to_vec());
        if is_interruption(why) {
            return Err(error.into());
        }
        self.aside.entry(network.clone()).or_insert(error);
        Ok(())
    }

    /// Returns whether a network is set aside.
    pub(in crate::ops) fn is_aside(&self, network: &LinkName) -> bool {
        self.aside.contains_key(network)
    }

    /// Fails for a verb that concerns this network.
    ///
    /// # Errors If it was set aside.
    pub(in crate::ops) fn check_aside(&mut self, network: &LinkName) -> Result<()> {
        self.aside.remove(network).map_or(Ok(()), |reason| Err(reason.into()))
    }

    /// Fails for a verb that concerns all networks.
    ///
    /// # Errors If any was set aside.
    pub(in crate::ops) fn check_none_aside(&mut self) -> Result<()> {
        self.aside.pop_first().map_or(Ok(()), |(_, reason)| Err(reason.into()))
    }

    /// Warns of networks that were set aside.
    pub(in crate::ops) fn warn_of_aside(&self) {
        for Error { message, hint, commands, .. } in self.aside.values() {
            self.events.warn(message);
            if let Some(hint) = hint {
                self.events.note(&format!("hint: {hint}"));
            }
            for command in commands {
                self.events.note(&format!("    {command}"));
            }
        }
    }
}
