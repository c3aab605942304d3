//! The verb `version`.

use anyhow::Result;
use serde::Serialize;

use crate::{cli::NAME, output::Output};

/// Print the version, as --version does
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Version {
    version: &'static str,
}

impl Args {
    pub(in crate::cli) fn run(output: &Output) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        output.result(Version { version }, &[format!("{NAME} {version}")])
    }
}
