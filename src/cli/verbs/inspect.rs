//! The verb `inspect`: its flags, its help, and what it prints.

use anyhow::Result;
use clap_complete::ArgValueCompleter;
use serde::Serialize;
use serde_json::Value;

use super::{docker, docker_keys};
use crate::{
    cli::{
        complete,
        values::{OrTemplate, among},
    },
    ops::{
        Session,
        inspect::{self, Object},
    },
    output::{Format, Output},
};

/// Show networks and targets as JSON
#[derive(clap::Args, Debug)]
#[command(
    after_help = "A target that netcord did not attach is shown with its links. In a template, the keys of docker and those of netcord are fields.\n\nExamples:\n  netcord inspect lab0\n  netcord inspect web --format '{{range .endpoints}}{{.addresses}}{{end}}'\n  netcord inspect lab0 --format '{{json .IPAM.Config}}'\n  netcord inspect lab0 --format docker"
)]
pub(crate) struct Args {
    /// Networks and targets [default: everything on this host]
    #[arg(value_name = "NETWORK|TARGET", add = ArgValueCompleter::new(complete::networks_and_targets))]
    names: Vec<String>,
    /// Print the commands that would make it manually
    #[arg(long)]
    commands: bool,
    // The global flag with other values, and docker's short form.
    /// How to print: json, docker (the keys of `docker network inspect`), or a Go template
    #[arg(
        short = 'f',
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_default_value = true,
        value_parser = OrTemplate(among(&[Format::Json, Format::Jsonl, Format::Docker, Format::Table]))
    )]
    pub(in crate::cli) format: Format,
    /// As docker's
    #[command(flatten)]
    _whole: docker::Whole,
}

/// An object with the keys of docker beside its own.
#[derive(Serialize)]
struct WithDockers<'o> {
    #[serde(flatten)]
    own: &'o Object,
    #[serde(flatten)]
    docker: Value,
}

impl Args {
    pub(super) async fn run(self, session: &Session<'_>, output: &Output) -> Result<()> {
        let request = inspect::Inspect { names: self.names };
        let failure = if self.commands {
            let (plan, failure) = inspect::inspect_plan(session, &request).await?;
            output.script(&plan, |_| false)?;
            failure
        } else {
            let (objects, failure) = inspect::inspect(session, &request).await?;
            print(output, &objects)?;
            failure
        };
        failure.map_or(Ok(()), Err)
    }
}

fn print(output: &Output, objects: &[Object]) -> Result<()> {
    let docker = objects.iter().map(docker_keys::of);
    match &output.format {
        Format::Docker => output.foreign(&docker.collect::<Vec<_>>()),
        Format::Template(_) => {
            let merged = objects.iter().zip(docker);
            let merged = merged.map(|(own, docker)| WithDockers { own, docker });
            output.objects(&merged.collect::<Vec<_>>())
        }
        Format::Jsonl => objects.iter().try_for_each(|object| output.result(object, &[])),
        _ => output.objects(objects),
    }
}
