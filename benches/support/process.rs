//! One way to run a program for all contenders, so that none pays for being watched differently.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// Runs it to its end and returns what it printed. Failing is an error, with what it said.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    run_with(command, "")
}

/// Runs it with this text as its standard input.
pub(crate) fn run_with(command: &mut Command, input: &str) -> Result<String> {
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().with_context(|| format!("cannot start `{name}`"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "`{name}` failed: {}: {}{}",
        output.status,
        said.trim(),
        // CNI plugins and netavark print their errors.
        printed.trim()
    );
    Ok(printed)
}

/// Runs a command of plain words.
pub(crate) fn words(line: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    let program = words.next().context("an empty command")?;
    run(Command::new(program).args(words)).with_context(|| format!("`{line}`"))
}
