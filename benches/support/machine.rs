//! What it ran on, and against what: without it, figures mean nothing.

use std::{fs, process::Command, thread::available_parallelism};

use anyhow::{Context, Result};

use crate::process::{run, words};

/// The day, the machine and the versions, as a sentence each.
/// `packages` are those that it was compared with, as Debian names them.
pub(crate) fn sentences(packages: &[&str]) -> Result<String> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("an unknown processor", |(_, model)| model.trim());
    let virtual_machine = if cpus.contains(" hypervisor") { ", a virtual machine" } else { "" };
    Ok(format!(
        "{date}: {cores} cores of {model}{virtual_machine}; Linux {kernel}. Compared with {}.",
        versions(packages)?,
        date = words("date -u +%F")?.trim(),
        cores = available_parallelism()?,
        kernel = kernel.trim(),
    ))
}

fn versions(packages: &[&str]) -> Result<String> {
    let mut command = Command::new("dpkg-query");
    command.args(["-W", "-f", "${Package} ${Version}, "]).args(packages);
    let known = run(&mut command).context("which versions are installed")?;
    Ok(known.trim_end_matches(", ").to_owned())
}
