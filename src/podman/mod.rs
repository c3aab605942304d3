//! netcord in the place of netavark, podman's network program: podman calls it by that name, with a
//! configuration on standard input. The commands, flags and JSON are those of netavark 2.1
//! (<https://github.com/containers/netavark>), which podman from 4.0 on calls.
//!
//! - `command_line`: the commands and flags
//! - `options`: the configuration of a container; `definition`: that of a network
//! - `create`: completes and checks the definition of a network
//! - `request`: what a configuration asks of netcord
//! - `operations`: the other commands
//! - `plugin`: what differs where netavark calls netcord as its plugin
//! - `names`: the files of aardvark-dns, which serves the names of containers
//! - `log`: warnings, and a line for each call, on standard error

mod command_line;
mod create;
mod definition;
mod log;
mod names;
mod operations;
mod options;
mod plugin;
mod request;
#[cfg(test)]
mod tests;

use std::{env, path::Path};

use anyhow::Result;
use humantime::format_rfc3339_seconds;
use serde_json::json;

use self::{
    command_line::{Asked, Call, Verb},
    log::Log,
};
use crate::{error, output};

/// The name by which podman calls it.
const NAME: &str = "netavark";
/// The version of netavark whose commands, flags and JSON these are.
const VERSION: &str = "2.1.0";
/// Its version, and netcord's, as `--version` prints them.
const TITLE: &str = concat!("2.1.0 (netcord ", env!("CARGO_PKG_VERSION"), ")");

/// Who calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// podman, by the name of its own program.
    Podman,
    /// netavark, whose plugins are in a directory of its name.
    Netavark,
}

fn caller() -> Option<Caller> {
    let program = env::args_os().next()?;
    let program = Path::new(&program);
    let is_of_netavark = program.parent().and_then(Path::file_name).is_some_and(|dir| dir == NAME);
    match program.file_name()? {
        name if name == NAME => Some(Caller::Podman),
        _ => is_of_netavark.then_some(Caller::Netavark),
    }
}

/// Returns whether podman or netavark called this program.
pub fn is_called() -> bool {
    caller().is_some()
}

/// Does what podman asks for, and prints the answer; returns the exit code.
pub fn run() -> u8 {
    let log = Log::begin();
    let words = env::args_os().skip(1);
    let call = match caller() {
        Some(Caller::Netavark) => command_line::parse_plugin(words),
        Some(Caller::Podman) | None => command_line::parse(words),
    };
    let answer = call.and_then(|asked| match asked {
        Asked::Text(text) => Ok(text.trim_end().to_owned()),
        Asked::Info => Ok(plugin::info()),
        Asked::Call(call) => {
            log.call(&call);
            carry_out(&call, &log)
        }
    });
    log.end(answer.as_ref().err());
    let (text, code) = match answer {
        Ok(text) => (text, 0),
        Err(error) => (json!({"error": said(&error)}).to_string(), 1),
    };
    if text.is_empty() || output::raw(&text).is_ok() { code } else { 1 }
}

/// An error with its hint, in one line: podman shows no more.
fn said(error: &anyhow::Error) -> String {
    match error::hint(error) {
        Some(hint) => format!("{error:#} ({hint})"),
        None => format!("{error:#}"),
    }
}

fn carry_out(call: &Call, log: &Log) -> Result<String> {
    match &call.verb {
        Verb::Version => version(),
        Verb::Update { network, servers } => {
            names::Names::of(call)?.update(network, servers).map(|()| String::new())
        }
        Verb::Create | Verb::Setup { .. } | Verb::Teardown { .. } | Verb::FirewallReload => {
            operations::run(call, log)
        }
    }
}

fn version() -> Result<String> {
    let built = env::current_exe()?.metadata()?.modified()?;
    let version = json!({
        "version": VERSION,
        "netcord": env!("CARGO_PKG_VERSION"),
        "commit": "",
        "build_time": format_rfc3339_seconds(built).to_string(),
        "target": format!("{}-{}", env::consts::ARCH, env::consts::OS),
        "default_fw_driver": "nftables",
    });
    Ok(serde_json::to_string_pretty(&version)?)
}
