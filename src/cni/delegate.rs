//! Calls another plugin: one that assigns addresses (CNI 1.1.0, "Delegated Plugins").

use super::{
    environment::{COMMAND, Operation, plugin_folders},
    failure::{Code, Failure},
    result::CniResult,
};
use crate::process;

/// The plugin that assigns the addresses of a network, and the configuration that it gets: the
/// runtime's own.
pub(super) struct Delegate<'a> {
    pub(super) plugin: &'a str,
    pub(super) input: &'a [u8],
}

impl Delegate<'_> {
    /// Has it assign addresses.
    pub(super) fn add(&self) -> Result<CniResult, Failure> {
        let output = self.call(Operation::Add)?;
        serde_json::from_slice(&output).map_err(|e| {
            let message =
                format!("plugin `{}` gave a result that cannot be read: {e}", self.plugin);
            Failure::new(Code::Decode, message)
        })
    }

    /// Calls it. The container, the link and the namespace are those of this call.
    pub(super) fn call(&self, operation: Operation) -> Result<Vec<u8>, Failure> {
        let Self { plugin, input } = self;
        // The name of a file, and not a path.
        let is_name = !plugin.is_empty() && !plugin.contains('/') && !plugin.starts_with('.');
        let folders = if is_name { plugin_folders()? } else { Vec::new() };
        let files = folders.iter().map(|folder| folder.join(plugin));
        let Some(program) = files.into_iter().find(|file| file.is_file()) else {
            let message = format!("no plugin `{plugin}` in CNI_PATH");
            return Err(Failure::new(Code::Config, message));
        };
        let environment = [(COMMAND, operation.as_str())];
        match process::run_with_input(&program, &environment, input) {
            Ok((true, output)) => Ok(output),
            Ok((false, output)) => Err(Failure::read(&output).unwrap_or_else(|| {
                Failure::new(Code::Io, format!("plugin `{plugin}` failed without an error object"))
            })),
            Err(e) => Err(Failure::new(Code::Io, format!("cannot run plugin `{plugin}`: {e}"))),
        }
    }
}
