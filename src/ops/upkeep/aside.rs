//! Networks that something could not be done for that is done before every verb. They are set aside:
//! a verb that does not concern one goes on without it, and says so at its end; one that does fails
//! with the reason.

use anyhow::Result;

use crate::{
    error::{self, Error, Kind, hint, is_interruption},
    model::LinkName,
    ops::Session,
};

impl Session<'_> {
    /// Sets a network aside: what is so of it, why, and the command that tries again.
    ///
    /// # Errors
    /// If it was an interruption, which is meant for the verb.
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

    /// Whether a network is set aside.
    pub(in crate::ops) fn is_aside(&self, network: &LinkName) -> bool {
        self.aside.contains_key(network)
    }

    /// For a verb that concerns this network.
    ///
    /// # Errors
    /// If it was set aside.
    pub(in crate::ops) fn check_aside(&mut self, network: &LinkName) -> Result<()> {
        self.aside.remove(network).map_or(Ok(()), |reason| Err(reason.into()))
    }

    /// For a verb that concerns all networks.
    ///
    /// # Errors
    /// If any was set aside.
    pub(in crate::ops) fn check_none_aside(&mut self) -> Result<()> {
        self.aside.pop_first().map_or(Ok(()), |(_, reason)| Err(reason.into()))
    }

    /// Says which networks a verb went on without.
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
