//! netcord as a CNI plugin: a container runtime calls it with environment variables and a configuration
//! on standard input, as containerd, CRI-O and podman do (<https://www.cni.dev/docs/spec/>). One call
//! does what the chain `bridge`, `host-local`, `portmap` and `firewall` does.
//!
//! - `environment`: the variables
//! - `config`: the configuration; `request`: what it asks of netcord
//! - `operations`: ADD, DEL, CHECK, GC and STATUS
//! - `delegate`: calls a plugin that assigns addresses
//! - `result`, `failure`, `version`: the answers
//! - `log`: warnings, and a line for each call, on standard error

mod config;
mod delegate;
mod environment;
mod failure;
mod log;
mod operations;
mod request;
mod result;
mod version;

use std::{
    env,
    io::{self, Read},
};

use self::{
    config::version,
    environment::{COMMAND, Operation},
    failure::{Code, Failure},
    log::Log,
    version::Version,
};
use crate::output;

/// The longest configuration that is read, in bytes.
const LONGEST: u64 = 4 << 20;

/// Returns whether a CNI runtime called this program: it gives a variable, and no arguments.
pub fn is_called() -> bool {
    env::var_os(COMMAND).is_some() && env::args_os().len() == 1
}

/// Does what the runtime asks for, and prints the answer; returns the exit code.
pub fn run() -> u8 {
    let log = Log::begin();
    // Errors are in the version that was asked for, if that is one.
    let mut version = Version::NEWEST;
    let answer = Operation::read().and_then(|operation| {
        let input = input()?;
        if operation == Operation::Version {
            return Ok(supported(&input));
        }
        version = self::version(&input)?;
        operations::run(operation, &input, &log)
    });
    let (text, code) = match &answer {
        Ok(text) => (text.clone(), 0),
        Err(failure) => (failure.json(version), 1),
    };
    log.end(answer.as_ref().err());
    if text.is_empty() || output::raw(&text).is_ok() { code } else { 1 }
}

fn input() -> Result<Vec<u8>, Failure> {
    let mut input = Vec::new();
    let read = io::stdin().lock().take(LONGEST + 1).read_to_end(&mut input);
    read.map_err(|e| Failure::new(Code::Io, format!("cannot read the configuration: {e}")))?;
    if input.len() as u64 > LONGEST {
        return Err(Failure::new(Code::Decode, "the configuration is longer than 4 MiB"));
    }
    Ok(input)
}

/// Returns the supported versions. Runtimes ask for them without a configuration.
fn supported(input: &[u8]) -> String {
    let version = version(input).unwrap_or(Version::NEWEST);
    let all = Version::ALL.map(Version::as_str);
    serde_json::json!({ "cniVersion": version.as_str(), "supportedVersions": all }).to_string()
}
