//! Parses the command line, runs it, prints the error, sets the exit code.

use std::process::ExitCode;

use clap_complete::CompleteEnv;
use netcord::{
    cli, cni,
    output::{self, Color},
    podman,
};

fn main() -> ExitCode {
    if cni::is_called() {
        return ExitCode::from(cni::run());
    }
    if podman::is_called() {
        return ExitCode::from(podman::run());
    }
    // A shell that completes a command line sets an environment variable.
    CompleteEnv::with_factory(cli::completed_command).complete();
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(invalid) => return report(&invalid.into(), Color::Auto, cli::is_json_typed()),
    };
    let (color, json) = (cli.color(), cli.is_json());
    match cli::run(cli, &mut |_, _| Ok(())) {
        Ok(code) => ExitCode::from(code),
        Err(error) => report(&error, color, json),
    }
}

fn report(error: &anyhow::Error, color: Color, json: bool) -> ExitCode {
    let code = if json { output::report_json(error) } else { output::report(error, color) };
    ExitCode::from(code)
}
