//! Parses the command line, runs it, prints the error, sets the exit code.

use std::process::ExitCode;

use clap_complete::CompleteEnv;
use netcord::{
    cli,
    output::{self, Color},
};

fn main() -> ExitCode {
    // A shell that completes a command line sets an environment variable.
    CompleteEnv::with_factory(cli::command).complete();
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(invalid) => return ExitCode::from(output::report(&invalid.into(), Color::Auto)),
    };
    let color = cli.color();
    match cli::run(cli, &mut |_, _| Ok(())) {
        Ok(code) => ExitCode::from(code),
        Err(error) => ExitCode::from(output::report(&error, color)),
    }
}
