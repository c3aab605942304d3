//! firewalld's zone `trusted`, changed by `firewall-cmd`, since firewalld does not tolerate other
//! changes of its rules.
//!
//! Only the runtime configuration changes, not its files: our bridges do not exist after a reboot.

use std::{path::Path, process::Output};

#[expect(clippy::disallowed_types, reason = "kernel runs programs")]
use std::process::Command;

use anyhow::{Context, Result};

use crate::{
    error::{Error, Kind},
    model::LinkName,
};

const PROGRAM: &str = "/usr/bin/firewall-cmd";

/// The zone that accepts everything from its links (`firewalld.zones(5)`).
const ZONE: &str = "trusted";

// Exit codes (`firewall/errors.py`).
const SUCCESS: i32 = 0;
const NO: i32 = 1;
const UNKNOWN_INTERFACE: i32 = 17;
const ZONE_CONFLICT: i32 = 18;
const NOT_RUNNING: i32 = 252;

/// The warning of an addition that has nothing to do.
const ALREADY: &str = "ZONE_ALREADY_SET";

/// Adds a link to the zone; returns `false` if it was in a zone already, which is the
/// administrator's choice.
///
/// Equivalent to `firewall-cmd --zone=trusted --add-interface=LINK`.
pub(in crate::kernel) fn trust(link: &LinkName) -> Result<bool> {
    match run("add", link)? {
        (Some(SUCCESS), told) => Ok(!told.contains(ALREADY)),
        (Some(ZONE_CONFLICT), _) => Ok(false),
        (code, told) => Err(failure(code, &told, link)),
    }
}

/// Removes a link from the zone; returns `false` if it was not in the zone, or firewalld does not
/// run.
///
/// Equivalent to `firewall-cmd --zone=trusted --remove-interface=LINK`.
pub(in crate::kernel) fn forget(link: &LinkName) -> Result<bool> {
    if !Path::new(PROGRAM).exists() {
        return Ok(false);
    }
    match run("remove", link)? {
        (Some(SUCCESS), _) => Ok(true),
        (Some(UNKNOWN_INTERFACE | ZONE_CONFLICT | NOT_RUNNING), _) => Ok(false),
        (code, told) => Err(failure(code, &told, link)),
    }
}

/// Returns whether a link is in the zone.
///
/// Equivalent to `firewall-cmd --zone=trusted --query-interface=LINK`.
pub(in crate::kernel) fn trusts(link: &LinkName) -> Result<bool> {
    match run("query", link)? {
        (Some(SUCCESS), _) => Ok(true),
        (Some(NO), _) => Ok(false),
        (code, told) => Err(failure(code, &told, link)),
    }
}

/// Runs the program; returns its exit code and output.
fn run(verb: &str, link: &LinkName) -> Result<(Option<i32>, String)> {
    #[expect(clippy::disallowed_types, reason = "kernel runs programs")]
    let output: Output = Command::new(PROGRAM)
        .arg(format!("--zone={ZONE}"))
        .arg(format!("--{verb}-interface={link}"))
        .env_clear()
        .env("LC_ALL", "C")
        .output()
        .with_context(|| format!("cannot run {PROGRAM}"))?;
    let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok((output.status.code(), told))
}

fn failure(code: Option<i32>, told: &str, link: &LinkName) -> anyhow::Error {
    if code == Some(NOT_RUNNING) {
        return Error::new(
            Kind::Failed,
            format!("firewalld cannot be told to trust `{link}`: it does not run, but its rules are in force"),
        )
        .hint("start it, or remove its rules with `nft delete table inet firewalld`")
        .into();
    }
    let words: Vec<_> = told.split_whitespace().collect();
    Error::new(Kind::Failed, format!("firewalld on `{link}`: {}", words.join(" "))).into()
}
